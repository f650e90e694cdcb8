//! The writing end, as its callers see it.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::{fmt, io};

use super::commit::{Committer, QueueOptions};
use super::group::{Baton, Ticket};
use super::handover::{Shared, State, Turn};
use super::line;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::storage::{DirStorage, Storage};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Mutex, MutexGuard};

/// What a queue has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Lines that are durable.
    pub lines: u64,
    /// Bytes written for lines, with what the log adds; more than `lines` have when some were written twice.
    pub bytes: u64,
    /// Groups of lines that shared a sync.
    pub commits: u64,
    /// Segments created.
    pub segments: u64,
    /// Segments left without a seal because a write or sync failed.
    pub poisoned_segments: u64,
    /// Lines that did not become durable; their callers got an error.
    pub failed_lines: u64,
    /// Lines accepted and not durable yet.
    pub pending_lines: u64,
}

/// The writing end of the log. Threads share it by reference.
pub struct Queue<S: Storage = DirStorage, C: Clock = SystemClock> {
    shared: Arc<Shared<S, C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Storage, C: Clock> fmt::Debug for Queue<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("path", &self.shared.storage.path()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens the log in a directory, which is created when it is missing. Writes nothing before the first append.
    ///
    /// # Errors
    /// `InvalidOption`, `UnsafeDirectory`, or what the operating system says.
    pub fn open(directory: impl AsRef<Path>, options: QueueOptions) -> Result<Self> {
        options.check()?; // before a directory is made for it
        Self::with(DirStorage::open(directory)?, SystemClock::new(), options)
    }
}

impl<S: Storage, C: Clock> Queue<S, C> {
    /// A queue on any storage and clock.
    ///
    /// # Errors
    /// `InvalidOption`; when the operating system has no random bytes for the writer's name.
    pub fn with(storage: S, clock: C, options: QueueOptions) -> Result<Self> {
        let mut id = [0; 4];
        getrandom::fill(&mut id)
            .map_err(|error| Error::io("name a writer in", storage.path(), io::Error::other(error)))?;
        Self::named(storage, clock, options, u32::from_be_bytes(id))
    }

    /// [`Queue::with`] under a writer's name that is given, not drawn, so that a proof can repeat a run.
    ///
    /// # Errors
    /// `InvalidOption`.
    #[cfg(feature = "simulation")]
    pub fn with_writer(storage: S, clock: C, options: QueueOptions, writer_id: u32) -> Result<Self> {
        Self::named(storage, clock, options, writer_id)
    }

    fn named(storage: S, clock: C, options: QueueOptions, writer_id: u32) -> Result<Self> {
        options.check()?;
        let shared = Shared::new(storage, clock, options, writer_id);
        Ok(Self { shared: Arc::new(shared), thread: Mutex::new(None) })
    }

    /// Appends one JSON object; returns when it is durable.
    ///
    /// # Errors
    /// `InvalidLine` and `LineTooLong` before anything is written; `Io` when the device refused twice, in which
    /// case the line is not acknowledged but may be found later all the same.
    pub fn append(&self, line: &[u8]) -> Result<()> {
        self.append_many(&[line])
    }

    /// Appends several objects; returns when all are durable. Nothing is written unless every one is good.
    ///
    /// # Errors
    /// As [`Queue::append`]; the error names the line of the call.
    pub fn append_many<L: AsRef<[u8]>>(&self, lines: &[L]) -> Result<()> {
        self.append_in_turn(lines).1
    }

    /// [`Queue::append_many`] for a caller that has something to get hold of, such as an interpreter, before the next
    /// thread that waits for the same sync should be woken. For the bindings.
    ///
    /// # Errors
    /// As [`Queue::append_many`].
    #[doc(hidden)]
    pub fn append_in_turn<L: AsRef<[u8]>>(&self, lines: &[L]) -> (Baton, Result<()>) {
        let mut state = match self.accept(lines) {
            Ok(state) if !lines.is_empty() => state,
            done => return (Baton::default(), done.map(drop)),
        };
        if let Some(mut committer) = state.turn.take_idle() {
            let result = self.shared.step(state, &mut committer);
            self.put_back(committer);
            return (Baton::default(), result);
        }
        let ticket = state.pending.ticket(&self.shared.crowd);
        drop(state);
        ticket.wait_in_turn()
    }

    /// Accepts one object and returns at once; the ticket says when it is durable.
    ///
    /// # Errors
    /// `InvalidLine` and `LineTooLong`. What the device says comes through the ticket.
    pub fn submit(&self, line: &[u8]) -> Result<Ticket> {
        let mut state = self.accept(&[line])?;
        let ticket = state.pending.ticket(&self.shared.crowd);
        if let Some(committer) = state.turn.take_idle() {
            drop(state);
            self.put_back(committer);
        }
        Ok(ticket)
    }

    /// Seals the open segment, after the lines accepted so far. Does nothing when no segment is open.
    ///
    /// # Errors
    /// When the seal could not be made durable; every acknowledged line still is.
    pub fn roll(&self) -> Result<()> {
        self.shared.opener.confirm()?;
        let mut state = self.shared.lock();
        if state.closed {
            return Err(self.closed());
        }
        let ticket = state.roll.get_or_insert_default().ticket_of_its_own();
        self.run_roll(state);
        ticket.wait()
    }

    /// Waits until everything accepted is durable, or its ticket says why it is not; seals the open segment and refuses
    /// what comes after. The second call does nothing.
    ///
    /// # Errors
    /// As [`Queue::roll`], of the seal alone. The queue is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.shared.opener.confirm()?;
        let mut state = self.shared.lock();
        if state.closed {
            return Ok(());
        }
        state.closed = true;
        let ticket = state.roll.get_or_insert_default().ticket_of_its_own();
        self.run_roll(state);
        let sealed = ticket.wait();
        self.shared.end_thread();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // a panic there was turned into an error for those who waited
        }
        sealed
    }

    /// What the queue has done since it was opened; in a fork, what it had done until then.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let pending = self.pending_lines();
        let counters = &self.shared.counters;
        QueueStats {
            lines: counters.lines.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            segments: counters.segments.load(Ordering::Relaxed),
            poisoned_segments: counters.poisoned.load(Ordering::Relaxed),
            failed_lines: counters.failed_lines.load(Ordering::Relaxed),
            pending_lines: u64::try_from(pending).unwrap_or(u64::MAX),
        }
    }

    /// None in a fork: they are its parent's, and a thread that it does not have may have locked them.
    fn pending_lines(&self) -> usize {
        if self.shared.opener.confirm().is_err() {
            return 0;
        }
        let state = self.shared.lock();
        state.pending.len() + state.committing_lines
    }

    /// Checks every line, then puts them all into the pending group.
    fn accept<L: AsRef<[u8]>>(&self, lines: &[L]) -> Result<MutexGuard<'_, State<S, C>>> {
        self.shared.opener.check()?;
        let check =
            |(index, line): (usize, &L)| line::check(line.as_ref()).map_err(|error| error.at_line(index));
        lines.iter().enumerate().try_for_each(check)?;
        let mut state = self.shared.lock();
        if state.closed {
            return Err(self.closed());
        }
        for line in lines {
            state.pending.push(line.as_ref());
        }
        Ok(state)
    }

    /// Seals on this thread when nobody is committing; whoever is will see the request.
    fn run_roll(&self, mut state: MutexGuard<'_, State<S, C>>) {
        if let Some(mut committer) = state.turn.take_idle() {
            let _ = self.shared.step(state, &mut committer); // the ticket has the result
            self.put_back(committer);
        }
    }

    /// Lays the committer down, or hands it to the committer thread when there is a backlog.
    fn put_back(&self, mut committer: Box<Committer<S, C>>) {
        loop {
            let mut state = self.shared.lock();
            if state.has_no_work() {
                state.turn = Turn::Idle(committer);
                return;
            }
            if self.has_thread() {
                state.turn = Turn::Handed(committer);
                drop(state);
                self.shared.backlog.notify_one();
                return;
            }
            // No thread can be had: those who wait are served from here.
            let _ = self.shared.step(state, &mut committer);
        }
    }

    /// Starts the committer thread at the first backlog: a process that only ever appends one by one needs none.
    fn has_thread(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new().name("cdesk-commit".into()).spawn(move || shared.run());
            *thread = started.ok();
        }
        thread.is_some()
    }

    fn closed(&self) -> Error {
        Error::QueueClosed { path: self.shared.storage.path().to_owned() }
    }
}

impl<S: Storage, C: Clock> Drop for Queue<S, C> {
    fn drop(&mut self) {
        // Best effort: there is nobody to tell. In a fork nothing of this belongs to us, and `close` says so.
        let _ = self.close();
    }
}
