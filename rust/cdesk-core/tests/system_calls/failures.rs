//! Every sync of a real process fails once: nothing that rests on it is said or done.
//!
//! The simulated disks fail above the door to files; here it is the kernel that says EIO, to the code behind the door.

use std::path::Path;

use cdesk_core::{Queue, QueueOptions};

use crate::call::Call;
use crate::record::{Record, damage_first_line, directory, is_segment, is_write, real, segments};
use crate::register;
use crate::trace::{Meddling, watch};

/// Runs a program in a new directory each time, one more sync further until none is left to fail, and lets each record be
/// judged. Says how many syncs there were, apart from those of the levels above the log.
fn fail_each_sync(
    example: &str,
    argument: Option<&str>,
    input: &str,
    prepare: impl Fn(&Path),
    judge: impl Fn(&Record, &Path),
) -> Option<usize> {
    let mut judged = 0;
    for nth in 1.. {
        let above = directory();
        let path = above.path().join("queue");
        prepare(&path);
        let mut arguments = vec![path.as_path()];
        arguments.extend(argument.map(Path::new));
        let record = watch(example, &arguments, input, Meddling::FailingSync(nth))?;
        let path = real(above.path()).join("queue");
        if record.failed_sync().is_none() {
            assert_eq!(record.code, 0, "nothing failed, and yet: {record:#?}");
            return Some(judged);
        }
        // A log whose directory may have no durable name promises nothing.
        if record.failed_sync().is_some_and(|(_, failed)| !failed.starts_with(&path)) {
            assert_eq!(record.code, 1, "{record:#?}");
            assert_eq!(record.find(0, |call| matches!(call, Call::Write { .. })), None, "{record:#?}");
        } else {
            judge(&record, &path);
            judged += 1;
        }
    }
    None
}

#[test]
fn a_line_whose_sync_failed_is_acknowledged_only_after_it_is_durable_in_another_segment() {
    let judge = |record: &Record, queue: &Path| {
        let (at, failed) = record.failed_sync().unwrap();
        for number in 0..3 {
            assert_acknowledged_in_time(record, queue, number);
        }
        let again = record.find(at, |call| is_segment(failed) && is_write(call, failed, b""));
        assert_eq!(again, None, "what failed once is never written again: {record:#?}");
        let sealed = record.find(0, |call| is_write(call, failed, b"{\"_sealed\":"));
        if sealed.is_some_and(|sealed| sealed < at) {
            assert_eq!((record.find_said("sealed"), record.code), (None, 1), "{record:#?}");
            assert_eq!(record.find(at, |call| matches!(call, Call::Truncate(_))), None, "{record:#?}");
        } else {
            record.said("sealed");
            assert_eq!(record.code, 0, "one failure is made good from memory: {record:#?}");
        }
    };
    let lines = "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n";
    let syncs = fail_each_sync("append", None, lines, |_| {}, judge);
    assert!(syncs.is_none_or(|syncs| syncs == 5), "the log, three lines and a seal: {syncs:?}");
}

#[track_caller]
fn assert_acknowledged_in_time(record: &Record, queue: &Path, number: u32) {
    let said = record.said(&format!("durable {number}"));
    let line = format!("{{\"n\":{number},");
    let is_durable = record.calls.iter().enumerate().take(said).any(|(written, call)| {
        let Call::Write { path: segment, .. } = call else { return false };
        is_write(call, segment, line.as_bytes())
            && record.is_synced(segment, written, said)
            && record
                .find(0, |call| *call == Call::Create(segment.clone()))
                .is_some_and(|created| record.is_synced(queue, created, said))
    });
    assert!(is_durable, "{number} was acknowledged before it was durable: {record:#?}");
}

#[test]
fn a_consumer_whose_sync_failed_neither_commits_nor_deletes_what_rests_on_it() {
    let prepare = |path: &Path| {
        append(path, 2);
        damage_first_line(&segments(path)[0]);
    };
    let syncs = fail_each_sync("consume", Some("first"), "", prepare, |record, path| judge(record, path, 2));
    assert!(syncs.is_none_or(|syncs| syncs >= 8), "{syncs:?}");
}

#[test]
fn beside_other_consumers_a_failed_sync_keeps_the_segments_too() {
    let prepare = |path: &Path| {
        append(path, 2);
        damage_first_line(&segments(path)[0]);
        register(path, "first");
        let mut second = cdesk_core::Consumer::open(path, "second").unwrap();
        let batch = second.next_batch(cdesk_core::BatchLimits::default()).unwrap().unwrap();
        second.commit(&batch.position).unwrap();
    };
    let syncs = fail_each_sync("consume", Some("first"), "", prepare, |record, path| judge(record, path, 2));
    assert!(syncs.is_none_or(|syncs| syncs >= 7), "{syncs:?}");
}

fn append(path: &Path, lines: u32) {
    let queue = Queue::open(path, QueueOptions::default()).unwrap();
    for number in 0..lines {
        queue.append(format!("{{\"n\":{number}}}").as_bytes()).unwrap();
    }
    queue.close().unwrap();
}

/// Whatever failed: what the consumer `first` said and deleted rests on syncs that succeeded.
fn judge(record: &Record, path: &Path, waiting: u64) {
    let position = path.join("first.position");
    let is_position = |path: &Path| path == position || path == position.with_extension("position.tmp");
    let wrote = |call: &Call| matches!(call, Call::Write { path, .. } if is_position(path));
    if let Some(registered) = record.find_said("registered") {
        let written = record.find(0, wrote).unwrap();
        let Call::Write { path: file, .. } = &record.calls[written] else { unreachable!("a write") };
        record.assert_synced(file, written, registered);
        let renamed = record.find(0, |call| *call == Call::Rename { to: position.clone() });
        record.assert_synced(path, renamed.unwrap_or(written), registered);
    }
    if let Some(committed) = record.find_said("committed 1") {
        let written = record.find_last(committed, wrote).unwrap();
        record.assert_synced(&position, written, committed);
    } else {
        let backlog = cdesk_core::backlog(path, "first").unwrap();
        assert_eq!(backlog.lines, waiting, "others delete by what they see: {record:#?}");
    }
    let deleted = record.find(0, |call| matches!(call, Call::Unlink(path) if is_segment(path)));
    if let Some(deleted) = deleted {
        assert_deleted_in_time(record, path, deleted);
    }
    match record.find_said("pruned 1") {
        Some(pruned) => {
            record.assert_synced(path, deleted.unwrap(), pruned);
            assert_eq!(record.code, 0, "{record:#?}");
        }
        None => assert_eq!(record.code, 1, "{record:#?}"),
    }
}

#[track_caller]
fn assert_deleted_in_time(record: &Record, path: &Path, deleted: usize) {
    let committed = record.said("committed 1");
    for consumer in cdesk_core::registered(path).unwrap() {
        record.assert_synced(&path.join(format!("{consumer}.position")), committed, deleted);
    }
    record.assert_synced(path, committed, deleted);
    // The copy of what was damaged is made anew after a failure; a directory is only made once.
    let damaged = path.join("damaged");
    let is_copy = |call: &Call| matches!(call, Call::Rename { to } if to.starts_with(&damaged));
    let renamed = record.find_last(deleted, is_copy).unwrap_or(0);
    record.assert_synced(&damaged, renamed, deleted);
    let is_copied = |call: &Call| matches!(call, Call::Write { path, .. } if path.starts_with(&damaged));
    if let Some(copied) = record.find_last(renamed, is_copied) {
        let made = record.find(0, |call| *call == Call::MakeDirectory(damaged.clone())).unwrap_or(0);
        let synced = record.find(made, |call| matches!(call, Call::Sync(synced) if synced == path));
        assert!(synced.is_some() && synced < record.find(0, is_copied), "{record:#?}");
        let Call::Write { path: copy, .. } = &record.calls[copied] else { unreachable!("a write") };
        record.assert_synced(copy, copied, renamed);
    }
}

#[test]
fn a_tag_of_a_block_whose_sync_failed_is_not_given_out() {
    let judge = |record: &Record, directory: &Path| {
        let (at, failed) = record.failed_sync().unwrap();
        let given = record.tags();
        assert!([0, 1_024].contains(&given.len()), "whole blocks: {record:#?}");
        assert!(given.iter().all(|&given| given < at), "{record:#?}");
        assert_eq!(record.code, 1, "{record:#?}");
        let renamed = |call: &Call| *call == Call::Rename { to: directory.join("tags.state") };
        assert!(failed == directory || record.find(at, renamed).is_none(), "{record:#?}");
    };
    let syncs = fail_each_sync("tag", Some("1025"), "", |_| {}, judge);
    assert!(syncs.is_none_or(|syncs| syncs == 4), "two for each of two blocks: {syncs:?}");
}

#[test]
fn a_consumer_whose_removal_is_not_durable_is_not_said_to_be_unregistered() {
    let prepare = |path: &Path| {
        register(path, "first");
    };
    let judge = |record: &Record, _: &Path| {
        assert_eq!((record.find_said("unregistered"), record.code), (None, 1), "{record:#?}");
    };
    let syncs = fail_each_sync("unregister", Some("first"), "", prepare, judge);
    assert!(syncs.is_none_or(|syncs| syncs >= 2), "{syncs:?}");
}
