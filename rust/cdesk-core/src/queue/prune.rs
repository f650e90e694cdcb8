//! Deletes segments that nobody needs any more.
//!
//! Every doubt keeps the segment. One that is deleted and comes back with power loss is read again, which the ids
//! in the lines make harmless.

use std::io;
use std::time::Duration;

use super::backlog::extent;
use super::consumer::Consumer;
use super::position::{self, Position};
use super::reader::Finished;
use super::segment::SegmentName;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::{LockRequest, Storage};

impl<S: Storage, C: Clock> Consumer<S, C> {
    /// Deletes every segment that is finished, not younger than `min_age`, and wholly consumed both by
    /// `checkpointed`, which the sink has made safe, and by the durable position of every registered consumer.
    /// Says how many; the deletions are durable when it returns.
    ///
    /// `checkpointed` speaks for this consumer alone. Where there are several, one whose sink may fall back to a
    /// checkpoint commits no more than that checkpoint: its committed position is all that the others know.
    ///
    /// # Errors
    /// What the operating system says. Some segments may have been deleted.
    pub fn prune(&mut self, checkpointed: &Position, min_age: Duration) -> Result<u64> {
        self.check_process()?;
        self.discover()?;
        let mut positions = self.registered()?;
        positions.push(checkpointed.clone());
        let mut due = Vec::new();
        for (&name, reader) in &self.readers {
            let Some(finished) = reader.finished() else { continue };
            let is_consumed = positions.iter().all(|position| position.lines(name) >= finished.lines);
            if is_consumed && self.is_old(name, min_age)? {
                due.push((name, finished));
            }
        }
        if due.is_empty() {
            return Ok(0);
        }
        // What another consumer wrote may be seen before its name is durable.
        self.sync_dir()?;
        let mut pruned = 0;
        for (name, finished) in due {
            if self.delete(name, finished)? {
                self.forget(name);
                pruned += 1;
            }
        }
        if pruned > 0 {
            self.stats.pruned_segments += pruned;
            self.sync_dir()?;
            let readers = &self.readers;
            self.committed.retain(|segment| readers.contains_key(&segment));
        }
        Ok(pruned)
    }

    fn sync_dir(&self) -> Result<()> {
        self.storage.sync_dir().map_err(|error| Error::io("sync the directory", self.storage.path(), error))
    }

    /// The positions of every consumer that ever registered here.
    fn registered(&self) -> Result<Vec<Position>> {
        let names = self.storage.list().map_err(|error| Error::io("list", self.storage.path(), error))?;
        let consumers = names.iter().filter_map(|name| name.strip_suffix(".position"));
        Ok(consumers.filter_map(|consumer| position::load(&self.storage, consumer)).collect())
    }

    /// A clock that stepped back makes a segment young, which keeps it.
    fn is_old(&self, name: SegmentName, min_age: Duration) -> Result<bool> {
        let file_name = name.to_string();
        match self.storage.stat(&file_name) {
            Ok(stat) => {
                let age_ms = self.clock.unix_ms().checked_sub(stat.modified_unix_ms);
                Ok(age_ms.is_some_and(|age_ms| Duration::from_millis(age_ms) >= min_age))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(Error::io("look at", self.storage.path_of(&file_name), error)),
        }
    }

    fn delete(&self, name: SegmentName, finished: Finished) -> Result<bool> {
        let file_name = name.to_string();
        let outcome = if finished.is_sealed {
            self.storage.unlink(&file_name)
        } else {
            // While the lock is ours no writer can come to life in it: one that is between the creation and the
            // lock finds the file gone and takes another.
            match self.storage.lock(&file_name, LockRequest::Probe) {
                Ok(None) => return Ok(false),
                Ok(Some(_lock)) => {
                    if extent(&self.storage, name)?.lines > finished.lines {
                        return Ok(false);
                    }
                    self.storage.unlink(&file_name)
                }
                Err(error) => Err(error),
            }
        };
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete", self.storage.path_of(&file_name), error))
            }
            _ => Ok(true),
        }
    }
}
