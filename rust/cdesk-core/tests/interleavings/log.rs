//! A log on a disk in memory, and what its writers were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdesk_core::{
    Error, LostWakeUps, ManualClock, Queue, QueueOptions, QueueStats, Result, Ticket, lose_wake_ups,
};
use shuttle::future;
use shuttle::rand::{Rng, thread_rng};

use crate::disk::{Disk, Fault, Sync};

/// What somebody was told about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Durable,
    /// The device failed.
    Failed,
    /// The queue was closed.
    Refused,
}

/// A number up to and without `end`, that is the same when the schedule is repeated.
pub(crate) fn draw(end: u32) -> u32 {
    thread_rng().gen_range(0..end)
}

/// The log, for every thread a clone.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) disk: Disk,
    pub(crate) queue: Arc<Queue<Disk, ManualClock>>,
}

/// What one writer did.
#[derive(Default)]
pub(crate) struct Diary {
    /// Its lines in the order in which it appended them.
    pub(crate) lines: Vec<(u64, Told)>,
    pub(crate) tickets: Vec<Ticket>,
}

impl Log {
    pub(crate) fn new(fault: Fault, sync: Sync, lost: Option<LostWakeUps>) -> Self {
        lose_wake_ups(lost);
        let max_segment_bytes = [1, 100, 50_000_000][usize::try_from(draw(3)).unwrap()];
        let options = QueueOptions::default().max_segment_bytes(max_segment_bytes);
        let disk = Disk::new(fault, sync);
        let queue = Queue::with_writer(disk.clone(), ManualClock::new(1), options, 7).unwrap();
        Self { disk, queue: Arc::new(queue) }
    }

    pub(crate) fn healthy() -> Self {
        Self::new(Fault::None, Sync::Honest, None)
    }

    /// Appends `count` lines, each in one of the ways there are.
    pub(crate) fn write(&self, writer: u64, count: u64) -> Diary {
        let mut diary = Diary::default();
        let mut open = Vec::new();
        for number in 0..count {
            let id = writer * 100 + number;
            let line = line(id);
            let ticket = match draw(5) {
                0 => {
                    diary.lines.push((id, self.told(&[id], self.queue.append(&line))));
                    continue;
                }
                1 => {
                    let twin = id + 50;
                    let told = self.told(&[id, twin], self.queue.append_many(&[line, self::line(twin)]));
                    diary.lines.extend([(id, told), (twin, told)]);
                    continue;
                }
                _ => self.queue.submit(&line),
            };
            let told = match ticket {
                Err(error) => self.told(&[id], Err(error)),
                Ok(ticket) => {
                    open.push((id, ticket));
                    diary.lines.push((id, Told::Failed)); // until more is known
                    continue;
                }
            };
            diary.lines.push((id, told));
        }
        for (id, mut ticket) in open {
            let result = if draw(2) == 0 { ticket.wait() } else { future::block_on(&mut ticket) };
            let told = self.told(&[id], result);
            diary.lines.iter_mut().filter(|(known, _)| *known == id).for_each(|(_, known)| *known = told);
            diary.tickets.push(ticket);
        }
        diary
    }

    /// What a result means. At the moment of an acknowledgement the lines are durable.
    pub(crate) fn told(&self, ids: &[u64], result: Result<()>) -> Told {
        match result {
            Ok(()) => {
                for &id in ids {
                    assert!(self.disk.is_durable(id), "{id} was acknowledged and is not durable");
                }
                Told::Durable
            }
            Err(Error::QueueClosed { .. }) => Told::Refused,
            Err(Error::Io { .. }) => Told::Failed,
            Err(error) => panic!("{error}"),
        }
    }

    /// The queue was closed and all writers are done: is everything as they were told?
    pub(crate) fn check(&self, diaries: &[Diary]) -> QueueStats {
        let before = self.disk.operations();
        let refused = self.queue.append(&line(9_999)).unwrap_err();
        assert!(matches!(refused, Error::QueueClosed { .. }), "{refused}");
        self.queue.close().unwrap();
        assert_eq!(self.disk.operations(), before, "a closed queue still writes");

        let mut found = BTreeMap::new();
        for (place, id) in self.disk.lines().into_iter().enumerate() {
            assert!(found.insert(id, place).is_none(), "{id} is in the log twice");
        }
        let (mut accepted, mut durable) = (0, 0);
        for diary in diaries {
            let mut last = None;
            for (id, told) in &diary.lines {
                let place = found.remove(id);
                match told {
                    Told::Durable => assert!(place.is_some(), "{id} was acknowledged and is not there"),
                    Told::Refused => assert!(place.is_none(), "{id} was refused and is there"),
                    Told::Failed => {}
                }
                accepted += u64::from(*told != Told::Refused);
                durable += u64::from(place.is_some());
                assert!(place.is_none() || place > last, "{id} has overtaken a line of its own thread");
                last = last.max(place);
            }
        }
        assert!(found.is_empty(), "nobody wrote {found:?}");
        let stats = self.queue.stats();
        assert_eq!((stats.lines, stats.failed_lines), (durable, accepted - durable), "{stats:?}");
        assert_eq!(stats.pending_lines, 0);
        check_groups(diaries);
        stats
    }
}

/// All tickets of one group were settled, and with one result.
fn check_groups(diaries: &[Diary]) {
    let tickets: Vec<_> = diaries.iter().flat_map(|diary| &diary.tickets).collect();
    for (index, ticket) in tickets.iter().enumerate() {
        let result = ticket.result().expect("a ticket that nobody settled");
        for other in tickets[index..].iter().filter(|other| other.shares_sync_with(ticket)) {
            assert_eq!(other.result().unwrap().is_ok(), result.is_ok(), "one group, two results");
        }
    }
}

pub(crate) fn line(id: u64) -> Vec<u8> {
    format!("{{\"id\":{id}}}").into_bytes()
}
