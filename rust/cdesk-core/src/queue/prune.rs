//! Deletes segments that nobody needs any more.
//!
//! Every doubt keeps the segment. One that is deleted and comes back with power loss is read again, which the ids
//! in the lines make harmless.

use std::io;
use std::time::Duration;

use super::batch::Gathering;
use super::consumer::Consumer;
use super::position::Position;
use super::position_file::{self, Progress, REGISTRY_LOCK};
use super::reader::Finished;
use super::segment::SegmentName;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::{FileStat, LockRequest, Storage};

impl<S: Storage, C: Clock> Consumer<S, C> {
    /// Deletes every segment that is finished, not younger than `min_age`, and wholly within what every registered consumer
    /// says is safe; for this one that is `checkpointed`, which the others may go by from now on. Those
    /// whose damage has no copy yet stay, those that dead writers left empty go. Says how many, with those that an
    /// earlier call deleted and could not make durable; the deletions are durable when it returns. A segment that cannot be
    /// looked at or deleted is passed over, and is among the [troubles](Consumer::troubles).
    ///
    /// # Errors
    /// `ForkDetected`, and what the operating system says of the directory and the positions. Some segments may have
    /// been deleted, not durably; the next call makes up for it.
    pub fn prune(&mut self, checkpointed: &Position, min_age: Duration) -> Result<u64> {
        self.check_process()?;
        self.discover()?;
        self.damaged.catch_up(&self.storage);
        let told = self.position_file.advance_safe(&self.storage, checkpointed);
        self.progress.advance_to(&Position::default(), checkpointed);
        let Some(_turn) = self
            .storage
            .lock(REGISTRY_LOCK, LockRequest::Lease)
            .map_err(|error| Error::io("lock", self.storage.path_of(REGISTRY_LOCK), error))?
        else {
            return told.map(|()| 0); // somebody registers or deletes at this moment: the next call will do
        };
        let registered = self.registered()?;
        let own = |consumer: &str| consumer == self.name;
        let bounds = registered.iter().map(|(consumer, progress)| {
            if own(consumer) { &progress.consumed } else { &progress.safe } // of its own, `checkpointed` is
        });
        let mut positions: Vec<_> = bounds.collect();
        positions.push(checkpointed);
        self.read_to_the_end(&positions);
        self.undeletable.clear();
        let mut due = Vec::new();
        for (&name, reader) in &self.readers {
            match self.is_due(name, reader.finished(), &positions, min_age) {
                Ok(true) => due.push((name, reader.finished())),
                Ok(false) => {}
                Err(error) => _ = self.undeletable.insert(name, error),
            }
        }
        if due.is_empty() && self.undurable_deletions == 0 {
            return told.map(|()| 0);
        }
        // What another consumer wrote may be seen before it, and the name it has, are durable.
        for (consumer, _) in &registered {
            position_file::sync(&self.storage, consumer)?;
        }
        self.sync_dir()?;
        for (name, finished) in due {
            match self.delete(name, finished) {
                Ok(true) => {
                    self.forget(name);
                    self.undurable_deletions += 1;
                }
                Ok(false) => {}
                Err(error) => _ = self.undeletable.insert(name, error),
            }
        }
        if self.undurable_deletions == 0 {
            return told.map(|()| 0);
        }
        self.sync_dir()?;
        let pruned = std::mem::take(&mut self.undurable_deletions);
        self.stats.pruned_segments += pruned;
        let readers = &self.readers;
        self.progress.retain(|segment| readers.contains_key(&segment));
        told.map(|()| pruned)
    }

    fn sync_dir(&self) -> Result<()> {
        self.storage.sync_dir().map_err(|error| Error::io("sync the directory", self.storage.path(), error))
    }

    /// The consumers that ever registered here, and how far they have come.
    fn registered(&self) -> Result<Vec<(String, Progress)>> {
        let names = self.storage.list().map_err(|error| Error::io("list", self.storage.path(), error))?;
        let consumers = names.iter().filter_map(|name| position_file::consumer_of(name));
        let progress = |name: &str| Some((name.to_owned(), position_file::load(&self.storage, name)?));
        Ok(consumers.filter_map(progress).collect())
    }

    /// Segments that everybody has consumed something of may be done with, whether or not they were read in this life.
    fn read_to_the_end(&mut self, positions: &[&Position]) {
        let mut nothing = Gathering::closed();
        for (&name, reader) in &mut self.readers {
            if reader.finished().is_none() && positions.iter().all(|position| position.lines(name) > 0) {
                let read = reader.read(&self.storage, &mut self.damaged, &mut nothing, &mut self.buffer);
                match read {
                    Ok(_) => _ = self.failing.remove(&name),
                    Err(error) => _ = self.failing.insert(name, error),
                }
            }
        }
    }

    /// A clock that stepped back makes a segment young, which keeps it.
    fn is_due(
        &self,
        name: SegmentName,
        finished: Option<Finished>,
        positions: &[&Position],
        min_age: Duration,
    ) -> Result<bool> {
        let is_needed =
            |finished: Finished| positions.iter().any(|position| position.lines(name) < finished.lines);
        if finished.is_some_and(is_needed) || self.damaged.needs(name) {
            return Ok(false);
        }
        let Some(stat) = self.look_at(name)? else { return Ok(true) };
        let age_ms = self.clock.unix_ms().checked_sub(stat.modified_unix_ms);
        let is_old = age_ms.is_some_and(|age_ms| Duration::from_millis(age_ms) >= min_age);
        // Of those that were not read to an end, only one that nothing was ever written to may go.
        Ok(is_old && (finished.is_some() || stat.bytes == 0))
    }

    fn delete(&self, name: SegmentName, finished: Option<Finished>) -> Result<bool> {
        let file_name = name.to_string();
        let fail = |error| Error::io("delete", self.storage.path_of(&file_name), error);
        let mut lock = None;
        if !finished.is_some_and(|finished| finished.is_sealed) {
            // While it is locked no writer can come to life in it: one that is between the creation and the lock finds
            // the file gone and takes another.
            lock = match self.storage.lock(&file_name, LockRequest::Probe) {
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                lock => lock.map_err(fail)?,
            };
            let read_bytes = finished.map_or(0, |finished| finished.bytes);
            if self.look_at(name)?.is_some_and(|stat| stat.bytes != read_bytes) {
                return Ok(false);
            }
        }
        let unlinked = self.storage.unlink(&file_name);
        drop(lock);
        match unlinked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            unlinked => unlinked.map(|()| true).map_err(fail),
        }
    }

    /// `None` when it is gone.
    fn look_at(&self, name: SegmentName) -> Result<Option<FileStat>> {
        let file_name = name.to_string();
        match self.storage.stat(&file_name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            stat => {
                stat.map(Some).map_err(|error| Error::io("look at", self.storage.path_of(&file_name), error))
            }
        }
    }
}
