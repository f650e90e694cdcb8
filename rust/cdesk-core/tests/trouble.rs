//! One segment that cannot be read, a full disk, a folder of copies that takes nothing: each costs only itself.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use cdesk_core::{BatchLimits, Consumer, Error, ManualClock, Position, SegmentState, backlog, inspect};
use common::faulty::{EIO, ENOSPC, Fault, FaultyStorage, Lasts, Plan};
use common::{
    NO_AGE, NOW, abandoned, damaged_copies, drain, ids, line, memory, segment_bytes, segment_of, segments,
    small,
};

const EACCES: i32 = 13;

type FaultyConsumer = Consumer<FaultyStorage, ManualClock>;

fn consumer(directory: &Path, plan: &Arc<Plan>) -> FaultyConsumer {
    let clock = ManualClock::new(NOW + 3_600_000_000_000);
    Consumer::with(FaultyStorage::open(directory, plan), clock, "uploader").unwrap()
}

/// Segments of three lines.
fn write(directory: &Path, count: u64) {
    let (queue, _) = small(directory, 200);
    for id in 0..count {
        queue.append(&line(id)).unwrap();
    }
    queue.close().unwrap();
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Takes all there is, commits it and prunes; says how many segments went.
fn consume(consumer: &mut FaultyConsumer) -> (Vec<u64>, u64) {
    let (mut all, mut pruned) = (Vec::new(), 0);
    while let Some(batch) = consumer.next_batch(BatchLimits::default().max_lines(2)).unwrap() {
        all.extend(ids(&batch.ndjson));
        consumer.commit(&batch.position).unwrap();
        pruned += consumer.prune(&batch.position, NO_AGE).unwrap();
    }
    (all, pruned)
}

#[test]
fn a_segment_that_cannot_be_read_delays_only_itself_and_is_named() {
    for errno in [EACCES, EIO] {
        let directory = memory();
        write(directory.path(), 9);
        let count = segments(directory.path()).len();
        assert!(count > 2);
        let bad = segments(directory.path()).remove(1);
        let plan = Plan::new(None);
        plan.bar(name_of(&bad), errno);
        let mut consumer = consumer(directory.path(), &plan);
        let (seen, _) = consume(&mut consumer);
        assert!(!seen.is_empty() && seen.len() < 9, "{seen:?}");
        assert_eq!(segments(directory.path()), std::slice::from_ref(&bad), "the others were pruned");
        assert_eq!(consumer.depth().unwrap(), 0);
        assert_eq!(consumer.stats().troubled_segments, 1);
        let trouble = consumer.troubles().remove(0);
        assert_eq!(trouble.segment.to_string(), name_of(&bad));
        let Error::Io { source, path, .. } = &trouble.error else { panic!("{trouble:?}") };
        assert_eq!((source.raw_os_error(), path), (Some(errno), &bad));

        plan.heal();
        let (rest, pruned) = consume(&mut consumer);
        let mut all = [seen, rest].concat();
        all.sort_unstable();
        assert_eq!((all, pruned), ((0..9).collect(), 1));
        assert_eq!((consumer.stats().troubled_segments, consumer.troubles().len()), (0, 0));
    }
}

#[test]
fn looking_at_a_log_goes_on_past_a_segment_that_cannot_be_read() {
    let directory = memory();
    write(directory.path(), 9);
    let count = segments(directory.path()).len();
    let bad = segments(directory.path()).remove(1);
    fs::write(&bad, "{\"_seq\":0,\"_log\":1,\"_crc\":\"01234567\"}\n").unwrap();
    let mut views = inspect(directory.path()).unwrap();
    assert_eq!(views[1].state(), SegmentState::Unreadable, "it needs no reading");
    assert!(views[1].check().is_err());
    assert!(matches!(views[1].error(), Some(Error::UnsupportedFormat { version: 1, .. })));
    assert!(views[2].check().is_ok());
    let seen = backlog(directory.path(), "uploader").unwrap();
    assert_eq!((seen.segments, seen.unreadable_segments), (u64::try_from(count).unwrap(), 1));
    let bytes: u64 = segments(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(seen.bytes, bytes, "with that of the one that cannot be read");
}

#[test]
fn a_full_disk_is_drained_and_its_segments_are_deleted() {
    let directory = memory();
    write(directory.path(), 30);
    let plan = Plan::new(None);
    drop(consumer(directory.path(), &plan)); // there was room for its registration
    plan.fill();
    for _ in 0..2 {
        let mut consumer = consumer(directory.path(), &plan);
        let batch = consumer.next_batch(BatchLimits::default().max_lines(5)).unwrap().unwrap();
        consumer.commit(&batch.position).unwrap();
    }
    let (rest, pruned) = consume(&mut consumer(directory.path(), &plan));
    assert_eq!(rest, (10..30).collect::<Vec<_>>());
    assert!(pruned > 5);
    assert!(segments(directory.path()).is_empty());
}

#[test]
fn a_full_disk_with_more_segments_than_a_position_has_room_for_is_drained_too() {
    let directory = memory();
    let plan = Plan::new(None);
    drop(consumer(directory.path(), &plan));
    plan.fill(); // before the segments came, from another process
    let (queue, _) = small(directory.path(), 1);
    let lines: Vec<_> = (0..600).map(line).collect();
    queue.append_many(&lines).unwrap();
    queue.close().unwrap();
    let mut consumer = consumer(directory.path(), &plan);
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    assert_eq!(batch.lines, 600);
    let Err(Error::Io { source, .. }) = consumer.commit(&batch.position) else { panic!("there was no room") };
    assert_eq!(source.raw_os_error(), Some(ENOSPC));
    let pruned = consumer.prune(&batch.position, NO_AGE).unwrap();
    assert!((300..600).contains(&pruned), "{pruned}");
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 600 - pruned);
    assert!(segments(directory.path()).is_empty());
}

#[test]
fn damage_that_cannot_be_copied_holds_up_no_line_and_keeps_its_segment() {
    let directory = memory();
    write(directory.path(), 9);
    let bad = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&bad).unwrap();
    bytes[3] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let plan = Plan::new(None);
    plan.bar(".tmp", ENOSPC); // what is copied is written under such a name
    drop(Consumer::open(directory.path(), "uploader").unwrap());
    let mut consumer = consumer(directory.path(), &plan);
    let (seen, _) = consume(&mut consumer);
    assert_eq!(seen, (1..9).collect::<Vec<_>>());
    assert_eq!(segments(directory.path()), [bad]);
    let trouble = consumer.troubles().remove(0);
    assert!(trouble.error.to_string().contains("damaged"), "{}", trouble.error);
    assert_eq!((consumer.stats().troubled_segments, consumer.stats().copied_bytes), (1, 0));

    plan.heal();
    assert_eq!(consumer.prune(&"1".parse().unwrap(), NO_AGE).unwrap(), 0);
    assert_eq!(damaged_copies(directory.path()).len(), 1, "and copied when that can be done");
    assert_eq!(consumer.troubles().len(), 0);
    assert!(consumer.stats().copied_bytes > 0);
}

#[test]
fn a_segment_that_cannot_be_deleted_keeps_no_other() {
    let directory = memory();
    write(directory.path(), 9);
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    let mut last = None;
    while let Some(batch) = consumer.next_batch(BatchLimits::default()).unwrap() {
        consumer.commit(&batch.position).unwrap();
        last = Some(batch.position);
    }
    let stuck = segments(directory.path()).remove(0);
    plan.bar(name_of(&stuck), EACCES);
    assert!(consumer.prune(&last.clone().unwrap(), NO_AGE).unwrap() > 1);
    assert_eq!(segments(directory.path()), [stuck]);
    assert!(consumer.next_batch(BatchLimits::default()).is_ok());
    assert_eq!(consumer.troubles().len(), 1, "also after the next look");
    plan.heal();
    assert_eq!(consumer.prune(&last.unwrap(), NO_AGE).unwrap(), 1);
    assert!(consumer.troubles().is_empty());
    assert!(drain(&mut consumer).is_empty());
}

#[test]
fn what_kept_a_segment_is_no_trouble_any_more_when_it_does_not_keep_it() {
    let directory = memory();
    let (queue, _) = small(directory.path(), 1_000);
    queue.append(&line(0)).unwrap();
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    let before = plan.operations();
    consumer.prune(&"1".parse().unwrap(), NO_AGE).unwrap();
    let steps = plan.operations() - before;
    let mut troubled = 0;
    for at in 1..=steps {
        plan.set(Fault { at: plan.operations() + at, errno: EIO, lasts: Lasts::Once });
        let _ = consumer.prune(&"1".parse().unwrap(), NO_AGE);
        troubled += consumer.troubles().len();
        assert_eq!(consumer.prune(&"1".parse().unwrap(), NO_AGE).unwrap(), 0, "its writer lives");
        assert_eq!(consumer.troubles().len(), 0);
    }
    assert!(troubled > 0, "to look at it");
}

#[test]
fn commits_that_fail_one_after_the_other_leave_what_was_committed() {
    let mut failed = 0;
    for at in 1..20 {
        let directory = memory();
        write(directory.path(), 9);
        let plan = Plan::new(None);
        let mut consumer = consumer(directory.path(), &plan);
        let batch = consumer.next_batch(BatchLimits::default().max_lines(1)).unwrap().unwrap();
        consumer.commit(&batch.position).unwrap();
        let batch = consumer.next_batch(BatchLimits::default().max_lines(1)).unwrap().unwrap();
        for _ in 0..3 {
            plan.set(Fault { at: plan.operations() + at, errno: EIO, lasts: Lasts::Once });
            let Err(_) = consumer.commit(&batch.position) else { break };
            failed += 1;
            assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 8, "{at}");
        }
    }
    assert!(failed > 6, "{failed}");
}

#[test]
fn a_commit_that_failed_is_not_counted() {
    let directory = memory();
    write(directory.path(), 9);
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    let batch = consumer.next_batch(BatchLimits::default().max_lines(2)).unwrap().unwrap();
    // The directory can be read, and after that nothing.
    plan.set(Fault { at: plan.operations() + 2, errno: EIO, lasts: Lasts::Forever });
    assert!(consumer.commit(&batch.position).is_err());
    plan.heal();
    assert_eq!((consumer.depth().unwrap(), consumer.position()), (9, &Position::default()));
    consumer.commit(&batch.position).unwrap();
    assert_eq!((consumer.depth().unwrap(), consumer.position()), (7, &batch.position));
}

#[test]
fn damage_that_could_not_be_copied_is_no_trouble_when_its_segment_is_gone() {
    let directory = memory();
    write(directory.path(), 9);
    let bad = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&bad).unwrap();
    bytes[3] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    plan.bar(".tmp", ENOSPC);
    assert!(!drain(&mut consumer).is_empty());
    assert_eq!(consumer.troubles().len(), 1);
    fs::remove_file(&bad).unwrap(); // as another consumer does, who could copy it
    plan.heal();
    assert!(drain(&mut consumer).is_empty());
    assert_eq!((consumer.stats().troubled_segments, consumer.troubles().len()), (0, 0));
}

#[test]
fn damage_longer_than_one_piece_is_copied_whole() {
    let directory = memory();
    let pad = "x".repeat(900 << 10);
    let mut lines: Vec<_> =
        (0..3).map(|id| format!("{{\"id\":{id},\"pad\":\"{pad}\"}}").into_bytes()).collect();
    lines.push(line(3));
    let mut bytes = segment_of(&lines, true);
    let ends: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').take(3).collect();
    for end in &ends {
        bytes[end - 100] = b'y';
    }
    abandoned(directory.path(), &bytes);
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    assert_eq!(drain(&mut consumer), [3]);
    let copied = damaged_copies(directory.path()); // in the order of their offsets
    assert_eq!(copied.len(), 3);
    assert!(copied.into_values().collect::<Vec<_>>().concat() == bytes[..=ends[2]]);
    assert_eq!(consumer.stats().copied_bytes, u64::try_from(ends[2] + 1).unwrap());
}

#[test]
fn a_folder_of_copies_that_somebody_removed_is_made_again() {
    let directory = memory();
    write(directory.path(), 9);
    let spoil = |index: usize| {
        let path = segments(directory.path()).remove(index);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    spoil(0);
    let mut consumer = consumer(directory.path(), &Plan::new(None));
    consumer.next_batch(BatchLimits::default().max_lines(2)).unwrap().unwrap();
    fs::remove_dir_all(directory.path().join("damaged")).unwrap();
    spoil(2);
    consume(&mut consumer);
    assert!(segments(directory.path()).is_empty() && consumer.troubles().is_empty());
}

#[test]
fn damage_that_grew_is_copied_before_its_segment_goes() {
    let directory = memory();
    let mut bytes = segment_bytes(5, true);
    let starts: Vec<_> = (0..bytes.len()).filter(|&at| at == 0 || bytes[at - 1] == b'\n').collect();
    for damaged in [1, 2] {
        bytes[starts[damaged] + 3] ^= 1;
        abandoned(directory.path(), &bytes);
        drain(&mut Consumer::open(directory.path(), "uploader").unwrap());
    }
    let copied: usize = damaged_copies(directory.path()).values().map(Vec::len).sum();
    assert_eq!(copied, starts[3] - starts[1]);
}

#[test]
fn a_copy_that_was_made_before_is_made_durable_before_its_segment_goes() {
    let directory = memory();
    let mut bytes = segment_bytes(5, true);
    bytes[3] ^= 1;
    abandoned(directory.path(), &bytes);
    drain(&mut Consumer::open(directory.path(), "other").unwrap());
    assert_eq!(damaged_copies(directory.path()).len(), 1);
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    let before = plan.operations();
    assert_eq!(drain(&mut consumer), [1, 2, 3, 4]);
    let steps = plan.operations() - before;
    drop(consumer);
    let mut troubled = 0;
    for at in 1..=steps {
        let plan = Plan::new(None);
        let mut consumer = self::consumer(directory.path(), &plan);
        plan.set(Fault { at: plan.operations() + at, errno: EIO, lasts: Lasts::Once });
        let _ = consumer.next_batch(BatchLimits::default());
        let is_copy = |error: &Error| error.to_string().contains("damaged");
        troubled += usize::from(consumer.troubles().iter().any(|trouble| is_copy(&trouble.error)));
    }
    assert!(troubled >= 1, "the sync of its name");
}

#[test]
fn what_failed_on_a_full_disk_does_not_fill_it() {
    let directory = memory();
    let mut bytes = segment_bytes(5, true);
    bytes[3] ^= 1;
    abandoned(directory.path(), &bytes);
    drop(Consumer::open(directory.path(), "uploader").unwrap());
    for at in 1..40 {
        let _ = fs::remove_dir_all(directory.path().join("damaged"));
        let plan = Plan::new(None);
        let mut consumer = consumer(directory.path(), &plan);
        plan.set(Fault { at: plan.operations() + at, errno: ENOSPC, lasts: Lasts::Once });
        let _ = consumer.next_batch(BatchLimits::default());
        assert!(damaged_copies(directory.path()).keys().all(|name| !name.contains(".tmp")), "{at}");
    }
}

#[test]
fn a_segment_of_another_version_is_read_once_and_not_at_every_call() {
    let directory = memory();
    let good = String::from_utf8(segment_bytes(20_000, true)).unwrap();
    abandoned(directory.path(), good.replace("\"_log\":2", "\"_log\":3").replace("id", "is").as_bytes());
    let plan = Plan::new(None);
    let mut consumer = consumer(directory.path(), &plan);
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    let before = plan.operations();
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    assert_eq!(consumer.troubles().len(), 1);
    assert_eq!(plan.operations() - before, 1, "a look at the directory");
}

#[test]
fn a_deletion_that_is_not_durable_is_made_so_by_the_next_call_and_counted_then() {
    let steps = {
        let directory = memory();
        write(directory.path(), 9);
        let plan = Plan::new(None);
        let (mut consumer, position) = finished(directory.path(), &plan);
        let before = plan.operations();
        consumer.prune(&position, NO_AGE).unwrap();
        plan.operations() - before
    };
    let directory = memory();
    write(directory.path(), 9);
    let count = u64::try_from(segments(directory.path()).len()).unwrap();
    let plan = Plan::new(None);
    let (mut consumer, position) = finished(directory.path(), &plan);
    // The last operation is the sync of the directory.
    plan.set(Fault { at: plan.operations() + steps, errno: EIO, lasts: Lasts::Once });
    assert!(consumer.prune(&position, NO_AGE).is_err());
    assert!(segments(directory.path()).is_empty());
    assert_eq!(consumer.stats().pruned_segments, 0, "power loss may bring them back");
    assert_eq!(consumer.prune(&position, NO_AGE).unwrap(), count);
    assert_eq!(consumer.prune(&position, NO_AGE).unwrap(), 0);
    assert_eq!(consumer.stats().pruned_segments, count);
}

/// One that has consumed, and committed, all there is.
fn finished(directory: &Path, plan: &Arc<Plan>) -> (FaultyConsumer, Position) {
    let mut consumer = consumer(directory, plan);
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    (consumer, batch.position)
}

#[test]
fn a_copy_whose_name_may_not_be_durable_is_made_anew() {
    for at in 1..100 {
        let directory = memory();
        let mut bytes = segment_bytes(5, true);
        bytes[3] ^= 1;
        abandoned(directory.path(), &bytes);
        let plan = Plan::new(None);
        let mut consumer = consumer(directory.path(), &plan);
        plan.set(Fault { at: plan.operations() + at, errno: EIO, lasts: Lasts::Once });
        let _ = consumer.next_batch(BatchLimits::default());
        let copies = directory.path().join("damaged");
        let inode = || {
            let mut entries = fs::read_dir(&copies).ok()?;
            Some(entries.next()?.unwrap().metadata().unwrap().ino())
        };
        let is_doubtful =
            consumer.troubles().iter().any(|it| it.error.to_string().contains("sync the directory"));
        if let Some(left) = inode().filter(|_| is_doubtful) {
            // A sync that fails once may say OK the next time, and have synced nothing.
            consumer.next_batch(BatchLimits::default()).unwrap();
            assert!(inode().is_some_and(|again| again != left), "{at}");
            assert!(consumer.troubles().is_empty());
            return;
        }
    }
    panic!("no operation syncs the directory of the copies");
}
