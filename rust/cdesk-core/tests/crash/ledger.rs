//! What was promised, and what came: the judge of a history.

use std::collections::BTreeSet;
use std::ops::Range;

use cdesk_core::FORMAT_VERSION;

use crate::sink::Sink;

/// One line that was handed to a queue.
#[derive(Debug)]
struct Submitted {
    bytes: Vec<u8>,
    /// One queue object, from open to close.
    writer: u64,
    /// Which append of all: lines of one call may come in another order when the call was written twice.
    call: u64,
    is_acknowledged: bool,
}

impl Submitted {
    /// Is that this line, byte for byte, with what the log adds?
    fn is(&self, delivered: &[u8]) -> bool {
        let added = self.bytes.strip_suffix(b"}").and_then(|open| delivered.strip_prefix(open));
        added.and_then(|added| std::str::from_utf8(added).ok()).is_some_and(is_added)
    }
}

/// `,"_seq":17,"_log":1,"_crc":"9f3a01c2"}` and the end of the line.
fn is_added(text: &str) -> bool {
    let version = format!(",\"_log\":{FORMAT_VERSION},\"_crc\":\"");
    let seq_and_crc = text.strip_prefix(",\"_seq\":").and_then(|rest| rest.split_once(&version));
    seq_and_crc.is_some_and(|(seq, crc)| {
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = |hex: &str| hex.len() == 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_number && crc.strip_suffix("\"}\n").is_some_and(is_hex)
    })
}

/// Which line it says it is.
fn claimed_id(delivered: &[u8]) -> Option<u64> {
    let digits = delivered.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|&byte| byte == b',')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
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
    /// New lines for one call of one writer; gives their ids, which begin with [`Ledger::next_id`].
    pub(crate) fn submit(&mut self, writer: u64, lines: &[Vec<u8>]) -> Range<u64> {
        self.calls += 1;
        let first = self.next_id();
        let call = self.calls;
        let submitted =
            |bytes: &Vec<u8>| Submitted { bytes: bytes.clone(), writer, call, is_acknowledged: false };
        self.lines.extend(lines.iter().map(submitted));
        first..self.next_id()
    }

    pub(crate) fn next_id(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap()
    }

    pub(crate) fn acknowledge(&mut self, ids: Range<u64>) {
        for id in ids {
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
            match self.find(line) {
                Some(id) => ids.push(id),
                None => self.violate(format!("a wrong line was delivered: {}", line.escape_ascii())),
            }
        }
        ids
    }

    fn find(&self, delivered: &[u8]) -> Option<u64> {
        let id = claimed_id(delivered)?;
        let submitted = self.lines.get(usize::try_from(id).ok()?)?;
        submitted.is(delivered).then_some(id)
    }

    /// Judges what the sinks have once everything was drained, and in which order if that was promised.
    pub(crate) fn judge(&mut self, is_order_promised: bool) {
        let mut violations = Vec::new();
        for sink in &self.sinks {
            let Some(registered_at) = sink.registered_at else { continue };
            violations
                .extend(self.first_missing(sink).map(|id| format!("line {id} was acknowledged and lost")));
            if sink.rows.len() != sink.known.len() {
                violations.push("a line came twice".to_owned());
            }
            if is_order_promised {
                violations.extend(self.disorder(&sink.rows, registered_at));
            }
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
            let line = &self.lines[usize::try_from(id).unwrap()];
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
