//! What a segment is made of, good or bad, and what should be read from it.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::property::{checksum, claimed_version, crc32c, first_line};
use crate::ram::SEGMENT;

/// Another segment of the same log, which was deleted.
const DELETED: &str = "seg-1763694538000-9f3a01c2-000007.ndjson";

/// What became of a line whose payload holds a line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Whole,
    /// It ends where the inner line does.
    CutBehind,
    /// The same, and a line break follows.
    BrokenBehind,
    /// Its first byte is another.
    BadStart,
}

/// The line that somebody pasted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pasted {
    /// The line before, as it stands in this segment.
    LineBefore,
    /// One with the checksum it would have in this segment, in this place, and with a number far ahead.
    Forged,
    /// One with a plain checksum of its own bytes.
    Plain,
    /// A seal with the checksum it would have in this place.
    Seal,
}

#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A good line, with its `\n` or with another byte in its place.
    Line {
        text: String,
        end: u8,
    },
    /// So many lines that were written and are nothing but this byte now.
    Lost {
        lines: u64,
        fill: u8,
    },
    /// The good line before, once more: in another place it is none.
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
    /// A line whose payload holds a line.
    Pasting {
        pasted: Pasted,
        padding: usize,
        fate: Fate,
    },
    /// What a block held before: lines of a segment that is deleted.
    Stale {
        lines: u64,
    },
    Zeros(usize),
    Noise(Vec<u8>),
    /// A line of another version.
    Foreign(u64),
}

impl Piece {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let text = || "[ -~äß€]{0,40}";
        let place = any::<Index>;
        // Words that the log looks for, and others.
        let word = prop_oneof![
            Just(b"{".to_vec()),
            Just(b"\"}".to_vec()),
            Just(b"\n".to_vec()),
            Just(b",\"_crc\":\"".to_vec()),
            Just(b",\"_crc\":\"00000000\"}".to_vec()),
            Just(b"\"_seq\":0,\"_log\":2".to_vec()),
            vec(any::<u8>(), 1..8),
        ];
        let noise = vec(word, 0..10).prop_map(|words| words.concat());
        let long = (any::<u8>(), 15_000..40_000_usize).prop_map(|(byte, length)| vec![byte; length]);
        let end = prop_oneof![8 => Just(b'\n'), 1 => Just(0), 2 => any::<u8>()];
        let fill = prop_oneof![Just(0), Just(b'{'), Just(b'"'), any::<u8>()];
        let pasted = prop_oneof![
            Just(Pasted::LineBefore),
            Just(Pasted::Forged),
            Just(Pasted::Plain),
            Just(Pasted::Seal)
        ];
        let fate = prop_oneof![
            Just(Fate::Whole),
            Just(Fate::CutBehind),
            Just(Fate::BrokenBehind),
            Just(Fate::BadStart)
        ];
        let padding = prop_oneof![3 => 0..40_usize, 1 => Just(9_000), 1 => Just(20_000)];
        prop_oneof![
            10 => (text(), end).prop_map(|(text, end)| Self::Line { text, end }),
            1 => (1..5_u64, fill).prop_map(|(lines, fill)| Self::Lost { lines, fill }),
            1 => Just(Self::Again),
            1 => Just(Self::Seal),
            3 => (text(), place(), 1..=255_u8).prop_map(|(text, at, by)| Self::Flipped { text, at, by }),
            3 => (text(), place()).prop_map(|(text, at)| Self::Cut { text, at }),
            4 => (pasted, padding, fate)
                .prop_map(|(pasted, padding, fate)| Self::Pasting { pasted, padding, fate }),
            1 => (1..4_u64).prop_map(|lines| Self::Stale { lines }),
            2 => prop_oneof![1..20_usize, Just(20_000)].prop_map(Self::Zeros),
            3 => noise.prop_map(Self::Noise),
            1 => long.prop_map(Self::Noise),
            1 => prop_oneof![Just(1), Just(3)].prop_map(Self::Foreign),
        ]
    }
}

/// The bytes of a segment, and where in them the good lines and seals are.
#[derive(Default)]
pub(crate) struct Segment {
    pub(crate) bytes: Vec<u8>,
    good: Vec<Range<usize>>,
    next_seq: u64,
}

impl Segment {
    pub(crate) fn of(pieces: &[Piece]) -> Self {
        let mut segment = Self::default();
        for piece in pieces {
            segment.push(piece);
        }
        segment
    }

    fn push(&mut self, piece: &Piece) {
        let at = self.bytes.len();
        match piece {
            Piece::Line { text, end } => {
                let line = self.next_line(&format!("\"a\":{{\"b\":{}}},", json(text)));
                self.push_good(&line, *end);
            }
            Piece::Lost { lines, fill } => {
                self.bytes.resize(at + 60 * usize::try_from(*lines).unwrap(), *fill);
                self.next_seq += lines;
            }
            Piece::Again => {
                let last = self.good.last().cloned().unwrap_or_default();
                let line = self.bytes[last].to_vec();
                self.bytes.extend([line, b"\n".to_vec()].concat());
            }
            Piece::Seal => {
                let seal = seal(self.next_seq, at);
                self.push_good(&seal, b'\n');
            }
            Piece::Flipped { text, at, by } => {
                let mut line = self.next_line(&format!("\"a\":{},", json(text)));
                let at = at.index(line.len());
                line[at] ^= by;
                self.bytes.extend([line, b"\n".to_vec()].concat());
            }
            Piece::Cut { text, at } => {
                let line = self.next_line(&format!("\"a\":{},", json(text)));
                let most = line.len() - "9f3a01c2\"}".len(); // or what follows may make it whole again
                self.bytes.extend_from_slice(&line[..at.index(most)]);
            }
            Piece::Pasting { pasted, padding, fate } => self.push_pasting(*pasted, *padding, *fate),
            Piece::Stale { lines } => {
                for seq in 0..*lines {
                    let body = format!("{{\"a\":1,\"_seq\":{seq},\"_log\":2");
                    let line = with_crc(&body, checksum(DELETED, self.bytes.len(), body.as_bytes()));
                    self.bytes.extend([line, b"\n".to_vec()].concat());
                }
            }
            Piece::Zeros(count) => self.bytes.resize(at + count, 0),
            Piece::Noise(noise) => self.bytes.extend_from_slice(noise),
            Piece::Foreign(version) => {
                let body = format!("{{\"_seq\":{},\"_log\":{version}", self.next_seq);
                let line = with_crc(&body, crc32c(body.as_bytes()));
                self.bytes.extend([line, b"\n".to_vec()].concat());
            }
        }
    }

    fn push_pasting(&mut self, pasted: Pasted, padding: usize, fate: Fate) {
        let start = "{\"p\":";
        let at = self.bytes.len() + start.len();
        let ahead = self.next_seq + 1_000_000;
        let pasted = match pasted {
            Pasted::LineBefore => {
                let last = self.good.last().cloned().unwrap_or_default();
                if last.is_empty() { b"{}".to_vec() } else { self.bytes[last].to_vec() }
            }
            Pasted::Forged => line_at(at, &format!("\"pad\":\"{:z<padding$}\",", ""), ahead),
            Pasted::Plain => {
                let body = format!("{{\"a\":1,\"_seq\":{ahead},\"_log\":2");
                with_crc(&body, crc32c(body.as_bytes()))
            }
            Pasted::Seal => seal(ahead, at),
        };
        let fields = format!("\"p\":{},\"pad\":\"{:z<padding$}\",", String::from_utf8(pasted).unwrap(), "");
        let mut line = self.next_line(&fields);
        let behind = "{".len() + fields.len() - format!(",\"pad\":\"{:z<padding$}\",", "").len();
        match fate {
            Fate::Whole => return self.push_good(&line, b'\n'),
            Fate::CutBehind => line.truncate(behind),
            Fate::BrokenBehind => line[behind] = b'\n',
            Fate::BadStart => line[0] = b'x',
        }
        self.bytes.extend([line, b"\n".to_vec()].concat());
    }

    /// The line that would be the next one, with these fields before its own.
    fn next_line(&self, fields: &str) -> Vec<u8> {
        line_at(self.bytes.len(), fields, self.next_seq)
    }

    fn push_good(&mut self, line: &[u8], end: u8) {
        let start = self.bytes.len();
        self.good.push(start..start + line.len());
        self.bytes.extend_from_slice(line);
        self.bytes.push(end);
        self.next_seq += u64::from(!line.starts_with(b"{\"_sealed\":"));
    }

    /// The lines that are found: those whose start is known, and those whose end is.
    pub(crate) fn expected(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut start = 0;
        for (end, &byte) in self.bytes.iter().chain([&0]).enumerate() {
            if matches!(byte, b'\n' | 0) {
                found.extend(self.found_in(start..end, byte == b'\n'));
                start = end + 1;
            }
        }
        found.sort_by_key(|range| range.start);
        let lines = found.into_iter().map(|range| self.bytes[range].to_vec());
        lines.filter(|line| !line.starts_with(b"{\"_sealed\":")).collect()
    }

    fn found_in(&self, stretch: Range<usize>, has_break: bool) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut from = stretch.start;
        while let Some(line) = self.good.iter().find(|line| line.start == from && line.end <= stretch.end) {
            found.push(line.clone());
            from = line.end + 1;
        }
        let mut until = stretch.end;
        while has_break
            && let Some(line) = self.good.iter().find(|line| line.end == until && line.start >= from)
        {
            found.push(line.clone());
            until = line.start.saturating_sub(1);
        }
        found
    }

    /// The version that the whole segment seems to be of, if it has nothing good.
    pub(crate) fn foreign(&self) -> Option<u64> {
        let has_good = !self.expected().is_empty() || self.has_good_seal();
        if has_good { None } else { claimed_version(first_line(&self.bytes)) }
    }

    fn has_good_seal(&self) -> bool {
        self.good.iter().any(|range| self.bytes[range.clone()].starts_with(b"{\"_sealed\":"))
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A line with these fields and this number, as it would stand there.
pub(crate) fn line_at(at: usize, fields: &str, seq: u64) -> Vec<u8> {
    let body = format!("{{{fields}\"_seq\":{seq},\"_log\":2");
    with_crc(&body, checksum(SEGMENT, at, body.as_bytes()))
}

fn seal(lines: u64, at: usize) -> Vec<u8> {
    let body = format!("{{\"_sealed\":{{\"lines\":{lines}}},\"_log\":2");
    with_crc(&body, checksum(SEGMENT, at, body.as_bytes()))
}

fn with_crc(body: &str, crc: u32) -> Vec<u8> {
    format!("{body},\"_crc\":\"{crc:08x}\"}}").into_bytes()
}
