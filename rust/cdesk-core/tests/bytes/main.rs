//! Any bytes in the place of a segment: never a panic, never a wrong line, and no good one hidden.
//!
//! `fuzz/` has a fuzzer try the same property with bytes of its own making.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod pieces;
mod property;
mod ram;

use std::fs;

use cdesk_core::{SegmentState, inspect};
use pieces::{Piece, Segment, line_at};
use property::{Reading, check_any_bytes, crc32c};
use proptest::collection::vec;
use proptest::prelude::*;

/// The same bytes in a real directory, looked at as people do.
fn check_inspection(bytes: &[u8], reading: &Reading) {
    let shared = std::path::Path::new("/dev/shm");
    let directory = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    let directory = directory.unwrap();
    fs::write(directory.path().join(ram::SEGMENT), bytes).unwrap();
    let view = &mut inspect(directory.path()).unwrap()[0];
    let checked = view.check();
    let found = view.findings();
    assert_eq!(checked.is_err(), reading.foreign.is_some());
    assert_eq!(found.lines, reading.stats.lines);
    assert_eq!(found.torn_bytes, reading.stats.torn_bytes);
    assert_eq!(found.missing_lines, reading.stats.damaged_lines);
    assert_eq!(found.damage.iter().map(|damage| damage.bytes).sum::<u64>(), reading.stats.copied_bytes);
    assert!(!view.is_ended() || view.state() != SegmentState::Open);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_good_line_is_delivered_once_and_nothing_else(pieces in vec(Piece::any(), 0..30)) {
        let segment = Segment::of(&pieces);
        let reading = check_any_bytes(&segment.bytes);
        let shown = |lines: &[Vec<u8>]| -> Vec<_> {
            lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
        };
        prop_assert_eq!(shown(&reading.lines), shown(&segment.expected()));
        prop_assert_eq!(reading.foreign, segment.foreign());
        check_inspection(&segment.bytes, &reading);
    }

    #[test]
    fn bytes_without_sense_hold_no_line(bytes in vec(any::<u8>(), 0..5_000)) {
        let reading = check_any_bytes(&bytes);
        prop_assert!(reading.lines.is_empty());
        check_inspection(&bytes, &reading);
    }
}

#[test]
fn a_number_that_has_no_room_before_it_is_damage() {
    for seq in [1, 2, u64::MAX - 1, u64::MAX] {
        let first = line_at(0, "", seq);
        let second = line_at(first.len() + 1, "", 1);
        let reading = check_any_bytes(&[first, second.clone()].join(&b'\n'));
        assert_eq!(reading.lines, [second]);
        assert_eq!(reading.stats.damaged_lines, 1);
    }
}

#[test]
fn a_salvaged_number_never_leaps_over_the_next_intact_one() {
    // One flipped bit, and a payload that was forged for just this place: it costs its own line and no other.
    let fields = "\"p\":";
    let inner = line_at(1 + fields.len(), "", 0);
    assert!(inner.len() > 30);
    let mut bytes = b"x\"p\":".to_vec();
    let at = 400;
    bytes.resize(at, b' ');
    bytes.extend(line_at(at, "", 9)); // as if nine had stood before it
    bytes.push(b'\n');
    let mut expected = Vec::new();
    for seq in 1..300 {
        let line = line_at(bytes.len(), "\"a\":1,", seq);
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
        expected.push(line);
    }
    let reading = check_any_bytes(&bytes); // which reads them line by line too
    assert_eq!(reading.lines.len(), 299);
    assert_eq!(reading.lines, expected);
}

#[test]
fn nothing_but_braces_hides_no_line() {
    let mut bytes = vec![b'{'; 500_000];
    let line = line_at(bytes.len(), "", 0);
    bytes.extend([line.clone(), b"\n".to_vec()].concat());
    assert_eq!(check_any_bytes(&bytes).lines, [line]);
}

#[test]
fn the_checksum_is_the_one_of_the_standard() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn what_was_weighed_once_is_not_weighed_again_when_the_batch_was_full() {
    // Two lines whose breaks were damaged; the second was forged, and its number leaps over the intact one.
    let first = line_at(0, &format!("\"pad\":\"{:x<500}\",", ""), 0);
    let forged = line_at(first.len() + 1, &format!("\"pad\":\"{:x<500}\",", ""), 5);
    let mut bytes = [first.clone(), forged].join(&b'x');
    bytes.push(b'\n');
    let last = line_at(bytes.len(), "", 2);
    bytes.extend([last.clone(), b"\n".to_vec()].concat());
    let reading = check_any_bytes(&bytes);
    assert_eq!(reading.lines, [first, last]);
    assert_eq!(reading.stats.damaged_lines, 1);
}
