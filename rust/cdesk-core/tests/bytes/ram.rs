//! A directory in memory, for one consumer after the other: no system call, so that a fuzzer tries a lot of bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use cdesk_core::{FileStat, LockRequest, Result, Sealed, Storage};

/// The one segment there is.
pub(crate) const SEGMENT: &str = "seg-1763694538123-9f3a01c2-000000.ndjson";

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Does the writer of the segment live?
    has_writer: bool,
}

/// Shared by its clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ram(Arc<Mutex<State>>);

impl Ram {
    /// A log whose only segment has these bytes.
    pub(crate) fn with_segment(bytes: &[u8], has_writer: bool) -> Self {
        let files = BTreeMap::from([(SEGMENT.to_owned(), bytes.to_vec())]);
        Self(Arc::new(Mutex::new(State { files, has_writer })))
    }

    pub(crate) fn end_writer(&self) {
        self.state().has_writer = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn file<T>(&self, name: &str, look: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        self.state().files.get_mut(name).map(look).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Sealed for Ram {}

impl Storage for Ram {
    type File = String;
    type Lock = ();

    fn create_new(&self, name: &str) -> io::Result<String> {
        self.state().files.insert(name.to_owned(), Vec::new());
        Ok(name.to_owned())
    }

    fn open(&self, name: &str) -> io::Result<String> {
        self.file(name, |_| name.to_owned())
    }

    fn write(&self, name: &String, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file(name, |file| {
            let start = usize::try_from(offset).unwrap();
            file.resize(file.len().max(start + bytes.len()), 0);
            file[start..start + bytes.len()].copy_from_slice(bytes);
            bytes.len()
        })
    }

    fn sync_data(&self, _: &String) -> io::Result<()> {
        Ok(())
    }

    fn has_name(&self, name: &String) -> io::Result<bool> {
        Ok(self.state().files.contains_key(name))
    }

    fn truncate(&self, name: &String, bytes: u64) -> io::Result<()> {
        self.file(name, |file| file.truncate(usize::try_from(bytes).unwrap()))
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file(name, |file| {
            let rest = file.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            length
        })
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        self.file(name, |file| FileStat::new(u64::try_from(file.len()).unwrap(), 0))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.state().files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<()>> {
        let state = self.state();
        if request == LockRequest::Probe && !state.files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((name != SEGMENT || !state.has_writer).then_some(()))
    }

    /// Names in it are unlike those out here, and nobody lists it.
    fn subdirectory(&self, _: &str) -> Result<Self> {
        Ok(Self::default())
    }

    fn path(&self) -> &Path {
        Path::new("/ram")
    }
}
