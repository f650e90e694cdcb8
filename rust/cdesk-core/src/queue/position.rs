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

use super::line;
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{Storage, read_small, replace_durably};

const VERSION: &str = "1";
const MAX_FILE_BYTES: usize = 4 << 20;

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

/// The file of a consumer's position. It also registers the consumer: no segment goes away before its time.
pub(super) fn file_name(consumer: &str) -> String {
    format!("{consumer}.position")
}

/// The position in the file, `None` when there is no file.
///
/// A file that cannot be read is the oldest position: that only costs time, because the sink knows better and the
/// ids in the lines are what makes delivery exact.
pub(super) fn load<S: Storage>(storage: &S, consumer: &str) -> Option<Position> {
    match read_small(storage, &file_name(consumer), MAX_FILE_BYTES) {
        Ok(None) => None,
        Ok(Some(bytes)) => Some(decode(&bytes).unwrap_or_default()),
        Err(_) => Some(Position::default()),
    }
}

/// The position to go on from. From here on nobody deletes a segment before the consumer is past it: the file is
/// there, and so it will be after power loss.
///
/// # Errors
/// What the operating system says.
pub(super) fn register<S: Storage>(storage: &S, consumer: &str) -> Result<Position> {
    let position = load(storage, consumer).unwrap_or_default();
    // Written even when it is there: who wrote it may have died, or failed, before its name was durable.
    store(storage, consumer, &position).map(|()| position)
}

/// Returns when the position is durable.
pub(super) fn store<S: Storage>(storage: &S, consumer: &str, position: &Position) -> Result<()> {
    let text = position.to_string();
    let crc = crc32c::crc32c(text.as_bytes());
    let name = file_name(consumer);
    replace_durably(storage, &name, &format!("{name}.tmp"), format!("{text} {crc:08x}\n").as_bytes())
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let (text, crc) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let is_whole = line::parse_hex(crc.as_bytes())? == crc32c::crc32c(text.as_bytes());
    text.parse().ok().filter(|_| is_whole)
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
