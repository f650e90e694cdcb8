//! What a real process asks of its kernel, in order: its system calls, seen with ptrace(2).

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A system call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A file was created.
    Create(PathBuf),
    MakeDirectory(PathBuf),
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    /// `fdatasync` or `fsync`, of a file or directory.
    Sync(PathBuf),
    Truncate(PathBuf),
    Rename {
        to: PathBuf,
    },
    Unlink(PathBuf),
    /// A line on standard output or error.
    Say(String),
}

/// Runs an example of this crate with `input`, and gives its calls; `None` where nobody may watch a process.
pub(crate) fn watch(example: &str, arguments: &[&Path], input: &str) -> Option<Vec<Call>> {
    // It waits until it is watched: the shell reads one line, byte by byte, and becomes the example.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read _; exec \"$0\" \"$@\""])
        .arg(example_path(example))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXEC;
    if let Err(error) = ptrace::seize(pid, options) {
        child.kill().unwrap();
        child.wait().unwrap();
        report_skip(&error.to_string());
        return None;
    }
    ptrace::interrupt(pid).unwrap();
    let mut input_pipe = child.stdin.take().unwrap();
    input_pipe.write_all(format!("\n{input}").as_bytes()).unwrap();
    drop(input_pipe);
    let calls = follow(pid);
    finish(&mut child);
    Some(calls)
}

#[expect(clippy::print_stderr, reason = "a check that is skipped says so")]
fn report_skip(error: &str) {
    eprintln!("SKIPPED 1 test of system calls: this process may not watch another ({error})");
}

/// The program, of this source: cargo builds it with all tests, and not with this one alone.
fn example_path(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    BUILT.call_once(|| {
        let is_release = profile.ends_with("release");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "cdesk-core", "--examples"]);
        let built = cargo.args(is_release.then_some("--release")).status().unwrap();
        assert!(built.success());
    });
    profile.join("examples").join(name)
}

fn finish(child: &mut Child) {
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
}

/// What a thread is at.
struct Entry {
    number: i64,
    arguments: [u64; 6],
    /// The file that the first argument stands for, before the call can change that.
    path: Option<PathBuf>,
}

/// Follows a process and its threads until all have ended.
fn follow(process: Pid) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut entries = BTreeMap::new();
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    while let Ok(status) = waitpid(None, Some(flags)) {
        match status {
            WaitStatus::PtraceSyscall(thread) => {
                match state_of(thread) {
                    Some(State::Entry(number, arguments)) => {
                        let path = descriptor(thread, arguments[0]);
                        entries.insert(thread, Entry { number, arguments, path });
                    }
                    Some(State::Exit(result)) if result >= 0 => {
                        let call = entries.remove(&thread).and_then(|entry| call_of(thread, entry, result));
                        calls.extend(call);
                    }
                    Some(State::Exit(_)) | None => _ = entries.remove(&thread),
                }
                let _ = ptrace::syscall(thread, None);
            }
            WaitStatus::PtraceEvent(thread, ..) => _ = ptrace::syscall(thread, None),
            WaitStatus::Stopped(thread, signal) => _ = ptrace::syscall(thread, signal),
            WaitStatus::Exited(thread, code) if thread == process => {
                assert_eq!(code, 0, "the example failed: {calls:?}");
                return calls;
            }
            WaitStatus::Signaled(thread, ..) if thread == process => panic!("the example was killed"),
            _ => {}
        }
    }
    calls
}

enum State {
    Entry(i64, [u64; 6]),
    Exit(i64),
}

fn state_of(thread: Pid) -> Option<State> {
    let info = ptrace::syscall_info(thread).ok()?;
    match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: the kernel has filled in the variant that `op` names.
            let entry = unsafe { info.u.entry };
            Some(State::Entry(i64::try_from(entry.nr).ok()?, entry.args))
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: the kernel has filled in the variant that `op` names.
            let exit = unsafe { info.u.exit };
            Some(State::Exit(exit.sval))
        }
        _ => None,
    }
}

fn call_of(thread: Pid, entry: Entry, result: i64) -> Option<Call> {
    let Entry { number, arguments, path } = entry;
    let within = |directory: usize, name: usize| {
        let name = text_at(thread, arguments[name]);
        let directory = descriptor(thread, arguments[directory]);
        directory.map_or_else(|| PathBuf::from(&name), |directory| directory.join(&name))
    };
    Some(match number {
        libc::SYS_openat => {
            let flags = i32::try_from(arguments[2] & 0x7fff_ffff).ok()?;
            let is_new = flags & libc::O_CREAT != 0;
            return is_new.then(|| Call::Create(within(0, 1)));
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => Call::MakeDirectory(text_at(thread, arguments[0]).into()),
        libc::SYS_mkdirat => Call::MakeDirectory(within(0, 1)),
        libc::SYS_write | libc::SYS_pwrite64 => {
            let bytes = bytes_at(thread, arguments[1], usize::try_from(result).ok()?);
            if matches!(arguments[0], 1 | 2) {
                return Some(Call::Say(String::from_utf8_lossy(&bytes).trim_end().to_owned()));
            }
            Call::Write { path: path?, bytes }
        }
        libc::SYS_fdatasync | libc::SYS_fsync => Call::Sync(path?),
        libc::SYS_ftruncate => Call::Truncate(path?),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_renameat => Call::Rename { to: within(2, 3) },
        libc::SYS_renameat2 => Call::Rename { to: within(2, 3) },
        libc::SYS_unlinkat => Call::Unlink(within(0, 1)),
        _ => return None,
    })
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
