//! A disk in memory that knows what is durable, and that other threads overtake before every operation.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use cdesk_core::{FileStat, LockRequest, Result, Sealed, Storage};

const EIO: i32 = 5;

/// Which operation fails; the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Once(u32),
    From(u32),
}

/// What a sync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It makes durable what was written.
    Honest,
    /// It says so, and does nothing.
    Lying,
}

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable_bytes: usize,
    is_name_durable: bool,
    is_in_use: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    operations: u32,
    fault: Fault,
    sync: Sync,
}

struct Inner {
    /// Taken and given back before every operation: the moment of all other threads.
    turn: shuttle::sync::Mutex<()>,
    /// Held within an operation alone, so nobody ever waits for it.
    state: Mutex<State>,
}

/// Shared by the log and by those who check it.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Inner>);

impl Disk {
    pub(crate) fn new(fault: Fault, sync: Sync) -> Self {
        let state = State { files: BTreeMap::new(), operations: 0, fault, sync };
        Self(Arc::new(Inner { turn: shuttle::sync::Mutex::new(()), state: Mutex::new(state) }))
    }

    /// Would the line be there after power loss at this moment?
    pub(crate) fn is_durable(&self, id: u64) -> bool {
        let start = format!("{{\"id\":{id},");
        self.durable().any(|bytes| bytes.windows(start.len()).any(|window| window == start.as_bytes()))
    }

    /// The ids of all durable lines, segment by segment.
    pub(crate) fn lines(&self) -> Vec<u64> {
        self.durable().flat_map(|bytes| ids(&bytes)).collect()
    }

    /// How many changes there have been.
    pub(crate) fn operations(&self) -> u32 {
        self.state().operations
    }

    fn durable(&self) -> impl Iterator<Item = Vec<u8>> {
        let state = self.state();
        let files = state.files.values().filter(|file| file.is_name_durable);
        files.map(|file| file.bytes[..file.durable_bytes].to_vec()).collect::<Vec<_>>().into_iter()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn wait_for_turn(&self) {
        drop(self.0.turn.lock().unwrap());
    }

    /// Others may come in between, and the device may fail.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        self.wait_for_turn();
        let mut state = self.state();
        let now = state.operations;
        state.operations += 1;
        let fails = match state.fault {
            Fault::None => false,
            Fault::Once(at) => now == at,
            Fault::From(start) => now >= start,
        };
        if fails { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(state) }
    }

    /// The file belongs to one thread at a time, from before the operation to its end.
    fn using<T>(&self, name: &str, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let in_use = |now| {
            let mut state = self.state();
            state.files.get_mut(name).is_some_and(|file| std::mem::replace(&mut file.is_in_use, now))
        };
        assert!(!in_use(true), "two threads use {name}");
        let outcome = operation();
        in_use(false);
        outcome
    }
}

/// The ids of the lines in a segment, which are numbered from 0.
fn ids(bytes: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut ids = Vec::new();
    for line in text.lines() {
        let count = u64::try_from(ids.len()).unwrap();
        if line.starts_with("{\"_sealed\"") {
            assert!(line.starts_with(&format!("{{\"_sealed\":{{\"lines\":{count}}},")), "{text}");
            assert!(text.ends_with(&format!("{line}\n")), "something follows the seal: {text}");
            break;
        }
        let fields = line.strip_prefix("{\"id\":").and_then(|rest| rest.split_once(','));
        let (id, rest) = fields.unwrap_or_else(|| panic!("what is {line}"));
        assert!(rest.starts_with(&format!("\"_seq\":{count},")), "{text}");
        ids.push(id.parse().unwrap());
    }
    ids
}

impl Sealed for Disk {}

impl Storage for Disk {
    type File = String;
    type Lock = ();

    fn create_new(&self, name: &str) -> io::Result<String> {
        let mut state = self.change()?;
        assert!(!state.files.contains_key(name), "{name} is created twice");
        state.files.insert(name.to_owned(), File::default());
        Ok(name.to_owned())
    }

    fn open(&self, name: &str) -> io::Result<String> {
        let state = self.state();
        if state.files.contains_key(name) { Ok(name.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn write(&self, name: &String, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.using(name, || {
            let mut state = self.change()?;
            let offset = usize::try_from(offset).unwrap();
            // Zeros written ahead are no content, and keeping them would take all the time there is.
            if let Some(file) = state.files.get_mut(name).filter(|_| !bytes.starts_with(b"\0")) {
                assert_eq!(offset, file.bytes.len(), "{name} is written out of order");
                file.bytes.extend_from_slice(bytes);
            }
            Ok(bytes.len())
        })
    }

    fn sync_data(&self, name: &String) -> io::Result<()> {
        self.using(name, || {
            let written = self.state().files.get(name).map_or(0, |file| file.bytes.len());
            let outcome = self.change();
            let is_ok = outcome.is_ok();
            drop(outcome);
            let mut state = self.state();
            let is_lying = state.sync == Sync::Lying;
            if let Some(file) = state.files.get_mut(name) {
                if !is_ok {
                    file.bytes.truncate(file.durable_bytes); // and the next sync says all is well
                } else if !is_lying {
                    file.durable_bytes = written;
                }
            }
            if is_ok { Ok(()) } else { Err(io::Error::from_raw_os_error(EIO)) }
        })
    }

    fn has_name(&self, name: &String) -> io::Result<bool> {
        Ok(self.state().files.contains_key(name))
    }

    fn truncate(&self, name: &String, bytes: u64) -> io::Result<()> {
        let mut state = self.change()?;
        let bytes = usize::try_from(bytes).unwrap();
        if let Some(file) = state.files.get_mut(name) {
            assert!(bytes >= file.bytes.len(), "lines are cut off {name}");
        }
        Ok(())
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        let file = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = file.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        let state = self.state();
        let file = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileStat::new(u64::try_from(file.bytes.len()).unwrap(), 0))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), File { is_name_durable: false, ..file });
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.change()?.files.remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change()?.files.values_mut().for_each(|file| file.is_name_durable = true);
        Ok(())
    }

    fn lock(&self, _: &str, _: LockRequest) -> io::Result<Option<()>> {
        Ok(Some(()))
    }

    fn subdirectory(&self, _: &str) -> Result<Self> {
        Ok(self.clone())
    }

    fn path(&self) -> &Path {
        Path::new("/memory")
    }
}
