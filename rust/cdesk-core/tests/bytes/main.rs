//! Any bytes in the place of a segment: never a panic, never a wrong line, and no good one hidden.
//!
//! `fuzz/` has a fuzzer try the same property with bytes of its own making.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod property;
mod ram;

use std::fs;

use cdesk_core::{SegmentState, inspect};
use property::{Reading, check_any_bytes, crc32c};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What a segment is made of, good or bad.
#[derive(Debug, Clone)]
enum Piece {
    /// A good line, so many numbers after the last one, with its `\n` or without.
    Line {
        text: String,
        skipped: u64,
        has_end: bool,
    },
    /// The good line before, once more.
    Again,
    Seal,
    /// A good line with one byte changed.
    Flipped {
        text: String,
        at: Index,
        by: u8,
    },
    /// The beginning of a good line.
    Cut {
        text: String,
        at: Index,
    },
    Zeros(usize),
    Noise(Vec<u8>),
    /// A good line of a version that is still to come.
    Newer,
}

impl Piece {
    fn any() -> impl Strategy<Value = Self> {
        let text = || "[ -~äß€]{0,40}";
        let place = any::<Index>;
        // Words that the log looks for, and others.
        let word = prop_oneof![
            Just(b"{".to_vec()),
            Just(b"\"}".to_vec()),
            Just(b"\n".to_vec()),
            Just(b",\"_crc\":\"".to_vec()),
            Just(b",\"_crc\":\"00000000\"}".to_vec()),
            Just(b"\"_seq\":0,\"_log\":1".to_vec()),
            vec(any::<u8>(), 1..8),
        ];
        let noise = vec(word, 0..10).prop_map(|words| words.concat());
        // Braces alone would be a stretch that was made to be slow, which is given up.
        let fill = any::<u8>().prop_filter("a brace", |&byte| byte != b'{');
        let long = (fill, 15_000..40_000_usize).prop_map(|(byte, length)| vec![byte; length]);
        prop_oneof![
            10 => (text(), prop_oneof![9 => Just(0), 1 => 1..5_u64], prop::bool::weighted(0.8))
                .prop_map(|(text, skipped, has_end)| Self::Line { text, skipped, has_end }),
            1 => Just(Self::Again),
            1 => Just(Self::Seal),
            3 => (text(), place(), 1..=255_u8).prop_map(|(text, at, by)| Self::Flipped { text, at, by }),
            3 => (text(), place()).prop_map(|(text, at)| Self::Cut { text, at }),
            2 => prop_oneof![1..20_usize, Just(20_000)].prop_map(Self::Zeros),
            3 => noise.prop_map(Self::Noise),
            1 => long.prop_map(Self::Noise),
            1 => Just(Self::Newer),
        ]
    }
}

/// The bytes of a segment, and what should be read from them.
#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    expected: Vec<Vec<u8>>,
    next_seq: u64,
    is_over: bool,
}

impl Segment {
    fn of(pieces: &[Piece]) -> Self {
        let mut segment = Self::default();
        for piece in pieces {
            segment.push(piece);
        }
        segment
    }

    fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::Line { text, skipped, has_end } => {
                let seq = self.next_seq + skipped;
                let line = line(text, seq);
                self.bytes.extend_from_slice(&line);
                self.bytes.extend(has_end.then_some(b'\n'));
                if !self.is_over {
                    self.expected.push(line);
                    self.next_seq = seq + 1;
                }
            }
            Piece::Again => {
                let line = self.expected.last().cloned().unwrap_or_default();
                self.bytes.extend([line, b"\n".to_vec()].concat());
            }
            Piece::Seal => {
                let seal = format!("{{\"_sealed\":{{\"lines\":{}}},\"_log\":1", self.next_seq);
                self.bytes.extend([with_checksum(seal.into_bytes()), b"\n".to_vec()].concat());
            }
            Piece::Flipped { text, at, by } => {
                let mut line = line(text, self.next_seq);
                let at = at.index(line.len());
                line[at] ^= by;
                self.bytes.extend([line, b"\n".to_vec()].concat());
            }
            Piece::Cut { text, at } => {
                let line = line(text, self.next_seq);
                let most = line.len() - "9f3a01c2\"}".len(); // or what follows may make it whole again
                self.bytes.extend_from_slice(&line[..at.index(most)]);
            }
            Piece::Zeros(count) => self.bytes.resize(self.bytes.len() + count, 0),
            Piece::Noise(noise) => self.bytes.extend_from_slice(noise),
            Piece::Newer => {
                let line = format!("{{\"_seq\":{},\"_log\":2", self.next_seq);
                self.bytes.extend([with_checksum(line.into_bytes()), b"\n".to_vec()].concat());
                self.is_over = true;
            }
        }
    }
}

fn line(text: &str, seq: u64) -> Vec<u8> {
    let text = serde_json::to_string(text).unwrap();
    with_checksum(format!("{{\"a\":{{\"b\":{text}}},\"_seq\":{seq},\"_log\":1").into_bytes())
}

fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let end = format!(",\"_crc\":\"{:08x}\"}}", crc32c(&body));
    body.extend_from_slice(end.as_bytes());
    body
}

/// The same bytes in a real directory, looked at as people do.
fn check_inspection(bytes: &[u8], reading: &Reading) {
    let shared = std::path::Path::new("/dev/shm");
    let directory = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    let directory = directory.unwrap();
    fs::write(directory.path().join(ram::SEGMENT), bytes).unwrap();
    let view = &mut inspect(directory.path()).unwrap()[0];
    let checked = view.check();
    let found = view.findings();
    assert_eq!(checked.is_err(), reading.stopped_at.is_some());
    assert_eq!(found.lines, reading.stats.lines);
    assert_eq!(found.torn_bytes, reading.stats.torn_bytes);
    assert_eq!(found.missing_lines, reading.stats.damaged_lines);
    assert_eq!(found.damage.iter().map(|damage| damage.bytes).sum::<u64>(), reading.stats.quarantined_bytes);
    assert!(!view.is_ended() || view.state() != SegmentState::Open);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_good_line_is_delivered_once_and_nothing_else(pieces in vec(Piece::any(), 0..30)) {
        let Segment { bytes, expected, is_over, .. } = Segment::of(&pieces);
        let reading = check_any_bytes(&bytes);
        prop_assert_eq!(reading.stopped_at.is_some(), is_over);
        let shown = |lines: &[Vec<u8>]| -> Vec<_> {
            lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
        };
        prop_assert_eq!(shown(&reading.lines), shown(&expected));
        check_inspection(&bytes, &reading);
    }

    #[test]
    fn bytes_without_sense_hold_no_line(bytes in vec(any::<u8>(), 0..5_000)) {
        let reading = check_any_bytes(&bytes);
        prop_assert!(reading.lines.is_empty());
        check_inspection(&bytes, &reading);
    }
}

#[test]
fn a_number_that_no_count_of_lines_reaches_is_damage() {
    let highest = [line("", u64::MAX - 1), line("", u64::MAX)];
    for has_seal in [false, true] {
        let mut bytes = [line("", 0), highest.concat(), line("", 1), highest[0].clone()].join(&b'\n');
        if has_seal {
            bytes.extend(with_checksum(b"{\"_sealed\":{\"lines\":18446744073709551615},\"_log\":1".to_vec()));
        }
        let reading = check_any_bytes(&bytes);
        assert_eq!(reading.lines, [line("", 0), highest[0].clone()]);
        assert_eq!(reading.stats.damaged_lines, u64::MAX - 2);
        check_inspection(&bytes, &reading);
    }
}

#[test]
fn the_checksum_is_the_one_of_the_standard() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
