//! Whatever happens to the bytes of a segment, no wrong line is delivered, and no good one is hidden.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;

use cdesk_core::{BatchLimits, Consumer, DirStorage, Error, LockRequest, Storage};
use common::{abandoned, damaged_copies, delivered, drain, ids, line, memory, segment_bytes, segment_of};

const COUNT: u64 = 5;

/// What a new consumer gets from a segment with these bytes, and what it has counted.
fn read(bytes: &[u8]) -> (Vec<u64>, cdesk_core::ConsumerStats) {
    let directory = memory();
    abandoned(directory.path(), bytes);
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    let ids = drain(&mut consumer);
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    (ids, consumer.stats())
}

/// Which line the byte at `at` belongs to, its `\n` included.
fn line_at(bytes: &[u8], at: usize) -> u64 {
    u64::try_from(bytes[..at].split(|&byte| byte == b'\n').count() - 1).unwrap()
}

fn all_but(damaged: u64) -> Vec<u64> {
    (0..COUNT).filter(|&id| id != damaged).collect()
}

/// Damages each byte in turn: all other lines are delivered, and the line itself only if it is whole.
fn damage_each_byte(is_sealed: bool, damage: impl Fn(u8) -> u8) {
    let good = segment_bytes(COUNT, is_sealed);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] = damage(bytes[at]);
        let damaged = line_at(&good, at);
        let (ids, stats) = read(&bytes);
        let is_break = good[at] == b'\n';
        let expected = if is_break { (0..COUNT).collect() } else { all_but(damaged) };
        assert_eq!(ids, expected, "byte {at} of {}", bytes.escape_ascii());
        let is_in_the_middle = damaged + 1 < COUNT || (is_sealed && damaged < COUNT);
        let missing = u64::from(is_in_the_middle && !is_break);
        assert_eq!(stats.damaged_lines, missing, "byte {at} of {}", bytes.escape_ascii());
    }
}

#[test]
fn any_flipped_bit_costs_at_most_its_own_line() {
    for bit in 0..8 {
        damage_each_byte(true, |byte| byte ^ 1 << bit);
    }
    damage_each_byte(false, |byte| byte ^ 0x10);
}

#[test]
fn any_zeroed_byte_costs_at_most_its_own_line() {
    damage_each_byte(true, |_| 0);
    damage_each_byte(false, |_| 0);
}

#[test]
fn a_byte_that_becomes_a_line_break_costs_at_most_its_own_line() {
    damage_each_byte(true, |byte| if byte == b'\n' { b'x' } else { b'\n' });
}

#[test]
fn a_segment_cut_anywhere_gives_every_whole_line() {
    let good = segment_bytes(COUNT, true);
    for at in 0..good.len() {
        let (ids, stats) = read(&good[..at]);
        // A line is whole without its `\n`, when nothing can follow any more.
        let whole = if good[at] == b'\n' { line_at(&good, at) + 1 } else { line_at(&good, at) };
        assert_eq!(ids, (0..whole.min(COUNT)).collect::<Vec<_>>(), "cut at {at}");
        assert_eq!((stats.damaged_lines, stats.copied_bytes), (0, 0), "cut at {at}");
    }
}

#[test]
fn a_lost_stretch_anywhere_gives_every_line_outside_of_it() {
    let good = segment_bytes(COUNT, true);
    for start in (0..good.len()).step_by(7) {
        for length in [2, 30, 90, 200] {
            let end = (start + length).min(good.len());
            let lost = line_at(&good, start)..=line_at(&good, end - 1);
            for fill in [0, b'x', b'{', b'"', 0xff] {
                let mut bytes = good.clone();
                bytes[start..end].fill(fill);
                let (ids, _) = read(&bytes);
                let outside: Vec<_> = (0..COUNT).filter(|id| !lost.contains(id)).collect();
                let kept: Vec<_> = ids.iter().copied().filter(|id| !lost.contains(id)).collect();
                assert_eq!(kept, outside, "{start}..{end} of {}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn a_torn_tail_is_counted_once_and_its_zeros_not_at_all() {
    let good = segment_bytes(3, false);
    let cut = good.len() - 20;
    let mut bytes = good[..cut].to_vec();
    bytes.extend_from_slice(&[0; 5000]);
    let (ids, stats) = read(&bytes);
    assert_eq!(ids, [0, 1]);
    let second_end = good.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    assert_eq!(stats.torn_bytes, u64::try_from(cut - second_end).unwrap());
    assert_eq!((stats.damaged_lines, stats.copied_bytes), (0, 0));
    let (_, stats) = read(&segment_bytes(3, false));
    assert_eq!(stats.torn_bytes, 0);
}

#[test]
fn damaged_bytes_are_kept_with_where_they_came_from() {
    let directory = memory();
    let mut bytes = segment_bytes(3, true);
    let start = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let end = start + bytes[start..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    bytes[start + 3] ^= 1;
    abandoned(directory.path(), &bytes);
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    assert_eq!(drain(&mut consumer), [0, 2]);
    let stats = consumer.stats();
    assert_eq!((stats.damaged_lines, stats.copied_bytes), (1, u64::try_from(end - start).unwrap()));
    let kept = damaged_copies(directory.path());
    let name = format!("seg-1763694538123-9f3a01c2-000000-{start:012}.bytes");
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(name, bytes[start..end].to_vec())]);
}

#[test]
fn the_same_damage_is_counted_once_a_life_and_copied_once_for_all() {
    let directory = memory();
    let mut bytes = segment_bytes(4, true);
    bytes[10] ^= 1;
    abandoned(directory.path(), &bytes);
    for name in ["a", "b", "a"] {
        let mut consumer = Consumer::open(directory.path(), name).unwrap();
        for _ in 0..3 {
            consumer.seek(&"1".parse().unwrap()).unwrap();
            let one = BatchLimits::default().max_lines(1);
            let mut all = Vec::new();
            while let Some(batch) = consumer.next_batch(one).unwrap() {
                all.extend(ids(&batch.ndjson));
            }
            assert_eq!(all, [1, 2, 3]);
        }
        assert_eq!(consumer.stats().damaged_lines, 1);
        assert_eq!(damaged_copies(directory.path()).len(), 1);
    }
}

#[test]
fn megabytes_of_rubbish_hide_nothing() {
    let directory = memory();
    let big = format!("{{\"pad\":\"{}\"}}", "x".repeat(900_000)).into_bytes();
    let lines = [vec![line(0)], vec![big; 6], vec![line(1)]].concat();
    let good = segment_of(&lines, false);
    let ends: Vec<_> = (0..good.len()).filter(|&at| good[at] == b'\n').collect();
    let middle = ends[0] + 1..ends[ends.len() - 2] + 1;
    for rubbish in [&b"x"[..], b"\0", b"{", b"{\"a\n", b",\"_crc\":\"01234567\"}"] {
        let mut bytes = good.clone();
        let fill = rubbish.iter().cycle();
        bytes[middle.clone()].iter_mut().zip(fill).for_each(|(byte, &fill)| *byte = fill);
        abandoned(directory.path(), &bytes);
        assert_eq!(delivered(directory.path()), [0, 1], "{}", rubbish.escape_ascii());
        fs::remove_dir_all(directory.path()).unwrap();
        fs::create_dir(directory.path()).unwrap();
    }
}

#[test]
fn a_line_without_its_end_before_megabytes_of_zeros_is_read_when_its_writer_has_gone() {
    let directory = memory();
    let good = segment_bytes(2, false);
    let bytes = [&good[..good.len() - 1], &vec![0; 5 << 20]].concat();
    let path = abandoned(directory.path(), &bytes);
    let storage = DirStorage::open(directory.path()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let writer = storage.lock(name, LockRequest::Lease).unwrap();
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    assert_eq!(drain(&mut consumer), [0]);
    drop(writer);
    assert_eq!(drain(&mut consumer), [1]);
    assert_eq!((consumer.stats().torn_bytes, consumer.stats().copied_bytes), (0, 0));
}

#[test]
fn a_line_still_being_written_is_not_damage() {
    let directory = memory();
    let good = segment_bytes(COUNT, false);
    let path = abandoned(directory.path(), b"");
    // Its writer lives: somebody holds the lock.
    let storage = DirStorage::open(directory.path()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let writer = storage.lock(name, LockRequest::Lease).unwrap();
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    let mut all = Vec::new();
    for written in 0..=good.len() {
        let mut bytes = good[..written].to_vec();
        bytes.resize(40_000, 0); // zeros written ahead
        fs::write(&path, bytes).unwrap();
        all.extend(drain(&mut consumer));
        let ended = good[..written].split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(all.len(), ended);
        let stats = consumer.stats();
        assert_eq!((stats.torn_bytes, stats.damaged_lines, stats.copied_bytes), (0, 0, 0), "{written}");
    }
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    drop(writer);
    assert!(drain(&mut consumer).is_empty());
    assert_eq!(consumer.stats().torn_bytes, 0);
}

#[test]
fn damage_in_a_living_segment_is_told_from_a_write_in_progress() {
    let directory = memory();
    let mut bytes = segment_bytes(3, false);
    bytes[5] ^= 1;
    let path = abandoned(directory.path(), &bytes);
    let storage = DirStorage::open(directory.path()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let _writer = storage.lock(name, LockRequest::Lease).unwrap();
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    assert_eq!(drain(&mut consumer), [1, 2]);
    assert_eq!(consumer.stats().damaged_lines, 1);
}

#[test]
fn a_segment_of_another_version_is_left_alone_and_holds_up_no_other() {
    let directory = memory();
    for version in [1, 3] {
        // Whatever its checksum means, it is not ours to judge.
        let bytes = format!("{{\"id\":1,\"_seq\":0,\"_log\":{version},\"_crc\":\"0b023a6c\"}}\n");
        abandoned(directory.path(), bytes.as_bytes());
        common::open(directory.path()).append(&line(7)).unwrap();
        let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
        let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
        assert_eq!(ids(&batch.ndjson), [7]);
        let trouble = consumer.troubles().remove(0);
        assert_eq!(trouble.segment.to_string(), common::SEGMENT);
        let is_named =
            matches!(trouble.error, Error::UnsupportedFormat { version: named, .. } if named == version);
        assert!(is_named, "{trouble:?}");
        consumer.commit(&batch.position).unwrap();
        assert_eq!(consumer.prune(&batch.position, common::NO_AGE).unwrap(), 1);
        assert_eq!(common::segments(directory.path()).len(), 1);
        assert!(damaged_copies(directory.path()).is_empty());
    }
}

#[test]
fn a_version_that_was_damaged_costs_its_own_line() {
    let directory = memory();
    let mut bytes = segment_bytes(3, true);
    let place = bytes.windows(8).position(|window| window == b"\"_log\":2").unwrap();
    bytes[place + 7] = b'3';
    abandoned(directory.path(), &bytes);
    let mut consumer = Consumer::open(directory.path(), "reader").unwrap();
    assert_eq!(drain(&mut consumer), [1, 2]);
    assert!(consumer.troubles().is_empty());
    assert_eq!(consumer.stats().damaged_lines, 1);
}
