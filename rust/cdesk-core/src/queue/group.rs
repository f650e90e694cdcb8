//! A group of lines that share one sync, and the tickets of those who wait for it.

use std::collections::VecDeque;
use std::future::Future;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::Result;
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, SeqCst};

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
    /// A ticket, whose holders will be woken as members of the crowd.
    pub(super) fn ticket(&mut self, crowd: &Arc<Crowd>) -> Ticket {
        let outcome = self.outcome.get_or_insert_with(|| Arc::new(Outcome::new(Arc::clone(crowd))));
        Ticket { outcome: Arc::clone(outcome) }
    }

    /// A ticket whose holders wait for no turn. A process that ends has threads that never pass theirs on, and must
    /// be able to close.
    pub(super) fn ticket_of_its_own(&mut self) -> Ticket {
        self.ticket(&Arc::default())
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

    pub(super) fn ticket(&mut self, crowd: &Arc<Crowd>) -> Ticket {
        self.waiting.ticket(crowd)
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

/// So many threads of a queue may be awake at a time. Each of a crowd that waits for Python's interpreter asks for it
/// every 5 ms; too few, and it waits for them.
const MAX_AWAKE: usize = if cfg!(shuttle) { 2 } else { 8 }; // few threads are enough to find a fault

/// Who knows the result and has waited for its turn so long takes it: those before it keep theirs.
const PATIENCE: Duration = Duration::from_millis(100);

/// The threads that sleep although what they wait for is known: they are woken a few at a time, in the order of their
/// groups. A thousand at once would fight for the lock, and in Python for the interpreter, while the next group waits
/// for its sync.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    settled: Mutex<VecDeque<Arc<Outcome>>>,
    /// Threads that were woken and hold their baton.
    awake: AtomicUsize,
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Outcome>>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a thread, if one sleeps and not too many are awake.
    fn wake_one(&self) {
        if self.awake.load(SeqCst) >= MAX_AWAKE {
            return;
        }
        let mut settled = self.lock();
        while let Some(outcome) = settled.front().map(Arc::clone) {
            let mut state = outcome.lock();
            if state.asleep == 0 {
                settled.pop_front();
                continue;
            }
            state.asleep -= 1;
            state.woken += 1;
            self.awake.fetch_add(1, SeqCst); // before the thread can know, and count itself out
            drop(state);
            drop(settled);
            outcome.settled.notify_one();
            return;
        }
    }
}

#[derive(Debug)]
struct Outcome {
    state: Mutex<State>,
    settled: Condvar,
    crowd: Arc<Crowd>,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<()>>,
    wakers: Vec<Waker>,
    /// Threads that wait and that nobody has woken yet.
    asleep: usize,
    /// Threads that were woken and do not know it yet. One that wakes up of its own accord is not meant.
    woken: usize,
}

impl State {
    fn add(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }
}

impl Outcome {
    fn new(crowd: Arc<Crowd>) -> Self {
        Self { state: Mutex::default(), settled: Condvar::new(), crowd }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody, in stages: one thread now, and each that is woken wakes two more while few are awake.
    fn settle(self: Arc<Self>, result: Result<()>) {
        let mut state = self.lock();
        state.result = Some(result);
        let wakers = std::mem::take(&mut state.wakers);
        let has_sleepers = state.asleep > 0;
        drop(state);
        if has_sleepers {
            self.crowd.lock().push_back(Arc::clone(&self));
            self.crowd.wake_one();
        }
        for waker in wakers {
            // Anybody's code. What it makes of the news is its own affair, and must not keep it from the others.
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// The turn to wake the next thread, held by one that was woken. Dropping it passes it on. For the bindings.
#[doc(hidden)]
#[derive(Debug, Default)]
#[must_use = "the next thread sleeps until the baton is dropped"]
pub struct Baton(Option<Arc<Crowd>>);

impl Drop for Baton {
    fn drop(&mut self) {
        const HALF: usize = MAX_AWAKE / 2;
        let Some(crowd) = &self.0 else { return };
        // The holder may have the interpreter, for which others wait: to wake one takes time, so it is done when half
        // have gone, and when all have, so that nobody sleeps for ever.
        let awake = crowd.awake.fetch_sub(1, SeqCst);
        if awake == HALF || awake == 1 {
            crowd.wake_one();
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
    #[doc(hidden)]
    #[must_use]
    pub fn shares_sync_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outcome, &other.outcome)
    }

    /// Blocks until the lines are durable.
    ///
    /// # Errors
    /// What kept the group from becoming durable. Some of its lines may be durable all the same.
    pub fn wait(&self) -> Result<()> {
        self.wait_in_turn().1
    }

    /// [`Ticket::wait`] for a caller that has something to get hold of before the next thread should be woken.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    #[doc(hidden)]
    pub fn wait_in_turn(&self) -> (Baton, Result<()>) {
        let mut state = self.outcome.lock();
        if let Some(result) = state.result.clone() {
            return (Baton::default(), result);
        }
        state.asleep += 1;
        loop {
            let waited = self.outcome.settled.wait_timeout(state, PATIENCE);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(result) = state.result.clone() else { continue };
            if state.woken > 0 {
                state.woken -= 1;
                drop(state);
                let crowd = &self.outcome.crowd;
                crowd.wake_one();
                crowd.wake_one();
                return (Baton(Some(Arc::clone(crowd))), result);
            }
            if timeout.timed_out() {
                state.asleep -= 1;
                return (Baton::default(), result);
            }
        }
    }

    /// Calls `waker` once when the outcome is known. The same waker is kept once per group, however many tickets
    /// ask: an event loop wakes once per sync.
    #[doc(hidden)]
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
