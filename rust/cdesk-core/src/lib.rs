#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "cdesk-core needs Unix: its promise rests on fsync of directories, flock, and files that can be deleted while they are open"
);

#[cfg(feature = "cache")]
mod cache;
mod clock;
mod error;
#[cfg(feature = "hash")]
mod fingerprint;
mod json;
mod process;
mod queue;
mod storage;
mod sync;
#[cfg(feature = "tags")]
mod tag;

#[cfg(feature = "cache")]
pub use cache::{CacheLimits, CacheStats, ContextCache, Hit};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
#[cfg(feature = "hash")]
pub use fingerprint::{
    Canonical, Placed, Value, canonical_json, normalise_template, query_hash, query_hash_of,
};
#[doc(hidden)]
pub use queue::Baton;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use queue::inspect_on;
pub use queue::{
    Backlog, Batch, BatchLimits, Consumer, ConsumerStats, Damage, Durability, FORMAT_VERSION, Findings,
    Lease, LeaseKind, LeaseWait, MAX_LINE_BYTES, Position, Queue, QueueOptions, QueueStats, SegmentName,
    SegmentState, SegmentView, Ticket, Trouble, backlog, inspect, registered,
};
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use storage::sealed::Sealed;
pub use storage::{DirFile, DirStorage, FileLock, FileStat, LockRequest, Storage};
#[cfg(feature = "tags")]
pub use tag::{QueryTags, Tag};

#[cfg(shuttle)]
#[doc(hidden)]
pub use sync::lossy::{LostWakeUps, lose_wake_ups};
