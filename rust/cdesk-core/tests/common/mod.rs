//! What the tests of the log share.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod faulty;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cdesk_core::{
    BatchLimits, Clock, Consumer, DirStorage, Durability, ManualClock, Queue, QueueOptions, Storage,
};

/// A wall clock that tests can hold.
pub(crate) const NOW: u64 = 1_763_694_538_123;

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// In memory where there is a place for that: what is tried at every byte or operation need not wait for a disk.
pub(crate) fn memory() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared).unwrap() } else { directory() }
}

pub(crate) fn open(directory: &Path) -> Queue {
    Queue::open(directory, QueueOptions::default()).unwrap()
}

/// A queue whose segments hold a few lines, on a clock that stands.
pub(crate) fn small(
    directory: &Path,
    max_segment_bytes: u64,
) -> (Queue<DirStorage, Arc<ManualClock>>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let options = QueueOptions::default().max_segment_bytes(max_segment_bytes);
    let queue = Queue::with(DirStorage::open(directory).unwrap(), Arc::clone(&clock), options).unwrap();
    (queue, clock)
}

/// For what is not about power loss: no syncs.
pub(crate) fn quick() -> QueueOptions {
    QueueOptions::default().durability(Durability::Os)
}

pub(crate) fn line(id: u64) -> Vec<u8> {
    format!("{{\"id\":{id},\"text\":\"line number {id}\"}}").into_bytes()
}

/// The ids in a batch, in order.
pub(crate) fn ids(ndjson: &[u8]) -> Vec<u64> {
    let lines = ndjson.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let id = value["id"].as_u64().unwrap();
            assert_eq!(value["text"], format!("line number {id}"), "a wrong line was delivered");
            id
        })
        .collect()
}

/// Everything there is for the consumer.
pub(crate) fn drain<S: Storage, C: Clock>(consumer: &mut Consumer<S, C>) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(batch) = consumer.next_batch(BatchLimits::default()).unwrap() {
        let batch_ids = ids(&batch.ndjson);
        assert_eq!(batch_ids.len(), batch.lines);
        all.extend(batch_ids);
    }
    all
}

/// Everything there is for a consumer that starts now.
pub(crate) fn delivered(directory: &Path) -> Vec<u64> {
    drain(&mut Consumer::open(directory, "reader").unwrap())
}

/// The segments, oldest first.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    paths.sort();
    paths
}

pub(crate) fn damaged_copies(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory.join("damaged")) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// The one segment that [`abandoned`] and [`segment_bytes`] know.
pub(crate) const SEGMENT: &str = "seg-1763694538123-9f3a01c2-000000.ndjson";

/// A segment whose writer has died: no seal, nobody holds its lock.
pub(crate) fn abandoned(directory: &Path, content: &[u8]) -> PathBuf {
    let path = directory.join(SEGMENT);
    fs::write(&path, content).unwrap();
    path
}

/// The bytes of a segment with these lines, sealed or not, as the log writes it.
pub(crate) fn segment_bytes(count: u64, is_sealed: bool) -> Vec<u8> {
    let lines: Vec<_> = (0..count).map(line).collect();
    segment_of(&lines, is_sealed)
}

/// The same with any lines.
pub(crate) fn segment_of(lines: &[Vec<u8>], is_sealed: bool) -> Vec<u8> {
    let directory = memory();
    let storage = DirStorage::open(directory.path()).unwrap();
    let queue = Queue::with_writer(storage, ManualClock::new(NOW), quick(), 0x9f3a_01c2).unwrap();
    for line in lines {
        queue.append(line).unwrap();
    }
    let path = directory.path().join(SEGMENT);
    if is_sealed {
        queue.close().unwrap();
        return fs::read(path).unwrap();
    }
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1);
    bytes
}

/// What the file of a consumer's position says.
pub(crate) fn position(directory: &Path, consumer: &str) -> String {
    let file = fs::read_to_string(directory.join(format!("{consumer}.position"))).unwrap();
    let slots = [&file[..file.len() / 2], &file[file.len() / 2..]].map(|slot| slot.lines().next().unwrap());
    let good = slots.into_iter().filter(|slot| slot.starts_with('1'));
    let newest = good.max_by_key(|slot| slot.split(' ').nth(2).unwrap().parse::<u64>().unwrap());
    newest.unwrap().split(' ').next().unwrap().to_owned()
}

pub(crate) const NO_AGE: Duration = Duration::ZERO;
