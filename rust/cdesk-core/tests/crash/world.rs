//! One machine, its processes, and the judge.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdesk_core::{Clock, ManualClock};

use crate::ledger::Ledger;
use crate::reading::Reader;
use crate::sim::{Bug, Host, ProcessId, Rng};
use crate::tagging::Tagger;
use crate::writing::Writer;

/// How many writers there may be at a time.
pub(crate) const WRITERS: usize = 3;
/// The consumers, and their sinks.
pub(crate) const CONSUMERS: [&str; 2] = ["first", "second"];
/// How many processes may take tags at a time.
pub(crate) const TAGGERS: usize = 2;
const START_UNIX_MS: u64 = 1_763_694_538_123;

/// Room for one process.
pub(crate) type Slot<P> = Mutex<Option<P>>;

/// What the sinks of a history are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkKind {
    /// What it committed stays. The local position is all there is to go on from.
    Lasting,
    /// It knows its position, and power loss may take it back to its checkpoint. It is the only one.
    OneWithCheckpoints,
    /// The same, and there are others, who know of it what was committed locally: nothing before its checkpoint.
    WithCheckpoints,
}

/// What holds for a whole history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) bug: Bug,
    pub(crate) max_segment_bytes: u64,
    pub(crate) max_lines: usize,
    pub(crate) sink: SinkKind,
    pub(crate) min_age: Duration,
    /// Do some lines hold what looks like a line of the log?
    pub(crate) pastes_lines: bool,
}

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) habits: Habits,
    rng: Mutex<Rng>,
    ledger: Mutex<Ledger>,
    pub(crate) writers: [Slot<Writer>; WRITERS],
    pub(crate) readers: [Slot<Reader>; CONSUMERS.len()],
    pub(crate) taggers: [Slot<Tagger>; TAGGERS],
}

// Nobody holds one of these locks while a storage operation runs: another process may have its turn then.
impl World {
    pub(crate) fn new(seed: u64, habits: Habits) -> Self {
        let clock = Arc::new(ManualClock::new(START_UNIX_MS));
        Self {
            host: Host::new(seed.rotate_left(32), Arc::clone(&clock)),
            clock,
            habits,
            rng: Mutex::new(Rng::new(seed)),
            ledger: Mutex::default(),
            writers: Default::default(),
            readers: Default::default(),
            taggers: Default::default(),
        }
    }

    pub(crate) fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_alive(&self, process: ProcessId) -> bool {
        self.host.lock().is_alive(process)
    }

    /// Lets time go by; the wall clock may step back.
    pub(crate) fn pass_time(&self) {
        let mut rng = self.rng();
        self.clock.advance(Duration::from_millis(rng.below(25_000)));
        if rng.one_in(8) {
            let back_ms = rng.below(100_000);
            self.clock.set_unix_ms(self.clock.unix_ms() - back_ms);
        }
    }
}
