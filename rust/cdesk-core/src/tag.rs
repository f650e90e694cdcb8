//! Query tags: `cdesk_` and the first 8 hex digits of a UUID v4, never the same twice in one installation.
//!
//! Eight random digits collide at about 77,000 tags. These are a counter from 0 to 2^32, which is unique, sent through
//! a keyed permutation, which makes it look random and keeps it unique; the other bits of the UUID are a keyed hash of
//! the counter. The counter is reserved in blocks, durably and under a lock, before the first tag of a block is
//! given out: a crash loses the rest of a block and repeats nothing.

use std::hash::Hasher;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, io, process};

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};

use crate::error::{Error, Result};
use crate::storage::{DirStorage, LockRequest, Storage, read_small, replace_durably};

/// How many ids one reservation takes, and a crash may lose.
const BLOCK_IDS: u64 = 1_024;
/// One past the last id.
const END: u64 = 1 << 32;
/// An even number; four make a Feistel network a strong permutation, the rest is margin.
const ROUNDS: u8 = 8;

const STATE_FILE: &str = "tags.state";
const TEMPORARY_FILE: &str = "tags.state.tmp";
const LOCK_FILE: &str = "tags.lock";
const MAGIC: &str = "cdesk-tags 1";

/// A tag, with the UUID v4 it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u128);

impl Tag {
    /// The whole UUID, in its usual spelling.
    #[must_use]
    pub fn uuid(self) -> String {
        let digits = format!("{:032x}", self.0);
        let part = |range| digits.get(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cdesk_{:08x}", self.0 >> 96)
    }
}

/// Gives out tags that no other process, thread or life with the same directory gives out.
#[derive(Debug)]
pub struct QueryTags<S: Storage = DirStorage> {
    storage: S,
    process_id: u32,
    block: Mutex<Block>,
}

/// Ids that were reserved and not given out.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    key: Key,
    next: u64,
    end: u64,
}

/// One half permutes the counter, the other fills the UUID.
#[derive(Debug, Clone, Copy, Default)]
struct Key {
    permutation: [u8; 16],
    filling: [u8; 16],
}

impl QueryTags {
    /// Opens the counter in a directory, which is created when it is missing. Reserves nothing before the first tag.
    ///
    /// # Errors
    /// `UnsafeDirectory`, and what the operating system says.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::with(DirStorage::open(directory)?))
    }
}

impl<S: Storage> QueryTags<S> {
    /// A counter on any storage.
    pub fn with(storage: S) -> Self {
        Self { storage, process_id: process::id(), block: Mutex::new(Block::default()) }
    }

    /// The next tag. Reaches for the disk once in 1,024 calls.
    ///
    /// # Errors
    /// `TagsUnreadable`, `TagsExhausted`, `ForkDetected`, and what the operating system says.
    pub fn next_tag(&self) -> Result<Tag> {
        self.check_process()?;
        let mut block = self.lock();
        if let Some(tag) = block.take() {
            return Ok(tag);
        }
        *block = self.reserve()?;
        block.take().ok_or_else(|| Error::TagsExhausted { path: self.storage.path_of(STATE_FILE) })
    }

    /// The next tag if it is already reserved and nobody else is taking one, without any waiting.
    ///
    /// # Errors
    /// `ForkDetected`.
    pub fn try_next_tag(&self) -> Result<Option<Tag>> {
        self.check_process()?;
        Ok(self.block.try_lock().ok().and_then(|mut block| block.take()))
    }

    /// Reserves a block. Returns when a crash can no longer give it to anybody else.
    fn reserve(&self) -> Result<Block> {
        let fail = |action| move |error| Error::io(action, self.storage.path_of(STATE_FILE), error);
        let _turn = self.storage.lock(LOCK_FILE, LockRequest::Turn).map_err(fail("lock"))?;
        let (key, next) = match read_small(&self.storage, STATE_FILE, 4_096)? {
            Some(bytes) => decode(&bytes)
                .ok_or_else(|| Error::TagsUnreadable { path: self.storage.path_of(STATE_FILE) })?,
            None => (Key::random().map_err(fail("make a key for"))?, 0),
        };
        let end = (next + BLOCK_IDS).min(END);
        if end > next {
            replace_durably(&self.storage, STATE_FILE, TEMPORARY_FILE, encode(key, end).as_bytes())?;
        }
        Ok(Block { key, next, end })
    }

    fn check_process(&self) -> Result<()> {
        let (opened_by, called_by) = (self.process_id, process::id());
        if opened_by == called_by { Ok(()) } else { Err(Error::ForkDetected { opened_by, called_by }) }
    }

    fn lock(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    fn take(&mut self) -> Option<Tag> {
        if self.next >= self.end {
            return None;
        }
        let id = u32::try_from(self.next).ok()?;
        self.next += 1;
        Some(self.key.tag(id))
    }
}

impl Key {
    fn random() -> io::Result<Self> {
        let mut key = Self::default();
        getrandom::fill(&mut key.permutation).map_err(io::Error::other)?;
        getrandom::fill(&mut key.filling).map_err(io::Error::other)?;
        Ok(key)
    }

    fn tag(&self, id: u32) -> Tag {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        let mut hasher = SipHasher128::new_with_key(&self.filling);
        hasher.write(&id.to_be_bytes());
        let filling = hasher.finish128().as_u128();
        let bits = u128::from(self.permute(id)) << 96 | (filling & (u128::MAX >> 32));
        Tag(bits & !VERSION & !VARIANT | 0x4 << 76 | 0b10 << 62)
    }

    /// A balanced Feistel network: whatever the round function, no two ids give the same number.
    fn permute(&self, id: u32) -> u32 {
        let [a, b, c, d] = id.to_be_bytes();
        let (mut left, mut right) = ([a, b], [c, d]);
        for round in 0..ROUNDS {
            let mut hasher = SipHasher13::new_with_key(&self.permutation);
            hasher.write(&[round, right[0], right[1]]);
            let [mask_high, mask_low, ..] = hasher.finish().to_be_bytes();
            (left, right) = (right, [left[0] ^ mask_high, left[1] ^ mask_low]);
        }
        u32::from_be_bytes([left[0], left[1], right[0], right[1]])
    }
}

/// `cdesk-tags 1 <key, 64 hex> <next> <crc, 8 hex>\n`
fn encode(key: Key, next: u64) -> String {
    let (permutation, filling) = (u128::from_be_bytes(key.permutation), u128::from_be_bytes(key.filling));
    let text = format!("{MAGIC} {permutation:032x}{filling:032x} {next}");
    format!("{text} {:08x}\n", crc32c::crc32c(text.as_bytes()))
}

fn decode(bytes: &[u8]) -> Option<(Key, u64)> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (text, crc) = text.rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(text.as_bytes()) {
        return None;
    }
    let (hex, next) = text.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    let half = |range| Some(u128::from_str_radix(hex.get(range)?, 16).ok()?.to_be_bytes());
    let key = Key { permutation: half(0..32)?, filling: half(32..64)? };
    next.parse().ok().filter(|next| *next <= END).map(|next| (key, next))
}

#[cfg(test)]
#[path = "tag_tests.rs"]
mod tests;
