//! What was promised, and what came: the judge of a history.

use std::collections::BTreeSet;

use cdesk_core::Position;

use crate::sim::{Bug, mix};

/// A line that tells its id, and whether it is still the one that was appended.
pub(crate) fn line(id: u64) -> Vec<u8> {
    let noise = mix(id);
    let length = match noise % 64 {
        0 => 3_000,
        1..8 => 600,
        other => usize::try_from(other).unwrap(),
    };
    let letters = "abcdefghijklmnopqrstuvwxyz{\":,}".repeat(length / 31 + 1);
    let text = letters[..length].replace('"', "'");
    format!("{{\"id\":{id},\"noise\":\"{noise:x}\",\"text\":\"{text}\"}}").into_bytes()
}

/// Which line it is; `None` unless it is one of ours, byte for byte, with what the log adds.
pub(crate) fn id_of(delivered: &[u8]) -> Option<u64> {
    let digits = delivered.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|&byte| byte == b',')?;
    let id = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    let mut expected = line(id);
    expected.pop();
    expected.extend_from_slice(b",\"_seq\":");
    delivered.starts_with(&expected).then_some(id)
}

/// One line that was handed to a queue.
#[derive(Debug, Clone, Copy)]
struct Submitted {
    /// One queue object, from open to close.
    writer: u64,
    /// Which append of all: lines of one call may come in another order when the call was written twice.
    call: u64,
    is_acknowledged: bool,
}

/// A database with transactions: it keeps rows and position together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    rows: Vec<u64>,
    known: BTreeSet<u64>,
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

/// Every line, and both sinks.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Vec<Submitted>,
    calls: u64,
    pub(crate) sinks: [Sink; 2],
    tags: BTreeSet<[u8; 14]>,
    /// What makes tags of numbers.
    tags_key: Option<Vec<u8>>,
    /// The first thing that must not happen.
    pub(crate) violation: Option<String>,
}

impl Ledger {
    /// New lines for one call of one writer; gives their ids.
    pub(crate) fn submit(&mut self, writer: u64, count: usize) -> Vec<u64> {
        self.calls += 1;
        let first = self.lines.len();
        let line = Submitted { writer, call: self.calls, is_acknowledged: false };
        self.lines.resize(first + count, line);
        (first..first + count).map(|id| u64::try_from(id).unwrap()).collect()
    }

    pub(crate) fn next_id(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap()
    }

    pub(crate) fn acknowledge(&mut self, ids: &[u64]) {
        for &id in ids {
            self.lines[usize::try_from(id).unwrap()].is_acknowledged = true;
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.lines.iter().filter(|line| line.is_acknowledged).count()
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    /// Somebody has a tag, made with the key that stands on the disk.
    pub(crate) fn give_out(&mut self, tag: [u8; 14], key: Option<Vec<u8>>) {
        if !self.tags.insert(tag) {
            self.violate(format!("the tag {} was given out twice", tag.escape_ascii()));
        }
        if key.is_none() {
            self.violate("a tag was given out, and nothing was reserved");
        }
        if self.tags_key.is_some() && self.tags_key != key {
            self.violate("the tags begin again under another key");
        }
        self.tags_key = key;
    }

    pub(crate) fn tags(&self) -> usize {
        self.tags.len()
    }

    /// The ids of a batch, if every line of it was submitted.
    pub(crate) fn ids_of(&mut self, ndjson: &[u8]) -> Vec<u64> {
        let mut ids = Vec::new();
        for line in ndjson.split_inclusive(|&byte| byte == b'\n') {
            match id_of(line).filter(|&id| id < self.next_id()) {
                Some(id) => ids.push(id),
                None => self.violate(format!("a wrong line was delivered: {}", line.escape_ascii())),
            }
        }
        ids
    }

    /// Judges what the sinks have once everything was drained.
    pub(crate) fn judge(&mut self) {
        let mut violations = Vec::new();
        for sink in &self.sinks {
            let Some(registered_at) = sink.registered_at else { continue };
            violations
                .extend(self.first_missing(sink).map(|id| format!("line {id} was acknowledged and lost")));
            if sink.rows.len() != sink.known.len() {
                violations.push("a line came twice".to_owned());
            }
            violations.extend(self.disorder(&sink.rows, registered_at));
        }
        for violation in violations {
            self.violate(violation);
        }
    }

    /// A consumer that lives has taken all there is: nothing may wait until it is started again.
    pub(crate) fn judge_living(&mut self, which: usize) {
        if let Some(id) = self.first_missing(&self.sinks[which]) {
            self.violate(format!("line {id} was acknowledged, and its consumer never comes to it"));
        }
    }

    /// The first line that the sink should have and has not.
    fn first_missing(&self, sink: &Sink) -> Option<u64> {
        let registered_at = sink.registered_at?;
        let mut lines = self.lines.iter().zip(0_u64..);
        let is_owed = |line: &Submitted, id| line.is_acknowledged && id >= registered_at;
        lines.find(|(line, id)| is_owed(line, *id) && !sink.known.contains(id)).map(|(_, id)| id)
    }

    /// What a writer appended after it knew that a line is durable must not come before that line.
    ///
    /// Lines of one call, and those that nobody acknowledged, may come in any order: when the first copy of a call
    /// was torn, a part of it may come before the second.
    fn disorder(&self, rows: &[u64], registered_at: u64) -> Option<String> {
        let mut last_call = std::collections::BTreeMap::new();
        for &id in rows.iter().filter(|&&id| id >= registered_at) {
            let line = self.lines[usize::try_from(id).unwrap()];
            let (call, before) = last_call.entry(line.writer).or_insert((line.call, id));
            if line.is_acknowledged && line.call < *call {
                return Some(format!("line {before} came before line {id}, after which it was written"));
            }
            if line.call > *call {
                (*call, *before) = (line.call, id);
            }
        }
        None
    }
}
