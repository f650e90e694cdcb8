//! The locks and threads that the queue is built from.
//!
//! They are those of the standard library. With `--cfg shuttle` they are shuttle's, which runs the same code in one
//! order of its threads after the other: `tests/interleavings`.

#[cfg(shuttle)]
pub(crate) mod lossy;

#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::atomic::Ordering::SeqCst;
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub(crate) use std::thread;

#[cfg(shuttle)]
pub(crate) use lossy::Condvar;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::AtomicUsize;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::thread;
