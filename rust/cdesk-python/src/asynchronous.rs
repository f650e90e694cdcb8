//! What an event loop needs to wait for the log: a file descriptor that becomes readable, and the futures to complete
//! when it does. `cdesk_core._asyncio` puts them together.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::into_py;
use crate::queue::Queue;

/// Wakes one event loop, from any thread, through a file descriptor.
#[pyclass(frozen, module = "cdesk_core", name = "_LoopWake")]
pub(crate) struct LoopWake {
    signal: Arc<Signal>,
    waker: Waker,
    /// One per queue: lines of one queue become durable in order, lines of two do not.
    lanes: Mutex<Vec<Lane>>,
}

struct Lane {
    queue: Py<Queue>,
    groups: VecDeque<Group>,
}

/// Lines that share a sync.
struct Group {
    ticket: cdesk_core::Ticket,
    /// Their futures, in the order in which the lines were accepted.
    futures: Vec<Py<PyAny>>,
}

/// Futures to complete, and for each an exception, or none at all when their lines are durable.
type Settled = (Vec<Py<PyAny>>, Option<Vec<PyErr>>);

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
        Ok(Self { signal, waker, lanes: Mutex::default() })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.signal.readable.as_raw_fd()
    }

    /// Accepts a line; the descriptor becomes readable when `settled` has its future.
    ///
    /// The future is kept in the same breath: a signal between two calls could lose it.
    fn submit(
        &self,
        py: Python<'_>,
        queue: &Bound<'_, Queue>,
        line: &Bound<'_, PyBytes>,
        future: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        // Not detached: it does not wait for the disk, and the loop's thread would come back to find the
        // interpreter taken.
        let ticket = queue.get().inner.submit(line.as_bytes()).map_err(|error| into_py(py, &error))?;
        let mut lanes = self.lanes();
        let at = lanes.iter().position(|lane| lane.queue.is(queue)).unwrap_or_else(|| {
            lanes.push(Lane { queue: queue.clone().unbind(), groups: VecDeque::new() });
            lanes.len() - 1
        });
        let Some(Lane { groups, .. }) = lanes.get_mut(at) else { return Ok(()) };
        let future = future.clone().unbind();
        if let Some(last) = groups.back_mut().filter(|last| last.ticket.shares_sync_with(&ticket)) {
            last.futures.push(future);
        } else {
            ticket.wake_when_settled(&self.waker);
            groups.push_back(Group { ticket, futures: vec![future] });
        }
        Ok(())
    }

    /// The futures to complete, in order. They are forgotten here.
    fn settled(&self, py: Python<'_>) -> Vec<Settled> {
        let mut settled = Vec::new();
        self.lanes().retain_mut(|lane| {
            while let Some(result) = lane.groups.front().and_then(|group| group.ticket.result()) {
                settled.extend(lane.groups.pop_front().map(|group| (group.futures, result)));
            }
            !lane.groups.is_empty()
        });
        let told = settled.into_iter().map(|(futures, result)| {
            let errors = result.err().map(|error| futures.iter().map(|_| into_py(py, &error)).collect());
            (futures, errors)
        });
        told.collect()
    }

    /// Makes the descriptor unreadable. Ask for what is settled after this, not before: what is settled later will
    /// make it readable again.
    fn clear(&self) {
        self.signal.clear();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nothing of Python runs while it is locked, so it is free here; if it were not, the next collection would do.
        let Ok(lanes) = self.lanes.try_lock() else { return Ok(()) };
        for lane in lanes.iter() {
            visit.call(&lane.queue)?;
            lane.groups.iter().flat_map(|group| &group.futures).try_for_each(|future| visit.call(future))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let lanes = std::mem::take(&mut *self.lanes());
        drop(lanes); // unlocked: a future's end may run anybody's code
    }
}

impl LoopWake {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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
