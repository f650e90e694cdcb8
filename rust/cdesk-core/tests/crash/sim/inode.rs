//! The bytes of one file: what a reader sees, and what power loss leaves.

use super::disk::ProcessId;
use super::fate::{Mood, put};
use super::landing::{Landing, Landings};
use super::rng::Rng;

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { bytes: usize },
}

/// One file, whatever names it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inode {
    /// What everybody who reads sees: the cache of the operating system.
    current: Vec<u8>,
    /// What is on the device.
    durable: Vec<u8>,
    /// What is on its way there.
    pending: Vec<Change>,
    /// What a reader may come in the middle of.
    landings: Landings,
    pub(crate) modified_unix_ms: u64,
    /// Is it, or was it, a segment of the log?
    pub(super) is_segment: bool,
}

impl Inode {
    /// What is on the device.
    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.current
    }

    /// Copies what a reader gets: now and then older bytes first, when a write `may_land` meanwhile.
    pub(crate) fn read(
        &mut self,
        offset: usize,
        into: &mut [u8],
        may_land: impl Fn(&Landing) -> bool,
        rng: &mut Rng,
    ) -> usize {
        let bytes = self.current.get(offset..).unwrap_or_default();
        let read = bytes.len().min(into.len());
        into[..read].copy_from_slice(&bytes[..read]);
        self.landings.meet(offset, &mut into[..read], may_land, rng);
        read
    }

    /// `at` is the operation that writes.
    pub(crate) fn write(&mut self, at: u64, process: ProcessId, offset: usize, bytes: &[u8]) {
        self.landings.note(at, process, offset, bytes.len(), &self.current);
        put(&mut self.current, offset, bytes);
        self.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.landings.forget();
        self.current.resize(bytes, 0);
        self.pending.push(Change::Truncate { bytes });
    }

    /// It has another name: whoever opens that one comes after every write so far.
    pub(crate) fn settle(&mut self) {
        self.landings.forget();
    }

    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Truncate { bytes } => self.durable.resize(bytes, 0),
            }
        }
    }

    /// A sync that fails: the next one knows nothing of the bytes. Most never reach the device; now and then they have,
    /// and only the answer was lost. Readers may go on seeing them, until the cache is dropped.
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) {
        if rng.one_in(4) {
            self.sync();
        }
        self.pending.clear();
        if rng.one_in(2) {
            self.current = self.durable.clone();
            self.landings.forget();
        }
    }

    /// Any part of what was not synced survives, in any state. `stale` is what stands in the blocks of another file.
    pub(crate) fn lose_power(&mut self, stale: &[u8], rng: &mut Rng) {
        self.landings.forget();
        let mood = Mood::draw(rng);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Truncate { bytes } => {
                    if rng.one_in(2) {
                        self.durable.resize(bytes, 0);
                    }
                }
                Change::Write { offset, bytes } => {
                    mood.fate(rng).befall(&mut self.durable, offset, bytes, stale, rng);
                }
            }
        }
        self.current = self.durable.clone();
    }
}
