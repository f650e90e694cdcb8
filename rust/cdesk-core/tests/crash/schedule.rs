//! What the processes of a random history do.

use std::sync::Mutex;

use crate::world::{Reader, SinkKind, Slot, WRITERS, World, Writer};

impl World {
    /// One step of any process that is not at one already.
    pub(crate) fn step(&self) {
        self.pass_time();
        let which = self.rng().index(WRITERS + 3);
        if which < WRITERS {
            with_slot(&self.writers[which], |slot| self.write(slot));
        } else {
            let is_alone = self.habits.sink == SinkKind::OneWithCheckpoints;
            let which = if is_alone { 0 } else { (which - WRITERS) / 2 }; // the first one is busier
            with_slot(&self.readers[which], |slot| self.read(which, slot));
        }
    }

    fn write(&self, slot: Slot<Writer>) -> Slot<Writer> {
        let Slot::Ready(writer) = slot else { return Slot::Ready(Box::new(self.start_writer())) };
        let choice = self.rng().below(16);
        match choice {
            0..8 => {
                self.append(&writer, 1);
            }
            8..12 => {
                let count = self.rng().index(4) + 2;
                self.append(&writer, count);
            }
            12 => {
                let _ = writer.queue.roll(); // what was acknowledged is, with or without the seal
            }
            13 => {
                let _ = writer.queue.close();
                return Slot::Empty;
            }
            14 => {
                self.host.lock().kill(writer.process());
                return Slot::Empty;
            }
            _ => {}
        }
        if self.is_alive(writer.process()) { Slot::Ready(writer) } else { Slot::Empty }
    }

    fn read(&self, which: usize, slot: Slot<Reader>) -> Slot<Reader> {
        let Slot::Ready(mut reader) = slot else {
            return self.start_reader(which).map_or(Slot::Empty, |reader| Slot::Ready(Box::new(reader)));
        };
        let choice = self.rng().below(16);
        if choice == 0 {
            self.host.lock().kill(reader.process());
            return Slot::Empty;
        }
        if choice == 1 {
            return Slot::Empty; // the sink refuses, the program ends and tries again later
        }
        // After an error it may go on, or begin again.
        let goes_on = self.consume(which, &mut reader).is_ok() || self.rng().one_in(2);
        if goes_on && self.is_alive(reader.process()) { Slot::Ready(reader) } else { Slot::Empty }
    }

    /// Everybody ends, as at the end of a day or of a machine.
    pub(crate) fn end_all(&self) {
        for slot in &self.writers {
            with_slot(slot, |_| Slot::Empty);
        }
        for slot in &self.readers {
            with_slot(slot, |_| Slot::Empty);
        }
    }

    /// Power loss has happened: what the sinks had not made safe may be gone too.
    pub(crate) fn revert_sinks(&self) {
        if self.habits.sink != SinkKind::Lasting {
            for sink in &mut self.ledger().sinks {
                if self.rng().one_in(2) {
                    sink.revert();
                }
            }
        }
    }

    /// On a machine that is well, everything there is reaches the sinks, and then the judge speaks.
    pub(crate) fn finish(&self) {
        /// No history has that many lines.
        const MAX_ROUNDS: usize = 2_000;
        self.host.lock().heal();
        for which in 0..self.readers.len() {
            if self.ledger().sinks[which].registered_at.is_none() {
                continue;
            }
            let drained = self.start_reader(which).and_then(|mut reader| {
                for _ in 0..MAX_ROUNDS {
                    if !self.consume(which, &mut reader)? {
                        let position = self.ledger().sinks[which].checkpoint();
                        reader.consumer.commit(&position)?;
                        return reader.consumer.depth().map(Some);
                    }
                }
                Ok(None)
            });
            match drained {
                Ok(Some(0)) => {}
                Ok(Some(depth)) => self.ledger().violate(format!("drained, and the depth is {depth}")),
                Ok(None) => self.ledger().violate("the drain does not end"),
                Err(error) => self.ledger().violate(format!("the drain failed: {error}")),
            }
        }
        self.ledger().judge();
    }
}

/// Runs what is in the slot, unless it runs already.
fn with_slot<P>(slot: &Mutex<Slot<P>>, run: impl FnOnce(Slot<P>) -> Slot<P>) {
    let taken = slot.lock().unwrap().take();
    if !matches!(taken, Slot::Running) {
        let left = run(taken);
        *slot.lock().unwrap() = left;
    }
}
