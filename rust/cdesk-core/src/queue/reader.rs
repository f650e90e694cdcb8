//! Reads one segment, as far as it goes for now.
//!
//! A segment whose writer lives (it holds the lock) may change under the reader's eyes. Bytes that make no sense
//! there are *not yet*, until a good line after them proves that the writer has passed; and because one read is
//! no snapshot, they are read a second time before they are called damaged. In a segment whose writer has gone,
//! bad bytes at the end are a torn tail, and bad bytes elsewhere are damage. Zeros from where the next line would start to the end
//! of a read are taken for those that were written ahead: were they damage, what lies behind waits for the end of the writer.
//!
//! Reading always begins where a line does: at the start of the segment, or after a line that was dealt with. What was
//! salvaged beside damage is given out when the next intact line is known, and only what fits before that: a wrong number
//! costs a line, and does not hide those that follow.

use std::io;

use super::batch::Gathering;
use super::damaged::{Damaged, count_non_nul};
use super::extent::{Growth, growth, refuse_foreign};
use super::line::{Binding, Content, MAX_FRAMED_BYTES, MIN_FRAMED_BYTES};
use super::scan::{Found, Scan, Start, Tail};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// The first read, which on an idle log is the only one.
const FIRST_READ_BYTES: usize = 16 << 10;
/// The largest read; a line and the start of the next fit in.
const MAX_READ_BYTES: usize = 2 << 20;
const _: () = assert!(MAX_READ_BYTES > MAX_FRAMED_BYTES);

/// How far the reading of one segment has come.
#[derive(Debug)]
pub(super) struct SegmentReader {
    name: SegmentName,
    binding: Binding,
    /// Lines consumed: the highest `_seq` given out, plus one.
    pub(super) consumed: u64,
    /// Everything before this byte has been dealt with, and a line starts here.
    good_end: u64,
    /// The highest `_seq` of a good line, plus one, whoever consumed it: what comes after is damage or nothing.
    deliverable: u64,
    has_seal: bool,
    /// Set when nothing will be added and everything was read.
    finished: Option<Finished>,
    /// Set when it is of another version, which does not change.
    foreign: Option<Error>,
}

/// A segment that will not grow, read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// Who has consumed so many has consumed all that can be read.
    pub(super) lines: u64,
    /// The size of the file.
    pub(super) bytes: u64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    Full,
}

/// A line in the segment.
struct Line<'a> {
    start: u64,
    text: &'a [u8],
    end: u64,
    content: Content,
}

/// A line that was found beside damage, kept until it is known what follows.
struct Salvaged {
    start: u64,
    text: Vec<u8>,
    end: u64,
    content: Content,
}

/// Where the lines of one reading go.
struct Delivery<'a, S: Storage> {
    storage: &'a S,
    damaged: &'a mut Damaged<S>,
    batch: &'a mut Gathering,
}

impl SegmentReader {
    pub(super) fn new(name: SegmentName, consumed: u64) -> Self {
        Self {
            name,
            binding: Binding::of(name),
            consumed,
            good_end: 0,
            deliverable: 0,
            has_seal: false,
            finished: None,
            foreign: None,
        }
    }

    pub(super) fn finished(&self) -> Option<Finished> {
        self.finished
    }

    /// Gathers lines until the batch is full or there are no more for now.
    pub(super) fn read<S: Storage>(
        &mut self,
        storage: &S,
        damaged: &mut Damaged<S>,
        batch: &mut Gathering,
        buffer: &mut Vec<u8>,
    ) -> Result<Stopped> {
        if self.finished.is_some() {
            return Ok(Stopped::AtEnd);
        }
        if let Some(foreign) = &self.foreign {
            return Err(foreign.clone());
        }
        match self.read_on(&mut Delivery { storage, damaged, batch }, buffer) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Stopped::Gone),
            outcome => outcome,
        }
    }

    fn read_on<S: Storage>(&mut self, to: &mut Delivery<'_, S>, buffer: &mut Vec<u8>) -> Result<Stopped> {
        let name = self.name.to_string();
        let storage = to.storage;
        let fail = |offset| {
            let path = storage.path_of(&name);
            move |error| Error::io_at("read", path, offset, error)
        };
        // Asked before reading: what is read after the writer has gone is all there will ever be.
        let is_open = growth(storage, &name).map_err(fail(0))? == Growth::Open;
        // Bad bytes before here were read after a good line behind them was.
        let mut settled = if is_open { 0 } else { u64::MAX };
        'again: loop {
            let mut salvaged = Vec::new();
            let (mut cursor, mut start) = (self.good_end, Start::Line);
            let mut window = FIRST_READ_BYTES;
            loop {
                buffer.resize(window, 0);
                let read = storage.read(&name, cursor, buffer).map_err(fail(cursor))?;
                let bytes = buffer.get(..read).unwrap_or_default();
                let is_end = read < window;
                let tail = match (is_open, is_end) {
                    (true, _) => Tail::Live,
                    (false, true) => Tail::End,
                    (false, false) => Tail::More,
                };
                let mut scan = Scan::new(self.binding, cursor, bytes, start, tail);
                for found in scan.by_ref() {
                    if found.is_salvaged {
                        salvaged.push(Salvaged::of(&found, cursor, bytes));
                        continue;
                    }
                    let line = Line::of(&found, cursor, bytes);
                    if self.is_after_bad_bytes(&line) && line.start > settled {
                        settled = line.start;
                        continue 'again;
                    }
                    let bound = Some(line.content.lines_before());
                    if self.take_salvaged(to, &mut salvaged, bound) == Step::Full
                        || self.take(to, &line) == Step::Full
                    {
                        return Ok(Stopped::Full);
                    }
                }
                let (judged, next_start) = scan.judged();
                let has_rest = judged < read;
                let next = offset(cursor, judged);
                if is_end {
                    if is_open && !self.has_seal {
                        return Ok(Stopped::AtEnd);
                    }
                    if self.take_salvaged(to, &mut salvaged, None) == Step::Full {
                        return Ok(Stopped::Full);
                    }
                    self.finish(to, offset(cursor, read))?;
                    return Ok(Stopped::AtEnd);
                }
                if is_open && !has_rest && bytes.last() == Some(&0) && next > self.good_end {
                    return Ok(Stopped::AtEnd); // zeros written ahead
                }
                if is_open && judged == 0 && window == MAX_READ_BYTES {
                    return Ok(Stopped::AtEnd); // a line without its end, and zeros as far as one can see
                }
                (cursor, start) = (next, next_start);
                window = MAX_READ_BYTES;
            }
        }
    }

    fn is_after_bad_bytes(&self, line: &Line<'_>) -> bool {
        line.start > self.good_end || line.content.lines_before() > self.consumed
    }

    /// Deals with lines that were found beside damage, as far as their numbers go up, leave no more lines out than had room
    /// before them, and stay below the `bound`, which is that of the next intact line.
    fn take_salvaged<S: Storage>(
        &mut self,
        to: &mut Delivery<'_, S>,
        salvaged: &mut Vec<Salvaged>,
        bound: Option<u64>,
    ) -> Step {
        let mut least = 0;
        for found in salvaged.drain(..) {
            let seq = found.content.lines_before();
            let room = found.start.saturating_sub(self.good_end) / MIN_FRAMED_BYTES;
            let fits = seq >= least
                && seq.saturating_sub(self.consumed) <= room
                && bound.is_none_or(|bound| found.content.lines_after() <= bound);
            if !fits {
                continue;
            }
            least = found.content.lines_after();
            let Salvaged { start, text, end, content } = &found;
            if self.take(to, &Line { start: *start, text, end: *end, content: *content }) == Step::Full {
                return Step::Full;
            }
        }
        Step::On
    }

    /// Deals with one good line, and with the bad bytes before it.
    fn take<S: Storage>(&mut self, to: &mut Delivery<'_, S>, line: &Line<'_>) -> Step {
        let seq = line.content.lines_before();
        if self.is_after_bad_bytes(line) {
            let missing = seq.saturating_sub(self.consumed);
            to.damaged.take(to.storage, self.name, self.good_end..line.start, missing);
            // Judged for good, whether or not the batch has room for the line.
            (self.good_end, self.consumed) = (line.start, self.consumed.max(seq));
        }
        match line.content {
            Content::Seal { .. } => self.has_seal = true,
            Content::Line { .. } if seq >= self.consumed && !to.batch.push(line.text) => return Step::Full,
            Content::Line { seq } => self.deliverable = self.deliverable.max(seq + 1),
        }
        self.consumed = self.consumed.max(line.content.lines_after());
        self.good_end = line.end;
        Step::On
    }

    /// The writer has gone and the file was read to its end.
    fn finish<S: Storage>(&mut self, to: &mut Delivery<'_, S>, end: u64) -> Result<()> {
        if self.good_end == 0 {
            let is_ours = refuse_foreign(to.storage, self.name);
            if let Err(error @ Error::UnsupportedFormat { .. }) = &is_ours {
                self.foreign = Some(error.clone());
            }
            is_ours?;
        }
        if end > self.good_end {
            let torn = count_non_nul(to.storage, self.name, self.good_end)?;
            if torn > 0 && self.has_seal {
                to.damaged.take(to.storage, self.name, self.good_end..end, 0);
            } else if torn > 0 {
                to.damaged.count_torn(self.name, self.good_end, torn);
            }
        }
        self.finished = Some(Finished { lines: self.deliverable, bytes: end, is_sealed: self.has_seal });
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn of(found: &Found, base: u64, bytes: &'a [u8]) -> Self {
        Self {
            start: offset(base, found.text.start),
            text: bytes.get(found.text.clone()).unwrap_or_default(),
            end: offset(base, found.end),
            content: found.content,
        }
    }
}

impl Salvaged {
    fn of(found: &Found, base: u64, bytes: &[u8]) -> Self {
        let Line { start, text, end, content } = Line::of(found, base, bytes);
        Self { start, text: text.to_owned(), end, content }
    }
}

fn offset(base: u64, within: usize) -> u64 {
    base.saturating_add(u64::try_from(within).unwrap_or(u64::MAX))
}
