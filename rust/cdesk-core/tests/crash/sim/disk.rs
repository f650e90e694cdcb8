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

    pub(crate) fn create(&mut self, directory: usize, name: &str, now_unix_ms: u64) -> InodeId {
        let inode = self.inodes.len();
        let mut file = Inode::default();
        file.modified_unix_ms = now_unix_ms;
        self.inodes.push(file);
        self.directories[directory].link(name, inode);
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
