//! The order of the system calls of real processes: what the simulated machines take on trust.
//!
//! Everywhere else a sync that is not made could go unseen, because a page cache survives everything but power loss.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod call;
mod example;
mod failures;
mod meanwhile;
mod record;
mod registers;
mod trace;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use call::Call;
use record::{Record, damage_first_line, directory, is_segment, is_write, real, segments};
use trace::{Meddling, watch};

/// Runs a program to its end; it is not watched where nobody may watch.
fn run(example: &str, arguments: &[&Path], input: &str) -> Option<Record> {
    let record = watch(example, arguments, input, Meddling::Nothing)?;
    assert_eq!(record.code, 0, "the example failed: {record:#?}");
    Some(record)
}

/// A consumer for which segments are kept.
fn register(directory: &Path, name: &str) {
    drop(cdesk_core::Consumer::open(directory, name).unwrap());
}

#[test]
fn an_acknowledgement_comes_after_the_sync_of_its_bytes_and_of_its_segments_name() {
    let directory = directory();
    let queue = directory.path().join("queue");
    let Some(record) = run("append", &[&queue], "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n") else { return };
    let queue = real(&queue);
    let segment = segments(&queue).remove(0);
    let created = record.find(0, |call| *call == Call::Create(segment.clone())).unwrap();
    record.assert_synced(&queue, created, record.said("durable 0"));
    for number in 0..3 {
        let line = format!("{{\"n\":{number},\"_seq\":{number},");
        let written = record.find(0, |call| is_write(call, &segment, line.as_bytes())).unwrap();
        record.assert_synced(&segment, written, record.said(&format!("durable {number}")));
    }
    let sealed = record.find(0, |call| is_write(call, &segment, b"{\"_sealed\":")).unwrap();
    record.assert_synced(&segment, sealed, record.said("sealed"));
    let cut = record.find(sealed, |call| *call == Call::Truncate(segment.clone())).unwrap();
    let synced = record.find(sealed, |call| *call == Call::Sync(segment.clone())).unwrap();
    assert!(synced < cut, "the zeros stand until the seal does");
}

#[test]
fn every_level_of_a_new_directory_is_durable_in_the_level_above() {
    let directory = directory();
    let queue = directory.path().join("a/b/queue");
    let Some(record) = run("append", &[&queue], "{}\n") else { return };
    let acknowledged = record.said("durable 0");
    for level in ["a", "a/b", "a/b/queue"] {
        let path = real(directory.path()).join(level);
        let made =
            record.find(0, |call| matches!(call, Call::MakeDirectory(made) if real(made) == path)).unwrap();
        record.assert_synced(path.parent().unwrap(), made, acknowledged);
    }
}

#[test]
fn a_log_on_a_network_filesystem_is_refused_and_nothing_is_written() {
    for (kind, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0x6573_5546, "fuse")] {
        let directory = directory();
        let queue = directory.path().join("queue");
        let record = watch("append", &[&queue], "{}\n", Meddling::Filesystem(kind));
        let Some(record) = record else { return };
        let is_reason = |call: &Call| matches!(call, Call::Say(said) if said.contains(name));
        assert!(record.find(0, is_reason).is_some() && record.code == 1, "{record:#?}");
        assert_eq!(fs::read_dir(&queue).unwrap().count(), 0);
    }
}

#[test]
fn a_read_that_gives_less_than_there_is_goes_on_where_it_stopped() {
    let directory = directory();
    let path = directory.path();
    let queue = cdesk_core::Queue::open(path, cdesk_core::QueueOptions::default()).unwrap();
    queue.append_many(&vec![b"{}"; 1_000]).unwrap();
    queue.close().unwrap();
    let Some(record) = watch("consume", &[path, Path::new("first")], "", Meddling::ShortReads) else {
        return;
    };
    record.said("committed 1000");
    assert_eq!(record.code, 0, "{record:#?}");
}

#[test]
fn every_level_of_a_directory_that_was_there_is_made_durable_in_the_level_above_too() {
    let directory = directory();
    let queue = directory.path().join("a/b/queue");
    fs::create_dir_all(&queue).unwrap(); // by somebody who died before a sync
    let Some(record) = run("append", &[&queue], "{}\n") else { return };
    for level in ["", "a", "a/b"] {
        record.assert_synced(&real(&directory.path().join(level)), 0, record.said("durable 0"));
    }
}

#[test]
fn every_level_behind_a_link_on_the_way_is_made_durable_in_the_level_above_too() {
    let directory = directory();
    let (target, link) = (directory.path().join("a/b"), directory.path().join("link"));
    fs::create_dir_all(&target).unwrap(); // by somebody who died before a sync
    symlink(&target, &link).unwrap();
    let Some(record) = run("append", &[&link.join("queue")], "{}\n") else { return };
    for level in ["", "a", "a/b"] {
        record.assert_synced(&real(&directory.path().join(level)), 0, record.said("durable 0"));
    }
}

#[test]
fn a_consumer_is_registered_durably_before_it_reads_and_each_position_is_before_it_is_committed() {
    let directory = directory();
    for life in 0..2 {
        if run("append", &[directory.path()], "{\"n\":0}\n{\"n\":1}\n").is_none() {
            return;
        }
        let consumer = Path::new("first");
        let record = run("consume", &[directory.path(), consumer], "").unwrap();
        let path = real(directory.path());
        let position = path.join("first.position");
        let registered = record.said("registered");
        let first_read = record.find(0, |call| matches!(call, Call::Open(path) if is_segment(path))).unwrap();
        assert!(registered < first_read, "{record:#?}");
        if life == 0 {
            let temporary = path.join("first.position.tmp");
            let written = record.find(0, |call| is_write(call, &temporary, b"1 ")).unwrap();
            let renamed = record.find(0, |call| *call == Call::Rename { to: position.clone() }).unwrap();
            record.assert_synced(&temporary, written, renamed);
            record.assert_synced(&path, renamed, registered);
        } else {
            // Written over itself: whoever wrote it may have died before a sync.
            let written = record.find(0, |call| is_write(call, &position, b"1")).unwrap();
            record.assert_synced(&position, written, registered);
            record.assert_synced(&path, written, registered);
        }
        let committed = record.said("committed 2");
        let written = record.find_last(committed, |call| is_write(call, &position, b"=2 ")).unwrap();
        assert!(written > registered);
        record.assert_synced(&position, written, committed);
        let moved = record.find(registered, |call| match call {
            Call::Rename { .. } => true,
            Call::Create(path) => !path.ends_with("registry.turn.lock"),
            _ => false,
        });
        assert_eq!(moved, None, "a commit needs no new file");
    }
}

#[test]
fn a_segment_is_deleted_after_every_position_is_durable_and_the_deletion_is_durable_too() {
    let directory = directory();
    let path = directory.path();
    if run("append", &[path], "{\"n\":0}\n").is_none() {
        return;
    }
    run("consume", &[path, Path::new("first")], "").unwrap();
    run("append", &[path], "{\"n\":1}\n").unwrap();
    let waiting = real(path);
    run("consume", &[path, Path::new("second")], "").unwrap();
    let remaining = segments(&waiting);
    assert_eq!(remaining.len(), 1, "the first has not seen the newer one");
    let record = run("consume", &[path, Path::new("first")], "").unwrap();
    assert!(segments(&waiting).is_empty());
    let committed = record.said("committed 1");
    let deleted = record.find(0, |call| *call == Call::Unlink(remaining[0].clone())).unwrap();
    for position in ["first.position", "second.position"] {
        record.assert_synced(&waiting.join(position), committed, deleted);
    }
    record.assert_synced(&waiting, committed, deleted);
    record.assert_synced(&waiting, deleted, record.said("pruned 1"));
}

#[test]
fn damaged_bytes_are_durable_aside_before_the_position_passes_them() {
    let directory = directory();
    let path = directory.path();
    if run("append", &[path], "{\"n\":0}\n{\"n\":1}\n").is_none() {
        return;
    }
    damage_first_line(&segments(path)[0]);
    let record = run("consume", &[path, Path::new("first")], "").unwrap();
    let path = real(path);
    let damaged = path.join("damaged");
    let made = record.find(0, |call| *call == Call::MakeDirectory(damaged.clone())).unwrap();
    let is_copy = |call: &Call| matches!(call, Call::Write { path, .. } if path.starts_with(&damaged));
    let copied = record.find(0, is_copy).unwrap();
    let Call::Write { path: copy, .. } = &record.calls[copied] else { unreachable!("a write") };
    let renamed = record.find(copied, |call| matches!(call, Call::Rename { .. })).unwrap();
    let position = path.join("first.position");
    let passed =
        record.find_last(record.said("committed 1"), |call| is_write(call, &position, b"=2 ")).unwrap();
    record.assert_synced(&path, made, passed);
    record.assert_synced(copy, copied, renamed);
    record.assert_synced(&damaged, renamed, passed);
}

#[test]
fn a_copy_that_another_consumer_made_is_made_durable_too_before_the_position_passes_it() {
    let directory = directory();
    let path = directory.path();
    if run("append", &[path], "{\"n\":0}\n{\"n\":1}\n").is_none() {
        return;
    }
    damage_first_line(&segments(path)[0]);
    register(path, "second");
    run("consume", &[path, Path::new("first")], "").unwrap();
    let record = run("consume", &[path, Path::new("second")], "").unwrap();
    let (path, position) = (real(path), real(path).join("second.position"));
    let committed = record.said("committed 1");
    let passed = record.find_last(committed, |call| is_write(call, &position, b"=2 ")).unwrap();
    record.assert_synced(&path.join("damaged"), record.said("registered"), passed);
}

#[test]
fn a_consumer_that_was_taken_back_does_not_return() {
    let directory = directory();
    register(directory.path(), "first");
    let Some(record) = run("unregister", &[directory.path(), Path::new("first")], "") else { return };
    let path = real(directory.path());
    let removed = record.find(0, |call| *call == Call::Unlink(path.join("first.position"))).unwrap();
    record.assert_synced(&path, removed, record.said("unregistered"));
}

#[test]
fn a_tag_is_given_out_after_its_block_is_durable() {
    let directory = directory();
    let Some(record) = run("tag", &[directory.path(), Path::new("1025")], "") else { return };
    let path = real(directory.path());
    let temporary = path.join("tags.state.tmp");
    let given = record.tags();
    assert_eq!(given.len(), 1_025);
    let mut from = 0;
    for first in [given[0], given[1_024]] {
        let written = record.find(from, |call| is_write(call, &temporary, b"cdesk-tags 1 ")).unwrap();
        let state = path.join("tags.state");
        let renamed = record.find(written, |call| *call == Call::Rename { to: state.clone() }).unwrap();
        record.assert_synced(&temporary, written, renamed);
        record.assert_synced(&path, renamed, first);
        from = first;
    }
}
