//! Query tags: `cdesk_` and the first 8 hex digits of a UUID v4, never the same twice in one installation.
//!
//! Eight random digits collide at about 77,000 tags. These are a counter from 0 to 2^32, which is unique, sent through
//! a keyed permutation, which makes it look random and keeps it unique; the other bits of the UUID are a keyed hash of
//! the counter. The counter is reserved in blocks, durably and under a lock, before the first tag of a block is
//! given out: a crash loses the rest of a block and repeats nothing.

mod permutation;

use std::hash::Hasher;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};

use crate::error::{Error, Result};
use crate::process::Opener;
use crate::storage::{DirStorage, Storage, replace_durably, take_turn};

/// How many ids the first reservation takes, and a crash may lose. Each one after it takes twice as many as the one
/// before: whoever needs many waits seldom, and loses at most as many as it used.
const BLOCK_IDS: u64 = 1_024;
/// The most that one reservation takes.
const MAX_BLOCK_IDS: u64 = 1 << 16;
/// So many tags are computed at a time, side by side: one after another they would cost twice as much.
const READY: usize = 32;
/// One past the last id.
const END: u64 = 1 << 32;

const STATE_FILE: &str = "tags.state";
const TEMPORARY_FILE: &str = "tags.state.tmp";
/// No name of a consumer, whose lease would be `tags.lock`.
const LOCK_FILE: &str = "tags.state.lock";
const MAGIC: &str = "cdesk-tags 1";

/// A tag, and what the rest of its UUID is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    number: u32,
    id: u32,
    filling: Secret,
}

impl Tag {
    /// The text of the tag, in ASCII.
    #[must_use]
    pub fn text(self) -> [u8; 14] {
        let mut text = *b"cdesk_00000000";
        for (at, digit) in text.iter_mut().skip(6).enumerate() {
            let nibble = self.number >> (28 - 4 * at) & 0xf;
            *digit = b"0123456789abcdef".get(usize::try_from(nibble).unwrap_or(0)).copied().unwrap_or(b'0');
        }
        text
    }

    /// The whole UUID, in its usual spelling.
    #[must_use]
    pub fn uuid(self) -> String {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        let mut hasher = SipHasher128::new_with_key(&self.filling.0);
        hasher.write(&self.id.to_be_bytes());
        let filling = hasher.finish128().as_u128();
        let bits = u128::from(self.number) << 96 | (filling & (u128::MAX >> 32));
        let bits = bits & !VERSION & !VARIANT | 0x4 << 76 | 0b10 << 62;
        let digits = format!("{bits:032x}");
        let part = |range| digits.get(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cdesk_{:08x}", self.number)
    }
}

/// Sixteen bytes of a key, which no message shows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Secret([u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Gives out tags that no other process, thread or life with the same directory gives out.
#[derive(Debug)]
pub struct QueryTags<S: Storage = DirStorage> {
    storage: S,
    opener: Opener,
    block: Mutex<Block>,
}

/// Ids that were reserved and not given out.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    key: Key,
    next: u64,
    end: u64,
    /// How many ids this one had; the next has twice as many.
    ids: u64,
    /// The permuted forms of `next` and of those after it, from `at` on.
    ready: [u32; READY],
    /// `READY` when they are all gone.
    at: usize,
}

/// One half permutes the counter, the other fills the UUID.
#[derive(Debug, Clone, Copy, Default)]
struct Key {
    permutation: Secret,
    filling: Secret,
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
        Self { storage, opener: Opener::this_process(), block: Mutex::new(Block::default()) }
    }

    /// The next tag. Reaches for the disk in the first call, after 1,024, and then less and less often, at last
    /// every 65,536 calls.
    ///
    /// # Errors
    /// `TagsUnreadable`, `TagsExhausted`, `LockHeld`, `ForkDetected`, and what the operating system says.
    pub fn next_tag(&self) -> Result<Tag> {
        self.opener.check()?;
        let mut block = self.lock();
        if let Some(tag) = self.take(&mut block)? {
            return Ok(tag);
        }
        self.opener.confirm()?;
        *block = self.reserve((2 * block.ids).clamp(BLOCK_IDS, MAX_BLOCK_IDS))?;
        self.take(&mut block)?.ok_or_else(|| Error::TagsExhausted { path: self.storage.path_of(STATE_FILE) })
    }

    /// The next tag if it is already reserved and nobody else is taking one, without any waiting.
    ///
    /// # Errors
    /// `ForkDetected`.
    pub fn try_next_tag(&self) -> Result<Option<Tag>> {
        self.opener.check()?;
        match self.block.try_lock() {
            Ok(mut block) => self.take(&mut block),
            Err(_) => Ok(None),
        }
    }

    /// The next tag of the block, if it has one left.
    fn take(&self, block: &mut Block) -> Result<Option<Tag>> {
        if block.next >= block.end {
            return Ok(None);
        }
        if block.at == READY {
            self.opener.confirm()?; // a tag given out twice is not taken back
            block.compute();
        }
        Ok(block.take())
    }

    /// Reserves a block. Returns when a crash can no longer give it to anybody else.
    fn reserve(&self, ids: u64) -> Result<Block> {
        let fail = |action| move |error| Error::io(action, self.storage.path_of(STATE_FILE), error);
        let _turn = take_turn(&self.storage, LOCK_FILE)?;
        let (key, next) = match read_small(&self.storage, STATE_FILE, 4_096)? {
            Some(bytes) => decode(&bytes)
                .ok_or_else(|| Error::TagsUnreadable { path: self.storage.path_of(STATE_FILE) })?,
            None => (Key::random().map_err(fail("make a key for"))?, 0),
        };
        let end = (next + ids).min(END);
        if end > next {
            replace_durably(&self.storage, STATE_FILE, TEMPORARY_FILE, encode(key, end).as_bytes())?;
        }
        Ok(Block { key, next, end, ids, ready: [0; READY], at: READY })
    }

    fn lock(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Permutes the ids from `next` on. Some may lie past `end`; they are not given out.
    fn compute(&mut self) {
        let mut id = u32::try_from(self.next).unwrap_or_default();
        for slot in &mut self.ready {
            *slot = id;
            id = id.wrapping_add(1);
        }
        permutation::permute(&self.key.permutation.0, &mut self.ready);
        self.at = 0;
    }

    fn take(&mut self) -> Option<Tag> {
        let number = *self.ready.get(self.at)?;
        let id = u32::try_from(self.next).ok()?;
        self.at += 1;
        self.next += 1;
        Some(Tag { number, id, filling: self.key.filling })
    }
}

impl Key {
    fn random() -> io::Result<Self> {
        let mut key = Self::default();
        getrandom::fill(&mut key.permutation.0).map_err(io::Error::other)?;
        getrandom::fill(&mut key.filling.0).map_err(io::Error::other)?;
        Ok(key)
    }
}

/// `cdesk-tags 1 <key, 64 hex> <next> <crc, 8 hex>\n`
fn encode(key: Key, next: u64) -> String {
    let (permutation, filling) = (u128::from_be_bytes(key.permutation.0), u128::from_be_bytes(key.filling.0));
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
    let half = |range| Some(Secret(u128::from_str_radix(hex.get(range)?, 16).ok()?.to_be_bytes()));
    let key = Key { permutation: half(0..32)?, filling: half(32..64)? };
    next.parse().ok().filter(|next| *next <= END).map(|next| (key, next))
}

/// The whole of a small file, or `None` when there is none.
///
/// # Errors
/// What the device says; `FileTooLarge` beyond `max_bytes`.
fn read_small<S: Storage>(storage: &S, name: &str, max_bytes: usize) -> Result<Option<Vec<u8>>> {
    /// Nearly every such file fits in; clearing the most it may have would cost more than the read.
    const FIRST_BYTES: usize = 4 << 10;
    let mut bytes = Vec::new();
    let mut window = FIRST_BYTES.min(max_bytes);
    loop {
        bytes.resize(window, 0);
        match storage.read(name, 0, &mut bytes) {
            Ok(length) if length < window => {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            Ok(_) if window < max_bytes => window = max_bytes,
            Ok(_) => {
                return Err(Error::io("read", storage.path_of(name), io::ErrorKind::FileTooLarge.into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", storage.path_of(name), error)),
        }
    }
}

#[cfg(test)]
#[path = "tag_tests.rs"]
mod tests;
