//! Reads one segment, as far as it goes for now.
//!
//! A segment whose writer lives (it holds the lock) may change under the reader's eyes. Bytes that make no sense
//! there are *not yet*, until a good line after them proves that the writer has passed; and because one read is
//! no snapshot, they are read a second time before they are called damaged. In a segment whose writer has gone,
//! bad bytes at the end are a torn tail, and bad bytes elsewhere are damage.

use std::io;

use super::consumer::Gathering;
use super::line::{Content, MAX_FRAMED_BYTES};
use super::quarantine::{Quarantine, count_non_nul};
use super::scan::{Found, Scan, Tail};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{LockRequest, Storage};

/// The first read, which on an idle log is the only one.
const FIRST_READ_BYTES: usize = 16 << 10;
/// The largest read; a line and the start of the next fit in.
const MAX_READ_BYTES: usize = 2 << 20;
const _: () = assert!(MAX_READ_BYTES > MAX_FRAMED_BYTES);

/// How far the reading of one segment has come.
#[derive(Debug)]
pub(super) struct SegmentReader {
    name: SegmentName,
    /// Lines consumed: the highest `_seq` given out, plus one.
    pub(super) consumed: u64,
    /// Everything before this byte has been dealt with.
    good_end: u64,
    /// Set when nothing will be added: how many lines there are.
    finished: Option<Finished>,
}

/// A segment that will not grow, read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) lines: u64,
    pub(super) is_sealed: bool,
}

/// Why a reader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There is nothing more for now, or ever.
    AtEnd,
    /// The batch is full.
    Full,
    /// The file is gone: another consumer deleted it, or its writer, who had nothing acknowledged in it.
    Gone,
}

/// What to do after one good line.
enum Step {
    On,
    Full,
    Reread,
}

impl SegmentReader {
    pub(super) fn new(name: SegmentName, consumed: u64, finished: Option<Finished>) -> Self {
        Self { name, consumed, good_end: 0, finished }
    }

    pub(super) fn finished(&self) -> Option<Finished> {
        self.finished
    }

    /// Gathers lines until the batch is full or there are no more for now.
    pub(super) fn read<S: Storage>(
        &mut self,
        storage: &S,
        quarantine: &mut Quarantine<S>,
        batch: &mut Gathering,
        buffer: &mut Vec<u8>,
    ) -> Result<Stopped> {
        if self.finished.is_some() {
            return Ok(Stopped::AtEnd);
        }
        match self.read_on(storage, quarantine, batch, buffer) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Stopped::Gone),
            outcome => outcome,
        }
    }

    fn read_on<S: Storage>(
        &mut self,
        storage: &S,
        quarantine: &mut Quarantine<S>,
        batch: &mut Gathering,
        buffer: &mut Vec<u8>,
    ) -> Result<Stopped> {
        let name = self.name.to_string();
        let fail = |offset| {
            let path = storage.path_of(&name);
            move |error| Error::io_at("read", path, offset, error)
        };
        // Asked before reading: what is read after the writer has gone is all there will ever be.
        let has_writer = has_writer(storage, &name).map_err(fail(0))?;
        let mut settled = if has_writer { 0 } else { u64::MAX };
        let mut cursor = self.good_end;
        let mut window = FIRST_READ_BYTES;
        let mut seal = None;
        'read: loop {
            buffer.resize(window, 0);
            let read = storage.read(&name, cursor, buffer).map_err(fail(cursor))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            let is_end = read < window;
            let tail = match (has_writer, is_end) {
                (true, _) => Tail::Live,
                (false, true) => Tail::End,
                (false, false) => Tail::More,
            };
            let mut scan = Scan::new(bytes, tail);
            for found in scan.by_ref() {
                if let Content::Seal { lines } = found.content {
                    seal = Some(lines);
                }
                match self.take(storage, quarantine, batch, bytes, cursor, &found, &mut settled)? {
                    Step::On => {}
                    Step::Full => return Ok(Stopped::Full),
                    Step::Reread => {
                        cursor = self.good_end;
                        continue 'read;
                    }
                }
            }
            let judged = scan.judged();
            let rest = bytes.get(judged..).unwrap_or_default();
            let next = offset(cursor, judged);
            if is_end {
                let file_is_empty = cursor == 0 && read == 0;
                if (has_writer && seal.is_none()) || file_is_empty {
                    return Ok(Stopped::AtEnd); // or its writer is just about to take the lock
                }
                self.finish(storage, quarantine, seal, offset(cursor, read))?;
                return Ok(Stopped::AtEnd);
            }
            if has_writer && rest.is_empty() && bytes.last() == Some(&0) && next > self.good_end {
                return Ok(Stopped::AtEnd); // zeros written ahead
            }
            if has_writer && judged == 0 && window == MAX_READ_BYTES {
                return Ok(Stopped::AtEnd); // a line without its end, and zeros as far as one can see
            }
            cursor = next;
            window = MAX_READ_BYTES;
        }
    }

    /// Deals with one good line, and with the bad bytes before it.
    #[expect(clippy::too_many_arguments, reason = "the state of one read, which only this file sees")]
    fn take<S: Storage>(
        &mut self,
        storage: &S,
        quarantine: &mut Quarantine<S>,
        batch: &mut Gathering,
        bytes: &[u8],
        base: u64,
        found: &Found,
        settled: &mut u64,
    ) -> Result<Step> {
        let start = offset(base, found.text.start);
        let (seq, next) = match found.content {
            Content::Line { seq } => (seq, seq + 1),
            Content::Seal { lines } => (lines, lines),
            Content::Foreign { version } => {
                let path = storage.path_of(&self.name.to_string());
                return Err(Error::UnsupportedFormat { path, offset: start, version });
            }
        };
        let missing = seq.saturating_sub(self.consumed);
        if start > self.good_end || missing > 0 {
            if start > *settled {
                *settled = start;
                return Ok(Step::Reread);
            }
            quarantine.take_damaged(storage, self.name, self.good_end..start, missing)?;
        }
        if matches!(found.content, Content::Line { .. }) && seq >= self.consumed {
            let text = bytes.get(found.text.clone()).unwrap_or_default();
            if !batch.push(text) {
                return Ok(Step::Full);
            }
        }
        self.consumed = self.consumed.max(next);
        self.good_end = offset(base, found.end);
        Ok(Step::On)
    }

    /// The writer has gone and the file was read to its end.
    fn finish<S: Storage>(
        &mut self,
        storage: &S,
        quarantine: &mut Quarantine<S>,
        seal: Option<u64>,
        end: u64,
    ) -> Result<()> {
        if end > self.good_end {
            let torn = count_non_nul(storage, self.name, self.good_end)?;
            if torn > 0 && seal.is_some() {
                quarantine.take_damaged(storage, self.name, self.good_end..end, 0)?;
            } else if torn > 0 {
                quarantine.count_torn(self.name, self.good_end, torn);
            }
        }
        self.finished = Some(Finished { lines: self.consumed, is_sealed: seal.is_some() });
        Ok(())
    }
}

/// Is the process that writes this segment alive, and not done with it?
pub(super) fn has_writer<S: Storage>(storage: &S, name: &str) -> io::Result<bool> {
    Ok(storage.lock(name, LockRequest::Probe)?.is_none())
}

fn offset(base: u64, within: usize) -> u64 {
    base.saturating_add(u64::try_from(within).unwrap_or(u64::MAX))
}
