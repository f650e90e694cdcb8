//! What a caller may do to a queue without meaning to: no option hangs it, no waker breaks it, nobody starves.

mod common;

use std::future::Future;
use std::panic;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use cdesk_core::{Consumer, Durability, Error, ManualClock, QueryTags, Queue, QueueOptions};
use common::faulty::{FaultyStorage, Moment, Plan};
use common::{NOW, delivered, directory, line};

/// A test that would hang fails instead.
fn within_a_minute<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it hangs, or has panicked")
}

#[test]
fn a_segment_of_no_bytes_is_refused_and_nothing_is_made() {
    let directory = directory();
    let path = directory.path().join("queue");
    let error = within_a_minute({
        let path = path.clone();
        move || Queue::open(path, QueueOptions::default().max_segment_bytes(0)).unwrap_err()
    });
    assert!(matches!(error, Error::InvalidOption { option: "max_segment_bytes", .. }), "{error:?}");
    assert!(error.to_string().starts_with("max_segment_bytes must be at least 1"), "{error}");
    assert!(!path.exists());
}

#[test]
fn the_smallest_segments_and_ages_there_are_hold_a_line_each() {
    let directory = directory();
    let options = QueueOptions::default().max_segment_bytes(1).max_segment_age(Duration::ZERO);
    let queue = Queue::open(directory.path(), options).unwrap();
    queue.append_many(&[line(0), line(1), line(2)]).unwrap();
    assert_eq!(common::segments(directory.path()).len(), 3);
    assert_eq!(delivered(directory.path()), [0, 1, 2]);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as anybody's code may");
    }
}

#[test]
fn a_waker_that_panics_holds_up_no_append() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let queue = Queue::open(path, QueueOptions::default().durability(Durability::Os)).unwrap();
        let waker = Waker::from(Arc::new(Panics));
        let mut context = Context::from_waker(&waker);
        let mut open = 0;
        while open < 20 {
            let tickets: Vec<_> = (0..8).map(|id| queue.submit(&line(id)).unwrap()).collect();
            for ticket in &tickets {
                let before = ticket.result().is_none();
                // Where it is settled already, it is this thread that wakes.
                let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| ticket.wake_when_settled(&waker)));
                open += u32::from(before);
            }
            for ticket in tickets {
                ticket.wait().unwrap();
                assert!(pin!(ticket).poll(&mut context).is_ready());
            }
        }
        queue.append(&line(100)).unwrap();
        queue.close().unwrap();
    });
}

struct Unparks(thread::Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_ticket_that_is_polled_wakes_its_executor() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let queue = Queue::open(path, QueueOptions::default()).unwrap();
        let waker = Waker::from(Arc::new(Unparks(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut slept = 0;
        while slept < 20 {
            let mut ticket = pin!(queue.submit(&line(0)).unwrap());
            while ticket.as_mut().poll(&mut context).is_pending() {
                slept += 1;
                thread::park();
            }
        }
    });
}

#[test]
fn who_asks_to_be_woken_after_the_news_is_woken_at_once() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let queue = Queue::open(path, QueueOptions::default()).unwrap();
        let ticket = queue.submit(&line(0)).unwrap();
        ticket.wait().unwrap();
        ticket.wake_when_settled(&Waker::from(Arc::new(Unparks(thread::current()))));
        thread::park();
    });
}

#[test]
fn a_commit_that_panics_is_an_error_and_holds_up_no_other() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let plan = Plan::new(None);
        let storage = FaultyStorage::open(&path, &plan);
        let queue = Queue::with(storage, ManualClock::new(NOW), QueueOptions::default()).unwrap();
        plan.before(Moment::Sync, "", || panic!("as a bug may"));
        let error = queue.append(&line(0)).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        queue.append(&line(1)).unwrap();
        queue.close().unwrap();
        assert!(delivered(&path).contains(&1));
    });
}

#[test]
fn a_line_is_pending_until_its_sync_has_returned() {
    let directory = directory();
    let plan = Plan::new(None);
    let storage = FaultyStorage::open(directory.path(), &plan);
    let queue = Queue::with(storage, ManualClock::new(NOW), QueueOptions::default()).unwrap();
    let queue = Arc::new(queue);
    let (sender, receiver) = mpsc::channel();
    let seen = Arc::clone(&queue);
    plan.before(Moment::Sync, "", move || sender.send(seen.stats()).unwrap());
    queue.append_many(&[line(0), line(1)]).unwrap();
    let during = receiver.recv().unwrap();
    assert_eq!((during.lines, during.pending_lines), (0, 2));
    assert_eq!((queue.stats().lines, queue.stats().pending_lines), (2, 0));
}

#[test]
fn whoever_keeps_its_turn_starves_nobody() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let queue = Queue::open(path, QueueOptions::default()).unwrap();
        let kept = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for first in 0..64 {
                let (queue, kept) = (&queue, &kept);
                scope.spawn(move || {
                    for number in 0..4 {
                        let (baton, result) = queue.append_in_turn(&[line(first * 4 + number)]);
                        result.unwrap();
                        kept.lock().unwrap().push(baton);
                    }
                });
            }
        });
    });
    assert_eq!(delivered(directory.path()).len(), 256);
}

#[test]
fn tags_and_a_consumer_of_that_name_share_a_directory() {
    let directory = directory();
    let path = directory.path().to_owned();
    within_a_minute(move || {
        let consumer = Consumer::open(&path, "tags").unwrap();
        let tags = QueryTags::open(&path).unwrap();
        tags.next_tag().unwrap();
        drop(consumer);
        drop(Consumer::open(&path, "tags").unwrap());
    });
}
