//! The disk of one machine, and what power loss makes of it.

use std::path::PathBuf;

use super::directory::Directory;
use super::inode::Inode;
use super::locks::Locks;
use super::rng::Rng;

/// Which file, whatever names it has.
pub(crate) type InodeId = usize;
/// Which process of the machine.
pub(crate) type ProcessId = u64;

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
            directories: vec![Directory::new(root)],
            inodes: Vec::new(),
            locks: Locks::default(),
            rng: Rng::new(seed),
        }
    }

    /// Opens a directory; like the real one, its creation is durable when that returns.
    pub(crate) fn directory(&mut self, path: PathBuf) -> usize {
        let known = self.directories.iter().position(|directory| directory.path == path);
        known.unwrap_or_else(|| {
            self.directories.push(Directory::new(path));
            self.directories.len() - 1
        })
    }

    /// The names in the log's directory now.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.directories[0].names()
    }

    /// What stands in a file of the log's directory now.
    pub(crate) fn content(&self, name: &str) -> Option<&[u8]> {
        self.directories[0].find(name).map(|inode| self.inodes[inode].bytes())
    }

    pub(crate) fn create(&mut self, directory: usize, name: &str, now_unix_ms: u64) -> InodeId {
        let inode = self.inodes.len();
        let mut file = Inode::default();
        file.modified_unix_ms = now_unix_ms;
        file.is_segment = name.starts_with("seg-");
        self.inodes.push(file);
        self.directories[directory].link(name, inode);
        inode
    }

    pub(crate) fn lose_power(&mut self) {
        for directory in &mut self.directories {
            directory.lose_power(&mut self.rng);
        }
        let donor = self.stale();
        let stale = donor.map(|donor| self.inodes[donor].durable().to_vec()).unwrap_or_default();
        for (id, inode) in self.inodes.iter_mut().enumerate() {
            let stale = if donor == Some(id) { &[] } else { stale.as_slice() };
            inode.lose_power(stale, &mut self.rng);
        }
        self.locks.forget_all();
    }
    /// A segment whose blocks are found elsewhere: one that was deleted, rather than one that is there.
    fn stale(&mut self) -> Option<InodeId> {
        let names = &self.directories[0];
        let segments = self.inodes.iter().enumerate();
        let mut segments: Vec<_> = segments
            .filter(|(_, inode)| inode.is_segment && !inode.durable().is_empty())
            .map(|(id, _)| (names.has(id), id))
            .collect();
        if segments.iter().any(|(is_there, _)| !is_there) && !self.rng.one_in(4) {
            segments.retain(|(is_there, _)| !is_there);
        }
        segments.get(self.rng.index(segments.len())).map(|&(_, id)| id)
    }
}
