//! Everything that a process did, and questions to it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::call::Call;

/// The calls of a process in the order in which they were answered, and how it ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    pub(crate) code: i32,
}

impl Record {
    /// Where the first such call at or after `from` is.
    pub(crate) fn find(&self, from: usize, is: impl Fn(&Call) -> bool) -> Option<usize> {
        self.calls.iter().skip(from).position(is).map(|at| from + at)
    }

    pub(crate) fn find_last(&self, until: usize, is: impl Fn(&Call) -> bool) -> Option<usize> {
        self.calls.iter().take(until).rposition(is)
    }

    /// Where it said a line, if it did.
    pub(crate) fn find_said(&self, text: &str) -> Option<usize> {
        self.find(0, |call| matches!(call, Call::Say(said) if said.lines().any(|line| line == text)))
    }

    #[track_caller]
    pub(crate) fn said(&self, text: &str) -> usize {
        self.find_said(text).unwrap_or_else(|| panic!("never said {text:?}: {self:#?}"))
    }

    /// Where it gave out each query tag.
    pub(crate) fn tags(&self) -> Vec<usize> {
        let is_tag = |call: &Call| matches!(call, Call::Say(said) if said.starts_with("cdesk_"));
        (0..self.calls.len()).filter(|&at| is_tag(&self.calls[at])).collect()
    }

    /// Where a sync failed, if one did, and of what.
    pub(crate) fn failed_sync(&self) -> Option<(usize, &Path)> {
        self.calls.iter().enumerate().find_map(|(at, call)| match call {
            Call::FailedSync(path) => Some((at, path.as_path())),
            _ => None,
        })
    }

    /// Was it synced, and at the first attempt? After one that failed, the next may succeed although the bytes are gone.
    pub(crate) fn is_synced(&self, path: &Path, after: usize, before: usize) -> bool {
        let is_attempt =
            |call: &Call| matches!(call, Call::Sync(synced) | Call::FailedSync(synced) if synced == path);
        let attempt = self.find(after, is_attempt).filter(|&attempt| attempt < before);
        attempt.is_some_and(|attempt| matches!(self.calls[attempt], Call::Sync(_)))
    }

    #[track_caller]
    pub(crate) fn assert_synced(&self, path: &Path, after: usize, before: usize) {
        let is_synced = self.is_synced(path, after, before);
        assert!(is_synced, "{} was not synced between {after} and {before}: {self:#?}", path.display());
    }
}

pub(crate) fn is_write(call: &Call, to: &Path, with: &[u8]) -> bool {
    matches!(call, Call::Write { path, bytes } if path == to && bytes.windows(with.len()).any(|part| part == with))
}

/// On a filesystem with directories of its own; what is synced there need not reach a device.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The path as the kernel names it.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap()
}

pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| is_segment(path)).collect();
    segments.sort();
    segments
}

pub(crate) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "ndjson")
}

/// Damages a line of a finished segment.
pub(crate) fn damage_first_line(segment: &Path) {
    let mut bytes = fs::read(segment).unwrap();
    bytes[2] ^= 1;
    fs::write(segment, bytes).unwrap();
}
