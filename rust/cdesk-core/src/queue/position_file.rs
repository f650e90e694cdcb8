//! Where a consumer keeps its position: a file that exists before it is needed.
//!
//! Invariants:
//!
//! 1. The file has two slots of one size. A slot holds `<consumed> <safe> <generation> <checksum>` and `\n`; what follows is
//!    of no interest. The slot with the higher generation counts, among those whose checksum is right.
//! 2. A position is written over the slot that does not count, in place: nothing is created and nothing grows, so a
//!    full disk can be drained, and drained segments deleted. The slot that counts is not touched before the other is
//!    durable, except that whoever opens the file writes it over itself, byte for byte.
//! 3. The presence of the file registers the consumer: no segment goes away before its time. Its name is durable before
//!    the consumer reads its first line.
//!
//! 4. The consumer itself goes on at `consumed`; what others may delete is bounded by `safe`, which is never further.
//!
//! A file that cannot be read is the oldest position. That only costs time: the sink knows better, and the ids in the lines
//! are what makes delivery exact.

use std::{fmt, io};

use super::line::parse_hex;
use super::position::{MAX_ENTRY_BYTES, Position};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{Storage, replace_durably, write_all};

/// Room for two positions of 430 segments.
const LEAST_SLOT_BYTES: usize = 32 << 10;
/// A file of this size is none of ours: it has room for close to a million segments.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// What a slot has besides the positions: three spaces, 20 digits, 8 digits and `\n`.
const FRAME_BYTES: usize = 3 + 20 + 8 + 1;
const SUFFIX: &str = ".position";
/// Held while a consumer registers and while one deletes: whoever is registered when its opening returns was seen by
/// every deletion that comes after. No consumer has a lease of this name.
pub(super) const REGISTRY_LOCK: &str = "registry.turn.lock";

/// The consumer whose position is in the file of that name.
pub(super) fn consumer_of(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(SUFFIX).filter(|consumer| check_name(consumer).is_ok())
}

/// The name becomes part of file names.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_good = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if is_good { Ok(()) } else { Err(Error::invalid_name("consumer name", name)) }
}

/// How far a consumer has come, and how much of that nobody needs again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the consumer goes on.
    pub(super) consumed: Position,
    /// What its sink has in a form that survives anything. A part of `consumed`.
    pub(super) safe: Position,
}

impl Progress {
    /// Moves forward, segment by segment.
    pub(super) fn advance_to(&mut self, consumed: &Position, safe: &Position) {
        self.consumed.advance_to(consumed);
        self.safe.advance_to(safe);
        self.safe.fall_back_to(&self.consumed);
    }

    /// Moves backward, segment by segment.
    pub(super) fn fall_back_to(&mut self, position: &Position) {
        self.consumed.fall_back_to(position);
        self.safe.fall_back_to(position);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(SegmentName) -> bool) {
        self.consumed.retain(&keep);
        self.safe.retain(&keep);
    }

    /// The part of it that fits into so many bytes: what it knows of the oldest segments.
    fn fitting(&self, max_bytes: usize) -> Self {
        let half = max_bytes / 2;
        Self { consumed: self.consumed.fitting(half), safe: self.safe.fitting(half) }
    }

    /// Room for one that knows as many segments as `consumed`, whatever of them is safe.
    fn text_bytes(&self) -> usize {
        2 * self.consumed.to_string().len()
    }
}

/// The file of one consumer, which holds its lease.
pub(super) struct PositionFile<S: Storage> {
    consumer: String,
    /// `None` when a failure left it open which file has the name.
    file: Option<S::File>,
    slot_bytes: usize,
    newest: Slot,
    /// Did the last write fail? Then power loss may leave the slot that does not count as one that does.
    is_in_doubt: bool,
    /// For a text of so many bytes there was no room when it was tried last.
    refused_bytes: usize,
}

/// The slot that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// 0 or 1.
    index: usize,
    generation: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
struct Content {
    /// 0 unless the file has two slots.
    slot_bytes: usize,
    newest: Option<(Slot, Progress)>,
}

impl<S: Storage> fmt::Debug for PositionFile<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PositionFile")
            .field("consumer", &self.consumer)
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> PositionFile<S> {
    /// Registers the consumer, and says where it is to go on.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn open(storage: &S, consumer: &str) -> Result<(Self, Progress)> {
        let name = file_name(consumer);
        let content = read(storage, &name).unwrap_or_default().unwrap_or_default();
        let (newest, progress) =
            content.newest.unwrap_or((Slot { index: 0, generation: 0 }, Progress::default()));
        if content.slot_bytes == 0 {
            let slot_bytes = slot_bytes_for(progress.text_bytes());
            let file = Self::create(storage, consumer, slot_bytes, newest.generation, &progress)?;
            return Ok((file, progress));
        }
        let file = storage.open(&name).map_err(fail(storage, &name, "open"))?;
        // Written once more, over itself: who wrote it may have died, or failed, before it and its name were durable.
        write(storage, &name, &file, content.slot_bytes, newest, &progress)?;
        storage.sync_dir().map_err(fail(storage, &name, "sync the directory of"))?;
        let consumer = consumer.to_owned();
        let slot_bytes = content.slot_bytes;
        let file = Some(file);
        Ok((Self { consumer, file, slot_bytes, newest, is_in_doubt: false, refused_bytes: 0 }, progress))
    }

    /// Returns when the progress is durable.
    ///
    /// # Errors
    /// What the operating system says. Where the file would have to grow and cannot, what fits in is durable: enough to
    /// delete the oldest segments, after which there is room.
    pub(super) fn store(&mut self, storage: &S, progress: &Progress) -> Result<()> {
        let name = file_name(&self.consumer);
        let length = u64::try_from(2 * self.slot_bytes).unwrap_or(u64::MAX);
        if storage.stat(&name).map_or(true, |stat| stat.bytes != length) {
            self.file = None; // somebody removed or cut it: the consumer must be registered, and found where it stands
        }
        let grown = self.reserve(storage, progress.text_bytes());
        self.file(storage)?; // which may be another than before, of another size
        let fitting;
        let stored = if grown.is_ok() {
            progress
        } else {
            fitting = progress.fitting(self.slot_bytes.saturating_sub(FRAME_BYTES));
            &fitting
        };
        let next = Slot { index: 1 - self.newest.index, generation: self.newest.generation + 1 };
        let slot_bytes = self.slot_bytes;
        self.is_in_doubt = true;
        let file = self.file(storage)?;
        write(storage, &name, file, slot_bytes, next, stored).inspect_err(|_| {
            // What may not be durable must not be seen: others delete by it. The slot that counts is the other one.
            let _ = storage.write(file, offset_of(next, slot_bytes), b"\0");
        })?;
        (self.newest, self.is_in_doubt) = (next, false);
        grown
    }

    /// Returns when as much of what was consumed durably as `safe` says is durably safe.
    ///
    /// # Errors
    /// As [`PositionFile::store`].
    pub(super) fn advance_safe(&mut self, storage: &S, safe: &Position) -> Result<()> {
        let stored = self.stored(storage)?;
        let mut progress = stored.clone();
        progress.advance_to(&Position::default(), safe);
        if progress == stored { Ok(()) } else { self.store(storage, &progress) }
    }

    /// Returns when no segment is durably further than in `position`, and the consumer is registered.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn fall_back_to(&mut self, storage: &S, position: &Position) -> Result<()> {
        let content = read(storage, &file_name(&self.consumer))?;
        let is_registered = content.is_some(); // unless somebody removed the file
        let newest = content.and_then(|content| content.newest);
        let stored = newest.map_or_else(Progress::default, |(_, progress)| progress);
        let mut least = stored.clone();
        least.fall_back_to(position);
        let is_durable = least == stored && is_registered && !self.is_in_doubt;
        if is_durable { Ok(()) } else { self.store(storage, &least) }
    }

    /// Makes room for a position of so many segments, while there is some. Where there was none, only more segments are
    /// a reason to try again.
    ///
    /// # Errors
    /// What the operating system says; what was stored is as before.
    pub(super) fn reserve_segments(&mut self, storage: &S, segments: usize) -> Result<()> {
        let text_bytes = segments.saturating_mul(2 * MAX_ENTRY_BYTES);
        if text_bytes <= self.refused_bytes {
            return Ok(());
        }
        let refused_bytes = text_bytes.saturating_mul(5) / 4;
        self.reserve(storage, text_bytes).inspect_err(|_| self.refused_bytes = refused_bytes)
    }

    fn reserve(&mut self, storage: &S, text_bytes: usize) -> Result<()> {
        self.file(storage)?;
        if text_bytes + FRAME_BYTES <= self.slot_bytes {
            return Ok(());
        }
        let progress = self.stored(storage)?;
        self.file = None; // which file has the name is open until that of the next is durable
        *self = Self::create(
            storage,
            &self.consumer,
            slot_bytes_for(text_bytes),
            self.newest.generation,
            &progress,
        )?;
        Ok(())
    }

    fn stored(&self, storage: &S) -> Result<Progress> {
        let content = read(storage, &file_name(&self.consumer))?.unwrap_or_default();
        Ok(content.newest.map_or_else(Progress::default, |(_, progress)| progress))
    }

    /// The file that has the name.
    fn file(&mut self, storage: &S) -> Result<&S::File> {
        if self.file.is_none() {
            let refused_bytes = self.refused_bytes;
            *self = Self { refused_bytes, ..Self::open(storage, &self.consumer)?.0 };
        }
        self.file.as_ref().ok_or_else(|| Error::QueueClosed { path: storage.path().to_owned() })
    }

    fn create(
        storage: &S,
        consumer: &str,
        slot_bytes: usize,
        generation: u64,
        progress: &Progress,
    ) -> Result<Self> {
        let name = file_name(consumer);
        let newest = Slot { index: 0, generation: generation + 1 };
        let mut bytes = text_of(newest, progress);
        bytes.resize(2 * slot_bytes, 0);
        let file = replace_durably(storage, &name, &format!("{name}.tmp"), &bytes)?;
        let (consumer, file) = (consumer.to_owned(), Some(file));
        Ok(Self { consumer, file, slot_bytes, newest, is_in_doubt: false, refused_bytes: 0 })
    }
}

fn write<S: Storage>(
    storage: &S,
    name: &str,
    file: &S::File,
    slot_bytes: usize,
    slot: Slot,
    progress: &Progress,
) -> Result<()> {
    write_all(storage, file, offset_of(slot, slot_bytes), &text_of(slot, progress))
        .map_err(fail(storage, name, "write"))?;
    storage.sync_data(file).map_err(fail(storage, name, "sync"))
}

/// The progress of a consumer, `None` when it is not registered.
pub(super) fn load<S: Storage>(storage: &S, consumer: &str) -> Option<Progress> {
    match read(storage, &file_name(consumer)) {
        Ok(None) => None,
        Ok(Some(content)) => Some(content.newest.map_or_else(Progress::default, |(_, progress)| progress)),
        Err(_) => Some(Progress::default()),
    }
}

/// Makes durable what another consumer may have written a moment ago.
///
/// # Errors
/// What the operating system says.
pub(super) fn sync<S: Storage>(storage: &S, consumer: &str) -> Result<()> {
    let name = file_name(consumer);
    match storage.open(&name).and_then(|file| storage.sync_data(&file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // it has gone, and waits for nothing
        outcome => outcome.map_err(fail(storage, &name, "sync")),
    }
}

/// Takes the registration back, durably.
///
/// # Errors
/// What the operating system says.
pub(super) fn remove<S: Storage>(storage: &S, consumer: &str) -> Result<()> {
    let name = file_name(consumer);
    match storage.unlink(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(fail(storage, &name, "delete")(error));
        }
        _ => {}
    }
    storage.sync_dir().map_err(fail(storage, &name, "sync the directory of"))
}

fn file_name(consumer: &str) -> String {
    format!("{consumer}{SUFFIX}")
}

fn fail<S: Storage>(storage: &S, name: &str, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = storage.path_of(name);
    move |error| Error::io(action, path, error)
}

fn offset_of(slot: Slot, slot_bytes: usize) -> u64 {
    u64::try_from(slot.index * slot_bytes).unwrap_or(u64::MAX)
}

fn slot_bytes_for(text_bytes: usize) -> usize {
    (text_bytes + FRAME_BYTES).next_power_of_two().max(LEAST_SLOT_BYTES)
}

fn text_of(slot: Slot, progress: &Progress) -> Vec<u8> {
    let text = format!("{} {} {}", progress.consumed, progress.safe, slot.generation);
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text} {crc:08x}\n").into_bytes()
}

/// `None` when there is no such file.
fn read<S: Storage>(storage: &S, name: &str) -> Result<Option<Content>> {
    let bytes = match storage.stat(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        stat => stat.map_err(fail(storage, name, "look at"))?.bytes,
    };
    let Some(length) = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_FILE_BYTES) else {
        return Ok(Some(Content::default()));
    };
    let mut bytes = vec![0; length];
    let read = storage.read(name, 0, &mut bytes).map_err(fail(storage, name, "read"))?;
    if read < length || length % 2 == 1 || length / 2 < LEAST_SLOT_BYTES {
        return Ok(Some(Content::default()));
    }
    let slot_bytes = length / 2;
    let slots = bytes.chunks(slot_bytes).enumerate();
    let good = slots.filter_map(|(index, slot)| {
        let (generation, progress) = decode(slot)?;
        Some((Slot { index, generation }, progress))
    });
    let newest = good.max_by_key(|(slot, _)| slot.generation);
    Ok(Some(Content { slot_bytes, newest }))
}

fn decode(slot: &[u8]) -> Option<(u64, Progress)> {
    let end = memchr::memchr(b'\n', slot)?;
    let text = std::str::from_utf8(slot.get(..end)?).ok()?;
    let (text, crc) = text.rsplit_once(' ')?;
    if parse_hex(crc.as_bytes())? != crc32c::crc32c(text.as_bytes()) {
        return None;
    }
    let (consumed, text) = text.split_once(' ')?;
    let (safe, generation) = text.split_once(' ')?;
    let progress = Progress { consumed: consumed.parse().ok()?, safe: safe.parse().ok()? };
    Some((generation.parse().ok()?, progress))
}

#[cfg(test)]
#[path = "position_file_tests.rs"]
mod tests;
