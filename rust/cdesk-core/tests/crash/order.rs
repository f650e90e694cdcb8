//! What comes before what, read from the operations themselves.

use crate::history;
use crate::sim::{Bug, EIO, Event, Failure, Fault, Lasts, Operation, ProcessId, mix};
use crate::workload::{work, world};
use crate::world::{CONSUMERS, SinkKind, World};

/// Everything that happened, with questions to it.
struct Record<'a>(&'a [Event]);

impl Record<'_> {
    /// Where in `from..until` the first such event is.
    fn find(&self, from: usize, until: usize, is: impl Fn(&Event) -> bool) -> Option<usize> {
        self.0.iter().take(until).skip(from).position(is).map(|at| from + at)
    }

    fn find_done(&self, from: usize, until: usize, is: impl Fn(&Operation) -> bool) -> Option<usize> {
        self.find(from, until, |event| matches!(event, Event::Done { operation, .. } if is(operation)))
    }

    /// Every place and file to which the line was written.
    fn writes(&self, id: u64) -> impl Iterator<Item = (usize, usize)> {
        self.0.iter().enumerate().filter_map(move |(at, event)| match event {
            Event::Done { operation: Operation::Write { inode, ids, .. }, .. } if ids.contains(&id) => {
                Some((at, *inode))
            }
            _ => None,
        })
    }

    /// write < sync < acknowledge, no failed sync in between; create < sync of the directory < acknowledge.
    fn is_durable_at(&self, id: u64, until: usize) -> bool {
        self.writes(id).any(|(written, inode)| self.is_kept_in(inode, written, until))
    }

    fn is_kept_in(&self, inode: usize, written: usize, until: usize) -> bool {
        let is_sync = |operation: &Operation| *operation == Operation::Sync { inode };
        let Some(synced) = self.find_done(written, until, is_sync) else { return false };
        let failed = self.find(
            written,
            synced,
            |event| matches!(event, Event::Failed { operation, .. } if is_sync(operation)),
        );
        let named = self
            .find(0, written, |event| matches!(event, Event::Created { inode: of, .. } if *of == inode))
            .and_then(|created| {
                self.find_done(created, until, |operation| *operation == Operation::SyncDirectory)
            });
        failed.is_none() && named.is_some()
    }

    /// stored in the sink < position in its place < its directory synced, all before `until`.
    fn is_consumed_at(&self, sink: usize, id: u64, until: usize) -> bool {
        let position = format!("{}.position", CONSUMERS[sink]);
        self.find(0, until, |event| *event == Event::Stored { sink, id })
            .and_then(|stored| {
                self.find(stored, until, |event| matches!(event, Event::Renamed { to } if *to == position))
            })
            .and_then(|renamed| {
                self.find_done(renamed, until, |operation| *operation == Operation::SyncDirectory)
            })
            .is_some()
    }

    fn check_acknowledgements(&self) -> usize {
        let mut count = 0;
        for (at, event) in self.0.iter().enumerate() {
            if let Event::Acknowledged { id } = event {
                assert!(self.is_durable_at(*id, at), "line {id} was acknowledged too early");
                count += 1;
            }
        }
        count
    }

    /// Every deletion by a consumer, of a segment with a line that both had acknowledged to them.
    fn check_deletions(&self) -> usize {
        let mut count = 0;
        let acknowledged: Vec<_> = (0..)
            .zip(self.0)
            .filter_map(|(at, event)| match event {
                Event::Acknowledged { id } => Some((at, *id)),
                _ => None,
            })
            .collect();
        for (at, event) in self.0.iter().enumerate() {
            let Event::Done { process, operation: Operation::Unlink { name } } = event else { continue };
            let Some(inode) = self.created_by_another(name, *process) else { continue };
            for &(_, id) in acknowledged.iter().filter(|(acknowledged, _)| *acknowledged < at) {
                if self.writes(id).any(|(written, of)| of == inode && self.is_kept_in(inode, written, at)) {
                    for sink in 0..CONSUMERS.len() {
                        assert!(
                            self.is_consumed_at(sink, id, at),
                            "{name} was deleted before line {id} was safe"
                        );
                    }
                    count += 1;
                }
            }
        }
        count
    }

    fn created_by_another(&self, segment: &str, process: ProcessId) -> Option<usize> {
        let created = self.find(0, self.0.len(), |event| {
            matches!(event, Event::Created { name, .. } if name == segment && name.starts_with("seg-"))
        })?;
        let Event::Created { inode, .. } = self.0[created] else { return None };
        let is_own = self.find(0, self.0.len(), |event| {
            matches!(event, Event::Done { process: of, operation: Operation::Write { inode: to, .. } }
                if *of == process && *to == inode)
        });
        is_own.is_none().then_some(inode)
    }
}

fn events(world: &World) -> Vec<Event> {
    world.host.lock().events.take().unwrap()
}

#[test]
fn write_comes_before_sync_and_sync_before_acknowledge() {
    let crew = history::crew();
    for seed in (0..150).map(mix) {
        let world = history::prepare(seed, Bug::None);
        world.host.lock().events = Some(Vec::new());
        history::finish(&crew, &world, seed);
        Record(&events(&world)).check_acknowledgements();
    }
}

#[test]
fn sink_comes_before_position_and_position_before_delete() {
    let mut deletions = 0;
    for at in 0..200 {
        let world = world(SinkKind::Lasting, at);
        let fault = Fault { at, failure: Failure::Errno(EIO), lasts: Lasts::Once, spares_reads: false };
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
    let created = || Event::Created { name: "seg-a".into(), inode: 7 };
    let sync = || done(Operation::Sync { inode: 7 });
    let named = || done(Operation::SyncDirectory);
    let failed = || Event::Failed { process: 1, operation: Operation::Sync { inode: 7 } };
    let is_good = |events: &[Event]| Record(events).is_durable_at(3, events.len());
    assert!(is_good(&[created(), named(), write(), sync()]));
    assert!(!is_good(&[created(), write(), sync()]));
    assert!(!is_good(&[created(), named(), sync(), write()]));
    assert!(!is_good(&[created(), named(), write(), failed(), sync()]));
}
