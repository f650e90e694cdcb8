#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cache;
mod clock;
mod error;
mod fingerprint;
mod json;
mod process;
mod queue;
mod storage;
mod sync;
mod tag;

pub use cache::{CacheLimits, CacheStats, ContextCache, Hit};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use fingerprint::{
    Canonical, Placed, Value, canonical_json, normalise_template, query_hash, query_hash_of,
};
pub use queue::{
    Backlog, Batch, BatchLimits, Baton, Consumer, ConsumerStats, Damage, Durability, FORMAT_VERSION,
    Findings, Lease, LeaseKind, LeaseWait, MAX_LINE_BYTES, Position, Queue, QueueOptions, QueueStats,
    SegmentName, SegmentState, SegmentView, Ticket, backlog, inspect,
};
pub use storage::{DirFile, DirStorage, FileLock, FileStat, LockRequest, Storage};
pub use tag::{QueryTags, Tag};

#[cfg(shuttle)]
#[doc(hidden)]
pub use sync::lossy::{LostWakeUps, lose_wake_ups};
