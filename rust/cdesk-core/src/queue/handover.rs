//! Who commits: the caller that finds the log idle, on its own thread; the committer thread, when there is a backlog.
//!
//! The committer is a thing that is passed on. Who has it commits what is pending, and lays it down when nothing is.

use std::sync::{Arc, PoisonError};
use std::{io, panic};

use super::commit::{Committer, Counters, QueueOptions};
use super::group::{Crowd, Group, Waiting};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::process::Opener;
use crate::storage::Storage;
use crate::sync::{Condvar, Mutex, MutexGuard};

pub(super) struct Shared<S: Storage, C: Clock> {
    pub(super) storage: Arc<S>,
    pub(super) counters: Arc<Counters>,
    pub(super) opener: Opener,
    pub(super) crowd: Arc<Crowd>,
    state: Mutex<State<S, C>>,
    /// The committer thread waits here for a backlog.
    pub(super) backlog: Condvar,
}

pub(super) struct State<S: Storage, C: Clock> {
    pub(super) pending: Group,
    /// An empty group, for its memory.
    spare: Group,
    /// Lines in the group that is being committed.
    pub(super) committing_lines: usize,
    /// Those who wait for the open segment to be sealed.
    pub(super) roll: Option<Waiting>,
    pub(super) turn: Turn<S, C>,
    pub(super) closed: bool,
    /// Nothing more will come: the committer thread may return.
    is_over: bool,
}

/// Who has the committer.
pub(super) enum Turn<S: Storage, C: Clock> {
    /// Nobody: the next caller commits on its own thread, with no hop to another.
    Idle(Box<Committer<S, C>>),
    /// Somebody is committing.
    Taken,
    /// The committer thread may take it.
    Handed(Box<Committer<S, C>>),
}

impl<S: Storage, C: Clock> Turn<S, C> {
    pub(super) fn take_idle(&mut self) -> Option<Box<Committer<S, C>>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Idle(committer) => Some(committer),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl<S: Storage, C: Clock> State<S, C> {
    pub(super) fn has_no_work(&self) -> bool {
        self.pending.is_empty() && self.roll.is_none()
    }
}

impl<S: Storage, C: Clock> Shared<S, C> {
    pub(super) fn new(storage: S, clock: C, options: QueueOptions, writer_id: u32) -> Self {
        let storage = Arc::new(storage);
        let counters = Arc::new(Counters::default());
        let committer =
            Committer::new(Arc::clone(&storage), clock, options, Arc::clone(&counters), writer_id);
        let state = State {
            pending: Group::default(),
            spare: Group::default(),
            committing_lines: 0,
            roll: None,
            turn: Turn::Idle(Box::new(committer)),
            closed: false,
            is_over: false,
        };
        Self {
            storage,
            counters,
            opener: Opener::this_process(),
            crowd: Arc::default(),
            state: Mutex::new(state),
            backlog: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is pending, then seals if somebody asked for it before now.
    pub(super) fn step(
        &self,
        mut state: MutexGuard<'_, State<S, C>>,
        committer: &mut Committer<S, C>,
    ) -> Result<()> {
        let spare = std::mem::take(&mut state.spare);
        let mut group = std::mem::replace(&mut state.pending, spare);
        let roll = state.roll.take();
        state.committing_lines = group.len();
        drop(state);
        let result = if group.is_empty() { Ok(()) } else { self.contain(|| self.commit(committer, &group)) };
        let rolled = roll.map(|mut waiting| waiting.finish(self.contain(|| committer.roll())));
        let done = group.finish(result.clone());
        let mut state = self.lock();
        state.spare = group;
        state.committing_lines = 0;
        drop(state);
        done.announce();
        if let Some(rolled) = rolled {
            rolled.announce();
        }
        result
    }

    /// Only here do lines reach the disk, and a fork must not get this far.
    fn commit(&self, committer: &mut Committer<S, C>, group: &Group) -> Result<()> {
        self.opener.confirm()?;
        committer.commit(group)
    }

    /// A panic must not leave anybody waiting for ever: it becomes the group's error.
    fn contain(&self, commit: impl FnOnce() -> Result<()>) -> Result<()> {
        panic::catch_unwind(panic::AssertUnwindSafe(commit)).unwrap_or_else(|_| {
            Err(Error::io(
                "commit to",
                self.storage.path(),
                io::Error::other("the commit panicked, which is a bug"),
            ))
        })
    }

    /// The committer thread: works off a backlog, then lays the committer down and waits for the next.
    pub(super) fn run(&self) {
        let mut state = self.lock();
        loop {
            match std::mem::replace(&mut state.turn, Turn::Taken) {
                Turn::Handed(mut committer) => loop {
                    let _ = self.step(state, &mut committer); // the tickets have the result
                    state = self.lock();
                    if state.has_no_work() {
                        state.turn = Turn::Idle(committer);
                        break;
                    }
                },
                other => {
                    state.turn = other;
                    if state.is_over {
                        return;
                    }
                    state = self.backlog.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Lets the committer thread return. The queue is closed and nothing is pending.
    pub(super) fn end_thread(&self) {
        self.lock().is_over = true;
        self.backlog.notify_all();
    }
}
