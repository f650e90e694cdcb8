//! What a reader may rely on.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cdesk_core::{BatchLimits, Consumer, DirStorage, Error, Position, backlog};
use common::{
    NO_AGE, abandoned, delivered, directory, drain, ids, line, memory, open, segment_bytes, segments, small,
};

fn consumer(directory: &Path) -> Consumer {
    Consumer::open(directory, "uploader").unwrap()
}

fn limits(max_lines: usize, max_bytes: usize) -> BatchLimits {
    BatchLimits::default().max_lines(max_lines).max_bytes(max_bytes)
}

#[test]
fn batches_keep_to_their_limits_and_have_one_line_at_least() {
    let directory = directory();
    let queue = open(directory.path());
    for id in 0..10 {
        queue.append(&line(id)).unwrap();
    }
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(limits(3, 1 << 20)).unwrap().unwrap();
    assert_eq!(ids(&batch.ndjson), [0, 1, 2]);
    let batch = consumer.next_batch(limits(10, 1)).unwrap().unwrap();
    assert_eq!(ids(&batch.ndjson), [3]);
    let length = batch.ndjson.len();
    let batch = consumer.next_batch(limits(10, 2 * length)).unwrap().unwrap();
    assert_eq!(ids(&batch.ndjson), [4, 5]);
    let batch = consumer.next_batch(limits(0, 0)).unwrap().unwrap();
    assert_eq!(ids(&batch.ndjson), [6]);
    assert_eq!(drain(&mut consumer), [7, 8, 9]);
}

#[test]
fn a_consumer_may_come_before_the_directory() {
    let directory = directory();
    let path = directory.path().join("not/yet");
    let mut consumer = consumer(&path);
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    open(&path).append(&line(0)).unwrap();
    assert_eq!(drain(&mut consumer), [0]);
}

#[test]
fn lines_are_seen_while_their_segment_is_open() {
    let directory = directory();
    let queue = open(directory.path());
    let mut consumer = consumer(directory.path());
    for id in 0..200 {
        queue.append(&line(id)).unwrap();
        assert_eq!(drain(&mut consumer), [id]);
    }
    queue.roll().unwrap();
    assert!(drain(&mut consumer).is_empty());
    queue.append(&line(200)).unwrap();
    assert_eq!(drain(&mut consumer), [200]);
}

#[test]
fn a_committed_batch_does_not_come_again_and_another_does() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    {
        let mut consumer = consumer(directory.path());
        let first = consumer.next_batch(limits(4, 1 << 20)).unwrap().unwrap();
        consumer.next_batch(limits(2, 1 << 20)).unwrap().unwrap();
        consumer.commit(&first.position).unwrap();
    }
    assert_eq!(drain(&mut consumer(directory.path())), [4, 5, 6, 7, 8]);
}

#[test]
fn committing_an_older_batch_moves_nothing_back() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append_many(&[line(0), line(1), line(2)]).unwrap();
    {
        let mut consumer = consumer(directory.path());
        let first = consumer.next_batch(limits(1, 1 << 20)).unwrap().unwrap();
        let second = consumer.next_batch(limits(1, 1 << 20)).unwrap().unwrap();
        consumer.commit(&second.position).unwrap();
        consumer.commit(&first.position).unwrap();
        assert_eq!(consumer.depth().unwrap(), 1);
    }
    assert_eq!(drain(&mut consumer(directory.path())), [2]);
}

#[test]
fn seek_goes_where_the_sink_stands() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(limits(5, 1 << 20)).unwrap().unwrap();
    assert_eq!(drain(&mut consumer), [5, 6, 7, 8]);
    consumer.seek(&batch.position).unwrap();
    assert_eq!(consumer.depth().unwrap(), 4);
    assert_eq!(drain(&mut consumer), [5, 6, 7, 8]);
    consumer.seek(&Position::default()).unwrap();
    assert_eq!(drain(&mut consumer).len(), 9);
}

#[test]
fn a_commit_right_after_a_seek_keeps_what_the_sink_has() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    let batch = {
        let mut consumer = consumer(directory.path());
        let batch = consumer.next_batch(limits(5, 1 << 20)).unwrap().unwrap();
        consumer.seek(&batch.position).unwrap();
        consumer.commit(&Position::default()).unwrap();
        batch
    };
    let mut consumer = consumer(directory.path());
    assert_eq!(consumer.depth().unwrap(), 4);
    assert_eq!(drain(&mut consumer), [5, 6, 7, 8]);
    assert_eq!(ids(&batch.ndjson).len(), 5);
}

#[test]
fn positions_of_unknown_segments_and_past_the_end_are_no_errors() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(0)).unwrap();
    queue.close().unwrap();
    let name = segments(directory.path()).remove(0).file_stem().unwrap().to_str().unwrap().to_owned();
    let short = name.strip_prefix("seg-").unwrap();
    let mut consumer = consumer(directory.path());
    let position: Position = format!("1;0000000000001-00000000-000000=7;{short}=999").parse().unwrap();
    consumer.seek(&position).unwrap();
    assert!(drain(&mut consumer).is_empty());
    assert_eq!(consumer.depth().unwrap(), 0);
}

#[test]
fn the_depth_is_what_was_appended_and_not_committed() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 500);
    for id in 0..20 {
        queue.append(&line(id)).unwrap();
    }
    assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 20);
    let mut consumer = consumer(directory.path());
    assert_eq!(consumer.depth().unwrap(), 20);
    let batch = consumer.next_batch(limits(7, 1 << 20)).unwrap().unwrap();
    assert_eq!(consumer.depth().unwrap(), 20);
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.depth().unwrap(), 13);
    let seen = backlog(directory.path(), "uploader").unwrap();
    assert_eq!((seen.lines, seen.has_consumer), (13, true));
    assert_eq!(backlog(directory.path(), "other").unwrap().lines, 20);
    drop(consumer);
    assert!(!backlog(directory.path(), "uploader").unwrap().has_consumer);
    assert_eq!(backlog(directory.path().join("none"), "uploader").unwrap().lines, 0);
}

#[test]
fn the_depth_of_a_damaged_segment_counts_by_number() {
    let directory = directory();
    let mut bytes = segment_bytes(5, false);
    bytes[3] ^= 1;
    abandoned(directory.path(), &bytes);
    assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 5);
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    assert_eq!(batch.lines, 4);
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.depth().unwrap(), 0);
}

#[test]
fn the_depth_counts_a_line_before_more_zeros_than_one_look_takes() {
    let directory = directory();
    let queue = open(directory.path());
    let large = format!("{{\"id\":0,\"text\":\"line number 0\",\"pad\":\"{}\"}}", "x".repeat(300 << 10));
    queue.append(large.as_bytes()).unwrap();
    let zeros = fs::read(&segments(directory.path())[0]).unwrap();
    let zeros = zeros.iter().rev().take_while(|&&byte| byte == 0).count();
    assert!(zeros > 3 * (64 << 10), "{zeros}");
    assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 1);
    assert_eq!(consumer(directory.path()).depth().unwrap(), 1);
}

#[test]
fn the_depth_counts_a_line_wherever_the_looks_at_the_damage_behind_it_begin() {
    let good = segment_bytes(5, false);
    let last = good.len() - good.iter().rev().skip(1).position(|&byte| byte == b'\n').unwrap();
    for look in [8 << 10, 2 << 20, 4 << 20, 6 << 20, 8 << 20] {
        let directory = memory();
        let mut bytes = good.clone();
        bytes.resize(look + last / 2 + good.len() / 2, b'x'); // it begins in the middle of the last line
        assert!((last..good.len()).contains(&(bytes.len() - look)));
        abandoned(directory.path(), &bytes);
        assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 5, "{look} bytes from the end");
    }
}

#[test]
fn a_name_has_one_consumer_at_a_time() {
    let directory = directory();
    let first = consumer(directory.path());
    let error = Consumer::open(directory.path(), "uploader").unwrap_err();
    assert!(matches!(error, Error::LeaseHeld { .. }), "{error:?}");
    assert!(Consumer::open(directory.path(), "snowflake").is_ok());
    drop(first);
    assert!(Consumer::open(directory.path(), "uploader").is_ok());
    assert!(directory.path().join("uploader.lock").exists());
}

#[test]
fn names_that_could_not_be_files_are_refused() {
    let directory = directory();
    for name in ["", "Uploader", "../x", "a.b", "1a", "a b", &"a".repeat(65)] {
        let error = Consumer::open(directory.path(), name).unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{name:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_segment_goes_only_when_every_consumer_and_the_sink_are_past_it() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 200);
    for id in 0..9 {
        queue.append(&line(id)).unwrap();
    }
    queue.close().unwrap();
    let count = segments(directory.path()).len();
    let mut uploader = consumer(directory.path());
    let mut other = Consumer::open(directory.path(), "other").unwrap();
    let first = uploader.next_batch(limits(4, 1 << 20)).unwrap().unwrap();
    drain(&mut uploader);
    let all = {
        uploader.seek(&first.position).unwrap();
        uploader.next_batch(BatchLimits::default()).unwrap().unwrap()
    };
    // Not committed by anybody, not checkpointed, not committed by the other.
    assert_eq!(uploader.prune(&all.position, NO_AGE).unwrap(), 0);
    uploader.commit(&all.position).unwrap();
    assert_eq!(uploader.prune(&Position::default(), NO_AGE).unwrap(), 0);
    assert_eq!(uploader.prune(&all.position, NO_AGE).unwrap(), 0);
    let read = other.next_batch(BatchLimits::default()).unwrap().unwrap();
    other.commit(&read.position).unwrap();
    assert_eq!(uploader.prune(&all.position, Duration::from_secs(3_600)).unwrap(), 0);
    let some = uploader.prune(&first.position, NO_AGE).unwrap();
    assert!(some > 0 && usize::try_from(some).unwrap() < count);
    assert!(uploader.prune(&all.position, NO_AGE).unwrap() > 0);
    assert!(segments(directory.path()).is_empty());
    assert_eq!(usize::try_from(uploader.stats().pruned_segments).unwrap(), count);
    assert_eq!(uploader.depth().unwrap(), 0);
    assert!(drain(&mut other).is_empty());
    // The positions forget what is gone.
    queue_of(directory.path());
    let batch = uploader.next_batch(BatchLimits::default()).unwrap().unwrap();
    uploader.commit(&batch.position).unwrap();
    let position = common::position(directory.path(), "uploader");
    assert_eq!(position.matches('=').count(), 1, "{position}");
}

fn queue_of(directory: &Path) {
    let queue = open(directory);
    queue.append(&line(0)).unwrap();
    queue.close().unwrap();
}

#[test]
fn a_segment_with_a_living_writer_is_never_deleted() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(0)).unwrap();
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 0);
    queue.append(&line(1)).unwrap();
    assert_eq!(drain(&mut consumer), [1]);
}

#[test]
fn a_segment_whose_writer_died_is_deleted_when_it_is_consumed() {
    let directory = directory();
    let mut bytes = segment_bytes(3, false);
    bytes.extend_from_slice(b"{\"torn");
    abandoned(directory.path(), &bytes);
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    drop(consumer);
    // In another life, which has not read it.
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 1);
    assert!(segments(directory.path()).is_empty());
}

#[test]
fn a_registered_consumer_that_is_not_running_keeps_its_segments() {
    let directory = directory();
    drop(Consumer::open(directory.path(), "sleeper").unwrap());
    queue_of(directory.path());
    let mut consumer = consumer(directory.path());
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    consumer.commit(&batch.position).unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 0);
    fs::write(directory.path().join("sleeper.position"), b"\xff garbage").unwrap();
    assert_eq!(consumer.prune(&batch.position, NO_AGE).unwrap(), 0);
    assert_eq!(drain(&mut Consumer::open(directory.path(), "sleeper").unwrap()), [0]);
}

#[test]
fn a_lost_position_reads_everything_again() {
    let directory = directory();
    queue_of(directory.path());
    let path = directory.path().join("uploader.position");
    {
        let mut consumer = consumer(directory.path());
        let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
        consumer.commit(&batch.position).unwrap();
    }
    assert!(drain(&mut consumer(directory.path())).is_empty());
    fs::write(&path, "not a position").unwrap();
    assert_eq!(drain(&mut consumer(directory.path())), [0]);
}

#[test]
fn an_empty_file_may_be_a_segment_about_to_be_written() {
    let directory = directory();
    let path = abandoned(directory.path(), b"");
    let mut consumer = consumer(directory.path());
    assert!(drain(&mut consumer).is_empty());
    fs::write(path, segment_bytes(2, true)).unwrap();
    assert_eq!(drain(&mut consumer), [0, 1]);
}

#[test]
fn other_files_in_the_directory_are_none_of_ours() {
    let directory = directory();
    for name in ["notes.txt", "seg-1.ndjson", "seg-17636945381z3-9f3a01c2-000000.ndjson", "x.ndjson"] {
        fs::write(directory.path().join(name), b"{}\n").unwrap();
    }
    fs::create_dir(directory.path().join("seg-1763694538123-9f3a01c2-000000.ndjson")).unwrap();
    assert!(delivered(directory.path()).is_empty());
    DirStorage::open(directory.path()).unwrap();
}
