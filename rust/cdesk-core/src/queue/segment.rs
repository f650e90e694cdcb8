//! A segment: its name, and the one writer it ever has.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::line::{self, Binding};
use crate::error::{Error, Result};
use crate::storage::{Storage, write_all};

/// Zeros are written ahead, so that an append does not change the file's size and its sync has no size to make
/// durable (0.73 of the latency of a growing file). They go to the next multiple of a step, which has room for several
/// writes like the last, within these bounds: the sync that has a step to make durable too takes 0.17 ms instead of
/// 0.09 for the smallest, 0.28 for the largest, and lines that come meanwhile wait for it.
const LEAST_AHEAD_BYTES: u64 = 64 << 10;
const MOST_AHEAD_BYTES: u64 = 256 << 10;
const AHEAD_WRITES: u64 = 16;
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// `seg-<unix_ms, 13 digits>-<writer, 8 hex>-<n, 6 digits>.ndjson`; sorts by age, then writer, then number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    unix_ms: u64,
    writer: u32,
    number: u32,
}

impl SegmentName {
    pub(crate) fn new(unix_ms: u64, writer: u32, number: u32) -> Self {
        Self { unix_ms: unix_ms.min(9_999_999_999_999), writer, number: number % 1_000_000 }
    }

    /// When the segment was created, by the wall clock of its writer.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// The random number of the queue that wrote it; its name has it as 8 hex digits.
    #[must_use]
    pub fn writer(self) -> u32 {
        self.writer
    }

    /// The name without `seg-` and `.ndjson`, as positions use it.
    pub(crate) fn short(self) -> String {
        format!("{:013}-{:08x}-{:06}", self.unix_ms, self.writer, self.number)
    }

    /// Reads what [`SegmentName::short`] gives.
    pub(crate) fn from_short(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>, radix| -> Option<u64> {
            let digits = text.get(range)?;
            let is_plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
        };
        if text.len() != 29 || text.get(13..14) != Some("-") || text.get(22..23) != Some("-") {
            return None;
        }
        Some(Self {
            unix_ms: number(0..13, 10)?,
            writer: u32::try_from(number(14..22, 16)?).ok()?,
            number: u32::try_from(number(23..29, 10)?).ok()?,
        })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seg-{}.ndjson", self.short())
    }
}

impl FromStr for SegmentName {
    type Err = ();

    fn from_str(name: &str) -> std::result::Result<Self, ()> {
        let short = name.strip_prefix("seg-").and_then(|rest| rest.strip_suffix(".ndjson"));
        short.and_then(Self::from_short).ok_or(())
    }
}

/// When is a line durable?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the device has it: it survives the process, the operating system and the power supply.
    #[default]
    Fsync,
    /// When the operating system has it: it survives the process, not the machine.
    Os,
}

/// A segment that this process created and alone writes to, until it is sealed or something fails.
#[derive(Debug)]
pub(super) struct SegmentWriter<S: Storage> {
    name: SegmentName,
    binding: Binding,
    file: S::File,
    durability: Durability,
    /// Where the next line goes.
    end: u64,
    /// Zeros stand up to here.
    ahead: u64,
    lines: u64,
    /// How many of `lines` are durable.
    durable_lines: u64,
    opened_at: Duration,
}

impl<S: Storage> SegmentWriter<S> {
    /// Creates the segment; its name is durable when this returns.
    ///
    /// `Ok(None)` when the name is taken: try the next.
    pub(super) fn create(
        storage: &S,
        name: SegmentName,
        durability: Durability,
        opened_at: Duration,
    ) -> Result<Option<Self>> {
        let file_name = name.to_string();
        let file = match storage.create_new(&file_name) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(Error::io("create", storage.path_of(&file_name), error)),
        };
        let segment = Self {
            name,
            binding: Binding::of(name),
            file,
            durability,
            end: 0,
            ahead: 0,
            lines: 0,
            durable_lines: 0,
            opened_at,
        };
        if durability == Durability::Fsync
            && let Err(error) = storage.sync_dir()
        {
            segment.abandon(storage);
            return Err(Error::io("sync the directory", storage.path(), error));
        }
        Ok(Some(segment))
    }

    /// How many lines were written, durable or not.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// What binds its lines to it.
    pub(super) fn binding(&self) -> Binding {
        self.binding
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.opened_at)
    }

    /// Writes framed lines, after which the segment has `lines` of them, and zeros ahead of the next ones.
    pub(super) fn write(&mut self, storage: &S, framed: &[u8], lines: u64) -> Result<()> {
        let bytes = u64::try_from(framed.len()).unwrap_or(u64::MAX);
        let end = self.end.saturating_add(bytes);
        write_all(storage, &self.file, self.end, framed)
            .map_err(|error| self.fail(storage, "write", error))?;
        self.end = end;
        self.lines = lines;
        if end > self.ahead {
            let step = bytes.saturating_mul(AHEAD_WRITES).next_power_of_two();
            let ahead = end.next_multiple_of(step.clamp(LEAST_AHEAD_BYTES, MOST_AHEAD_BYTES));
            let length = usize::try_from(ahead - end).unwrap_or_default();
            // Zeros are for speed. Where there is no room for them, there may still be room for lines.
            match write_all(storage, &self.file, end, ZEROS.get(..length).unwrap_or_default()) {
                Ok(()) => self.ahead = ahead,
                Err(error) if is_out_of_space(&error) => self.ahead = end,
                Err(error) => return Err(self.fail(storage, "write", error)),
            }
        }
        Ok(())
    }

    /// Blocks until everything written is durable.
    pub(super) fn sync(&mut self, storage: &S) -> Result<()> {
        if self.durability == Durability::Fsync {
            storage.sync_data(&self.file).map_err(|error| self.fail(storage, "sync", error))?;
        }
        self.durable_lines = self.lines;
        Ok(())
    }

    /// Says no when somebody deleted the segment: what was written to it is nobody's to read.
    pub(super) fn check_name(&self, storage: &S) -> Result<()> {
        match storage.has_name(&self.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.fail(storage, "find", std::io::ErrorKind::NotFound.into())),
            Err(error) => Err(self.fail(storage, "find", error)),
        }
    }

    /// Ends the segment: no line will follow, and a reader can tell how many there were.
    ///
    /// Whether it succeeds or not, the lines that were durable stay so.
    pub(super) fn seal(mut self, storage: &S) -> Result<()> {
        let mut seal = Vec::new();
        line::frame_seal(self.lines, self.binding, self.end, &mut seal);
        let end = self.end.saturating_add(u64::try_from(seal.len()).unwrap_or(u64::MAX));
        write_all(storage, &self.file, self.end, &seal).map_err(|error| self.fail(storage, "seal", error))?;
        self.sync(storage)?;
        storage.truncate(&self.file, end).map_err(|error| self.fail(storage, "truncate", error))
    }

    /// Leaves the segment for good after a failure, and removes it when nothing in it was acknowledged: a full
    /// disk must not fill with empty segments.
    pub(super) fn abandon(self, storage: &S) {
        if self.durable_lines == 0 {
            // Best effort: what stays behind was never acknowledged, and a reader copes with it.
            let _ = storage.unlink(&self.name.to_string());
        }
    }

    fn fail(&self, storage: &S, action: &'static str, error: std::io::Error) -> Error {
        Error::io_at(action, storage.path_of(&self.name.to_string()), self.end, error)
    }
}

fn is_out_of_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
