//! The processes that append.

use std::sync::Arc;

use cdesk_core::{ManualClock, Queue, QueueOptions};

use crate::ledger::line;
use crate::sim::{Event, Mutant, ProcessId};
use crate::world::World;

pub(crate) struct Writer {
    process: ProcessId,
    pub(crate) queue: Queue<Mutant, Arc<ManualClock>>,
}

impl Writer {
    pub(crate) fn process(&self) -> ProcessId {
        self.process
    }
}

impl World {
    pub(crate) fn start_writer(&self) -> Writer {
        let storage = Mutant::new(self.host.start(), self.habits.bug.of_log());
        let process = storage.process();
        let options =
            QueueOptions { max_segment_bytes: self.habits.max_segment_bytes, ..QueueOptions::default() };
        let id = u32::try_from(self.rng().next() >> 32).unwrap();
        Writer { process, queue: Queue::with_writer(storage, Arc::clone(&self.clock), options, id) }
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
}
