//! The order of the system calls of real processes: what the simulated machines take on trust.
//!
//! Everywhere else a sync that is not made could go unseen, because a page cache survives everything but power loss.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use trace::{Call, watch};

/// On a filesystem with directories of its own; what is synced there need not reach a device.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The path as the kernel names it.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap()
}

/// Everything that a process did, with questions to it.
struct Record(Vec<Call>);

impl Record {
    /// Where the first such call at or after `from` is.
    fn find(&self, from: usize, is: impl Fn(&Call) -> bool) -> Option<usize> {
        self.0.iter().skip(from).position(is).map(|at| from + at)
    }

    fn find_last(&self, until: usize, is: impl Fn(&Call) -> bool) -> Option<usize> {
        self.0.iter().take(until).rposition(is)
    }

    fn said(&self, text: &str) -> usize {
        let said =
            self.find(0, |call| matches!(call, Call::Say(said) if said.lines().any(|line| line == text)));
        said.unwrap_or_else(|| panic!("never said {text:?}: {:#?}", self.0))
    }

    #[track_caller]
    fn assert_synced(&self, path: &Path, after: usize, before: usize) {
        let synced = self.find(after, |call| matches!(call, Call::Sync(synced) if synced == path));
        let is_in_time = synced.is_some_and(|synced| synced < before);
        assert!(is_in_time, "{} was not synced between {after} and {before}: {:#?}", path.display(), self.0);
    }
}

fn is_write(call: &Call, to: &Path, with: &[u8]) -> bool {
    matches!(call, Call::Write { path, bytes } if path == to && bytes.windows(with.len()).any(|part| part == with))
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "ndjson")).collect();
    segments.sort();
    segments
}

/// Runs a program to its end; it is not watched where nobody may watch.
fn run(example: &str, arguments: &[&Path], input: &str) -> Option<Record> {
    watch(example, arguments, input).map(Record)
}

#[test]
fn an_acknowledgement_comes_after_the_sync_of_its_bytes_and_of_its_segments_name() {
    let directory = directory();
    let queue = directory.path().join("queue");
    let Some(record) = run("append", &[&queue], "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n") else { return };
    let queue = real(&queue);
    let segment = segments(&queue).remove(0);
    let created = record.find(0, |call| *call == Call::Create(segment.clone())).unwrap();
    record.assert_synced(&queue, created, record.said("durable 0"));
    for number in 0..3 {
        let line = format!("{{\"n\":{number},\"_seq\":{number},");
        let written = record.find(0, |call| is_write(call, &segment, line.as_bytes())).unwrap();
        record.assert_synced(&segment, written, record.said(&format!("durable {number}")));
    }
    let sealed = record.find(0, |call| is_write(call, &segment, b"{\"_sealed\":")).unwrap();
    record.assert_synced(&segment, sealed, record.said("sealed"));
    let cut = record.find(sealed, |call| *call == Call::Truncate(segment.clone())).unwrap();
    let synced = record.find(sealed, |call| *call == Call::Sync(segment.clone())).unwrap();
    assert!(synced < cut, "the zeros stand until the seal does");
}

#[test]
fn every_level_of_a_new_directory_is_durable_in_the_level_above() {
    let directory = directory();
    let queue = directory.path().join("a/b/queue");
    let Some(record) = run("append", &[&queue], "{}\n") else { return };
    let acknowledged = record.said("durable 0");
    for level in ["a", "a/b", "a/b/queue"] {
        let path = real(directory.path()).join(level);
        let made =
            record.find(0, |call| matches!(call, Call::MakeDirectory(made) if real(made) == path)).unwrap();
        record.assert_synced(path.parent().unwrap(), made, acknowledged);
    }
}

#[test]
fn a_directory_that_was_there_is_made_durable_in_its_parent_too() {
    let directory = directory();
    let queue = directory.path().join("queue");
    fs::create_dir(&queue).unwrap(); // by somebody who died before a sync
    let Some(record) = run("append", &[&queue], "{}\n") else { return };
    record.assert_synced(&real(directory.path()), 0, record.said("durable 0"));
}

#[test]
fn a_consumer_is_registered_durably_before_it_reads_and_each_position_is_before_it_is_committed() {
    let directory = directory();
    for life in 0..2 {
        if run("append", &[directory.path()], "{\"n\":0}\n{\"n\":1}\n").is_none() {
            return;
        }
        let consumer = Path::new("first");
        let record = run("consume", &[directory.path(), consumer], "").unwrap();
        let path = real(directory.path());
        let position = path.join("first.position");
        let registered = record.said("registered");
        if life == 0 {
            let temporary = path.join("first.position.tmp");
            let written = record.find(0, |call| is_write(call, &temporary, b"1 ")).unwrap();
            let renamed = record.find(0, |call| *call == Call::Rename { to: position.clone() }).unwrap();
            record.assert_synced(&temporary, written, renamed);
            record.assert_synced(&path, renamed, registered);
        } else {
            // Written over itself: whoever wrote it may have died before a sync.
            let written = record.find(0, |call| is_write(call, &position, b"1")).unwrap();
            record.assert_synced(&position, written, registered);
            record.assert_synced(&path, written, registered);
        }
        let committed = record.said("committed 2");
        let written = record.find_last(committed, |call| is_write(call, &position, b"=2 ")).unwrap();
        assert!(written > registered);
        record.assert_synced(&position, written, committed);
        let moved = record.find(registered, |call| match call {
            Call::Rename { .. } => true,
            Call::Create(path) => !path.ends_with("registry.turn.lock"),
            _ => false,
        });
        assert_eq!(moved, None, "a commit needs no new file");
    }
}

#[test]
fn a_segment_is_deleted_after_every_position_is_durable_and_the_deletion_is_durable_too() {
    let directory = directory();
    let path = directory.path();
    if run("append", &[path], "{\"n\":0}\n").is_none() {
        return;
    }
    run("consume", &[path, Path::new("first")], "").unwrap();
    run("append", &[path], "{\"n\":1}\n").unwrap();
    let waiting = real(path);
    run("consume", &[path, Path::new("second")], "").unwrap();
    let remaining = segments(&waiting);
    assert_eq!(remaining.len(), 1, "the first has not seen the newer one");
    let record = run("consume", &[path, Path::new("first")], "").unwrap();
    assert!(segments(&waiting).is_empty());
    let committed = record.said("committed 1");
    let deleted = record.find(0, |call| *call == Call::Unlink(remaining[0].clone())).unwrap();
    for position in ["first.position", "second.position"] {
        record.assert_synced(&waiting.join(position), committed, deleted);
    }
    record.assert_synced(&waiting, committed, deleted);
    record.assert_synced(&waiting, deleted, record.said("pruned 1"));
}

#[test]
fn damaged_bytes_are_durable_in_quarantine_before_the_position_passes_them() {
    let directory = directory();
    let path = directory.path();
    if run("append", &[path], "{\"n\":0}\n{\"n\":1}\n").is_none() {
        return;
    }
    let segment = segments(path).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[2] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let record = run("consume", &[path, Path::new("first")], "").unwrap();
    let path = real(path);
    let quarantine = path.join("quarantine");
    let made = record.find(0, |call| *call == Call::MakeDirectory(quarantine.clone())).unwrap();
    let is_copy = |call: &Call| matches!(call, Call::Write { path, .. } if path.starts_with(&quarantine));
    let copied = record.find(0, is_copy).unwrap();
    let Call::Write { path: copy, .. } = &record.0[copied] else { unreachable!("a write") };
    let renamed = record.find(copied, |call| matches!(call, Call::Rename { .. })).unwrap();
    let position = path.join("first.position");
    let passed =
        record.find_last(record.said("committed 1"), |call| is_write(call, &position, b"=2 ")).unwrap();
    record.assert_synced(&path, made, passed);
    record.assert_synced(copy, copied, renamed);
    record.assert_synced(&quarantine, renamed, passed);
}

#[test]
fn a_tag_is_given_out_after_its_block_is_durable() {
    let directory = directory();
    let Some(record) = run("tag", &[directory.path(), Path::new("3")], "") else { return };
    let path = real(directory.path());
    let temporary = path.join("tags.state.tmp");
    let written = record.find(0, |call| is_write(call, &temporary, b"cdesk-tags 1 ")).unwrap();
    let renamed = record.find(0, |call| *call == Call::Rename { to: path.join("tags.state") }).unwrap();
    let given = record.find(0, |call| matches!(call, Call::Say(said) if said.starts_with("cdesk_"))).unwrap();
    record.assert_synced(&temporary, written, renamed);
    record.assert_synced(&path, renamed, given);
}
