//! What becomes of one write that was not synced when the power goes.

use std::ops::Range;

use super::rng::Rng;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Whole,
    /// The first part.
    Torn,
    Zeros,
    /// Some of the sectors.
    Sectors,
    /// With other bytes here and there.
    Rubbish,
    /// With what stood on the device before: blocks of another segment.
    Stale,
}

/// What becomes of all writes to one file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    Lost,
    Whole,
    LostOrWhole,
    Any,
}

impl Mood {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        rng.pick([Self::Lost, Self::Whole, Self::LostOrWhole, Self::Any, Self::Any])
    }

    pub(super) fn fate(self, rng: &mut Rng) -> Fate {
        match self {
            Self::Lost => Fate::Lost,
            Self::Whole => Fate::Whole,
            Self::LostOrWhole => rng.pick([Fate::Lost, Fate::Whole]),
            Self::Any => rng.pick([
                Fate::Lost,
                Fate::Whole,
                Fate::Torn,
                Fate::Zeros,
                Fate::Sectors,
                Fate::Rubbish,
                Fate::Stale,
            ]),
        }
    }
}

impl Fate {
    /// What the file on the device is after a write with this fate. `stale` is what another file has, if there is one.
    pub(super) fn befall(
        self,
        file: &mut Vec<u8>,
        offset: usize,
        mut bytes: Vec<u8>,
        stale: &[u8],
        rng: &mut Rng,
    ) {
        let end = offset + bytes.len();
        match self {
            Self::Lost => {}
            Self::Whole => put(file, offset, &bytes),
            Self::Torn => {
                let kept = rng.index(bytes.len() + 1);
                put(file, offset, &bytes[..kept]);
            }
            Self::Zeros => put(file, offset, &vec![0; bytes.len()]),
            Self::Sectors => {
                for sector in sectors(offset, bytes.len()).filter(|_| rng.one_in(2)) {
                    put(file, offset + sector.start, &bytes[sector]);
                }
            }
            Self::Rubbish => {
                for _ in 0..=rng.below(3) {
                    let at = rng.index(bytes.len());
                    let change = rng.pick([1, 0x20, 0x7f, 0xff]);
                    // A line damaged in its version and once more is another version's for all that anybody can tell, and
                    // its segment is left alone, as it should be.
                    if !bytes[..at].ends_with(b",\"_log\":") {
                        bytes[at] = bytes[at].wrapping_add(change);
                    }
                }
                put(file, offset, &bytes);
            }
            Self::Stale => {
                cover(&mut bytes, offset, stale, rng);
                put(file, offset, &bytes);
            }
        }
        // The size may be durable where the bytes are not.
        if file.len() < end && rng.one_in(3) {
            let start = file.len();
            file.resize(end, 0);
            if rng.one_in(4) {
                cover(&mut file[start..], start, stale, rng);
            }
        }
    }
}

/// Puts stale blocks in the place of all bytes, which begin at `offset` of their file, or of some sectors of them: from
/// the same place of the other file or from another.
fn cover(bytes: &mut [u8], offset: usize, stale: &[u8], rng: &mut Rng) {
    let first = offset / SECTOR_BYTES;
    let from = if rng.one_in(2) { first } else { rng.index(stale.len() / SECTOR_BYTES + 1) };
    let is_whole = rng.one_in(2);
    for sector in sectors(offset, bytes.len()) {
        if is_whole || rng.one_in(2) {
            let start = (offset + sector.start) + from * SECTOR_BYTES - first * SECTOR_BYTES;
            let old = stale.get(start..).unwrap_or_default();
            let length = old.len().min(sector.len());
            bytes[sector.start..][..length].copy_from_slice(&old[..length]);
        }
    }
}

/// The sectors of a file in which so many bytes from `offset` on lie, as parts of those bytes.
fn sectors(offset: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let place = move |sector: usize| (sector * SECTOR_BYTES).clamp(offset, offset + length) - offset;
    (offset / SECTOR_BYTES..(offset + length).div_ceil(SECTOR_BYTES))
        .map(move |sector| place(sector)..place(sector + 1))
}

pub(super) fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}
