//! Directories and files of one machine, and what power loss makes of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::inode::Inode;
use super::locks::Locks;
use super::rng::Rng;

/// Which file, whatever names it has.
pub(crate) type InodeId = usize;
/// Which process of the machine.
pub(crate) type ProcessId = u64;

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

/// Names, as everybody sees them and as they are on the device.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    current: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: Vec<NameChange>,
}

impl Directory {
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

    /// Any prefix of what was not synced survives.
    fn lose_power(&mut self, rng: &mut Rng) {
        let kept = rng.index(self.pending.len() + 1);
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.current = self.durable.clone();
    }
}

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) directories: Vec<Directory>,
    pub(crate) inodes: Vec<Inode>,
    pub(crate) locks: Locks,
    pub(crate) rng: Rng,
}

impl Disk {
    pub(crate) fn new(root: PathBuf, seed: u64) -> Self {
        Self {
            directories: vec![Directory { path: root, ..Directory::default() }],
            inodes: Vec::new(),
            locks: Locks::default(),
            rng: Rng::new(seed),
        }
    }

    /// Opens a directory; like the real one, its creation is durable when that returns.
    pub(crate) fn directory(&mut self, path: PathBuf) -> usize {
        let known = self.directories.iter().position(|directory| directory.path == path);
        known.unwrap_or_else(|| {
            self.directories.push(Directory { path, ..Directory::default() });
            self.directories.len() - 1
        })
    }

    pub(crate) fn create(&mut self, directory: usize, name: &str, now_unix_ms: u64) -> InodeId {
        let inode = self.inodes.len();
        let mut file = Inode::default();
        file.modified_unix_ms = now_unix_ms;
        self.inodes.push(file);
        self.directories[directory].change(NameChange::Link { name: name.to_owned(), inode });
        inode
    }

    pub(crate) fn lose_power(&mut self) {
        for directory in &mut self.directories {
            directory.lose_power(&mut self.rng);
        }
        for inode in &mut self.inodes {
            inode.lose_power(&mut self.rng);
        }
        self.locks.forget_all();
    }
}
