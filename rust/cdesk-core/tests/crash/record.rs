//! What happened on a machine, and in what order it should have.

use std::collections::BTreeMap;

use crate::sim::{Event, Operation, ProcessId};
use crate::world::CONSUMERS;

/// Everything that happened, with questions to it.
pub(crate) struct Record<'a>(pub(crate) &'a [Event]);

impl Record<'_> {
    /// Where in `from..until` the first such event is.
    fn find(&self, from: usize, until: usize, is: impl Fn(&Event) -> bool) -> Option<usize> {
        self.0.iter().take(until).skip(from).position(is).map(|at| from + at)
    }

    fn find_done(&self, from: usize, until: usize, is: impl Fn(&Operation) -> bool) -> Option<usize> {
        self.find(from, until, |event| matches!(event, Event::Done { operation, .. } if is(operation)))
    }

    /// Every place and file to which the line was written.
    fn writes(&self, id: u64) -> impl Iterator<Item = (usize, usize)> {
        self.0.iter().enumerate().filter_map(move |(at, event)| match event {
            Event::Done { operation: Operation::Write { inode, ids, .. }, .. } if ids.contains(&id) => {
                Some((at, *inode))
            }
            _ => None,
        })
    }

    /// write < sync < acknowledge, no failed sync in between; create < sync of the directory < acknowledge.
    pub(crate) fn is_durable_at(&self, id: u64, until: usize) -> bool {
        self.writes(id).any(|(written, inode)| self.is_kept_in(inode, written, until))
    }

    fn is_kept_in(&self, inode: usize, written: usize, until: usize) -> bool {
        let is_sync = |operation: &Operation| *operation == Operation::Sync { inode };
        let Some(synced) = self.find_done(written, until, is_sync) else { return false };
        let failed = self.find(
            written,
            synced,
            |event| matches!(event, Event::Failed { operation, .. } if is_sync(operation)),
        );
        let named = self
            .find(0, written, |event| matches!(event, Event::Created { inode: of, .. } if *of == inode))
            .and_then(|created| {
                self.find_done(created, until, |operation| *operation == Operation::SyncDirectory)
            });
        failed.is_none() && named.is_some()
    }

    /// stored in the sink < position durable, before `until`.
    ///
    /// The position gets its place in either way: overwritten there < synced; or renamed < directory synced.
    pub(crate) fn is_consumed_at(&self, sink: usize, id: u64, until: usize) -> bool {
        let position = format!("{}.position", CONSUMERS[sink]);
        let Some(stored) = self.find(0, until, |event| *event == Event::Stored { sink, id }) else {
            return false;
        };
        self.is_renamed_between(&position, stored, until)
            || self.is_overwritten_between(&position, stored, until)
    }

    fn is_renamed_between(&self, position: &str, from: usize, until: usize) -> bool {
        let renamed =
            self.find(from, until, |event| matches!(event, Event::Renamed { to, .. } if to == position));
        let is_named =
            |at| self.find_done(at, until, |operation| *operation == Operation::SyncDirectory).is_some();
        renamed.is_some_and(is_named)
    }

    fn is_overwritten_between(&self, position: &str, from: usize, until: usize) -> bool {
        let files: Vec<_> = self.0[..until]
            .iter()
            .filter_map(|event| match event {
                Event::Opened { name, inode, .. }
                | Event::Created { name, inode, .. }
                | Event::Renamed { to: name, inode }
                    if name == position =>
                {
                    Some(*inode)
                }
                _ => None,
            })
            .collect();
        (from..until).any(|at| match &self.0[at] {
            Event::Done { operation: Operation::Write { inode, .. }, .. } => {
                files.contains(inode) && self.is_synced_after(at, *inode, until)
            }
            _ => false,
        })
    }

    /// Did the next sync of the file succeed, whoever asked for it? After one that fails the bytes are gone, and the next
    /// succeeds all the same.
    fn is_synced_after(&self, at: usize, file: usize, until: usize) -> bool {
        let is_sync = |operation: &Operation| *operation == Operation::Sync { inode: file };
        let next = self.find(at, until, |event| match event {
            Event::Done { operation, .. } | Event::Failed { operation, .. } => is_sync(operation),
            _ => false,
        });
        next.is_some_and(|next| matches!(self.0[next], Event::Done { .. }))
    }

    pub(crate) fn check_acknowledgements(&self) -> usize {
        let mut count = 0;
        for (at, event) in self.0.iter().enumerate() {
            if let Event::Acknowledged { id } = event {
                assert!(self.is_durable_at(*id, at), "line {id} was acknowledged too early");
                count += 1;
            }
        }
        count
    }

    /// Every deletion by a consumer, of a segment with a line that both had acknowledged to them.
    pub(crate) fn check_deletions(&self) -> usize {
        let mut count = 0;
        let acknowledged: Vec<_> = (0..)
            .zip(self.0)
            .filter_map(|(at, event)| match event {
                Event::Acknowledged { id } => Some((at, *id)),
                _ => None,
            })
            .collect();
        for (at, event) in self.0.iter().enumerate() {
            let Event::Done { process, operation: Operation::Unlink { name } } = event else { continue };
            let Some(inode) = self.created_by_another(name, *process) else { continue };
            for &(_, id) in acknowledged.iter().filter(|(acknowledged, _)| *acknowledged < at) {
                if self.writes(id).any(|(written, of)| of == inode && self.is_kept_in(inode, written, at)) {
                    for sink in 0..CONSUMERS.len() {
                        assert!(
                            self.is_consumed_at(sink, id, at),
                            "{name} was deleted before line {id} was safe"
                        );
                    }
                    count += 1;
                }
            }
        }
        count
    }

    fn created_by_another(&self, segment: &str, process: ProcessId) -> Option<usize> {
        let created = self.find(0, self.0.len(), |event| {
            matches!(event, Event::Created { name, .. } if name == segment && name.starts_with("seg-"))
        })?;
        let Event::Created { inode, .. } = self.0[created] else { return None };
        let is_own = self.find(0, self.0.len(), |event| {
            matches!(event, Event::Done { process: of, operation: Operation::Write { inode: to, .. } }
                if *of == process && *to == inode)
        });
        is_own.is_none().then_some(inode)
    }

    /// Every tag that was given out lies in a block that its process had reserved: written < synced < renamed <
    /// directory synced < given out. Says how many there are.
    pub(crate) fn check_tags(&self) -> Result<usize, String> {
        let mut processes = BTreeMap::<_, Tags>::new();
        for event in self.0 {
            match event {
                Event::Created { process, name, inode } if name == "tags.state.tmp" => {
                    processes.entry(*process).or_default().stage = Stage::Created { inode: *inode };
                }
                Event::Done { process, operation } => {
                    processes.entry(*process).or_default().proceed(operation);
                }
                Event::TagGiven { process } => {
                    let tags = processes.entry(*process).or_default();
                    tags.given += 1;
                    if tags.given > tags.reserved {
                        return Err(format!("process {process} has a tag that it did not reserve"));
                    }
                }
                _ => {}
            }
        }
        Ok(processes.values().map(|tags| tags.given).sum())
    }
}

/// How far a reservation of tags has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    Created {
        inode: usize,
    },
    Written {
        inode: usize,
    },
    Synced {
        inode: usize,
    },
    Renamed,
}

/// The tags of one process.
#[derive(Debug, Default)]
struct Tags {
    stage: Stage,
    reserved: usize,
    /// How many the last block has.
    block: usize,
    given: usize,
}

impl Tags {
    /// An operation succeeded.
    fn proceed(&mut self, operation: &Operation) {
        self.stage = match (operation, self.stage) {
            (
                Operation::Write { inode, .. },
                Stage::Created { inode: of } | Stage::Written { inode: of } | Stage::Synced { inode: of },
            ) if *inode == of => Stage::Written { inode: of },
            (Operation::Sync { inode }, Stage::Written { inode: of }) if *inode == of => {
                Stage::Synced { inode: of }
            }
            (Operation::Rename { to }, Stage::Synced { .. }) if to == "tags.state" => Stage::Renamed,
            (Operation::SyncDirectory, Stage::Renamed) => {
                self.block = (2 * self.block).clamp(1_024, 1 << 16);
                self.reserved += self.block;
                Stage::None
            }
            (_, stage) => stage,
        };
    }
}
