//! Consumers beside writers and beside each other: who is registered, who has the lease, what may be deleted.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cdesk_core::{
    BatchLimits, Consumer, DirStorage, Error, LockRequest, ManualClock, Position, QueryTags, Storage,
    backlog, registered,
};
use common::faulty::{FaultyStorage, Moment, Plan};
use common::{NO_AGE, abandoned, directory, drain, line, memory, open, segment_bytes, segments, small};

fn consumer(directory: &Path) -> Consumer {
    Consumer::open(directory, "uploader").unwrap()
}

fn queue_of(directory: &Path) {
    let queue = open(directory);
    queue.append(&line(0)).unwrap();
    queue.close().unwrap();
}

#[test]
fn a_segment_seen_between_its_creation_and_its_lock_is_read_to_its_end() {
    let directory = directory();
    let bytes = segment_bytes(10, false);
    let path = abandoned(directory.path(), b"");
    let plan = Plan::new(None);
    let mut consumer =
        Consumer::with(FaultyStorage::open(directory.path(), &plan), ManualClock::new(0), "uploader")
            .unwrap();
    let first = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let (sender, writer) = mpsc::channel();
    let head = bytes[..first].to_vec();
    plan.before_read(move || {
        // Its writer comes to life: it locks the file and writes its first line.
        let file = fs::File::options().write(true).open(path).unwrap();
        file.try_lock().unwrap();
        file.write_all_at(&head, 0).unwrap();
        sender.send(file).unwrap();
    });
    assert_eq!(drain(&mut consumer), [0]);
    let file = writer.recv().unwrap();
    file.write_all_at(&bytes[first..], u64::try_from(first).unwrap()).unwrap();
    assert_eq!(drain(&mut consumer), (1..10).collect::<Vec<_>>());
    drop(file);
    assert!(drain(&mut consumer).is_empty());
}

#[test]
fn whoever_has_opened_a_consumer_gets_all_that_was_there_though_another_was_deleting() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    queue.close().unwrap();
    let plan = Plan::new(None);
    let storage = FaultyStorage::open(directory.path(), &plan);
    let mut first = Consumer::with(storage, ManualClock::new(u64::MAX), "first").unwrap();
    drain(&mut first);
    first.seek(&Position::default()).unwrap();
    let batch = first.next_batch(BatchLimits::default()).unwrap().unwrap();
    first.commit(&batch.position).unwrap();
    drop(first);
    let storage = FaultyStorage::open(directory.path(), &plan);
    let mut first = Consumer::with(storage, ManualClock::new(u64::MAX), "first").unwrap();
    let (sender, opener) = mpsc::channel();
    let path = directory.path().to_owned();
    plan.before_read(move || {
        // While it reads, in the middle of deleting, another one opens.
        let late = thread::spawn(move || {
            let late = Consumer::open(&path, "late").unwrap();
            let there = segments(&path).len();
            (late, there)
        });
        sender.send(late).unwrap();
    });
    first.prune(&batch.position, NO_AGE).unwrap();
    let (mut late, there) = opener.recv().unwrap().join().unwrap();
    let seen = drain(&mut late).len();
    assert!((there, seen) == (0, 0) || seen == 9, "{there} segments were there, {seen} lines came");
}

#[test]
fn nobody_registers_while_another_is_deleting() {
    let directory = directory();
    abandoned(directory.path(), &segment_bytes(3, false));
    let plan = Plan::new(None);
    let open =
        || Consumer::with(FaultyStorage::open(directory.path(), &plan), ManualClock::new(u64::MAX), "first");
    let batch = {
        let mut first = open().unwrap();
        let batch = first.next_batch(BatchLimits::default()).unwrap().unwrap();
        first.commit(&batch.position).unwrap();
        batch
    };
    let mut first = open().unwrap();
    let (sender, receiver) = mpsc::channel();
    let storage = DirStorage::open(directory.path()).unwrap();
    // After it has looked who is registered, before it has deleted anything.
    plan.before_read(move || {
        let turn = storage.lock("registry.turn.lock", LockRequest::Lease).unwrap();
        sender.send(turn.is_none()).unwrap();
    });
    assert_eq!(first.prune(&batch.position, NO_AGE).unwrap(), 1);
    assert!(receiver.recv().unwrap(), "the turn is held");
}

#[test]
fn nobody_deletes_while_another_registers() {
    let directory = directory();
    let plan = Plan::new(None);
    let (sender, receiver) = mpsc::channel();
    let storage = DirStorage::open(directory.path()).unwrap();
    plan.before(Moment::Stat, ".position", move || {
        let turn = storage.lock("registry.turn.lock", LockRequest::Lease).unwrap();
        sender.send(turn.is_none()).unwrap();
    });
    let storage = FaultyStorage::open(directory.path(), &plan);
    Consumer::with(storage, ManualClock::new(0), "first").unwrap();
    assert!(receiver.recv().unwrap(), "the turn is held");
}

#[test]
fn who_registers_or_seeks_while_a_program_that_was_stopped_has_the_turn_is_told_so_and_may_try_again() {
    let directory = directory();
    let plan = Plan::new(None);
    let open =
        || Consumer::with(FaultyStorage::open(directory.path(), &plan), ManualClock::new(0), "uploader");
    let mut consumer = open().unwrap();
    plan.hold("registry.turn.lock");
    let held = consumer.seek(&Position::default()).unwrap_err();
    assert!(
        matches!(&held, Error::LockHeld { path } if *path == directory.path().join("registry.turn.lock"))
    );
    assert_eq!(
        held.to_string(),
        format!(
            "{0} has been held by another program for 10 s; `lsof {0}` names it: let it finish or end it, then try \
             again",
            held.path().unwrap().display()
        )
    );
    drop(consumer);
    assert!(matches!(open(), Err(Error::LockHeld { .. })));
    plan.heal();
    open().unwrap().seek(&Position::default()).unwrap();
}

#[test]
fn who_wants_a_tag_while_a_program_that_was_stopped_reserves_some_is_told_so_and_may_try_again() {
    let directory = directory();
    let plan = Plan::new(None);
    let tags = QueryTags::with(FaultyStorage::open(directory.path(), &plan));
    plan.hold("tags.state.lock");
    let held = tags.next_tag().unwrap_err();
    assert!(matches!(&held, Error::LockHeld { path } if *path == directory.path().join("tags.state.lock")));
    plan.heal();
    tags.next_tag().unwrap();
}

#[test]
fn a_clock_that_stepped_back_keeps_a_segment() {
    let directory = directory();
    queue_of(directory.path());
    let storage = DirStorage::open(directory.path()).unwrap();
    let clock = Arc::new(ManualClock::new(0));
    let mut consumer = Consumer::with(storage, Arc::clone(&clock), "uploader").unwrap();
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 0, "it is younger than any age");
    clock.set_unix_ms(u64::MAX);
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 1);
}

#[test]
fn a_writer_that_comes_to_life_while_it_is_asked_for_finds_its_segment_taken() {
    let directory = directory();
    let path = abandoned(directory.path(), b"");
    let plan = Plan::new(None);
    let mut consumer =
        Consumer::with(FaultyStorage::open(directory.path(), &plan), ManualClock::new(0), "uploader")
            .unwrap();
    let (sender, writer) = mpsc::channel();
    plan.before(Moment::Stat, ".ndjson", move || {
        let file = fs::File::options().write(true).open(path).unwrap();
        sender.send(file.try_lock().is_err()).unwrap();
    });
    assert!(drain(&mut consumer).is_empty());
    assert!(
        writer.recv().unwrap(),
        "what it wrote after its size was asked for would be taken for all there is"
    );
}

#[test]
fn a_position_past_the_end_keeps_no_segment() {
    let directory = directory();
    let past = {
        abandoned(directory.path(), &segment_bytes(4, false));
        let mut consumer = consumer(directory.path());
        let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
        consumer.commit(&batch.position).unwrap();
        batch.position
    };
    abandoned(directory.path(), &segment_bytes(3, false)); // what power loss left of it
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    let batch = other.next_batch(BatchLimits::default()).unwrap().unwrap();
    other.commit(&batch.position).unwrap();
    let mut consumer = consumer(directory.path());
    assert!(drain(&mut consumer).is_empty());
    assert_eq!(consumer.prune(&past, NO_AGE).unwrap(), 1, "all three lines were consumed by both");
}

#[test]
fn a_segment_that_is_all_damage_waits_for_nobody() {
    let directory = directory();
    let mut bytes = segment_bytes(3, true);
    let ends: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').take(3).collect();
    for end in ends {
        bytes[end - 3] ^= 1;
    }
    abandoned(directory.path(), &bytes);
    let mut consumer = consumer(directory.path());
    assert!(drain(&mut consumer).is_empty());
    assert_eq!(consumer.stats().damaged_lines, 3);
    assert_eq!(consumer.depth().unwrap(), 0, "a worker that waits for it would wait for ever");
    assert_eq!(consumer.prune(&Position::default(), NO_AGE).unwrap(), 1);
}

#[test]
fn a_commit_is_found_again_though_its_file_was_cut_or_removed() {
    for is_removed in [false, true] {
        let directory = directory();
        let queue = open(directory.path());
        queue.append_many(&[line(0), line(1), line(2)]).unwrap();
        {
            let mut consumer = consumer(directory.path());
            let file = directory.path().join("uploader.position");
            if is_removed { fs::remove_file(file) } else { fs::write(file, "") }.unwrap();
            let batch = consumer.next_batch(BatchLimits::default().max_lines(2)).unwrap().unwrap();
            consumer.commit(&batch.position).unwrap();
        }
        assert_eq!(drain(&mut consumer(directory.path())), [2]);
    }
}

#[test]
fn a_lease_is_not_refused_because_somebody_asks_whether_it_is_held() {
    let directory = directory();
    drop(consumer(directory.path()));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                backlog(directory.path(), "uploader").unwrap();
            }
        });
        let opened = (0..500).filter(|_| Consumer::open(directory.path(), "uploader").is_ok()).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(opened, 500);
    });
}

#[test]
fn a_name_that_was_opened_by_mistake_is_taken_back() {
    let directory = directory();
    queue_of(directory.path());
    let mistake = Consumer::open(directory.path(), "mistake").unwrap();
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    assert_eq!(registered(directory.path()).unwrap(), ["mistake", "uploader"]);
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 0);
    mistake.unregister().unwrap();
    assert_eq!(registered(directory.path()).unwrap(), ["uploader"]);
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 1);
    assert!(Consumer::open(directory.path(), "mistake").is_ok(), "and it may come back");
}

#[test]
fn a_look_at_many_segments_costs_each_of_them_the_same() {
    let directory = memory();
    let plan = Plan::new(None);
    for number in 0..2_000 {
        fs::write(directory.path().join(format!("seg-1763694538123-9f3a01c2-{number:06}.ndjson")), b"")
            .unwrap();
    }
    let storage = FaultyStorage::open(directory.path(), &plan);
    let mut consumer = Consumer::with(storage, ManualClock::new(0), "uploader").unwrap();
    assert!(drain(&mut consumer).is_empty());
    let before = plan.operations();
    assert!(drain(&mut consumer).is_empty());
    let each = (plan.operations() - before) / 2_000;
    assert!(each <= 3, "{each} operations for each segment: a lock, its size, and a read");
}

#[test]
fn an_empty_segment_of_a_dead_writer_is_deleted_when_it_is_old() {
    let directory = directory();
    let path = abandoned(directory.path(), b"");
    let mut consumer = consumer(directory.path());
    assert_eq!(consumer.prune(&Position::default(), Duration::from_secs(3_600)).unwrap(), 0);
    let storage = DirStorage::open(directory.path()).unwrap();
    let writer = storage.lock(common::SEGMENT, LockRequest::Lease).unwrap();
    assert_eq!(consumer.prune(&Position::default(), NO_AGE).unwrap(), 0, "its writer lives");
    drop(writer);
    assert_eq!(consumer.prune(&Position::default(), NO_AGE).unwrap(), 1);
    assert!(!path.exists());
}

#[test]
fn what_a_sink_may_fall_back_to_is_deleted_by_no_other_consumer() {
    let directory = directory();
    queue_of(directory.path());
    let mut ahead = consumer(directory.path()); // its sink has not checkpointed yet
    let batch = ahead.next_batch(BatchLimits::default()).unwrap().unwrap();
    ahead.commit_ahead(&batch.position, &Position::default()).unwrap();
    assert_eq!(ahead.depth().unwrap(), 0, "it was consumed");
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    other.next_batch(BatchLimits::default()).unwrap().unwrap();
    other.commit(&batch.position).unwrap();
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 0, "it is not safe");
    assert_eq!(ahead.prune(&batch.position, Duration::from_secs(3_600)).unwrap(), 0, "now it is, and young");
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 1);
}

#[test]
fn what_is_safe_survives_whoever_told_it() {
    let directory = directory();
    queue_of(directory.path());
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    let batch = other.next_batch(BatchLimits::default()).unwrap().unwrap();
    other.commit(&batch.position).unwrap();
    let mut ahead = consumer(directory.path());
    ahead.next_batch(BatchLimits::default()).unwrap().unwrap();
    ahead.commit_ahead(&batch.position, &Position::default()).unwrap();
    drop(ahead);
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 0, "its sink may still fall back");
    let mut ahead = consumer(directory.path());
    assert!(drain(&mut ahead).is_empty(), "it goes on where it was");
    ahead.commit(&batch.position).unwrap();
    drop(ahead);
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 1);
}

#[test]
fn what_a_consumer_went_back_to_is_deleted_by_no_other() {
    let directory = directory();
    queue_of(directory.path());
    let mut restored = consumer(directory.path());
    let batch = restored.next_batch(BatchLimits::default()).unwrap().unwrap();
    restored.commit(&batch.position).unwrap();
    restored.seek(&Position::default()).unwrap(); // its sink is an older copy
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    let batch = other.next_batch(BatchLimits::default()).unwrap().unwrap();
    other.commit(&batch.position).unwrap();
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 0);
    drop(restored);
    let mut restored = consumer(directory.path());
    assert_eq!(drain(&mut restored), [0], "also when it dies before it has read");
}

#[test]
fn a_consumer_whose_registration_was_removed_is_registered_again_by_a_seek() {
    let directory = directory();
    queue_of(directory.path());
    let mut restored = consumer(directory.path());
    let batch = restored.next_batch(BatchLimits::default()).unwrap().unwrap();
    fs::remove_file(directory.path().join("uploader.position")).unwrap();
    restored.seek(&Position::default()).unwrap();
    assert_eq!(registered(directory.path()).unwrap(), ["uploader"]);
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    other.seek(&batch.position).unwrap();
    other.commit(&batch.position).unwrap();
    assert_eq!(other.prune(&batch.position, NO_AGE).unwrap(), 0);
    assert_eq!(drain(&mut restored), [0]);
}

#[test]
fn a_consumer_that_went_back_still_says_how_many_segments_there_are() {
    let directory = directory();
    queue_of(directory.path());
    let mut consumer = consumer(directory.path());
    assert_eq!(drain(&mut consumer), [0]);
    consumer.seek(&Position::default()).unwrap();
    assert_eq!(consumer.stats().segments, 1);
    assert_eq!(drain(&mut consumer), [0]);
}

#[test]
fn a_seek_waits_for_whoever_is_deleting_by_where_it_was() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    queue.close().unwrap();
    let mut restored = consumer(directory.path());
    let batch = restored.next_batch(BatchLimits::default()).unwrap().unwrap();
    restored.commit(&batch.position).unwrap();
    drop(Consumer::open(directory.path(), "other").unwrap());
    let plan = Plan::new(None);
    let mut other =
        Consumer::with(FaultyStorage::open(directory.path(), &plan), ManualClock::new(u64::MAX), "other")
            .unwrap();
    other.seek(&batch.position).unwrap();
    other.seek(&Position::default()).unwrap();
    other.commit(&batch.position).unwrap();
    let (sender, seeker) = mpsc::channel();
    let path = directory.path().to_owned();
    plan.before_read(move || {
        let seeking = thread::spawn(move || {
            restored.seek(&Position::default()).unwrap();
            (segments(&path).len(), drain(&mut restored).len())
        });
        sender.send(seeking).unwrap();
    });
    other.prune(&batch.position, NO_AGE).unwrap();
    let (there, seen) = seeker.recv().unwrap().join().unwrap();
    assert!((there, seen) == (0, 0) || seen == 9, "{there} segments were there, {seen} lines came");
}
