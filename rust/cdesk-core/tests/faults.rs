//! Every operation fails once, and for ever, with every kind of error: nothing acknowledged is lost, nobody hangs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use cdesk_core::{BatchLimits, Clock, Consumer, Error, ManualClock, Queue, QueueOptions, Storage};
use common::faulty::{EIO, ENOSPC, Fault, FaultyStorage, Lasts, Plan};
use common::{NOW, delivered, directory, ids, line, memory, open, quick, segments};

type FaultyQueue = Queue<FaultyStorage, Arc<ManualClock>>;

fn faulty(directory: &Path, plan: &Arc<Plan>) -> FaultyQueue {
    let options = QueueOptions::default().max_segment_bytes(300);
    Queue::with(FaultyStorage::open(directory, plan), Arc::new(ManualClock::new(NOW)), options).unwrap()
}

/// Appends alone and in groups, and rolls; gives the ids that were acknowledged.
fn write<S: Storage, C: Clock>(queue: &Queue<S, C>, first: u64) -> BTreeSet<u64> {
    let mut acknowledged = BTreeSet::new();
    for id in first..first + 6 {
        if queue.append(&line(id)).is_ok() {
            acknowledged.insert(id);
        }
    }
    let group: Vec<_> = (first + 6..first + 20).map(line).collect();
    if queue.append_many(&group).is_ok() {
        acknowledged.extend(first + 6..first + 20);
    }
    let _ = queue.roll();
    if queue.append(&line(first + 20)).is_ok() {
        acknowledged.insert(first + 20);
    }
    acknowledged
}

#[test]
fn a_close_has_nothing_to_say_of_lines_whose_tickets_say_that_they_failed() {
    let directory = memory();
    let plan = Plan::new(Some(Fault { at: 1, errno: ENOSPC, lasts: Lasts::Forever }));
    let queue = faulty(directory.path(), &plan);
    let ticket = queue.submit(&line(0)).unwrap();
    queue.close().unwrap();
    assert!(matches!(ticket.result(), Some(Err(Error::Io { .. }))), "{ticket:?}");
    assert_eq!(queue.stats().failed_lines, 1);
}

fn every_fault() -> impl Iterator<Item = (i32, Lasts)> {
    [EIO, ENOSPC].into_iter().flat_map(|errno| [Lasts::Once, Lasts::Forever].map(|lasts| (errno, lasts)))
}

#[test]
fn whatever_operation_of_a_writer_fails_the_acknowledged_is_delivered() {
    for (errno, lasts) in every_fault() {
        for at in 1.. {
            let directory = memory();
            let plan = Plan::new(Some(Fault { at, errno, lasts }));
            let queue = faulty(directory.path(), &plan);
            let mut acknowledged = write(&queue, 0);
            let reached = plan.operations() >= at;
            if lasts == Lasts::Once {
                assert_eq!(acknowledged.len(), 21, "one failure at {at} is made good from memory");
            }
            plan.heal();
            acknowledged.extend(write(&queue, 100));
            assert!((100..121).all(|id| acknowledged.contains(&id)), "it resumes by itself");
            let _ = queue.close();
            let delivered: BTreeSet<_> = delivered(directory.path()).into_iter().collect();
            assert!(acknowledged.is_subset(&delivered), "{errno} {lasts:?} at {at}");
            assert!(delivered.iter().all(|id| *id < 21 || (100..121).contains(id)));
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn whatever_operation_of_a_reader_fails_it_delivers_everything_in_the_end() {
    for (errno, lasts) in every_fault() {
        for at in 1.. {
            let directory = memory();
            let queue = common::small(directory.path(), 300).0;
            let written = write(&queue, 0);
            queue.close().unwrap();
            let bad = segments(directory.path()).remove(0);
            let mut bytes = std::fs::read(&bad).unwrap();
            bytes[3] ^= 1; // line 0 is copied aside
            std::fs::write(&bad, bytes).unwrap();

            let plan = Plan::new(Some(Fault { at, errno, lasts }));
            let mut delivered = BTreeSet::new();
            let limits = BatchLimits::default().max_lines(4);
            let mut failures = 0;
            let mut consumer = None;
            loop {
                let round = (|| -> Result<bool, Error> {
                    if consumer.is_none() {
                        let storage = FaultyStorage::open(directory.path(), &plan);
                        consumer = Some(Consumer::with(storage, ManualClock::new(u64::MAX), "uploader")?);
                    }
                    let consumer = consumer.as_mut().unwrap();
                    let Some(batch) = consumer.next_batch(limits)? else {
                        return consumer.troubles().pop().map_or(Ok(false), |trouble| Err(trouble.error));
                    };
                    delivered.extend(ids(&batch.ndjson));
                    consumer.commit(&batch.position)?;
                    consumer.prune(&batch.position, common::NO_AGE)?;
                    Ok(true)
                })();
                match round {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => {
                        failures += 1;
                        if failures > 2 {
                            plan.heal();
                        }
                        if failures % 2 == 0 {
                            consumer = None; // as after a crash
                        }
                    }
                }
            }
            let expected: BTreeSet<_> = written.iter().copied().filter(|&id| id != 0).collect();
            assert_eq!(delivered, expected, "{errno} {lasts:?} at {at}");
            assert_eq!(common::damaged_copies(directory.path()).len(), 1, "{errno} {lasts:?} at {at}");
            if plan.operations() < at {
                break;
            }
        }
    }
}

#[test]
fn a_failed_sync_is_never_tried_again_on_the_same_segment() {
    let directory = memory();
    let plan = Plan::new(None);
    let queue = faulty(directory.path(), &plan);
    queue.append(&line(0)).unwrap();
    // The next append is a write and a sync; the sync fails and takes the bytes with it.
    plan.set(Fault { at: plan.operations() + 2, errno: EIO, lasts: Lasts::Once });
    queue.append(&line(1)).unwrap();
    queue.append(&line(2)).unwrap();
    assert_eq!(segments(directory.path()).len(), 2);
    let stats = queue.stats();
    assert_eq!((stats.poisoned_segments, stats.failed_lines, stats.lines), (1, 0, 3));
    assert_eq!(delivered(directory.path()), [0, 1, 2]);
}

#[test]
fn what_is_durable_is_not_written_again_because_what_follows_fails() {
    let lines: Vec<_> = (0..14).map(line).collect();
    for at in 1.. {
        let directory = memory();
        let plan = Plan::new(Some(Fault { at, errno: EIO, lasts: Lasts::Once }));
        let queue = faulty(directory.path(), &plan);
        queue.append_many(&lines).unwrap();
        assert_eq!(queue.stats().lines, 14, "{at}");
        if plan.operations() < at {
            break;
        }
    }
}

#[test]
fn every_line_of_a_call_that_failed_is_durable_or_counted_as_failed() {
    let lines: Vec<_> = (0..14).map(line).collect();
    let mut both = 0;
    for at in 1.. {
        let directory = memory();
        let plan = Plan::new(Some(Fault { at, errno: EIO, lasts: Lasts::Forever }));
        let queue = faulty(directory.path(), &plan);
        if queue.append_many(&lines).is_ok() {
            break;
        }
        let stats = queue.stats();
        assert_eq!(stats.lines + stats.failed_lines, 14, "{at}");
        both += u64::from(stats.lines > 0 && stats.failed_lines > 0);
    }
    assert!(both > 0);
}

#[test]
fn a_segment_whose_name_is_not_durable_does_not_stay() {
    let directory = memory();
    let plan = Plan::new(Some(Fault { at: 2, errno: EIO, lasts: Lasts::Once }));
    let queue = faulty(directory.path(), &plan);
    queue.append(&line(0)).unwrap();
    assert_eq!(segments(directory.path()).len(), 1, "the one that was written to");
    assert_eq!(queue.stats().segments, 1);
}

#[test]
fn every_waiter_gets_the_error_and_nobody_hangs() {
    let directory = memory();
    let plan = Plan::new(Some(Fault { at: 1, errno: ENOSPC, lasts: Lasts::Forever }));
    let queue = Arc::new(faulty(directory.path(), &plan));
    let (sender, receiver) = mpsc::channel();
    for id in 0..16 {
        let (queue, sender) = (Arc::clone(&queue), sender.clone());
        thread::spawn(move || sender.send(queue.append(&line(id))));
    }
    let tickets: Vec<_> = (16..32).map(|id| queue.submit(&line(id)).unwrap()).collect();
    let results = receiver.iter().take(16).chain(tickets.iter().map(cdesk_core::Ticket::wait));
    for result in results {
        let Err(Error::Io { source, .. }) = result else { panic!("{result:?}") };
        assert_eq!(source.raw_os_error(), Some(ENOSPC));
    }
    assert_eq!(queue.stats().failed_lines, 32);
    assert_eq!(segments(directory.path()).len(), 0, "a full disk fills with empty segments");
    plan.heal();
    queue.append(&line(99)).unwrap();
    assert_eq!(delivered(directory.path()), [99]);
}

#[test]
fn a_consumer_that_cannot_read_its_position_is_registered_all_the_same() {
    let directory = memory();
    // The lease, the turn, then the position: that it cannot be read does not say that there is one.
    let plan = Plan::new(Some(Fault { at: 3, errno: EIO, lasts: Lasts::Once }));
    let storage = FaultyStorage::open(directory.path(), &plan);
    drop(Consumer::with(storage, ManualClock::new(NOW), "late").unwrap());
    assert!(directory.path().join("late.position").exists());
}

#[test]
fn a_consumer_that_was_killed_while_it_registered_is_registered_durably_by_the_next() {
    let directory = memory();
    drop(Consumer::open(directory.path(), "late").unwrap());
    let plan = Plan::new(None);
    let syncs = |plan: &Arc<Plan>| {
        let storage = FaultyStorage::open(directory.path(), plan);
        Consumer::with(storage, ManualClock::new(NOW), "late").map(drop)
    };
    syncs(&plan).unwrap();
    // Its last operation is the sync of the directory, and it is not forgiven.
    plan.set(Fault { at: 2 * plan.operations(), errno: EIO, lasts: Lasts::Once });
    let Err(Error::Io { action, .. }) = syncs(&plan) else { panic!("registered without a sync") };
    assert_eq!(action, "sync the directory of");
}

#[test]
fn where_there_is_no_room_for_zeros_there_may_be_room_for_a_line() {
    let directory = memory();
    let plan = Plan::new(None);
    let queue = faulty(directory.path(), &plan);
    // Create, sync of the directory, the line; then the zeros.
    plan.set(Fault { at: 4, errno: ENOSPC, lasts: Lasts::Once });
    queue.append(&line(0)).unwrap();
    assert_eq!(queue.stats().poisoned_segments, 0);
    assert_eq!(delivered(directory.path()), [0]);
}

#[test]
fn an_error_names_the_file_the_place_and_the_next_move() {
    let directory = memory();
    let plan = Plan::new(Some(Fault { at: 3, errno: ENOSPC, lasts: Lasts::Forever }));
    let error = faulty(directory.path(), &plan).append(&line(0)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("No space left") && text.contains("free some space"), "{text}");
    assert!(text.contains(directory.path().to_str().unwrap()) && !text.contains("line number"), "{text}");
}

#[test]
fn a_line_is_not_acknowledged_into_a_segment_that_somebody_deleted() {
    for options in [QueueOptions::default(), quick()] {
        let directory = directory();
        let queue = Queue::open(directory.path(), options).unwrap();
        queue.append(&line(1)).unwrap();
        fs::remove_file(segments(directory.path()).remove(0)).unwrap();
        for id in [2, 3] {
            queue.append(&line(id)).unwrap();
        }
        assert_eq!(delivered(directory.path()), [2, 3], "the first went with the file");
        assert_eq!((queue.stats().poisoned_segments, queue.stats().failed_lines), (1, 0));
    }
}

#[test]
fn a_line_is_not_acknowledged_into_a_directory_that_somebody_deleted() {
    let directory = directory();
    let path = directory.path().join("queue");
    let queue = open(&path);
    queue.append(&line(1)).unwrap();
    fs::remove_dir_all(&path).unwrap();
    for id in [2, 3] {
        let error = queue.append(&line(id)).unwrap_err();
        assert_eq!(error.path().and_then(Path::parent), Some(path.as_path()), "{error}");
    }
    assert_eq!(queue.stats().failed_lines, 2);
}

#[test]
fn a_segment_that_a_reader_deleted_at_its_seal_is_no_failure() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(1)).unwrap();
    fs::remove_file(segments(directory.path()).remove(0)).unwrap();
    queue.roll().unwrap();
    assert_eq!(queue.stats().poisoned_segments, 0);
}
