//! The simulated machine keeps its own promises: a judge who is blind proves nothing.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use cdesk_core::{LockRequest, ManualClock, Storage};

use crate::sim::{Crew, Host, SimStorage, Stop, mix};

fn host() -> Host {
    Host::new(1, Arc::new(ManualClock::new(1)))
}

/// What each seat did, in order.
type Diary = Arc<Mutex<Vec<(usize, &'static str)>>>;

#[test]
fn two_processes_come_between_the_operations_of_each_other() {
    let diary = Diary::default();
    let crew = Crew::new(2);
    let pen = Arc::clone(&diary);
    crew.begin(move |seat| {
        for what in ["first", "second"] {
            pen.lock().unwrap().push((seat, what));
            Crew::pause();
        }
    });
    let stops = [0, 1, 0, 1, 0, 1].map(|seat| crew.give(seat));
    assert_eq!(*diary.lock().unwrap(), [(0, "first"), (1, "first"), (0, "second"), (1, "second")]);
    assert_eq!(stops[..4], [Stop::Paused; 4]);
    assert_eq!(stops[4..], [Stop::Done; 2]);
}

#[test]
fn turns_are_dealt_until_there_are_no_more() {
    let diary = Diary::default();
    let crew = Crew::new(3);
    let pen = Arc::clone(&diary);
    crew.begin(move |seat| {
        pen.lock().unwrap().push((seat, "begins"));
        Crew::pause();
        pen.lock().unwrap().push((seat, "ends"));
    });
    let mut turns = [2, 0, 0, 2, 0].into_iter();
    crew.deal(move || turns.next());
    let expected = [(2, "begins"), (0, "begins"), (0, "ends"), (2, "ends"), (0, "begins")];
    assert_eq!(*diary.lock().unwrap(), expected);
    assert!(!crew.finish(|_| 0));
    assert_eq!(diary.lock().unwrap().last(), Some(&(0, "ends")));
}

#[test]
fn who_needs_a_lock_waits_until_it_is_given_back() {
    let diary = Diary::default();
    let crew = Crew::new(2);
    let (host, pen) = (host(), Arc::clone(&diary));
    crew.begin(move |seat| {
        let lock = host.start().lock("a.lock", LockRequest::Turn).unwrap();
        pen.lock().unwrap().push((seat, "has it"));
        Crew::pause();
        pen.lock().unwrap().push((seat, "gives it back"));
        drop(lock);
    });
    // Operations pause by themselves, now and then.
    while diary.lock().unwrap().is_empty() {
        crew.give(0);
    }
    while crew.give(1) != Stop::Waiting {}
    assert!(!crew.finish(|_| 0));
    let expected = [(0, "has it"), (0, "gives it back"), (1, "has it"), (1, "gives it back")];
    assert_eq!(*diary.lock().unwrap(), expected);
}

#[test]
fn who_waits_for_ever_is_told_so() {
    let crew = Crew::new(1);
    let host = host();
    let holder = host.start().lock("a.lock", LockRequest::Turn).unwrap();
    crew.begin(move |_| {
        let refused = host.start().lock("a.lock", LockRequest::Turn).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::Deadlock);
    });
    while crew.give(0) != Stop::Waiting {}
    assert!(crew.finish(|_| 0));
    drop(holder);
}

#[test]
fn a_panic_in_a_step_reaches_the_driver_and_nobody_hangs() {
    let crew = Crew::new(2);
    crew.begin(|seat| {
        Crew::pause();
        if seat == 1 {
            resume_unwind(Box::new("what went wrong"));
        }
    });
    assert_eq!([crew.give(0), crew.give(1)], [Stop::Paused; 2]);
    let panic = catch_unwind(AssertUnwindSafe(|| crew.give(1))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"what went wrong"));
    drop(crew); // while the other one is at its step
}

#[test]
fn a_lease_is_refused_to_nobody_because_of_a_probe() {
    let host = host();
    let (one, other): (SimStorage, SimStorage) = (host.start(), host.start());
    let lease = one.lock("a.lock", LockRequest::Lease).unwrap().unwrap();
    assert!(other.lock("a.lock", LockRequest::Lease).unwrap().is_none());
    assert!(other.lock("a.lock", LockRequest::Probe).unwrap().is_none());
    drop(lease);
    let probes = [&one, &other].map(|storage| storage.lock("a.lock", LockRequest::Probe).unwrap().unwrap());
    // It would wait, and there is nobody else to run.
    assert_eq!(one.lock("a.lock", LockRequest::Lease).err().unwrap().kind(), io::ErrorKind::Deadlock);
    drop(probes);
    assert!(one.lock("a.lock", LockRequest::Lease).unwrap().is_some());
}

#[test]
fn power_loss_keeps_any_of_the_changes_of_a_directory() {
    let mut outcomes = BTreeSet::new();
    for seed in (0..400).map(mix) {
        let host = Host::new(seed, Arc::new(ManualClock::new(1)));
        let storage = host.start();
        storage.create_new("a").unwrap();
        storage.sync_dir().unwrap();
        storage.create_new("b").unwrap();
        storage.rename("b", "c").unwrap();
        storage.unlink("a").unwrap();
        host.lock().lose_power();
        let mut names = host.start().list().unwrap();
        names.sort();
        outcomes.insert(names.concat());
    }
    // "abc" is not among them: a rename is atomic. "c" without "b" is: the rename came, the creation did not.
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["", "a", "ab", "ac", "b", "c"]);
}

/// What a reader gets twice, of a file in which eight ones landed, and something else happened after that.
fn read_after_write(seed: u64, is_between: impl Fn(&SimStorage, &SimStorage)) -> [Vec<u8>; 2] {
    let host = Host::new(seed, Arc::new(ManualClock::new(1)));
    let (writer, reader) = (host.start(), host.start());
    let file = writer.create_new("a").unwrap();
    writer.write(&file, 0, &[1; 8]).unwrap();
    is_between(&writer, &reader);
    [(); 2].map(|()| {
        let mut bytes = vec![9; 8];
        let read = reader.read("a", 0, &mut bytes).unwrap();
        bytes.truncate(read);
        bytes
    })
}

#[test]
fn a_read_beside_a_write_has_older_bytes_first_and_never_again() {
    let mut seen = BTreeSet::new();
    for seed in (0..200).map(mix) {
        let [first, second] = read_after_write(seed, |_, _| {});
        assert!(second.iter().all(|&byte| byte == 1));
        assert!(first.is_sorted());
        seen.insert(first);
    }
    assert!(seen.contains(&[1; 8][..]) && seen.contains(&[0, 0, 0, 1, 1, 1, 1, 1][..]));
}

#[test]
fn a_read_that_began_after_a_write_had_ended_is_whole() {
    for seed in (0..200).map(mix) {
        let [first, _] = read_after_write(seed, |writer, reader| {
            writer.stat("a").unwrap(); // the write has returned
            reader.stat("a").unwrap(); // the read has not begun
        });
        assert!(first.iter().all(|&byte| byte == 1));
    }
}

#[test]
fn power_loss_leaves_blocks_of_a_segment_that_was_deleted() {
    const SECTOR: usize = 512;
    let mut whole = 0;
    let mut parts = 0;
    for seed in (0..2_000).map(mix) {
        let host = Host::new(seed, Arc::new(ManualClock::new(1)));
        let storage = host.start();
        let old = storage.create_new("seg-old").unwrap();
        while storage.write(&old, 0, &[7; 4 * SECTOR]).unwrap() < 4 * SECTOR {}
        storage.sync_data(&old).unwrap();
        storage.unlink("seg-old").unwrap();
        let new = storage.create_new("seg-new").unwrap();
        storage.sync_dir().unwrap();
        while storage.write(&new, 0, &[80; 2 * SECTOR]).unwrap() < 2 * SECTOR {}
        host.lock().lose_power();
        let mut bytes = vec![0; 2 * SECTOR];
        host.start().read("seg-new", 0, &mut bytes).unwrap();
        let stale = bytes.chunks(SECTOR).filter(|sector| *sector == [7; SECTOR]).count();
        whole += u32::from(stale == 2);
        parts += u32::from(stale == 1);
    }
    assert!(whole > 20 && parts > 20);
}
