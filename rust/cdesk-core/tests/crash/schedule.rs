//! Who has a turn in a random history, and what it does with it.

use std::sync::PoisonError;
use std::time::Duration;

use cdesk_core::Error;

use crate::reading::Reader;
use crate::sim::Crew;
use crate::tagging::Tagger;
use crate::world::{CONSUMERS, SinkKind, Slot, TAGGERS, WRITERS, World};
use crate::writing::Writer;

/// One seat for each process there may be at a time: the writers, the consumers, and those who take tags.
pub(crate) const SEATS: usize = WRITERS + CONSUMERS.len() + TAGGERS;
const FIRST_READER: usize = WRITERS;
const FIRST_TAGGER: usize = FIRST_READER + CONSUMERS.len();
/// Who has how many turns: the first consumer is busier than the second.
const SHARES: [usize; 14] = [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6];

impl World {
    /// A turn for any process: it goes on with its step, or begins one.
    pub(crate) fn next_seat(&self) -> usize {
        self.pass_time();
        let seat = self.rng().pick(SHARES);
        let is_nobody = self.habits.sink == SinkKind::OneWithCheckpoints && seat == FIRST_READER + 1;
        if is_nobody { FIRST_READER } else { seat }
    }

    /// One step of the process in that seat.
    pub(crate) fn step(&self, seat: usize) {
        match seat {
            FIRST_TAGGER.. => with_slot(&self.taggers[seat - FIRST_TAGGER], |tagger| self.tag(tagger)),
            FIRST_READER.. => {
                let which = seat - FIRST_READER;
                with_slot(&self.readers[which], |reader| self.read(which, reader));
            }
            _ => with_slot(&self.writers[seat], |writer| self.write(writer)),
        }
    }

    fn write(&self, writer: Option<Writer>) -> Option<Writer> {
        let Some(writer) = writer else { return Some(self.start_writer()) };
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
                return None;
            }
            14 => {
                self.host.lock().kill(writer.process());
                return None;
            }
            _ => {}
        }
        self.is_alive(writer.process()).then_some(writer)
    }

    fn read(&self, which: usize, reader: Option<Reader>) -> Option<Reader> {
        let Some(mut reader) = reader else { return self.start_reader(which).ok() };
        let choice = self.rng().below(16);
        if choice == 0 {
            self.host.lock().kill(reader.process());
            return None;
        }
        if choice == 1 {
            return None; // the sink refuses, the program ends and tries again later
        }
        // After an error it may go on, or begin again.
        let goes_on = self.consume(which, &mut reader).is_ok() || self.rng().one_in(2);
        (goes_on && self.is_alive(reader.process())).then_some(reader)
    }

    fn tag(&self, tagger: Option<Tagger>) -> Option<Tagger> {
        let tagger = tagger.unwrap_or_else(|| self.start_tagger());
        self.take_tags(&tagger);
        let choice = self.rng().below(8);
        if choice == 0 {
            self.host.lock().kill(tagger.process());
        }
        (choice > 1 && self.is_alive(tagger.process())).then_some(tagger)
    }

    /// Everybody comes to the end of a step.
    pub(crate) fn finish_steps(&self, crew: &Crew) {
        if crew.finish(|count| self.rng().index(count)) {
            self.ledger().violate("somebody waits for ever");
        }
    }

    /// Everybody ends, as at the end of a day or of a machine.
    pub(crate) fn end_all(&self) {
        for slot in &self.writers {
            with_slot(slot, |_| None);
        }
        for slot in &self.readers {
            with_slot(slot, |_| None);
        }
        for slot in &self.taggers {
            with_slot(slot, |_| None);
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

    /// On a machine that is well, a consumer that lives comes to every line, also of writers that live.
    pub(crate) fn satisfy_all(&self) {
        self.host.lock().heal();
        for (which, slot) in self.readers.iter().enumerate() {
            with_slot(slot, |reader| {
                let mut reader = reader?;
                match self.drain(which, &mut reader) {
                    Ok(true) => self.ledger().judge_living(which),
                    Ok(false) => self.ledger().violate("a consumer that lives never has enough"),
                    Err(error) => self.ledger().violate(format!("a consumer that lives fails: {error}")),
                }
                Some(reader)
            });
        }
    }

    /// On a machine that is well, everything there is reaches the sinks, and then the judge speaks.
    pub(crate) fn finish(&self) {
        self.host.lock().heal();
        let mut readers = Vec::new();
        for which in 0..self.readers.len() {
            if self.ledger().sinks[which].registered_at.is_none() {
                continue;
            }
            match self.start_reader(which).and_then(|reader| self.drain_for_good(which, reader)) {
                Ok(reader) => readers.push((which, reader)),
                Err(error) => self.ledger().violate(format!("the drain failed: {error}")),
            }
        }
        self.delete_all(readers);
        if let Err(error) = self.take_tag(&self.start_tagger()) {
            self.ledger().violate(format!("there are no tags any more: {error}"));
        }
        let is_order_promised = !self.host.lock().has_hidden_lines;
        self.ledger().judge(is_order_promised);
    }

    fn drain_for_good(&self, which: usize, mut reader: Reader) -> Result<Reader, Error> {
        if !self.drain(which, &mut reader)? {
            self.ledger().violate("the drain does not end");
        }
        let position = self.ledger().sinks[which].checkpoint();
        reader.consumer.commit(&position)?;
        let depth = reader.consumer.depth()?;
        if depth > 0 {
            self.ledger().violate(format!("drained, and the depth is {depth}"));
        }
        if let Some(trouble) = reader.consumer.troubles().first() {
            self.ledger().violate(format!("drained, and there is trouble: {trouble:?}"));
        }
        Ok(reader)
    }

    /// Nobody writes, and everybody has consumed everything: no segment has a reason to stay.
    fn delete_all(&self, mut readers: Vec<(usize, Reader)>) {
        self.clock.advance(Duration::from_secs(3_600));
        let registered = self.host.lock().disk.names().filter(|name| name.ends_with(".position")).count();
        if registered > readers.len() {
            return; // there is one that its sink knows nothing of
        }
        for (which, reader) in &mut readers {
            let position = self.ledger().sinks[*which].position.clone();
            if let Err(error) = reader.consumer.prune(&position, self.habits.min_age) {
                self.ledger().violate(format!("nothing can be deleted: {error}"));
            }
        }
        let left = self.host.lock().disk.names().filter(|name| name.starts_with("seg-")).count();
        if left > 0 && !readers.is_empty() {
            self.ledger().violate(format!("{left} segments stay for no reason"));
        }
    }

    /// Consumes until there is nothing to take; `Ok(false)` if that does not end.
    fn drain(&self, which: usize, reader: &mut Reader) -> Result<bool, Error> {
        /// No history has that many lines.
        const MAX_ROUNDS: usize = 2_000;
        for _ in 0..MAX_ROUNDS {
            if !self.consume(which, reader)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Runs what is in the slot, and puts back what is left of it.
fn with_slot<P>(slot: &Slot<P>, run: impl FnOnce(Option<P>) -> Option<P>) {
    let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let left = run(taken);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = left;
}
