//! Where lines go to.

use std::collections::BTreeSet;

use cdesk_core::Position;

use crate::sim::Bug;

/// A database with transactions: it keeps rows and position together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) rows: Vec<u64>,
    pub(crate) known: BTreeSet<u64>,
    pub(crate) position: Position,
    /// What survives the machine: rows and position.
    checkpoint: (usize, Position),
    /// Lines with this id and above are owed: they were submitted after the consumer had been registered.
    pub(crate) registered_at: Option<u64>,
}

impl Sink {
    /// One transaction.
    pub(crate) fn store(&mut self, ids: &[u64], position: &Position, bug: Bug) {
        for &id in ids {
            if self.known.insert(id) || bug == Bug::NoDeduplication {
                self.rows.push(id);
            }
        }
        self.position = position.clone();
    }

    pub(crate) fn checkpoint(&mut self) -> Position {
        self.checkpoint = (self.rows.len(), self.position.clone());
        self.position.clone()
    }

    pub(crate) fn checkpointed(&self) -> Position {
        self.checkpoint.1.clone()
    }

    /// Goes back to the checkpoint, as a database does whose own log was not synced.
    pub(crate) fn revert(&mut self) {
        for id in self.rows.split_off(self.checkpoint.0) {
            self.known.remove(&id);
        }
        self.position = self.checkpoint.1.clone();
    }
}
