//! What a real process asks of its kernel, in order: its system calls, seen with ptrace(2).
//!
//! A sync can be made to fail: the kernel's answer is replaced in the register that the process will look at. It cannot tell
//! that from a device that refused. And others can come between two of its calls: it stands still, and does not see them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::call::{Call, Entry};
use crate::record::Record;
use crate::{example, registers};

/// What is done to a process that is watched.
pub(crate) enum Meddling<'a> {
    Nothing,
    /// The sync of this number, counted from 1, is answered with EIO.
    FailingSync(usize),
    /// A read of a segment gives half of what it could.
    ShortReads,
    /// The kernel says that every directory is on a filesystem of this type.
    Filesystem(u64),
    /// What others do when a call was answered and the process does not know it yet.
    Meanwhile(&'a mut dyn FnMut(&Call)),
}

/// Runs an example of this crate with `input`, and gives its calls; `None` where nobody may watch a process.
pub(crate) fn watch(
    example: &str,
    arguments: &[&Path],
    input: &str,
    meddling: Meddling<'_>,
) -> Option<Record> {
    // It waits until it is watched: the shell reads one line, byte by byte, and becomes the example. What it says is seen
    // on its way to nowhere.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read _; exec \"$0\" \"$@\""])
        .arg(example::path(example))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    if let Err(error) = ptrace::seize(pid, options) {
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_refusal(error), "cannot watch {example}: {error}");
        tell_of_skip(error);
        return None;
    }
    ptrace::interrupt(pid).unwrap();
    let mut input_pipe = child.stdin.take().unwrap();
    input_pipe.write_all(format!("\n{input}").as_bytes()).unwrap();
    drop(input_pipe);
    let record = Watch { meddling, syncs: 0, calls: Vec::new(), entries: BTreeMap::new() }.follow(pid);
    let _ = child.wait(); // it has been waited for
    Some(record)
}

/// Containers and hardened kernels say this of everybody; anything else is a fault of these tests.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::EPERM | Errno::EACCES | Errno::ENOSYS)
}

/// Past the test harness, which shows what a test prints only when it fails.
fn tell_of_skip(error: Errno) {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let skipped = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let text =
        format!("SKIPPED {skipped} tests of system calls: this process may not watch another ({error})\n");
    io::stderr().write_all(text.as_bytes()).unwrap();
}

struct Watch<'a> {
    meddling: Meddling<'a>,
    syncs: usize,
    calls: Vec<Call>,
    entries: BTreeMap<Pid, Entry>,
}

impl Watch<'_> {
    /// Follows a process and its threads until all have ended.
    fn follow(mut self, process: Pid) -> Record {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)).unwrap() {
                WaitStatus::PtraceSyscall(thread) => {
                    // A thread that is killed in between has nothing more to say.
                    let _ = self.look(thread);
                    let _ = ptrace::syscall(thread, None);
                }
                WaitStatus::PtraceEvent(thread, ..) => _ = ptrace::syscall(thread, None),
                WaitStatus::Stopped(thread, signal) => _ = ptrace::syscall(thread, signal),
                WaitStatus::Exited(thread, code) if thread == process => {
                    return Record { calls: self.calls, code };
                }
                WaitStatus::Signaled(thread, signal, _) if thread == process => {
                    panic!("the example was killed by {signal}: {:#?}", self.calls)
                }
                _ => {}
            }
        }
    }

    /// At a system call, or on the way back from one.
    fn look(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        match ptrace::syscall_info(thread)?.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                let (number, arguments) = registers::asked(&registers);
                self.entries.insert(thread, Entry::of(thread, number, arguments));
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                let Some(entry) = self.entries.remove(&thread) else { return Ok(()) };
                if entry.is_sync() {
                    self.syncs += 1;
                    if matches!(self.meddling, Meddling::FailingSync(nth) if nth == self.syncs) {
                        *registers::result(&mut registers) = (-i64::from(libc::EIO)).cast_unsigned();
                        ptrace::setregs(thread, registers)?;
                    }
                }
                if let (Meddling::Filesystem(kind), Some(answer)) = (&self.meddling, entry.filesystem()) {
                    let memory = File::options().write(true).open(format!("/proc/{thread}/mem")).unwrap();
                    memory.write_all_at(&kind.to_ne_bytes(), answer).unwrap();
                }
                let result = registers::result(&mut registers).cast_signed();
                if matches!(self.meddling, Meddling::ShortReads) && entry.reads_segment() && result > 1 {
                    *registers::result(&mut registers) = (result / 2).cast_unsigned();
                    ptrace::setregs(thread, registers)?;
                }
                let call = entry.answered(thread, result);
                if let (Meddling::Meanwhile(others), Some(call)) = (&mut self.meddling, &call) {
                    others(call);
                }
                self.calls.extend(call);
            }
            _ => {}
        }
        Ok(())
    }
}
