//! A consumer as it should be.

use std::collections::{BTreeMap, BTreeSet};

use cdesk_core::ConsumerStats;

use crate::files::{Files, Name};

/// For each segment, how many of its lines were consumed.
pub(crate) type Lines = BTreeMap<Name, u64>;

/// A position as text.
pub(crate) fn text(position: &Lines) -> String {
    let entries = position.iter().filter(|(_, lines)| **lines > 0);
    entries.fold("1".to_owned(), |text, (name, lines)| format!("{text};{name}={lines}"))
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    consumed: u64,
    /// How many lines a segment that will not grow has, once that was seen.
    finished: Option<u64>,
}

impl Cursor {
    /// Everything there is was read: is it all there will be?
    fn end(&mut self, name: &Name, files: &Files, torn: &mut BTreeSet<Name>, stats: &mut ConsumerStats) {
        if files.is_finished(name) {
            self.finished = Some(files.segments[name].count());
            if torn.insert(name.clone()) {
                stats.torn_bytes += u64::try_from(files.segments[name].torn_bytes).unwrap();
            }
        }
    }
}

/// A batch as it should be: text, lines, position.
pub(crate) type Expected = (String, usize, Lines);

/// One consumer, from the time it was opened.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    cursors: BTreeMap<Name, Cursor>,
    start: Lines,
    committed: Lines,
    /// Torn tails are counted once.
    torn: BTreeSet<Name>,
    pub(crate) stats: ConsumerStats,
    /// What is in the file.
    pub(crate) durable: Lines,
    /// Where it stood after the last batch or seek.
    pub(crate) last: Lines,
}

impl Reference {
    pub(crate) fn open(durable: Lines) -> Self {
        let (start, committed, last) = (durable.clone(), durable.clone(), durable.clone());
        Self { start, committed, durable, last, ..Self::default() }
    }

    fn discover(&mut self, files: &Files) {
        self.cursors.retain(|name, _| files.segments.contains_key(name));
        self.torn.retain(|name| files.segments.contains_key(name));
        for name in files.segments.keys() {
            let consumed = self.start.get(name).copied().unwrap_or(0);
            self.cursors.entry(name.clone()).or_insert(Cursor { consumed, finished: None });
        }
        self.stats.segments = u64::try_from(self.cursors.len()).unwrap();
    }

    pub(crate) fn next_batch(
        &mut self,
        files: &Files,
        (max_lines, max_bytes): (usize, usize),
    ) -> Option<Expected> {
        self.discover(files);
        let (mut batch, mut lines) = (String::new(), 0);
        'segments: for (name, cursor) in &mut self.cursors {
            let segment = &files.segments[name];
            let stands_at = usize::try_from(cursor.consumed).unwrap();
            if cursor.finished.is_some() {
                continue;
            }
            for line in segment.lines.iter().skip(stands_at) {
                let has_room = lines < max_lines && batch.len() + line.len() <= max_bytes;
                if lines > 0 && !has_room {
                    break 'segments;
                }
                batch.push_str(line);
                lines += 1;
                cursor.consumed += 1;
            }
            cursor.end(name, files, &mut self.torn, &mut self.stats);
        }
        if lines == 0 {
            return None;
        }
        self.stats.batches += 1;
        self.stats.lines += u64::try_from(lines).unwrap();
        self.stats.bytes += u64::try_from(batch.len()).unwrap();
        let consumed = self.cursors.iter().filter(|(_, cursor)| cursor.consumed > 0);
        self.last = consumed.map(|(name, cursor)| (name.clone(), cursor.consumed)).collect();
        Some((batch, lines, self.last.clone()))
    }

    /// Forwards only, and what is gone is forgotten.
    pub(crate) fn commit(&mut self, files: &Files, position: &Lines) {
        self.discover(files);
        for (name, &lines) in position {
            let known = self.committed.entry(name.clone()).or_default();
            *known = lines.max(*known);
        }
        self.committed.retain(|name, _| files.segments.contains_key(name));
        self.durable = self.committed.clone();
    }

    pub(crate) fn seek(&mut self, position: &Lines) {
        self.cursors.clear();
        for place in [&mut self.start, &mut self.committed, &mut self.last] {
            place.clone_from(position);
        }
        self.durable.retain(|name, lines| {
            *lines = position.get(name).copied().unwrap_or(0).min(*lines);
            *lines > 0
        });
    }

    /// Lines appended minus lines committed.
    pub(crate) fn depth(&mut self, files: &Files) -> u64 {
        self.discover(files);
        depth(files, &self.committed)
    }

    /// The segments that this consumer has seen to their end and all of `registered` have consumed.
    pub(crate) fn due(&mut self, files: &Files, registered: &[&Lines]) -> BTreeSet<Name> {
        self.discover(files);
        for (name, cursor) in &mut self.cursors {
            let is_begun =
                registered.iter().all(|position| position.get(name).is_some_and(|&lines| lines > 0));
            if is_begun && cursor.finished.is_none() && cursor.consumed >= files.segments[name].count() {
                cursor.end(name, files, &mut self.torn, &mut self.stats);
            }
        }
        let is_due = |(name, cursor): (&Name, &Cursor)| {
            let lines = cursor.finished?;
            let is_consumed = |position: &&Lines| position.get(name).is_some_and(|&known| known >= lines);
            registered.iter().all(is_consumed).then(|| name.clone())
        };
        self.cursors.iter().filter_map(is_due).collect()
    }

    pub(crate) fn prune(&mut self, files: &Files, due: &BTreeSet<Name>) {
        self.discover(files);
        self.stats.pruned_segments += u64::try_from(due.len()).unwrap();
        if !due.is_empty() {
            self.committed.retain(|name, _| files.segments.contains_key(name));
        }
    }
}

/// Lines appended minus lines at the position.
pub(crate) fn depth(files: &Files, position: &Lines) -> u64 {
    let waiting = files
        .segments
        .iter()
        .map(|(name, segment)| segment.count().saturating_sub(position.get(name).copied().unwrap_or(0)));
    waiting.sum()
}
