//! What comes before what, read from the operations themselves.

use crate::history;
use crate::record::Record;
use crate::sim::{Bug, Crew, EIO, Event, Failure, Fault, Lasts, Operation, Scope, mix};
use crate::workload::{work, world};
use crate::world::{SinkKind, World};

/// All that happens in a history.
fn live(crew: &Crew, seed: u64) -> Vec<Event> {
    let world = history::prepare(seed, Bug::None);
    world.host.lock().events = Some(Vec::new());
    history::finish(crew, &world, seed);
    events(&world)
}

fn events(world: &World) -> Vec<Event> {
    world.host.lock().events.take().unwrap()
}

#[test]
fn write_comes_before_sync_and_sync_before_acknowledge() {
    let crew = history::crew();
    for seed in (0..150).map(mix) {
        Record(&live(&crew, seed)).check_acknowledgements();
    }
}

#[test]
fn a_reservation_is_durable_before_its_first_tag_is_given_out() {
    let crew = history::crew();
    let tags: usize = (0..150).map(|seed| Record(&live(&crew, mix(seed))).check_tags().unwrap()).sum();
    assert!(tags > 10_000, "{tags}");
}

#[test]
fn sink_comes_before_position_and_position_before_delete() {
    let mut deletions = 0;
    for at in 0..200 {
        let world = world(SinkKind::Lasting, at);
        let fault = Fault::new(at, Failure::Errno(EIO), Lasts::Once, Scope::All);
        let mut machine = world.host.lock();
        (machine.events, machine.fault) = (Some(Vec::new()), Some(fault));
        drop(machine);
        work(&world);
        let events = events(&world);
        assert_eq!(Record(&events).check_acknowledgements(), 14);
        deletions += Record(&events).check_deletions();
    }
    assert!(deletions > 500, "{deletions}");
}

#[test]
fn the_order_is_noticed_when_it_is_wrong() {
    let done = |operation| Event::Done { process: 1, operation };
    let write = || done(Operation::Write { inode: 7, offset: 0, bytes: 1, ids: vec![3] });
    let created = || Event::Created { process: 1, name: "seg-a".into(), inode: 7 };
    let sync = || done(Operation::Sync { inode: 7 });
    let named = || done(Operation::SyncDirectory);
    let failed = || Event::Failed { process: 1, operation: Operation::Sync { inode: 7 } };
    let is_good = |events: &[Event]| Record(events).is_durable_at(3, events.len());
    assert!(is_good(&[created(), named(), write(), sync()]));
    assert!(!is_good(&[created(), write(), sync()]));
    assert!(!is_good(&[created(), named(), sync(), write()]));
    assert!(!is_good(&[created(), named(), write(), failed(), sync()]));
}

#[test]
fn a_tag_without_a_reservation_is_noticed() {
    let done = |operation| Event::Done { process: 1, operation };
    let reserve = [
        Event::Created { process: 1, name: "tags.state.tmp".into(), inode: 7 },
        done(Operation::Write { inode: 7, offset: 0, bytes: 1, ids: vec![] }),
        done(Operation::Sync { inode: 7 }),
        done(Operation::Rename { to: "tags.state".into() }),
        done(Operation::SyncDirectory),
    ];
    let give = || Event::TagGiven { process: 1 };
    let is_good = |events: &[Event]| Record(events).check_tags().is_ok();
    let good: Vec<_> = reserve.iter().cloned().chain([give()]).collect();
    assert!(is_good(&good));
    for at in 0..reserve.len() {
        let mut events = good.clone();
        events.remove(at);
        assert!(!is_good(&events), "without {at}");
        let mut events = good.clone();
        events.swap(at, at + 1);
        assert!(!is_good(&events), "{at} too late");
    }
    let many = |count| reserve.iter().cloned().chain(vec![give(); count]).collect::<Vec<_>>();
    assert!(is_good(&many(1_024)));
    assert!(!is_good(&many(1_025)));
}

#[test]
fn a_position_is_durable_in_its_place_or_under_its_name() {
    let done = |process, operation| Event::Done { process, operation };
    let stored = || Event::Stored { sink: 0, id: 3 };
    let is_good = |events: &[Event]| Record(events).is_consumed_at(0, 3, events.len());
    let renamed = || Event::Renamed { to: "first.position".into(), inode: 7 };
    let named = || done(1, Operation::SyncDirectory);
    assert!(is_good(&[stored(), renamed(), named()]));
    assert!(!is_good(&[renamed(), stored(), named()]));
    assert!(!is_good(&[stored(), named(), renamed()]));
    let opened = || Event::Opened { process: 1, name: "first.position".into(), inode: 7 };
    let write = || done(1, Operation::Write { inode: 7, offset: 0, bytes: 1, ids: vec![] });
    let sync = |process, inode| done(process, Operation::Sync { inode });
    assert!(is_good(&[opened(), stored(), write(), sync(1, 7)]));
    assert!(!is_good(&[opened(), write(), stored(), sync(1, 7)]));
    assert!(!is_good(&[opened(), stored(), sync(1, 7), write()]));
    assert!(is_good(&[opened(), stored(), write(), sync(2, 7)]), "a sync is for everybody");
    let failed = || Event::Failed { process: 1, operation: Operation::Sync { inode: 7 } };
    assert!(!is_good(&[opened(), stored(), write(), failed(), sync(2, 7)]));
    assert!(!is_good(&[opened(), stored(), write(), sync(1, 8)]));
    assert!(is_good(&[renamed(), stored(), write(), sync(1, 7)]));
    assert!(!is_good(&[stored(), write(), sync(1, 7)]), "another file");
}
