//! Looking at a log: the same judgement as a consumer's, and nothing is changed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cdesk_core::{
    BatchLimits, Consumer, DirStorage, LockRequest, Queue, SegmentState, SegmentView, Storage, inspect,
    inspect_on,
};
use common::faulty::{EIO, Fault, FaultyStorage, Lasts, Moment, Plan};
use common::{abandoned, directory, drain, ids, line, memory, quick, segment_bytes};

const ALL: BatchLimits = BatchLimits::NONE;

fn only(directory: &Path) -> SegmentView {
    let mut views = inspect(directory).unwrap();
    assert_eq!(views.len(), 1);
    views.remove(0)
}

fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
        .collect()
}

#[test]
fn a_log_that_is_not_there_has_no_segments_and_is_not_made() {
    let directory = directory();
    let missing = directory.path().join("missing");
    assert!(inspect(&missing).unwrap().is_empty());
    assert!(!missing.exists());
}

#[test]
fn a_segment_is_open_then_sealed_and_its_lines_come_as_they_are_written() {
    let directory = directory();
    let queue = Queue::open(directory.path(), quick()).unwrap();
    queue.append(&line(0)).unwrap();
    let mut view = only(directory.path());
    assert_eq!((view.state(), view.is_ended()), (SegmentState::Open, false));
    assert_eq!(ids(&view.read(ALL).unwrap()), [0]);
    assert!(view.read(ALL).unwrap().is_empty());
    queue.append(&line(1)).unwrap();
    assert_eq!(ids(&view.read(ALL).unwrap()), [1]);
    queue.close().unwrap();
    assert!(view.read(ALL).unwrap().is_empty());
    assert_eq!((view.state(), view.is_ended()), (SegmentState::Sealed, true));
    assert_eq!((view.findings().lines, view.findings().torn_bytes), (2, 0));
    assert_eq!(only(directory.path()).state(), SegmentState::Sealed);
}

#[test]
fn a_segment_of_a_dead_writer_is_abandoned_and_its_torn_tail_counted() {
    let directory = memory();
    let good = segment_bytes(3, false);
    abandoned(directory.path(), &good[..good.len() - 20]);
    let mut view = only(directory.path());
    view.check().unwrap();
    let findings = view.findings();
    assert_eq!((view.state(), view.is_ended()), (SegmentState::Abandoned, true));
    assert_eq!((findings.lines, findings.missing_lines), (2, 0));
    assert!(findings.torn_bytes > 0 && findings.damage.is_empty());
}

#[test]
fn damage_is_found_where_it_is_and_nothing_is_copied_or_remembered() {
    let directory = memory();
    let mut bytes = segment_bytes(4, true);
    let ends: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
    bytes[ends[0] + 5] ^= 1;
    bytes[ends[1] + 1..=ends[2]].fill(0); // a hole
    abandoned(directory.path(), &bytes);
    let before = content(directory.path());
    let mut view = only(directory.path());
    assert_eq!(ids(&view.read(ALL).unwrap()), [0, 3]);
    view.check().unwrap();
    let length = u64::try_from(ends[2] - ends[0]).unwrap();
    let offset = u64::try_from(ends[0] + 1).unwrap();
    let findings = view.findings();
    assert_eq!((findings.lines, findings.missing_lines, findings.damage.len()), (2, 2, 1));
    let damage = findings.damage[0];
    assert_eq!((damage.offset, damage.bytes, damage.missing_lines), (offset, length, 2));
    assert_eq!(content(directory.path()), before);
}

#[test]
fn it_finds_what_a_consumer_finds_wherever_a_byte_was_flipped() {
    let good = segment_bytes(3, true);
    for at in 0..good.len() {
        let directory = memory();
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        abandoned(directory.path(), &bytes);
        let mut view = only(directory.path());
        let seen = ids(&view.read(ALL).unwrap());
        view.check().unwrap();
        let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
        assert_eq!(seen, drain(&mut consumer), "byte {at}");
        let (findings, stats) = (view.findings(), consumer.stats());
        let found_bytes: u64 = findings.damage.iter().map(|damage| damage.bytes).sum();
        assert_eq!(
            (findings.lines, findings.missing_lines, findings.torn_bytes, found_bytes),
            (stats.lines, stats.damaged_lines, stats.torn_bytes, stats.copied_bytes),
            "byte {at}"
        );
    }
}

#[test]
fn a_seal_that_was_seen_is_remembered_when_the_zeros_behind_it_go() {
    let directory = memory();
    let sealed = segment_bytes(3, true);
    let mut zeros = sealed.clone();
    zeros.resize(64 << 10, 0);
    let path = abandoned(directory.path(), &zeros);
    let storage = DirStorage::open(directory.path()).unwrap();
    let writer = storage.lock(common::SEGMENT, LockRequest::Lease).unwrap();
    let mut view = only(directory.path());
    view.check().unwrap();
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(u64::try_from(sealed.len()).unwrap())
        .unwrap();
    drop(writer);
    view.check().unwrap();
    assert_eq!(view.state(), SegmentState::Sealed);
}

#[test]
fn an_error_is_shown_until_the_segment_can_be_read_again() {
    let directory = memory();
    let path = abandoned(directory.path(), &segment_bytes(3, true));
    let mut view = only(directory.path());
    let aside = directory.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap(); // which cannot be read
    assert!(view.read(ALL).is_err());
    assert_eq!((view.state(), view.error().is_some()), (SegmentState::Unreadable, true));
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(ids(&view.read(ALL).unwrap()), [0, 1, 2]);
    assert_eq!((view.state(), view.error().is_some()), (SegmentState::Sealed, false));
}

#[test]
fn lines_that_were_gathered_before_an_error_are_given_out_and_then_the_error() {
    let directory = memory();
    abandoned(directory.path(), &segment_bytes(1_000, true));
    let plan = Plan::new(None);
    let mut view = inspect_on(FaultyStorage::open(directory.path(), &plan)).unwrap().remove(0);
    // Who writes to it, its size, 16 KiB; then the rest.
    plan.set(Fault { at: plan.operations() + 4, errno: EIO, lasts: Lasts::Once });
    let first = ids(&view.read(ALL).unwrap());
    assert_eq!((first.is_empty(), view.state()), (false, SegmentState::Unreadable));
    plan.set(Fault { at: plan.operations() + 1, errno: EIO, lasts: Lasts::Once });
    assert!(view.read(ALL).is_err());
    let rest = ids(&view.read(ALL).unwrap());
    assert_eq!([first, rest].concat(), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_goes_away_before_the_first_look_is_not_there() {
    let directory = memory();
    let path = abandoned(directory.path(), &segment_bytes(3, true));
    let plan = Plan::new(None);
    plan.before(Moment::Lock, ".ndjson", move || fs::remove_file(path).unwrap());
    assert_eq!(inspect_on(FaultyStorage::open(directory.path(), &plan)).unwrap().len(), 0);
}

#[test]
fn a_segment_that_goes_away_meanwhile_ends_quietly() {
    let directory = memory();
    let path = abandoned(directory.path(), &segment_bytes(3, true));
    let mut view = only(directory.path());
    fs::remove_file(path).unwrap();
    assert!(view.read(ALL).unwrap().is_empty());
    assert!(view.is_ended());
}

#[test]
fn neither_a_writer_nor_a_consumer_is_held_up() {
    let directory = directory();
    let queue = Queue::open(directory.path(), quick()).unwrap();
    queue.append(&line(0)).unwrap();
    let view = only(directory.path());
    queue.append(&line(1)).unwrap();
    queue.close().unwrap();
    let storage = DirStorage::open(directory.path()).unwrap();
    let lock = storage.lock(&view.name().to_string(), LockRequest::Probe).unwrap();
    assert!(lock.is_some(), "the view holds no lock");
    drop(lock);
    assert_eq!(common::delivered(directory.path()), [0, 1]);
}
