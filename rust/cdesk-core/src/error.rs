//! Everything that can go wrong, in one exhaustive type.
//!
//! A message has the noun, the place and the next move. It never has the payload: a line may hold what a
//! person typed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::queue::FORMAT_VERSION;
use crate::storage::TURN_PATIENCE;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The one error of this crate; cheap to clone, because every caller of a failed group gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; nothing was acknowledged.
    Io {
        /// What was attempted, as a verb: "write", "sync".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Where in the file, when that means something.
        offset: Option<u64>,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A line is not one JSON object that the log can take; nothing of the call was written.
    InvalidLine {
        /// Which line of the call, from 0.
        index: usize,
        /// The byte within the line.
        offset: usize,
        /// What was expected there.
        reason: &'static str,
    },
    /// A line is longer than the log takes; nothing of the call was written.
    LineTooLong {
        /// Which line of the call, from 0.
        index: usize,
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        max_bytes: usize,
    },
    /// Another process, or another object of this one, holds the lease.
    LeaseHeld {
        /// The file that stands for the lease.
        path: PathBuf,
    },
    /// Another program has held, for as long as is waited, a lock that is held for a moment only. The same call works once it
    /// lets go.
    LockHeld {
        /// The lock file.
        path: PathBuf,
    },
    /// The queue or consumer was closed before the call.
    QueueClosed {
        /// Its directory.
        path: PathBuf,
    },
    /// The object was made before a fork and is used after it, in the child.
    ForkDetected {
        /// The process that made it.
        opened_by: u32,
        /// The process that called.
        called_by: u32,
    },
    /// The directory cannot keep the promise, or lets others change what it holds.
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that becomes a file name has characters that it may not have.
    InvalidName {
        /// What the name is for.
        noun: &'static str,
        /// The name.
        name: String,
    },
    /// An option has a value that it may not have.
    InvalidOption {
        /// Which one.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// A position string was not written by this crate.
    InvalidPosition {
        /// The byte where it stops making sense.
        offset: usize,
    },
    /// A segment was written by another version of the log.
    UnsupportedFormat {
        /// The segment.
        path: PathBuf,
        /// Where the line that says so starts.
        offset: u64,
        /// The `_log` it carries.
        version: u64,
    },
    /// A value has no canonical JSON form.
    #[cfg(feature = "hash")]
    Canonicalisation {
        /// Where, as a JSON pointer.
        pointer: String,
        /// Why not.
        reason: String,
    },
    /// The counter file of the query tags is damaged.
    #[cfg(feature = "tags")]
    TagsUnreadable {
        /// The file.
        path: PathBuf,
    },
    /// All 2^32 tags of this directory have been given out.
    #[cfg(feature = "tags")]
    TagsExhausted {
        /// The counter file.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), offset: None, source: Arc::new(source) }
    }

    pub(crate) fn io_at(
        action: &'static str,
        path: impl Into<PathBuf>,
        offset: u64,
        source: io::Error,
    ) -> Self {
        Self::Io { action, path: path.into(), offset: Some(offset), source: Arc::new(source) }
    }

    /// Names what is refused, as far as a message should.
    pub(crate) fn invalid_name(noun: &'static str, name: &str) -> Self {
        Self::InvalidName { noun, name: name.chars().take(80).collect() }
    }

    /// The file or directory the error is about, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::LeaseHeld { path }
            | Self::LockHeld { path }
            | Self::QueueClosed { path }
            | Self::UnsafeDirectory { path, .. }
            | Self::UnsupportedFormat { path, .. } => Some(path),
            #[cfg(feature = "tags")]
            Self::TagsUnreadable { path } | Self::TagsExhausted { path } => Some(path),
            Self::InvalidLine { .. }
            | Self::LineTooLong { .. }
            | Self::ForkDetected { .. }
            | Self::InvalidName { .. }
            | Self::InvalidOption { .. }
            | Self::InvalidPosition { .. } => None,
            #[cfg(feature = "hash")]
            Self::Canonicalisation { .. } => None,
        }
    }

    /// The same error, about line `index` of a call.
    pub(crate) fn at_line(self, at: usize) -> Self {
        match self {
            Self::InvalidLine { offset, reason, .. } => Self::InvalidLine { index: at, offset, reason },
            Self::LineTooLong { bytes, max_bytes, .. } => Self::LineTooLong { index: at, bytes, max_bytes },
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, offset, source } => {
                write!(f, "cannot {action} {}", path.display())?;
                if let Some(offset) = offset {
                    write!(f, " at byte {offset}")?;
                }
                write!(f, ": {source}; {}", next_move(source))
            }
            Self::InvalidLine { index, offset, reason } => write!(
                f,
                "line {index} of the call: {reason} (byte {offset}); nothing was written, send one JSON object \
                 per line, in UTF-8, without line breaks"
            ),
            Self::LineTooLong { index, bytes, max_bytes } => write!(
                f,
                "line {index} of the call has {bytes} bytes, the log takes {max_bytes}; nothing was written, \
                 store the bulk elsewhere and log a reference to it"
            ),
            Self::LeaseHeld { path } => write!(
                f,
                "the lease {} is held by another process or object; stop that one first",
                path.display()
            ),
            Self::LockHeld { path } => write!(
                f,
                "{} has been held by another program for {} s; `lsof {}` names it: let it finish or end it, then try again",
                path.display(),
                TURN_PATIENCE.as_secs(),
                path.display()
            ),
            Self::QueueClosed { path } => {
                write!(f, "the queue or consumer on {} was closed; open a new one", path.display())
            }
            Self::ForkDetected { opened_by, called_by } => write!(
                f,
                "made in process {opened_by}, used in its fork {called_by}, where its threads and locks do not \
                 exist; open a new one after the fork"
            ),
            Self::UnsafeDirectory { path, reason } => {
                write!(f, "refusing the directory {}: {reason}", path.display())
            }
            Self::InvalidName { noun, name } => write!(
                f,
                "{name:?} is no {noun}: use 1 to 64 of a-z, 0-9, '_' and '-', and begin with a letter"
            ),
            Self::InvalidOption { option, reason } => write!(f, "{option} {reason}"),
            Self::InvalidPosition { offset } => write!(
                f,
                "not a position (byte {offset}); pass back one that a batch gave, or \"1\" for the oldest line"
            ),
            Self::UnsupportedFormat { path, offset, version } => write!(
                f,
                "the line at byte {offset} of {} has log format {version}, this version reads {FORMAT_VERSION}; read it \
                 with the version that wrote it, or move the file away",
                path.display()
            ),
            #[cfg(feature = "hash")]
            Self::Canonicalisation { pointer, reason } => {
                let place = if pointer.is_empty() { "the top level" } else { pointer };
                write!(f, "no canonical JSON for the value at {place}: {reason}")
            }
            #[cfg(feature = "tags")]
            Self::TagsUnreadable { path } => write!(
                f,
                "the tag counter {} is damaged, and starting again could repeat a tag; restore it, or delete it \
                 to begin a new sequence under a new key",
                path.display()
            ),
            #[cfg(feature = "tags")]
            Self::TagsExhausted { path } => write!(
                f,
                "all 2^32 query tags of {} are used; delete it to begin a new sequence under a new key",
                path.display()
            ),
        }
    }
}

/// What a person can do about it.
fn next_move(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, and it goes on by itself"
        }
        io::ErrorKind::PermissionDenied => "make it readable and writable for this user",
        io::ErrorKind::ReadOnlyFilesystem => "mount its filesystem for writing",
        io::ErrorKind::InvalidInput => "name another one",
        io::ErrorKind::NotFound => "check that nobody removed the directory",
        _ => "check the disk and the system's log, then try again",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
