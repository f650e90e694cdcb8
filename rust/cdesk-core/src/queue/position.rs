//! How far a consumer has come: for each segment, how many of its lines.
//!
//! As text `1;<segment>=<lines>;…`, for example `1;1763694538123-9f3a01c2-000001=18`: the version, then the
//! segments in order, without `seg-` and `.ndjson`. Printable ASCII without quotes, spaces or backslashes, so that it
//! fits wherever a sink keeps it.
//!
//! Lines are counted by `_seq`: consumed up to and including `_seq` 17 is 18, whether or not a line before it was
//! damaged. A position may name segments that are gone, and lie past the end of one: neither is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::segment::SegmentName;
use crate::error::{Error, Result};

const VERSION: &str = "1";
/// A segment in the text of a position takes no more: `;`, its name, `=` and a number below ten million.
pub(super) const MAX_ENTRY_BYTES: usize = 1 + 29 + 1 + 7;

/// A map from segment to the number of its lines that were consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<SegmentName, u64>);

impl Position {
    /// How many lines of the segment were consumed.
    #[must_use]
    pub fn lines(&self, segment: SegmentName) -> u64 {
        self.0.get(&segment).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, segment: SegmentName, lines: u64) {
        if lines > 0 {
            self.0.insert(segment, lines);
        }
    }

    /// Moves forward to `other`, segment by segment.
    pub(super) fn advance_to(&mut self, other: &Self) {
        for (&segment, &lines) in &other.0 {
            let known = self.0.entry(segment).or_default();
            *known = lines.max(*known);
        }
    }

    /// Moves backward to `other`, segment by segment.
    pub(super) fn fall_back_to(&mut self, other: &Self) {
        self.0.retain(|&segment, lines| {
            *lines = other.lines(segment).min(*lines);
            *lines > 0
        });
    }

    /// The part of it that has a text of so many bytes at the most: what it knows of the oldest segments.
    pub(super) fn fitting(&self, max_bytes: usize) -> Self {
        let mut length = VERSION.len();
        let entries = self.0.iter().take_while(|(segment, lines)| {
            length += format!(";{}={lines}", segment.short()).len();
            length <= max_bytes
        });
        Self(entries.map(|(&segment, &lines)| (segment, lines)).collect())
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(SegmentName) -> bool) {
        self.0.retain(|&segment, _| keep(segment));
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        self.0.iter().try_for_each(|(segment, lines)| write!(f, ";{}={lines}", segment.short()))
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut position = Self::default();
        let mut parts = text.split(';');
        if parts.next() != Some(VERSION) {
            return Err(Error::InvalidPosition { offset: 0 });
        }
        let mut offset = VERSION.len() + 1;
        for part in parts {
            let entry = part.split_once('=').and_then(|(segment, lines)| {
                let is_plain = lines.bytes().all(|byte| byte.is_ascii_digit());
                Some((SegmentName::from_short(segment)?, lines.parse().ok().filter(|_| is_plain)?))
            });
            let (segment, lines) = entry.ok_or(Error::InvalidPosition { offset })?;
            position.set(segment, lines);
            offset += part.len() + 1;
        }
        Ok(position)
    }
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
