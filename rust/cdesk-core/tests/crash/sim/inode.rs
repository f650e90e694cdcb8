//! The bytes of one file: what a reader sees, and what power loss leaves.

use super::disk::ProcessId;
use super::landing::{Landing, Landings};
use super::rng::Rng;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

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
}

impl Inode {
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

    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Truncate { bytes } => self.durable.resize(bytes, 0),
            }
        }
    }

    /// A sync that fails: the bytes never reach the device, and the next sync knows nothing of them. Readers may go
    /// on seeing them, until the cache is dropped.
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) {
        self.pending.clear();
        if rng.one_in(2) {
            self.current = self.durable.clone();
            self.landings.forget();
        }
    }

    /// Any part of what was not synced survives, in any state.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) {
        self.landings.forget();
        let mood = rng.below(5);
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Truncate { bytes } => {
                    if rng.one_in(2) {
                        self.durable.resize(bytes, 0);
                    }
                }
                Change::Write { offset, bytes } => {
                    let fate = match mood {
                        0 => Fate::Lost,
                        1 => Fate::Whole,
                        2 => rng.pick([Fate::Lost, Fate::Whole]),
                        _ => rng.pick([
                            Fate::Lost,
                            Fate::Whole,
                            Fate::Torn,
                            Fate::Zeros,
                            Fate::Sectors,
                            Fate::Rubbish,
                        ]),
                    };
                    self.meet(fate, offset, bytes, rng);
                }
            }
        }
        self.current = self.durable.clone();
    }

    fn meet(&mut self, fate: Fate, offset: usize, mut bytes: Vec<u8>, rng: &mut Rng) {
        let end = offset + bytes.len();
        match fate {
            Fate::Lost => {}
            Fate::Whole => put(&mut self.durable, offset, &bytes),
            Fate::Torn => {
                let kept = rng.index(bytes.len() + 1);
                put(&mut self.durable, offset, &bytes[..kept]);
            }
            Fate::Zeros => put(&mut self.durable, offset, &vec![0; bytes.len()]),
            Fate::Sectors => {
                let mut start = 0;
                while start < bytes.len() {
                    let sector_end = ((offset + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                    let stop = sector_end.min(bytes.len());
                    if rng.one_in(2) {
                        put(&mut self.durable, offset + start, &bytes[start..stop]);
                    }
                    start = stop;
                }
            }
            Fate::Rubbish => {
                for _ in 0..=rng.below(3) {
                    let at = rng.index(bytes.len());
                    bytes[at] = bytes[at].wrapping_add(rng.pick([1, 0x20, 0x7f, 0xff]));
                }
                put(&mut self.durable, offset, &bytes);
            }
        }
        // The size may be durable where the bytes are not.
        if self.durable.len() < end && rng.one_in(3) {
            self.durable.resize(end, 0);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Lost,
    Whole,
    /// The first part.
    Torn,
    Zeros,
    /// Some of the sectors.
    Sectors,
    /// With what stood on the device before, here and there.
    Rubbish,
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}
