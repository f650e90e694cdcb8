//! What threads do to a log at the same time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use cdesk_core::{Error, Ticket};
use shuttle::future;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::disk::{Fault, Sync};
use crate::explore;
use crate::log::{Diary, Log, Told, draw, line};

/// As many operations as a program has, and some more.
const OPERATIONS: u32 = 40;

fn start_writers(log: &Log, writers: u64) -> Vec<JoinHandle<Diary>> {
    let start = |writer| {
        let log = log.clone();
        thread::spawn(move || log.write(writer, 3))
    };
    (1..=writers).map(start).collect()
}

fn join(writers: Vec<JoinHandle<Diary>>) -> Vec<Diary> {
    writers.into_iter().map(|writer| writer.join().unwrap()).collect()
}

fn every(diaries: &[Diary], told: Told) -> bool {
    diaries.iter().flat_map(|diary| &diary.lines).all(|(_, known)| *known == told)
}

/// Several threads append in every way there is, and the log is rolled meanwhile.
pub(crate) fn appending(log: &Log) -> Vec<Diary> {
    let writers = start_writers(log, 5);
    let rolled = log.queue.roll();
    let diaries = join(writers);
    let closed = log.queue.close();
    if let Err(error) = rolled.and(closed) {
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
    log.check(&diaries);
    diaries
}

#[test]
fn every_line_is_durable_when_it_is_acknowledged_and_there_once_and_in_order() {
    explore(|| assert!(every(&appending(&Log::healthy()), Told::Durable)));
}

#[test]
fn closing_refuses_a_line_or_keeps_it() {
    explore(|| {
        let log = Log::healthy();
        let writers = start_writers(&log, 2);
        let other = log.clone();
        let roller = thread::spawn(move || {
            if let Err(error) = other.queue.roll() {
                assert!(matches!(error, Error::QueueClosed { .. }), "{error}");
            }
            other.queue.close().unwrap();
        });
        log.queue.close().unwrap();
        let diaries = join(writers);
        roller.join().unwrap();
        log.check(&diaries);
        assert!(diaries.iter().flat_map(|diary| &diary.lines).all(|(_, told)| *told != Told::Failed));
    });
}

#[test]
fn a_device_that_fails_once_costs_nobody_a_line() {
    explore(|| {
        let log = Log::new(Fault::Once(draw(OPERATIONS)), Sync::Honest, None);
        assert!(every(&appending(&log), Told::Durable));
    });
}

#[test]
fn a_device_that_fails_for_ever_gives_everybody_an_error() {
    explore(|| {
        let log = Log::new(Fault::From(draw(OPERATIONS)), Sync::Honest, None);
        let diaries = appending(&log);
        assert!(diaries.iter().flat_map(|diary| &diary.lines).all(|(_, told)| *told != Told::Refused));
    });
}

/// How the loop of a program is told that something happened.
#[derive(Default)]
struct Bell {
    rings: Mutex<u32>,
    rung: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_one();
    }
}

impl Bell {
    /// Waits until it rang more than `known` times; says how many.
    fn wait(&self, known: u32) -> u32 {
        let mut rings = self.rings.lock().unwrap();
        while *rings <= known {
            rings = self.rung.wait(rings).unwrap();
        }
        *rings
    }
}

#[test]
fn a_loop_is_woken_for_every_sync_it_waits_for() {
    explore(|| {
        let log = Log::new(Fault::From(draw(OPERATIONS)), Sync::Honest, None);
        let writers = start_writers(&log, 2);
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut diary = Diary::default();
        let mut rings = 0;
        for ids in [900..901, 901..903] {
            let mut open = Vec::new();
            for id in ids {
                let ticket = log.queue.submit(&line(id)).unwrap();
                ticket.wake_when_settled(&waker);
                open.push((id, ticket));
            }
            while !open.is_empty() {
                rings = bell.wait(rings);
                for (id, ticket) in open.extract_if(.., |(_, ticket)| ticket.result().is_some()) {
                    diary.lines.push((id, log.told(&[id], ticket.result().unwrap())));
                    diary.tickets.push(ticket);
                }
            }
        }
        diary.lines.sort_unstable_by_key(|(id, _)| *id); // those of one sync are found together
        let mut diaries = join(writers);
        diaries.push(diary);
        let _ = log.queue.close(); // the device may have failed
        log.check(&diaries);
    });
}

/// A future that asks once more than it must, as executors may.
struct Impatient(Ticket);

impl Future for Impatient {
    type Output = cdesk_core::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _ = Pin::new(&mut self.0).poll(context);
        Pin::new(&mut self.0).poll(context)
    }
}

#[test]
fn tasks_of_an_executor_are_woken_each_for_its_own_line() {
    explore(|| {
        let log = Log::healthy();
        let tasks: Vec<_> = (1..=4)
            .map(|id| {
                let log = log.clone();
                future::spawn(async move {
                    let ticket = log.queue.submit(&line(id)).unwrap();
                    let told = log.told(&[id], Impatient(ticket).await);
                    Diary { lines: vec![(id, told)], ..Diary::default() }
                })
            })
            .collect();
        let diaries: Vec<_> = tasks.into_iter().map(|task| future::block_on(task).unwrap()).collect();
        log.queue.close().unwrap();
        log.check(&diaries);
        assert!(every(&diaries, Told::Durable));
    });
}

#[test]
fn a_ticket_that_is_dropped_takes_nothing_back_and_holds_nobody_up() {
    explore(|| {
        let log = Log::healthy();
        let other = log.clone();
        let dropper = thread::spawn(move || {
            (1..=3).for_each(|id| drop(other.queue.submit(&line(id)).unwrap()));
        });
        let writers = start_writers(&log, 1);
        dropper.join().unwrap();
        let mut diaries = join(writers);
        log.queue.close().unwrap();
        let lines = (1..=3).map(|id| (id, Told::Durable)).collect();
        diaries.push(Diary { lines, ..Diary::default() });
        log.check(&diaries);
    });
}

#[test]
fn threads_that_keep_their_turn_keep_nobody_from_closing() {
    explore(|| {
        let log = Log::healthy();
        let kept = Arc::new(Mutex::new(Some(Vec::new())));
        let start = |_| {
            let (log, kept) = (log.clone(), Arc::clone(&kept));
            thread::spawn(move || {
                let (baton, result) = log.queue.append_in_turn(&[b"{}"]);
                if let Some(kept) = &mut *kept.lock().unwrap() {
                    kept.push(baton); // as one does that never gets the interpreter back
                }
                assert!(matches!(result, Ok(()) | Err(Error::QueueClosed { .. })));
            })
        };
        let writers: Vec<_> = (0..5).map(start).collect();
        log.queue.close().unwrap();
        let turns = kept.lock().unwrap().take();
        drop(turns);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}
