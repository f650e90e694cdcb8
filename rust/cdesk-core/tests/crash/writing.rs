//! The processes that append.

use std::sync::Arc;

use cdesk_core::{ManualClock, Queue, QueueOptions};

use crate::sim::{Event, Mutant, ProcessId};
use crate::world::World;

pub(crate) struct Writer {
    process: ProcessId,
    /// As the names of its segments have it.
    pub(crate) id: u32,
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
        let options = QueueOptions::default().max_segment_bytes(self.habits.max_segment_bytes);
        let id = u32::try_from(self.rng().next() >> 32).unwrap();
        let queue = Queue::with_writer(storage, Arc::clone(&self.clock), options, id).unwrap();
        Writer { process, id, queue }
    }

    /// Appends so many lines in one call; says whether they were acknowledged.
    pub(crate) fn append(&self, writer: &Writer, count: usize) -> bool {
        let first = self.ledger().next_id();
        let lines: Vec<_> = (first..).take(count).map(|id| self.payload(writer, id)).collect();
        let ids = self.ledger().submit(writer.process, &lines);
        let result = match lines.as_slice() {
            [line] => writer.queue.append(line),
            lines => writer.queue.append_many(lines),
        };
        if result.is_ok() {
            self.ledger().acknowledge(ids.clone());
            for id in ids {
                self.host.lock().note(|| Event::Acknowledged { id });
            }
        }
        result.is_ok()
    }
}
