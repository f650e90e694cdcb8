//! The names of one directory, and what power loss leaves of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::disk::InodeId;
use super::rng::Rng;

#[derive(Debug, Clone)]
enum NameChange {
    Link { name: String, inode: InodeId },
    Unlink { name: String },
    Rename { from: String, to: String, inode: InodeId },
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name, inode);
            }
            Self::Unlink { name } => {
                names.remove(&name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

/// What the device makes of changes that were not synced.
#[derive(Debug, Clone, Copy)]
enum Mood {
    None,
    All,
    /// As a journal does.
    Prefix,
    Any,
}

/// Names, as everybody sees them and as they are on the device.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    current: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: Vec<NameChange>,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    pub(crate) fn find(&self, name: &str) -> Option<InodeId> {
        self.current.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.current.keys()
    }

    /// Has the file a name here?
    pub(crate) fn has(&self, inode: InodeId) -> bool {
        self.current.values().any(|&named| named == inode)
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.current);
        self.pending.push(change);
    }

    pub(crate) fn link(&mut self, name: &str, inode: InodeId) {
        self.change(NameChange::Link { name: name.to_owned(), inode });
    }

    pub(crate) fn unlink(&mut self, name: &str) {
        self.change(NameChange::Unlink { name: name.to_owned() });
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, inode: InodeId) {
        self.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
    }

    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Any of what was not synced survives: each change by itself, as on a filesystem that keeps no order among them.
    ///
    /// A rename whose file was never created, as far as the device knows, gives that file its name all the same.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        let count = self.pending.len();
        let mood = rng.pick([Mood::Prefix, Mood::Prefix, Mood::Any, Mood::Any, Mood::All, Mood::None]);
        let prefix = rng.index(count + 1);
        for (at, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let is_kept = match mood {
                Mood::None => false,
                Mood::All => true,
                Mood::Prefix => at < prefix,
                Mood::Any => rng.one_in(2),
            };
            if is_kept {
                change.apply(&mut self.durable);
            }
        }
        self.current = self.durable.clone();
    }
}
