//! Writes that may still be landing while somebody reads.
//!
//! A read is no snapshot: the kernel copies page by page, in ascending order, and a write may land in between. Then the
//! first part of what was read is older than the rest. What was seen once stays: whoever reads next sees all of it.

use std::ops::Range;

use super::disk::ProcessId;
use super::rng::Rng;

/// Longer ones are zeros written ahead.
const MAX_BYTES: usize = 16 << 10;

/// A write that nobody has seen.
#[derive(Debug, Clone)]
pub(crate) struct Landing {
    /// Which operation of the machine it is.
    pub(crate) at: u64,
    pub(crate) process: ProcessId,
    offset: usize,
    /// What stood there before.
    old: Vec<u8>,
}

impl Landing {
    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.old.len()
    }

    /// Puts back what stood there before, up to a place in the file.
    fn undo(&self, until: usize, start: usize, into: &mut [u8]) {
        for (at, &byte) in self.range().zip(&self.old).filter(|(at, _)| *at < until) {
            if let Some(seen) = at.checked_sub(start).and_then(|at| into.get_mut(at)) {
                *seen = byte;
            }
        }
    }
}

/// Those of one file, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Landings(Vec<Landing>);

impl Landings {
    /// A write of so many bytes is about to change the file.
    pub(super) fn note(&mut self, at: u64, process: ProcessId, offset: usize, bytes: usize, file: &[u8]) {
        if bytes > MAX_BYTES {
            return;
        }
        let old = file.get(offset..).unwrap_or_default();
        let mut old = old[..bytes.min(old.len())].to_vec();
        old.resize(bytes, 0);
        self.0.push(Landing { at, process, offset, old });
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// A reader has these bytes of the file, from `start` on: perhaps it came in the middle of the last writes. Only
    /// those count that `may_land` while it reads.
    pub(super) fn meet(
        &mut self,
        start: usize,
        bytes: &mut [u8],
        may_land: impl Fn(&Landing) -> bool,
        rng: &mut Rng,
    ) {
        let end = start + bytes.len();
        let landed = self.0.iter().rposition(|landing| !may_land(landing)).map_or(0, |at| at + 1);
        let is_seen = |landing: &Landing| landing.range().start < end && start < landing.range().end;
        if !self.0.iter().any(is_seen) {
            return;
        }
        if landed < self.0.len() && rng.one_in(2) {
            let late = &self.0[landed + rng.index(self.0.len() - landed)..];
            let landing = &late[rng.index(late.len())];
            // Up to here the bytes are as they were before the late ones.
            let split = landing.offset + rng.index(landing.old.len() + 1);
            late.iter().rev().for_each(|landing| landing.undo(split, start, bytes));
        }
        self.0.clear();
    }
}
