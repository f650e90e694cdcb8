//! The system calls that matter here, and how they are told from what a stopped thread has in its registers.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::libc;
use nix::unistd::Pid;

use crate::record::is_segment;

/// A system call that succeeded, or a sync that did not.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A file was created.
    Create(PathBuf),
    /// A file or directory that exists was opened.
    Open(PathBuf),
    MakeDirectory(PathBuf),
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    /// `fdatasync` or `fsync`, of a file or directory.
    Sync(PathBuf),
    FailedSync(PathBuf),
    Truncate(PathBuf),
    Rename {
        to: PathBuf,
    },
    Unlink(PathBuf),
    /// Lines on standard output or error.
    Say(String),
}

impl fmt::Debug for Call {
    /// As a line; of the bytes as much as tells which they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path) => write!(f, "create {}", path.display()),
            Self::Open(path) => write!(f, "open {}", path.display()),
            Self::MakeDirectory(path) => write!(f, "make directory {}", path.display()),
            Self::Write { path, bytes } => {
                let start = bytes.get(..80).unwrap_or(bytes).escape_ascii();
                write!(f, "write {} {} bytes: {start}", path.display(), bytes.len())
            }
            Self::Sync(path) => write!(f, "sync {}", path.display()),
            Self::FailedSync(path) => write!(f, "sync {} FAILED", path.display()),
            Self::Truncate(path) => write!(f, "truncate {}", path.display()),
            Self::Rename { to } => write!(f, "rename to {}", to.display()),
            Self::Unlink(path) => write!(f, "unlink {}", path.display()),
            Self::Say(text) => write!(f, "say {text:?}"),
        }
    }
}

/// What a thread is about to ask.
pub(crate) struct Entry {
    number: i64,
    arguments: [u64; 6],
    /// The file that the first argument stands for, before the call can change that.
    path: Option<PathBuf>,
}

impl Entry {
    pub(crate) fn of(thread: Pid, number: i64, arguments: [u64; 6]) -> Self {
        let names_a_file = matches!(number, libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_ftruncate);
        let names_a_file = names_a_file || number == libc::SYS_pread64 || is_sync(number);
        let path = names_a_file.then(|| descriptor(thread, arguments[0])).flatten();
        Self { number, arguments, path }
    }

    pub(crate) fn is_sync(&self) -> bool {
        is_sync(self.number)
    }

    pub(crate) fn reads_segment(&self) -> bool {
        self.number == libc::SYS_pread64 && self.path.as_deref().is_some_and(is_segment)
    }

    /// Where the kernel says what filesystem something is on; its type comes first.
    pub(crate) fn filesystem(&self) -> Option<u64> {
        (self.number == libc::SYS_fstatfs).then_some(self.arguments[1])
    }

    /// The call, now that the kernel has answered; `None` for one that does not matter.
    pub(crate) fn answered(self, thread: Pid, result: i64) -> Option<Call> {
        let Self { number, arguments, path } = self;
        if is_sync(number) {
            return path.map(if result >= 0 { Call::Sync } else { Call::FailedSync });
        }
        let result = usize::try_from(result).ok()?;
        let within = |directory: usize, name: usize| {
            let name = text_at(thread, arguments[name]);
            let directory = descriptor(thread, arguments[directory]);
            directory.map_or_else(|| PathBuf::from(&name), |directory| directory.join(&name))
        };
        Some(match number {
            libc::SYS_openat => {
                let flags = i32::try_from(arguments[2] & 0x7fff_ffff).ok()?;
                let is_new = flags & libc::O_CREAT != 0;
                if is_new { Call::Create(within(0, 1)) } else { Call::Open(within(0, 1)) }
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => Call::MakeDirectory(text_at(thread, arguments[0]).into()),
            libc::SYS_mkdirat => Call::MakeDirectory(within(0, 1)),
            libc::SYS_write | libc::SYS_pwrite64 => {
                let bytes = bytes_at(thread, arguments[1], result);
                if matches!(arguments[0], 1 | 2) {
                    return Some(Call::Say(String::from_utf8_lossy(&bytes).trim_end().to_owned()));
                }
                Call::Write { path: path?, bytes }
            }
            libc::SYS_ftruncate => Call::Truncate(path?),
            libc::SYS_renameat | libc::SYS_renameat2 => Call::Rename { to: within(2, 3) },
            libc::SYS_unlinkat => Call::Unlink(within(0, 1)),
            _ => return None,
        })
    }
}

fn is_sync(number: i64) -> bool {
    matches!(number, libc::SYS_fdatasync | libc::SYS_fsync)
}

/// The file that a descriptor stands for.
fn descriptor(thread: Pid, number: u64) -> Option<PathBuf> {
    let number = i32::try_from(number).ok()?;
    fs::read_link(format!("/proc/{thread}/fd/{number}")).ok()
}

fn bytes_at(thread: Pid, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let memory = File::open(format!("/proc/{thread}/mem")).unwrap();
    let read = memory.read_at(&mut bytes, address).unwrap();
    bytes.truncate(read);
    bytes
}

fn text_at(thread: Pid, address: u64) -> String {
    let mut bytes = bytes_at(thread, address, 4_096);
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap());
    CString::new(bytes).unwrap().into_string().unwrap()
}
