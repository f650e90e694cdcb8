//! The processes that consume, and delete what nobody needs any more.

use std::sync::Arc;

use cdesk_core::{BatchLimits, Consumer, Error, LockRequest, ManualClock, Position, Storage};

use crate::sim::{Bug, Event, Mutant, ProcessId};
use crate::sink::Sink;
use crate::world::{CONSUMERS, SinkKind, World};

pub(crate) struct Reader {
    process: ProcessId,
    pub(crate) consumer: Consumer<Mutant, Arc<ManualClock>>,
    /// To do what only a wrong program does.
    storage: Mutant,
}

impl Reader {
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }
}

impl World {
    /// Opens a consumer, where its sink says or where its file says.
    pub(crate) fn start_reader(&self, which: usize) -> Result<Reader, Error> {
        let storage = Mutant::new(self.host.start(), self.habits.bug.of_log());
        let process = storage.process();
        let beside = Mutant::new(self.host.start_in(process), self.habits.bug.of_log());
        let mut consumer = Consumer::with(storage, Arc::clone(&self.clock), CONSUMERS[which])?;
        if !self.is_alive(process) {
            return Err(Error::QueueClosed { path: beside.path().to_owned() });
        }
        let mut ledger = self.ledger();
        let next_id = ledger.next_id();
        let sink = &mut ledger.sinks[which];
        sink.registered_at.get_or_insert(next_id);
        let position = sink.position.clone();
        drop(ledger);
        if self.habits.sink != SinkKind::Lasting {
            consumer.seek(&position)?;
        }
        if !self.is_alive(process) {
            return Err(Error::QueueClosed { path: beside.path().to_owned() });
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
        self.check_alive(reader)?;
        let mut ledger = self.ledger();
        let ids = ledger.ids_of(&batch.ndjson);
        if ids.len() != batch.lines {
            ledger.violate("a batch says how many lines it has, and is wrong");
        }
        ledger.sinks[which].store(&ids, &batch.position, bug);
        let safe = self.safe(&ledger.sinks[which]);
        drop(ledger);
        for id in ids {
            self.host.lock().note(|| Event::Stored { sink: which, id });
        }
        reader.consumer.commit_ahead(&batch.position, &safe)?;
        self.prune(which, reader)?;
        Ok(true)
    }

    /// The dead tell nobody anything.
    fn check_alive(&self, reader: &Reader) -> Result<(), Error> {
        let is_alive = self.is_alive(reader.process);
        is_alive.then_some(()).ok_or_else(|| Error::QueueClosed { path: reader.storage.path().to_owned() })
    }

    fn prune(&self, which: usize, reader: &mut Reader) -> Result<(), Error> {
        self.check_alive(reader)?;
        let wants_checkpoint = self.rng().one_in(2);
        let wants_prune = self.rng().one_in(2);
        let mut ledger = self.ledger();
        let sink = &mut ledger.sinks[which];
        if wants_checkpoint {
            sink.checkpoint();
        }
        let safe = self.safe(sink);
        drop(ledger);
        if wants_prune {
            reader.consumer.prune(&safe, self.habits.min_age)?;
        }
        Ok(())
    }

    /// How far the sink is, whatever happens.
    fn safe(&self, sink: &Sink) -> Position {
        let is_lasting =
            self.habits.sink == SinkKind::Lasting || self.habits.bug == Bug::DeleteBeforeCheckpoint;
        if is_lasting { sink.position.clone() } else { sink.checkpointed() }
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
