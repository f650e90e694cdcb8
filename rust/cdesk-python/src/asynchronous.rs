//! What an event loop needs to wait for the log: a file descriptor that becomes readable, and tickets to look at.
//! `cdesk_core._asyncio` puts them together.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::into_py;
use crate::queue::Queue;

/// Wakes one event loop, from any thread, through a file descriptor.
#[pyclass(frozen, module = "cdesk_core", name = "_LoopWake")]
pub(crate) struct LoopWake {
    signal: Arc<Signal>,
    waker: Waker,
}

struct Signal {
    /// The end that the loop watches.
    readable: OwnedFd,
    /// The other end; the same descriptor where there is an eventfd.
    #[cfg(not(target_os = "linux"))]
    writable: OwnedFd,
    /// Has it been written to since it was last cleared? One write is enough for any number of groups.
    is_set: AtomicBool,
}

#[pymethods]
impl LoopWake {
    #[new]
    fn new() -> PyResult<Self> {
        let signal = Arc::new(Signal::new().map_err(PyOSError::new_err)?);
        let waker = Waker::from(Arc::clone(&signal));
        Ok(Self { signal, waker })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.signal.readable.as_raw_fd()
    }

    /// Accepts a line; the descriptor becomes readable when the ticket is settled.
    fn submit(&self, py: Python<'_>, queue: &Queue, line: &Bound<'_, PyBytes>) -> PyResult<Ticket> {
        // Not detached: it does not wait for the disk, and the loop's thread would come back to find the
        // interpreter taken.
        let ticket = queue.inner.submit(line.as_bytes()).map_err(|error| into_py(py, &error))?;
        ticket.wake_when_settled(&self.waker);
        Ok(Ticket { inner: ticket })
    }

    /// Makes the descriptor unreadable. Look at the tickets after this, not before: what is settled later will
    /// make it readable again.
    fn clear(&self) {
        self.signal.clear();
    }
}

impl Signal {
    #[cfg(target_os = "linux")]
    fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let readable = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { readable, is_set: AtomicBool::new(false) })
    }

    #[cfg(not(target_os = "linux"))]
    fn new() -> io::Result<Self> {
        let (readable, writable) = std::os::unix::net::UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        writable.set_nonblocking(true)?;
        Ok(Self { readable: readable.into(), writable: writable.into(), is_set: AtomicBool::new(false) })
    }

    #[cfg(target_os = "linux")]
    fn writable(&self) -> &OwnedFd {
        &self.readable
    }

    #[cfg(not(target_os = "linux"))]
    fn writable(&self) -> &OwnedFd {
        &self.writable
    }

    fn clear(&self) {
        let mut bytes = [0; 64];
        // Empty it; that it was empty already is no error.
        while rustix::io::read(&self.readable, &mut bytes).is_ok_and(|read| read == bytes.len()) {}
        self.is_set.store(false, Ordering::SeqCst);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::SeqCst) {
            // It can only fail by being full, and then it is readable anyway.
            let _ = rustix::io::write(self.writable(), &1_u64.to_ne_bytes());
        }
    }
}

/// A line that was accepted.
#[pyclass(frozen, module = "cdesk_core", name = "_Ticket")]
pub(crate) struct Ticket {
    inner: cdesk_core::Ticket,
}

#[pymethods]
impl Ticket {
    /// Is the line durable? Raises what kept it from becoming so.
    fn is_durable(&self, py: Python<'_>) -> PyResult<bool> {
        match self.inner.result() {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) => Err(into_py(py, &error)),
        }
    }
}
