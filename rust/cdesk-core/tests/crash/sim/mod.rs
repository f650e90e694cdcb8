//! A simulated machine, made to lose everything that it may lose.
//!
//! It keeps what readers see apart from what is on the device. Power loss keeps any of the changes of a directory, each
//! by itself, and, of each file, any part of the writes that were not synced: whole, torn at a byte, some sectors, as
//! zeros, with rubbish in them, with old blocks of another segment, or only the size. A sync that fails mostly drops the bytes and lets the next one succeed, as
//! ext4 and xfs do; a directory keeps its changes, and they may still come. Locks go with their process.
//!
//! Its processes run one at a time, and each may have its turn between any two operations of the others. The same seed
//! does the same again.

mod checksum;
mod directory;
mod disk;
mod event;
mod fate;
mod fault;
mod host;
mod inode;
mod landing;
mod locks;
mod machine;
mod mutant;
mod rng;
mod storage;
mod turns;

pub(crate) use disk::ProcessId;
pub(crate) use event::{Event, Operation};
pub(crate) use fault::{Crash, CrashKind, EACCES, EIO, ENOSPC, Failure, Fault, Lasts, Scope};
pub(crate) use host::Host;

pub(crate) use mutant::{Bug, Mutant};
pub(crate) use rng::{Rng, mix};
pub(crate) use storage::SimStorage;
pub(crate) use turns::{Crew, Stop};
