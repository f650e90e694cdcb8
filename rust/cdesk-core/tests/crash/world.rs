//! Processes that write and consume on one machine, one storage operation at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cdesk_core::{
    BatchLimits, Clock, Consumer, Error, LockRequest, ManualClock, Position, Queue, QueueOptions, Storage,
};

use crate::ledger::{Ledger, line};
use crate::sim::{Bug, Event, Host, Mutant, ProcessId, Rng};

/// How many writers there may be at a time.
pub(crate) const WRITERS: usize = 3;
/// The consumers, and their sinks.
pub(crate) const CONSUMERS: [&str; 2] = ["first", "second"];
const START_UNIX_MS: u64 = 1_763_694_538_123;

type SimQueue = Queue<Mutant, Arc<ManualClock>>;
type SimConsumer = Consumer<Mutant, Arc<ManualClock>>;

pub(crate) struct Writer {
    process: ProcessId,
    pub(crate) queue: SimQueue,
}

pub(crate) struct Reader {
    process: ProcessId,
    pub(crate) consumer: SimConsumer,
    /// To do what only a wrong program does.
    storage: Mutant,
}

impl Writer {
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }
}

impl Reader {
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }
}

/// Room for one process.
pub(crate) enum Slot<P> {
    Empty,
    /// It is at an operation, during which others run.
    Running,
    Ready(Box<P>),
}

impl<P> Slot<P> {
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::Running => Self::Running,
            _ => std::mem::replace(self, Self::Running),
        }
    }
}

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
}

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) habits: Habits,
    rng: Mutex<Rng>,
    ledger: Mutex<Ledger>,
    pub(crate) writers: [Mutex<Slot<Writer>>; WRITERS],
    pub(crate) readers: [Mutex<Slot<Reader>>; 2],
    /// Nobody else runs between two operations: one of others is under way, or it is time to go.
    is_quiet: AtomicBool,
}

impl World {
    pub(crate) fn new(seed: u64, habits: Habits) -> Arc<Self> {
        let clock = Arc::new(ManualClock::new(START_UNIX_MS));
        Arc::new(Self {
            host: Host::new(seed.rotate_left(32), Arc::clone(&clock)),
            clock,
            habits,
            rng: Mutex::new(Rng::new(seed)),
            ledger: Mutex::default(),
            writers: std::array::from_fn(|_| Mutex::new(Slot::Empty)),
            readers: std::array::from_fn(|_| Mutex::new(Slot::Empty)),
            is_quiet: AtomicBool::new(false),
        })
    }

    /// Lets other processes run between the operations of one.
    pub(crate) fn interleave(self: &Arc<Self>) {
        let world = Arc::downgrade(self);
        self.host.interleave(move || {
            let Some(world) = world.upgrade() else { return };
            if world.rng().one_in(24) {
                world.quietly(World::step);
            }
        });
    }

    /// Does something with nothing in between, unless that is how it is anyway.
    pub(crate) fn quietly(&self, run: impl FnOnce(&Self)) {
        if !self.is_quiet.swap(true, Ordering::Relaxed) {
            run(self);
            self.is_quiet.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn is_alive(&self, process: ProcessId) -> bool {
        self.host.lock().is_alive(process)
    }

    pub(crate) fn start_writer(&self) -> Writer {
        let storage = Mutant::new(self.host.start(), self.habits.bug);
        let process = storage.process();
        let options = QueueOptions::default().max_segment_bytes(self.habits.max_segment_bytes);
        let id = u32::try_from(self.rng().next() >> 32).unwrap();
        Writer { process, queue: Queue::with_writer(storage, Arc::clone(&self.clock), options, id).unwrap() }
    }

    /// Appends so many lines in one call; says whether they were acknowledged.
    pub(crate) fn append(&self, writer: &Writer, count: usize) -> bool {
        let ids = self.ledger().submit(writer.process, count);
        let lines: Vec<_> = ids.iter().copied().map(line).collect();
        let result = match lines.as_slice() {
            [line] => writer.queue.append(line),
            lines => writer.queue.append_many(lines),
        };
        if result.is_ok() {
            self.ledger().acknowledge(&ids);
            for id in ids {
                self.host.lock().note(|| Event::Acknowledged { id });
            }
        }
        result.is_ok()
    }

    /// Opens a consumer, where its sink says or where its file says.
    pub(crate) fn start_reader(&self, which: usize) -> Result<Reader, Error> {
        let storage = Mutant::new(self.host.start(), self.habits.bug);
        let process = storage.process();
        let beside = Mutant::new(self.host.start_in(process), self.habits.bug);
        let mut consumer = Consumer::with(storage, Arc::clone(&self.clock), CONSUMERS[which])?;
        if !self.is_alive(process) {
            return Err(Error::QueueClosed { path: beside.path().to_owned() });
        }
        let mut ledger = self.ledger();
        let next_id = ledger.next_id();
        let sink = &mut ledger.sinks[which];
        sink.registered_at.get_or_insert(next_id);
        if self.habits.sink != SinkKind::Lasting {
            consumer.seek(&sink.position)?;
        }
        Ok(Reader { process, consumer, storage: beside })
    }

    /// Takes a batch to the sink, the position to the disk, and deletes what nobody needs.
    ///
    /// `Ok(false)` when there was nothing to take.
    pub(crate) fn consume(&self, which: usize, reader: &mut Reader) -> Result<bool, Error> {
        let bug = self.habits.bug;
        let limits = BatchLimits::default().max_lines(self.habits.max_lines);
        let Some(batch) = reader.consumer.next_batch(limits)? else {
            self.prune(which, reader)?;
            return Ok(false);
        };
        if bug == Bug::PositionBeforeCommit {
            reader.consumer.commit(&batch.position)?;
        }
        if bug == Bug::DeleteBeforePosition {
            delete_consumed(&reader.storage, &batch.position);
        }
        if !self.is_alive(reader.process) {
            return Err(Error::QueueClosed { path: reader.storage.path().to_owned() });
        }
        let mut ledger = self.ledger();
        let ids = ledger.ids_of(&batch.ndjson);
        if ids.len() != batch.lines {
            ledger.violate("a batch says how many lines it has, and is wrong");
        }
        ledger.sinks[which].store(&ids, &batch.position, bug);
        drop(ledger);
        for id in ids {
            self.host.lock().note(|| Event::Stored { sink: which, id });
        }
        if self.habits.sink != SinkKind::WithCheckpoints || bug == Bug::DeleteBeforeCheckpoint {
            reader.consumer.commit(&batch.position)?;
        }
        self.prune(which, reader)?;
        Ok(true)
    }

    fn prune(&self, which: usize, reader: &mut Reader) -> Result<(), Error> {
        let wants_checkpoint = self.rng().one_in(2);
        let wants_prune = self.rng().one_in(2);
        let mut ledger = self.ledger();
        let sink = &mut ledger.sinks[which];
        if wants_checkpoint {
            sink.checkpoint();
        }
        let is_lasting =
            self.habits.sink == SinkKind::Lasting || self.habits.bug == Bug::DeleteBeforeCheckpoint;
        let safe = if is_lasting { sink.position.clone() } else { sink.checkpointed() };
        drop(ledger);
        if wants_checkpoint && self.habits.sink == SinkKind::WithCheckpoints {
            reader.consumer.commit(&safe)?;
        }
        if wants_prune {
            reader.consumer.prune(&safe, self.habits.min_age)?;
        }
        Ok(())
    }

    /// Lets time go by; the wall clock may step back.
    pub(crate) fn pass_time(&self) {
        let mut rng = self.rng();
        self.clock.advance(Duration::from_millis(rng.below(40_000)));
        if rng.one_in(8) {
            let back_ms = rng.below(100_000);
            self.clock.set_unix_ms(self.clock.unix_ms() - back_ms);
        }
    }
}

/// Deletes every segment that the position names and nobody writes to.
fn delete_consumed(storage: &Mutant, position: &Position) {
    let position = position.to_string();
    for entry in position.split(';').skip(1) {
        let name = format!("seg-{}.ndjson", entry.split('=').next().unwrap_or_default());
        if matches!(storage.lock(&name, LockRequest::Probe), Ok(Some(_))) {
            let _ = storage.unlink(&name);
        }
    }
}
