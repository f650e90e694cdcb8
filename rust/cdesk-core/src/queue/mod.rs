//! The durable event log: a directory of NDJSON segments.
//!
//! Invariants, more often than not the reason for a line of code in here:
//!
//! 1. A segment has exactly one writer, ever: the process that created it. Nothing is appended after a crash.
//! 2. A line is acknowledged only after its bytes, and the name of its segment, are durable.
//! 3. A segment whose write or sync failed is never written again.
//! 4. A line is good in one place of one segment. Nothing inside a line is ever taken for a line.
//! 5. A damaged line is never delivered, and never hides the good ones after it. A segment that cannot be read delays only
//!    itself.
//! 6. A segment goes away only when every registered consumer is past it.
//!
//! [`Queue`] writes, [`Consumer`] reads and deletes, [`inspect()`] only looks. They share nothing but the directory, so they may be in
//! different processes, and there may be several of each.

mod append;
mod backlog;
mod batch;
mod commit;
mod consumer;
mod damaged;
mod extent;
mod group;
mod handover;
mod inspect;
mod lease;
mod line;
mod position;
mod position_file;
mod prune;
mod reader;
mod scan;
mod segment;

pub use append::{Queue, QueueStats};
pub use backlog::{Backlog, backlog, registered};
pub use batch::{Batch, BatchLimits};
pub use commit::QueueOptions;
pub use consumer::{Consumer, ConsumerStats, Trouble};
pub use damaged::Damage;
pub use group::{Baton, Ticket};
#[cfg(feature = "simulation")]
pub use inspect::inspect_on;
pub use inspect::{Findings, SegmentState, SegmentView, inspect};
pub use lease::{Lease, LeaseKind, LeaseWait};
pub use line::{FORMAT_VERSION, MAX_LINE_BYTES};
pub use position::Position;
pub use segment::{Durability, SegmentName};
