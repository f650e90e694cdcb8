//! Finds the good lines in any bytes whatever.
//!
//! A line of ours holds neither `\n` nor NUL, so either ends it, and a line starts where a segment does or after one of
//! them. Between two such bytes there is one line, or damage. When the damage took the `\n` itself, the line before it
//! still has its start and the line after it its end, and so they are found. Nothing is looked for anywhere else: what
//! stands inside a line is its caller's.

use std::ops::Range;

use super::line::{self, Binding, Content, MAX_FRAMED_BYTES};

/// A line every byte of which is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes, without the `\n`.
    pub(super) text: Range<usize>,
    /// Where the next one starts: after the `\n`, or after what the `\n` has become.
    pub(super) end: usize,
    pub(super) content: Content,
    /// Was it found beside damage? Then what it says of itself is weighed against the next one that was not.
    pub(super) is_salvaged: bool,
}

/// What follows the bytes at hand?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Whatever a living writer puts there: zeros stand for what it has not written yet.
    Live,
    /// More bytes that stand still: a line without an end goes on in them.
    More,
    /// Nothing: a line whose bytes are all there is good without its `\n`.
    End,
}

/// Where bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Where a line does.
    Line,
    /// Anywhere: a line starts after the first `\n` or NUL.
    Anywhere,
}

/// Walks over bytes and gives the good lines; what lies between them is bad.
pub(super) struct Scan<'a> {
    binding: Binding,
    /// Where `bytes` stand in the segment.
    offset: u64,
    bytes: &'a [u8],
    at: usize,
    start: Start,
    tail: Tail,
    /// Lines found inside a damaged stretch, last one first.
    salvaged: Vec<Found>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(binding: Binding, offset: u64, bytes: &'a [u8], start: Start, tail: Tail) -> Self {
        Self { binding, offset, bytes, at: 0, start, tail, salvaged: Vec::new() }
    }

    /// Everything before this place has been judged; when more bytes come, begin here, and so.
    pub(super) fn judged(&self) -> (usize, Start) {
        (self.at, self.start)
    }
}

impl Iterator for Scan<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.salvaged.pop() {
                return Some(found);
            }
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let zeros = rest.iter().take_while(|&&byte| byte == 0).count();
            if zeros > 0 {
                self.start = Start::Line;
            }
            let rest = rest.get(zeros..).unwrap_or_default();
            let start = self.at + zeros;
            if rest.is_empty() {
                self.at = start;
                return None;
            }
            let Some(length) = memchr::memchr2(b'\n', 0, rest) else {
                return self.unterminated(start);
            };
            let text = start..start + length;
            if self.tail == Tail::Live && rest.iter().skip(length).all(|&byte| byte == 0) {
                self.at = start; // its `\n` may be the next byte to come, in the place of the first zero
                return None;
            }
            let has_break = rest.get(length) == Some(&b'\n');
            let end = if has_break { text.end + 1 } else { text.end };
            self.at = text.end + 1;
            let is_start = self.start == Start::Line;
            self.start = Start::Line;
            if is_start && let Some(found) = self.whole(&text, end) {
                return Some(found);
            }
            let mut bad = text;
            if is_start {
                bad.start = self.salvage_from_start(&bad, end);
            }
            if has_break {
                self.salvage_from_end(bad, end);
            }
            self.salvaged.reverse();
        }
    }
}

impl Scan<'_> {
    fn offset_of(&self, at: usize) -> u64 {
        self.offset.saturating_add(u64::try_from(at).unwrap_or(u64::MAX))
    }

    /// The line that all these bytes are.
    fn whole(&self, text: &Range<usize>, end: usize) -> Option<Found> {
        let bytes = self.bytes.get(text.clone())?;
        let content = line::read(bytes, self.binding, self.offset_of(text.start))?;
        Some(Found { text: text.clone(), end, content, is_salvaged: false })
    }

    /// The last bytes have no `\n` after them.
    fn unterminated(&mut self, start: usize) -> Option<Found> {
        let text = start..self.bytes.len();
        self.at = start;
        let is_too_long = text.len() > MAX_FRAMED_BYTES;
        if self.tail != Tail::End && !is_too_long {
            return None;
        }
        let mut rest = text.start;
        if self.start == Start::Line {
            if let Some(found) = self.whole(&text, text.end) {
                self.at = text.end;
                return Some(found);
            }
            rest = self.salvage_from_start(&text, text.end);
            self.salvaged.reverse();
        }
        self.at = rest;
        if self.tail == Tail::End {
            self.at = text.end;
        } else if text.end - rest > MAX_FRAMED_BYTES {
            // No line is that long, but one may end in what follows.
            (self.at, self.start) = (text.end - MAX_FRAMED_BYTES, Start::Anywhere);
        }
        self.salvaged.pop()
    }

    /// Looks for lines one after another from the start of a stretch, each with something else in the place of its `\n`.
    /// Says where the next one would start. `end` is where the next stretch does.
    fn salvage_from_start(&mut self, stretch: &Range<usize>, end: usize) -> usize {
        let mut start = stretch.start;
        while let Some(bytes) = self.bytes.get(start..stretch.end)
            && let Some((length, content)) = line::read_first(bytes, self.binding, self.offset_of(start))
        {
            let text = start..start + length;
            let next = if text.end < stretch.end { text.end + 1 } else { end };
            start = next.min(stretch.end);
            self.salvaged.push(Found { text, end: next, content, is_salvaged: true });
        }
        start
    }

    /// Looks for lines one before another from the `\n` at the end of a stretch.
    fn salvage_from_end(&mut self, mut stretch: Range<usize>, mut end: usize) {
        let first = self.salvaged.len();
        while let Some(bytes) = self.bytes.get(stretch.clone())
            && let Some((start, content)) =
                line::read_last(bytes, self.binding, self.offset_of(stretch.start))
        {
            let text = stretch.start + start..stretch.end;
            stretch.end = text.start.saturating_sub(1).max(stretch.start);
            let next = text.start;
            self.salvaged.push(Found { text, end, content, is_salvaged: true });
            end = next;
        }
        if let Some(last_first) = self.salvaged.get_mut(first..) {
            last_first.reverse();
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
