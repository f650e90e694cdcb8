//! A group of lines that share one sync, and the tickets of those who wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Result;

/// Lines that were accepted and are not durable yet, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
    waiting: Waiting,
}

/// Those who wait for one thing.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Made when the first one comes: an append on an idle log waits for nobody.
    outcome: Option<Arc<Outcome>>,
}

impl Waiting {
    pub(super) fn ticket(&mut self) -> Ticket {
        Ticket { outcome: Arc::clone(self.outcome.get_or_insert_default()) }
    }

    pub(super) fn finish(&mut self, result: Result<()>) -> Completion {
        Completion { outcome: self.outcome.take(), result }
    }
}

impl Group {
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The lines from the `first` on.
    pub(super) fn lines_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        (first..self.ends.len()).map(|index| {
            let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.bytes[start..self.ends[index]]
        })
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.waiting.ticket()
    }

    /// Forgets the lines and keeps their memory, up to a limit; whoever waited is told by [`Completion::announce`].
    pub(super) fn finish(&mut self, result: Result<()>) -> Completion {
        const KEEP_BYTES: usize = 4 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEEP_BYTES / 64);
        self.waiting.finish(result)
    }
}

/// What became of a group, to be told to those who wait, with no lock held.
#[must_use]
pub(super) struct Completion {
    outcome: Option<Arc<Outcome>>,
    result: Result<()>,
}

impl Completion {
    pub(super) fn announce(self) {
        if let Some(outcome) = self.outcome {
            outcome.settle(self.result);
        }
    }
}

#[derive(Debug, Default)]
struct Outcome {
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<()>>,
    wakers: Vec<Waker>,
}

impl State {
    fn add(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, result: Result<()>) {
        let mut state = self.lock();
        state.result = Some(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        // One thread now, two more from each that wakes: a thousand at once would fight for the lock, and in
        // Python for the interpreter, while the next group waits for its sync.
        self.settled.notify_one();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// A promise that lines will be durable, or that an error says why they are not.
///
/// It is a [`Future`] for an executor, and [`Ticket::wait`] for a thread. Dropping it does not take the lines back.
#[derive(Debug)]
#[must_use = "the lines are not durable before the ticket says so"]
pub struct Ticket {
    outcome: Arc<Outcome>,
}

impl Ticket {
    /// What became of the lines; `None` while that is open.
    #[must_use]
    pub fn result(&self) -> Option<Result<()>> {
        self.outcome.lock().result.clone()
    }

    /// Are both promises kept by one and the same sync, and settled together?
    #[must_use]
    pub fn shares_sync_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outcome, &other.outcome)
    }

    /// Blocks until the lines are durable.
    ///
    /// # Errors
    /// What kept the group from becoming durable. Some of its lines may be durable all the same.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.outcome.lock();
        loop {
            if let Some(result) = state.result.clone() {
                drop(state);
                self.outcome.settled.notify_one();
                self.outcome.settled.notify_one();
                return result;
            }
            state = self.outcome.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls `waker` once when the outcome is known. The same waker is kept once per group, however many tickets
    /// ask: an event loop wakes once per sync.
    pub fn wake_when_settled(&self, waker: &Waker) {
        let mut state = self.outcome.lock();
        if state.result.is_some() {
            drop(state);
            waker.wake_by_ref();
        } else {
            state.add(waker);
        }
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.outcome.lock();
        if let Some(result) = state.result.clone() {
            return Poll::Ready(result);
        }
        state.add(context.waker());
        Poll::Pending
    }
}
