//! What a writer may rely on.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cdesk_core::{DirStorage, Error, LeaseKind, LeaseWait, Queue, QueueOptions};
use common::{delivered, directory, line, open, segments, small};

#[test]
fn what_was_appended_is_delivered_in_order_and_once() {
    let directory = directory();
    let queue = open(directory.path());
    for id in 0..10 {
        queue.append(&line(id)).unwrap();
    }
    queue.append_many(&[line(10), line(11)]).unwrap();
    assert_eq!(delivered(directory.path()), (0..12).collect::<Vec<_>>());
    assert_eq!(queue.stats().lines, 12);
    assert_eq!(queue.stats().segments, 1);
}

#[test]
fn a_queue_that_wrote_nothing_leaves_nothing() {
    let directory = directory();
    let path = directory.path().join("queue");
    let queue = open(&path);
    queue.append_many::<&[u8]>(&[]).unwrap();
    queue.roll().unwrap();
    queue.close().unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn files_are_for_their_owner_alone() {
    let directory = directory();
    let path = directory.path().join("a/b/queue");
    open(&path).append(b"{}").unwrap();
    delivered_count(&path);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for level in ["a", "a/b", "a/b/queue"] {
        assert_eq!(mode(&directory.path().join(level)), 0o700, "{level}");
    }
    for entry in fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

fn delivered_count(path: &std::path::Path) {
    let mut consumer = cdesk_core::Consumer::open(path, "uploader").unwrap();
    assert_eq!(consumer.next_batch(cdesk_core::BatchLimits::default()).unwrap().unwrap().lines, 1);
}

#[test]
fn nothing_of_a_call_with_one_bad_line_is_written() {
    let directory = directory();
    let queue = open(directory.path());
    let error = queue.append_many(&[line(0), b"{\"secret\":}".to_vec(), line(2)]).unwrap_err();
    assert!(matches!(error, Error::InvalidLine { index: 1, offset: 10, .. }), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(segments(directory.path()).is_empty());
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    assert!(matches!(queue.append(long.as_bytes()), Err(Error::LineTooLong { bytes: 1_048_584, .. })));
    assert!(segments(directory.path()).is_empty());
}

#[test]
fn a_full_segment_is_sealed_and_the_next_one_begun() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 300);
    for id in 0..20 {
        queue.append(&line(id)).unwrap();
    }
    queue.close().unwrap();
    let segments = segments(directory.path());
    assert!(segments.len() > 3);
    for segment in &segments {
        let text = fs::read_to_string(segment).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (seal, lines) = lines.split_last().unwrap();
        assert_eq!(seal["_sealed"]["lines"], lines.len());
        for (seq, line) in lines.iter().enumerate() {
            assert_eq!(line["_seq"], seq);
        }
    }
    assert_eq!(delivered(directory.path()), (0..20).collect::<Vec<_>>());
}

#[test]
fn one_call_may_span_segments() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 1_000);
    let lines: Vec<_> = (0..100).map(line).collect();
    queue.append_many(&lines).unwrap();
    assert!(segments(directory.path()).len() > 5);
    assert_eq!(delivered(directory.path()), (0..100).collect::<Vec<_>>());
}

#[test]
fn an_old_segment_is_sealed_by_the_next_append_and_by_roll() {
    let directory = directory();
    let (queue, clock) = small(directory.path(), 50_000_000);
    queue.append(&line(0)).unwrap();
    clock.advance(Duration::from_millis(59_999));
    queue.append(&line(1)).unwrap();
    assert_eq!(segments(directory.path()).len(), 1);
    clock.set_unix_ms(5); // the wall clock has no say
    clock.advance(Duration::from_millis(1));
    queue.append(&line(2)).unwrap();
    assert_eq!(segments(directory.path()).len(), 2);
    queue.roll().unwrap();
    queue.roll().unwrap();
    for segment in segments(directory.path()) {
        assert!(fs::read_to_string(segment).unwrap().lines().last().unwrap().contains("_sealed"));
    }
    let mut ids = delivered(directory.path());
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn a_wall_clock_that_steps_back_does_not_change_the_order_of_a_writer() {
    let directory = directory();
    let (queue, clock) = small(directory.path(), 1);
    for (id, unix_ms) in (0..).zip([5_000, 3_000, 4_000, 6_000, 1]) {
        clock.set_unix_ms(unix_ms);
        queue.append(&line(id)).unwrap();
    }
    assert_eq!(segments(directory.path()).len(), 5);
    assert_eq!(delivered(directory.path()), [0, 1, 2, 3, 4]);
}

#[test]
fn close_seals_and_the_second_close_does_nothing() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(0)).unwrap();
    queue.close().unwrap();
    queue.close().unwrap();
    assert!(matches!(queue.append(&line(1)), Err(Error::QueueClosed { .. })));
    assert!(matches!(queue.roll(), Err(Error::QueueClosed { .. })));
    assert!(matches!(queue.submit(&line(1)), Err(Error::QueueClosed { .. })));
    let text = fs::read_to_string(&segments(directory.path())[0]).unwrap();
    assert!(text.ends_with("\"}\n") && text.contains("_sealed"));
}

#[test]
fn zeros_are_written_ahead_in_steps_and_sealing_cuts_them() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(0)).unwrap();
    let path = segments(directory.path()).remove(0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 10);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(300 << 10));
    queue.append(large.as_bytes()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 512 << 10);
    queue.roll().unwrap();
    assert!(!fs::read(&path).unwrap().contains(&0));
}

#[test]
fn threads_share_syncs_and_lose_nothing() {
    let directory = directory();
    let queue = Arc::new(open(directory.path()));
    let threads: Vec<_> = (0..16)
        .map(|writer| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..50).for_each(|id| queue.append(&line(writer * 1_000 + id)).unwrap()))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = queue.stats();
    assert_eq!((stats.lines, stats.pending_lines, stats.failed_lines), (800, 0, 0));
    assert!(stats.commits < 800, "no group had two lines: {stats:?}");
    queue.close().unwrap();
    let delivered = delivered(directory.path());
    assert_eq!(delivered.len(), 800);
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>().len(), 800);
}

#[test]
fn rolling_and_closing_while_others_append_loses_nothing() {
    for _ in 0..20 {
        let directory = directory();
        let queue = Arc::new(Queue::open(directory.path(), common::quick()).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|writer| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let mut acknowledged = Vec::new();
                    for id in 0..200 {
                        let id = writer * 1_000 + id;
                        match queue.append(&line(id)) {
                            Ok(()) => acknowledged.push(id),
                            Err(Error::QueueClosed { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                        let rolled = if id % 50 == 0 { queue.roll() } else { Ok(()) };
                        assert!(matches!(rolled, Ok(()) | Err(Error::QueueClosed { .. })));
                    }
                    acknowledged
                })
            })
            .collect();
        while queue.stats().lines < 100 {
            thread::yield_now();
        }
        queue.close().unwrap();
        let acknowledged: BTreeSet<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(delivered(directory.path()).into_iter().collect::<BTreeSet<_>>(), acknowledged);
    }
}

#[test]
fn a_ticket_is_settled_without_anybody_waiting() {
    let directory = directory();
    let queue = open(directory.path());
    let tickets: Vec<_> = (0..50).map(|id| queue.submit(&line(id)).unwrap()).collect();
    queue.close().unwrap();
    for ticket in tickets {
        assert!(matches!(ticket.result(), Some(Ok(()))));
        ticket.wait().unwrap();
    }
    assert_eq!(delivered(directory.path()).len(), 50);
}

#[test]
fn several_queues_in_one_directory_each_write_their_own_segment() {
    let directory = directory();
    let queues: Vec<_> = (0..3).map(|_| open(directory.path())).collect();
    for id in 0..9 {
        queues[usize::try_from(id % 3).unwrap()].append(&line(id)).unwrap();
    }
    assert_eq!(segments(directory.path()).len(), 3);
    let mut ids = delivered(directory.path());
    ids.sort_unstable();
    assert_eq!(ids, (0..9).collect::<Vec<_>>());
}

#[test]
fn unsafe_directories_are_refused_with_their_reason() {
    let directory = directory();
    let reason = |path: &std::path::Path| match DirStorage::open(path) {
        Err(Error::UnsafeDirectory { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let link = directory.path().join("link");
    symlink(directory.path(), &link).unwrap();
    assert!(reason(&link).contains("symbolic link"));
    for mode in [0o770, 0o707, 0o777] {
        let path = directory.path().join(format!("{mode:o}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(reason(&path).contains(&format!("{mode:04o}")));
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Queue::open(&file, QueueOptions::default()), Err(Error::UnsafeDirectory { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Past the harness, which shows what a test prints only when it fails.
        std::io::stderr().write_all(b"SKIPPED 1 test: only root may be another user\n").unwrap();
        return;
    }
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open_as = |user: u32| {
        let path = directory.path().join("queue");
        let opened = thread::spawn(move || {
            let user = rustix::process::Uid::from_raw(user);
            rustix::thread::set_thread_res_uid(None, user, None).unwrap(); // of this thread alone
            DirStorage::open(path)
        });
        opened.join().unwrap()
    };
    fs::create_dir(directory.path().join("queue")).unwrap();
    assert!(open_as(1_001).is_ok(), "root may do everything anyway");
    chown(directory.path().join("queue"), Some(1_000), None).unwrap();
    assert!(open_as(1_000).is_ok());
    let Err(Error::UnsafeDirectory { reason, .. }) = open_as(1_001) else { panic!("it was taken") };
    assert!(reason.contains("belongs to user 1000, this process runs as 1001"), "{reason}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_in_one_that_can_be_written_and_not_read_is_refused_however_often_it_is_tried() {
    const NOBODY: u32 = 65_534;
    let above = directory();
    let path = above.path().join("log");
    let is_root = rustix::process::geteuid().is_root();
    let allow = |mode| fs::set_permissions(above.path(), fs::Permissions::from_mode(mode)).unwrap();
    if is_root {
        chown(above.path(), Some(NOBODY), None).unwrap();
    }
    allow(0o300);
    let open = move || {
        if is_root {
            let user = rustix::process::Uid::from_raw(NOBODY); // who may not read everything
            rustix::thread::set_thread_res_uid(None, user, None).unwrap(); // of this thread alone
        }
        [(); 2].map(|()| DirStorage::open(&path))
    };
    let tries = thread::spawn(open).join().unwrap();
    allow(0o700);
    for tried in tries {
        let refused = tried.expect_err("its name is not durable").to_string();
        assert!(refused.starts_with("cannot sync the directory"), "{refused}");
    }
}

#[test]
fn a_directory_that_is_moved_keeps_what_is_within() {
    let directory = directory();
    let (path, moved) = (directory.path().join("queue"), directory.path().join("moved"));
    let storage = DirStorage::open(&path).unwrap();
    fs::rename(&path, &moved).unwrap();
    fs::create_dir_all(path.join("within")).unwrap(); // another, slid underneath
    let within = cdesk_core::Storage::subdirectory(&storage, "within").unwrap();
    drop(cdesk_core::Storage::create_new(&within, "file").unwrap());
    assert!(moved.join("within/file").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_is_started_inherits_nothing() {
    let directory = directory();
    let queue = open(directory.path());
    queue.append(&line(0)).unwrap();
    let consumer = cdesk_core::Consumer::open(directory.path(), "uploader").unwrap();
    let lease = directory.path().join("worker.lock");
    let lease = cdesk_core::Lease::acquire(lease, LeaseKind::Exclusive, LeaseWait::No).unwrap();
    // A lock goes when the last who has its file open goes.
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("-> "), "{listed}");
    assert!(!listed.contains(directory.path().to_str().unwrap()), "{listed}");
    drop((queue, consumer, lease));
}

#[test]
fn a_link_in_the_place_of_a_segment_is_not_followed() {
    let directory = directory();
    let storage = DirStorage::open(directory.path()).unwrap();
    let target = directory.path().join("target");
    symlink(&target, directory.path().join("seg")).unwrap();
    assert!(cdesk_core::Storage::create_new(&storage, "seg").is_err());
    assert!(cdesk_core::Storage::lock(&storage, "seg", cdesk_core::LockRequest::Lease).is_err());
    assert!(!target.exists());
}
