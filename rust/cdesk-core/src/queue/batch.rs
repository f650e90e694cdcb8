//! What a consumer gives out at a time.

use super::position::Position;

/// Lines to be delivered together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// The lines as they stand in the log, each with its `\n`.
    pub ndjson: Vec<u8>,
    /// How many there are.
    pub lines: usize,
    /// Where the consumer stands when this batch, and every one before it, is consumed.
    pub position: Position,
}

/// How large a batch may become. It holds one line at least, however low the limits are.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    max_lines: usize,
    max_bytes: usize,
}

impl BatchLimits {
    /// As large as it comes.
    pub const NONE: Self = Self { max_lines: usize::MAX, max_bytes: usize::MAX };

    /// The most lines; 10,000 by default.
    #[must_use]
    pub const fn max_lines(mut self, lines: usize) -> Self {
        self.max_lines = lines;
        self
    }

    /// The most bytes; 8 MiB by default.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_lines: 10_000, max_bytes: 8 << 20 }
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) ndjson: Vec<u8>,
    pub(super) lines: usize,
    limits: BatchLimits,
    is_closed: bool,
}

impl Gathering {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { ndjson: Vec::new(), lines: 0, limits, is_closed: false }
    }

    /// One that takes nothing.
    pub(super) fn closed() -> Self {
        Self { is_closed: true, ..Self::new(BatchLimits::default()) }
    }

    /// Takes the line, or refuses because the batch is full.
    pub(super) fn push(&mut self, line: &[u8]) -> bool {
        let has_room =
            self.lines < self.limits.max_lines && self.ndjson.len() + line.len() < self.limits.max_bytes;
        if self.is_closed || (!has_room && self.lines > 0) {
            return false;
        }
        self.ndjson.extend_from_slice(line);
        self.ndjson.push(b'\n');
        self.lines += 1;
        true
    }
}
