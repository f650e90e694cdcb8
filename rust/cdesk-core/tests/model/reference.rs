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

/// How far a consumer has come, and what of that is safe.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) consumed: Lines,
    pub(crate) safe: Lines,
}

impl Progress {
    fn advance_to(&mut self, consumed: &Lines, safe: &Lines) {
        for (mine, theirs) in [(&mut self.consumed, consumed), (&mut self.safe, safe)] {
            for (name, &lines) in theirs {
                let known = mine.entry(name.clone()).or_default();
                *known = lines.max(*known);
            }
        }
        fall_back(&mut self.safe, &self.consumed.clone());
    }

    fn forget_what_is_gone(&mut self, files: &Files) {
        self.consumed.retain(|name, _| files.segments.contains_key(name));
        self.safe.retain(|name, _| files.segments.contains_key(name));
    }
}

fn fall_back(mine: &mut Lines, to: &Lines) {
    mine.retain(|name, lines| {
        *lines = to.get(name).copied().unwrap_or(0).min(*lines);
        *lines > 0
    });
}

/// A batch as it should be: text, lines, position.
pub(crate) type Expected = (String, usize, Lines);

/// One consumer, from the time it was opened.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    cursors: BTreeMap<Name, Cursor>,
    start: Lines,
    committed: Progress,
    /// Torn tails are counted once.
    torn: BTreeSet<Name>,
    pub(crate) stats: ConsumerStats,
    /// What is in the file.
    pub(crate) durable: Progress,
    /// Where it stood after the last batch or seek.
    pub(crate) last: Lines,
}

impl Reference {
    pub(crate) fn open(durable: Progress) -> Self {
        let (start, committed, last) = (durable.consumed.clone(), durable.clone(), durable.consumed.clone());
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
    pub(crate) fn commit(&mut self, files: &Files, position: &Lines, safe: &Lines) {
        self.discover(files);
        self.committed.advance_to(position, safe);
        self.committed.forget_what_is_gone(files);
        self.durable = self.committed.clone();
    }

    pub(crate) fn seek(&mut self, position: &Lines) {
        self.cursors.clear();
        for place in [&mut self.start, &mut self.committed.consumed, &mut self.last] {
            place.clone_from(position);
        }
        for place in [&mut self.committed.safe, &mut self.durable.consumed, &mut self.durable.safe] {
            fall_back(place, position);
        }
    }

    /// Lines appended minus lines committed.
    pub(crate) fn depth(&mut self, files: &Files) -> u64 {
        self.discover(files);
        depth(files, &self.committed.consumed)
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

    pub(crate) fn prune(&mut self, files: &Files, due: &BTreeSet<Name>, checkpointed: &Lines) {
        self.discover(files);
        self.durable.advance_to(&Lines::new(), checkpointed);
        self.committed.advance_to(&Lines::new(), checkpointed);
        self.stats.pruned_segments += u64::try_from(due.len()).unwrap();
        if !due.is_empty() {
            self.committed.forget_what_is_gone(files);
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
