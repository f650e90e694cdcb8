//! Finds the good lines in any bytes whatever.
//!
//! A line of ours holds neither `\n` nor NUL, so either ends it. Between two such bytes there is one line, or
//! damage; and when the damage took the `\n` itself, there may be good lines inside: they are found by the end
//! that every line has.

use std::ops::Range;

use super::line::{self, Content, MAX_FRAMED_BYTES};
use crate::json::{self, Keys};

/// How many bytes may be summed up in the search for lines in one damaged stretch. Enough to find every line in any
/// stretch that an accident makes; a stretch that was made to be slow is given up.
const SALVAGE_BYTES: usize = 64 << 20;

/// A line every byte of which is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes, without the `\n`.
    pub(super) text: Range<usize>,
    /// Where the next one starts: after the `\n`, if that is intact.
    pub(super) end: usize,
    pub(super) content: Content,
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

/// Walks over bytes and gives the good lines; what lies between them is bad.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    tail: Tail,
    /// Lines found inside a damaged stretch, last one first.
    salvaged: Vec<Found>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], tail: Tail) -> Self {
        Self { bytes, at: 0, tail, salvaged: Vec::new() }
    }

    /// Everything before this place has been judged; when more bytes come, begin here.
    pub(super) fn judged(&self) -> usize {
        self.at
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
            let Some(start) = rest.iter().position(|&byte| byte != 0) else {
                self.at = self.bytes.len();
                return None;
            };
            let start = self.at + start;
            let rest = self.bytes.get(start..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&byte| byte == b'\n' || byte == 0) else {
                return self.unterminated(start);
            };
            let text = start..start + length;
            if self.tail == Tail::Live && rest.iter().skip(length).all(|&byte| byte == 0) {
                self.at = start; // its `\n` may be the next byte to come, in the place of the first zero
                return None;
            }
            self.at = text.end + 1;
            let ends_well = self.bytes.get(text.end) == Some(&b'\n');
            let end = if ends_well { self.at } else { text.end };
            if let Some(content) = self.bytes.get(text.clone()).and_then(line::read) {
                return Some(Found { text, end, content });
            }
            self.salvage(text, end);
        }
    }
}

impl Scan<'_> {
    /// The last bytes have no `\n` after them.
    fn unterminated(&mut self, start: usize) -> Option<Found> {
        let text = start..self.bytes.len();
        self.at = start;
        let is_too_long = text.len() > MAX_FRAMED_BYTES;
        if self.tail != Tail::End && !is_too_long {
            return None;
        }
        self.salvage(text.clone(), text.end);
        if is_too_long && self.tail != Tail::End {
            // No line is that long, but one may begin in the last part of it.
            let last = self.salvaged.first().map_or(start, |found| found.end);
            self.at = last.max(text.end - MAX_FRAMED_BYTES);
        } else {
            self.at = text.end;
        }
        self.salvaged.pop()
    }

    /// Looks for whole lines in a stretch that is not one. Rare, so it may be slow; it checks the JSON too, because
    /// a caller may have put something that looks like our end into a nested object.
    fn salvage(&mut self, stretch: Range<usize>, end: usize) {
        let mut found = Vec::new();
        let mut budget = SALVAGE_BYTES;
        let (mut good_end, mut last_end) = (stretch.start, stretch.start);
        let within = self.bytes.get(..stretch.end).unwrap_or_default();
        while let Some(line_end) = line::find_end(within, last_end) {
            let line = self
                .line_between(last_end, line_end, &mut budget)
                .or_else(|| (budget > 0).then(|| self.line_between(good_end, line_end, &mut budget))?);
            last_end = line_end;
            if let Some((text, content)) = line {
                good_end = line_end;
                let end = if line_end == stretch.end { end } else { line_end };
                found.push(Found { text, end, content });
            }
        }
        found.reverse();
        self.salvaged = found;
    }

    /// The line that ends at `end` and begins at one of the braces after `from`: at the first, if the budget is used
    /// up, and at any before that.
    fn line_between(&self, from: usize, end: usize, budget: &mut usize) -> Option<(Range<usize>, Content)> {
        let between = self.bytes.get(from..end)?;
        let braces = between.iter().enumerate().filter(|(_, byte)| **byte == b'{');
        for (start, _) in braces {
            let text = from + start..end;
            let line = self.bytes.get(text.clone())?;
            if let Some(content) = line::read(line)
                && json::check_object(line, Keys::Stored).is_ok()
            {
                return Some((text, content));
            }
            *budget = budget.saturating_sub(line.len());
            if *budget == 0 {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
