//! A machine, shared by everything that runs on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cdesk_core::{Clock, ManualClock};

use super::disk::ProcessId;
use super::machine::Machine;
use super::storage::SimStorage;
use super::turns::Crew;

struct Inner {
    machine: Mutex<Machine>,
    clock: Arc<ManualClock>,
}

/// A machine, shared by everything that runs on it.
#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

impl Host {
    pub(crate) fn new(seed: u64, clock: Arc<ManualClock>) -> Self {
        let machine = Mutex::new(Machine::new(PathBuf::from("/sim"), seed));
        Self(Arc::new(Inner { machine, clock }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process and gives it the directory of the log.
    pub(crate) fn start(&self) -> SimStorage {
        let process = self.lock().start_process();
        self.start_in(process)
    }

    /// Gives a process the directory once more.
    pub(crate) fn start_in(&self, process: ProcessId) -> SimStorage {
        SimStorage::new(self.clone(), process)
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.0.clock.unix_ms()
    }

    /// Now and then the moment of others comes between two operations of one. The dead keep to themselves: they have no
    /// operations, only a way to their end.
    pub(super) fn let_others_run(&self, process: ProcessId) {
        if Crew::is_shared() {
            let mut machine = self.lock();
            let patience = machine.patience;
            let is_others_turn = machine.is_alive(process) && machine.disk.rng.one_in(patience);
            machine.pauses += u64::from(is_others_turn);
            drop(machine);
            if is_others_turn {
                Crew::pause();
            }
        }
    }
}
