//! The log and its reference, side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cdesk_core::{
    BatchLimits, Consumer, DirStorage, Durability, Error, ManualClock, Position, Queue, QueueOptions,
    QueueStats, SegmentState, backlog, inspect,
};
use tempfile::TempDir;

use crate::files::{Files, Segment};
use crate::operation::{CONSUMERS, Operation, Place, Setting, WRITERS};
use crate::reference::{Lines, Reference, depth, text};

/// Later than any file of today was written, so that no segment is too young to be deleted.
const NOW_UNIX_MS: u64 = 9_000_000_000_000;
/// The consumers of a program, and one that comes when it is over.
const NAMES: [&str; CONSUMERS + 1] = ["uploader", "archiver", "latecomer"];
/// A segment that there never was.
const UNKNOWN: &str = "0000000000001-00000000-000000";

struct Writer {
    id: u32,
    queue: Queue<DirStorage, Arc<ManualClock>>,
    /// Between how many commits its calls took.
    commits: (u64, u64),
}

#[derive(Default)]
struct Seat {
    consumer: Option<Consumer<DirStorage, Arc<ManualClock>>>,
    /// From its first opening on it is registered.
    reference: Option<Reference>,
}

pub(crate) struct World {
    directory: TempDir,
    clock: Arc<ManualClock>,
    options: QueueOptions,
    writers: [Option<Writer>; WRITERS],
    seats: [Seat; NAMES.len()],
    files: Files,
    /// What each writer has appended.
    written: BTreeMap<u32, Vec<u64>>,
    next_id: u64,
    /// Positions of all the batches that there were.
    seen: Vec<Lines>,
}

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        let Setting { durability, max_segment_bytes } = setting;
        let shared = Path::new("/dev/shm");
        let directory = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        Self {
            directory: directory.unwrap(),
            clock: Arc::new(ManualClock::new(NOW_UNIX_MS)),
            options: QueueOptions::default().durability(durability).max_segment_bytes(max_segment_bytes),
            writers: [const { None }; WRITERS],
            seats: Default::default(),
            files: Files::default(),
            written: BTreeMap::new(),
            next_id: 0,
            seen: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Append { writer, padding } => {
                let line = self.line(writer, padding);
                let writer = self.writer(writer);
                writer.queue.append(&line).unwrap();
                writer.took(1, 1);
            }
            Operation::AppendMany { writer, lines } => {
                let lines: Vec<_> = (0..lines).map(|_| self.line(writer, 0)).collect();
                let writer = self.writer(writer);
                writer.queue.append_many(&lines).unwrap();
                let commits = u64::from(!lines.is_empty());
                writer.took(commits, commits);
            }
            Operation::Submit { writer, lines } => {
                let lines: Vec<_> = (0..lines).map(|_| self.line(writer, 0)).collect();
                let writer = self.writer(writer);
                let submit = |line: &Vec<u8>| writer.queue.submit(line).unwrap();
                let tickets: Vec<_> = lines.iter().map(submit).collect();
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
                writer.took(1, u64::try_from(lines.len()).unwrap());
            }
            Operation::AppendRubbish { writer } => {
                let lines: [&[u8]; 2] = [b"{}", b"{\"id\":"];
                let error = self.writer(writer).queue.append_many(&lines).unwrap_err();
                assert!(matches!(error, Error::InvalidLine { index: 1, .. }), "{error:?}");
            }
            Operation::Roll { writer } => self.writer(writer).queue.roll().unwrap(),
            Operation::Close { writer } => {
                self.writer(writer).queue.close().unwrap();
                let error = self.writer(writer).queue.append(b"{}").unwrap_err();
                assert!(matches!(error, Error::QueueClosed { .. }), "{error:?}");
                self.end(writer);
            }
            Operation::Drop { writer } => self.end(writer),
            Operation::FindDeadWriter { lines, is_torn } => self.find_dead_writer(lines, is_torn),
            Operation::Advance { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Operation::StepBack { milliseconds } => self.clock.set_unix_ms(NOW_UNIX_MS - milliseconds),
            Operation::NextBatch { consumer, max_lines, max_bytes } => {
                self.next_batch(consumer, (max_lines, max_bytes));
            }
            Operation::Commit { consumer, place } => self.commit(consumer, place, None),
            Operation::CommitAhead { consumer, place, safe } => self.commit(consumer, place, Some(safe)),
            Operation::Seek { consumer, place } => self.seek(consumer, place),
            Operation::Leave { consumer } => self.seats[consumer].consumer = None,
            Operation::Depth { consumer } => self.check_depth(consumer),
            Operation::Prune { consumer, checkpointed, is_any_age_enough } => {
                self.prune(consumer, checkpointed, is_any_age_enough);
            }
        }
        self.check_files();
        if let Operation::Roll { writer } = operation {
            let id = self.writer(writer).id;
            assert!(self.files.of(id).all(|segment| segment.is_sealed), "roll left a segment open");
        }
    }

    /// The next line of a writer, with a number that no other has.
    fn line(&mut self, writer: usize, padding: usize) -> Vec<u8> {
        let id = self.next_id;
        self.next_id += 1;
        let writer = self.writer(writer).id;
        self.written.entry(writer).or_default().push(id);
        // Some payloads hold a whole line of the log, as when a person pastes one.
        let mut lines = self.files.segments.values().filter_map(|segment| segment.lines.last());
        let pasted = lines.next_back().filter(|_| id.is_multiple_of(3)).map_or("{}", |line| line.trim_end());
        format!("{{\"id\":{id},\"pasted\":{pasted},\"padding\":\"{:x<padding$}\"}}", "").into_bytes()
    }

    fn writer(&mut self, writer: usize) -> &mut Writer {
        let Self { written, files, directory, clock, options, .. } = self;
        self.writers[writer].get_or_insert_with(|| {
            let id = u32::try_from(written.len()).unwrap();
            written.insert(id, Vec::new());
            files.live.insert(id);
            Writer { id, queue: open_queue(directory.path(), clock, *options, id), commits: (0, 0) }
        })
    }

    fn end(&mut self, writer: usize) {
        if let Some(Writer { id, .. }) = self.writers[writer].take() {
            self.files.live.remove(&id);
        }
    }

    fn find_dead_writer(&mut self, lines: u64, is_torn: bool) {
        let elsewhere = tempfile::tempdir_in(self.directory.path()).unwrap();
        let id = u32::try_from(self.written.len()).unwrap();
        let options = QueueOptions::default().durability(Durability::Os);
        let queue = open_queue(elsewhere.path(), &self.clock, options, id);
        for _ in 0..lines {
            queue.append(format!("{{\"id\":{}}}", self.next_id).as_bytes()).unwrap();
            self.written.entry(id).or_default().push(self.next_id);
            self.next_id += 1;
        }
        let file = fs::read_dir(elsewhere.path()).unwrap().next().unwrap().unwrap();
        let mut bytes = fs::read(file.path()).unwrap();
        if is_torn {
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1);
            bytes.extend_from_slice(b"{\"id\":1,\"padd\0\0");
        }
        fs::write(self.directory.path().join(file.file_name()), bytes).unwrap();
    }

    /// The consumer in that seat, which is opened if it must be, and what is known of it.
    fn consumer(
        &mut self,
        seat: usize,
    ) -> (&mut Consumer<DirStorage, Arc<ManualClock>>, &mut Reference, &mut Files) {
        let Self { seats, files, directory, clock, .. } = self;
        let open = || {
            let storage = DirStorage::open(directory.path()).unwrap();
            Consumer::with(storage, Arc::clone(clock), NAMES[seat])
        };
        let Seat { consumer, reference } = &mut seats[seat];
        if consumer.is_none() {
            *consumer = Some(open().unwrap());
            *reference = Some(Reference::open(reference.take().unwrap_or_default().durable));
            assert!(matches!(open(), Err(Error::LeaseHeld { .. })), "two hold one lease");
        }
        (consumer.as_mut().unwrap(), reference.as_mut().unwrap(), files)
    }

    /// Says whether there was a batch.
    fn next_batch(&mut self, seat: usize, limits: (usize, usize)) -> bool {
        let (consumer, reference, files) = self.consumer(seat);
        let (max_lines, max_bytes) = limits;
        let batch =
            consumer.next_batch(BatchLimits::default().max_lines(max_lines).max_bytes(max_bytes)).unwrap();
        let expected = reference.next_batch(files, limits);
        let found = batch
            .map(|batch| (String::from_utf8(batch.ndjson).unwrap(), batch.lines, batch.position.to_string()));
        let position = expected.as_ref().map(|(_, _, position)| position.clone());
        assert_eq!(found, expected.map(|(batch, lines, position)| (batch, lines, text(&position))));
        self.seen.extend(position.clone());
        position.is_some()
    }

    /// Without a place of its own, what is safe is what is committed.
    fn commit(&mut self, seat: usize, place: Place, safe: Option<Place>) {
        let (lines, position) = self.place(seat, place);
        let safe = safe.map(|safe| self.place(seat, safe));
        let (consumer, reference, files) = self.consumer(seat);
        match &safe {
            None => consumer.commit(&position).unwrap(),
            Some((_, safe)) => consumer.commit_ahead(&position, safe).unwrap(),
        }
        reference.commit(files, &lines, safe.as_ref().map_or(&lines, |(lines, _)| lines));
        let expected = format!("{} {}", text(&reference.durable.consumed), text(&reference.durable.safe));
        let file = fs::read(self.directory.path().join(format!("{}.position", NAMES[seat]))).unwrap();
        assert_eq!(newest(&file), expected, "what is in the file");
    }

    fn seek(&mut self, seat: usize, place: Place) {
        let (lines, position) = self.place(seat, place);
        let (consumer, reference, _) = self.consumer(seat);
        consumer.seek(&position).unwrap();
        reference.seek(&lines);
    }

    fn check_depth(&mut self, seat: usize) {
        let (consumer, reference, files) = self.consumer(seat);
        assert_eq!(consumer.depth().unwrap(), reference.depth(files));
        let durable = depth(files, &reference.durable.consumed);
        let backlog = backlog(self.directory.path(), NAMES[seat]).unwrap();
        assert_eq!((backlog.lines, backlog.has_consumer), (durable, true));
        assert_eq!(backlog.segments, u64::try_from(self.files.segments.len()).unwrap());
    }

    fn prune(&mut self, seat: usize, checkpointed: Place, is_any_age_enough: bool) {
        let (lines, position) = self.place(seat, checkpointed);
        self.consumer(seat);
        let others = self.seats.iter().enumerate().filter(|(other, _)| *other != seat);
        let mut positions: Vec<_> =
            others.filter_map(|(_, seat)| Some(seat.reference.as_ref()?.durable.safe.clone())).collect();
        positions.push(self.consumer(seat).1.durable.consumed.clone());
        let registered: Vec<_> = positions.iter().chain([&lines]).collect();
        let min_age = if is_any_age_enough { Duration::ZERO } else { Duration::MAX };
        let (consumer, reference, files) = self.consumer(seat);
        let mut due = reference.due(files, &registered);
        due.retain(|_| is_any_age_enough);
        assert_eq!(consumer.prune(&position, min_age).unwrap(), u64::try_from(due.len()).unwrap());
        self.files.delete(self.directory.path(), &due);
        let (_, reference, files) = self.consumer(seat);
        reference.prune(files, &due, &lines);
    }

    /// A position as the reference has it and as the log does.
    fn place(&mut self, seat: usize, place: Place) -> (Lines, Position) {
        let mut lines = self.consumer(seat).1.last.clone();
        match place {
            Place::Start => lines.clear(),
            Place::Earlier(index) if !self.seen.is_empty() => lines.clone_from(index.get(&self.seen)),
            Place::PastTheEnd(index, more) if !self.files.segments.is_empty() => {
                let (name, segment) =
                    self.files.segments.iter().nth(index.index(self.files.segments.len())).unwrap();
                lines.insert(name.clone(), segment.count() + more);
            }
            Place::Unknown => _ = lines.insert(UNKNOWN.to_owned(), 3),
            Place::Last | Place::Earlier(_) | Place::PastTheEnd(..) => {}
        }
        let position: Position = text(&lines).parse().unwrap();
        assert_eq!(position.to_string(), text(&lines));
        (lines, position)
    }

    /// Every line that was acknowledged is there or was there, once, and in its writer's order.
    fn check_files(&mut self) {
        self.files.look(self.directory.path());
        for (&writer, ids) in &self.written {
            assert_eq!(self.files.ids_of(writer), *ids, "what writer {writer} wrote");
        }
    }

    pub(crate) fn check_counts(&self) {
        for writer in self.writers.iter().flatten() {
            let segments: Vec<_> = self.files.of(writer.id).collect();
            let bytes = segments.iter().flat_map(|segment| &segment.lines).map(String::len).sum::<usize>();
            let stats = writer.queue.stats();
            let (least, most) = writer.commits;
            assert!((least..=most).contains(&stats.commits), "{} not in {least}..={most}", stats.commits);
            let mut expected = QueueStats::default();
            expected.lines = segments.iter().copied().map(Segment::count).sum();
            expected.bytes = u64::try_from(bytes).unwrap();
            expected.segments = u64::try_from(segments.len()).unwrap();
            expected.commits = stats.commits;
            assert_eq!(stats, expected);
        }
        for Seat { consumer, reference } in &self.seats {
            if let (Some(consumer), Some(reference)) = (consumer, reference) {
                assert_eq!(consumer.stats(), reference.stats);
            }
        }
    }

    /// Everybody stops writing: whoever reads on gets all the rest, and then all of it may go.
    pub(crate) fn finish(mut self) {
        (0..WRITERS).for_each(|writer| self.end(writer));
        self.check_files();
        for view in &mut inspect(self.directory.path()).unwrap() {
            view.check().unwrap();
            let name = view.name().to_string();
            let segment = &self.files.segments[&name["seg-".len()..name.len() - ".ndjson".len()]];
            let state = if segment.is_sealed { SegmentState::Sealed } else { SegmentState::Abandoned };
            assert_eq!(view.state(), state);
            let found = view.findings();
            let torn_bytes = u64::try_from(segment.torn_bytes).unwrap();
            assert_eq!((found.lines, found.torn_bytes), (segment.count(), torn_bytes));
            assert_eq!((found.missing_lines, found.damage.len()), (0, 0));
        }
        for seat in 0..NAMES.len() {
            while self.next_batch(seat, (usize::MAX, usize::MAX)) {}
            self.commit(seat, Place::Last, None);
            self.check_depth(seat);
        }
        let latecomer = self.seats.last().unwrap().reference.as_ref().unwrap();
        let there: u64 = self.files.segments.values().map(Segment::count).sum();
        assert_eq!(latecomer.stats.lines, there);
        (0..NAMES.len()).for_each(|seat| self.prune(seat, Place::Last, true));
        self.check_counts();
        assert!(self.files.segments.is_empty(), "{:?} were never deleted", self.files.segments.keys());
    }
}

/// The position in the slot with the higher generation.
fn newest(file: &[u8]) -> String {
    let slots = file.chunks(file.len() / 2).map(|slot| str::from_utf8(slot).unwrap());
    let good = slots.filter_map(|slot| slot.lines().next().filter(|slot| slot.starts_with('1')));
    let newest = good.max_by_key(|slot| slot.split(' ').nth(2).unwrap().parse::<u64>().unwrap());
    newest.unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

impl Writer {
    fn took(&mut self, least: u64, most: u64) {
        self.commits.0 += least;
        self.commits.1 += most;
    }
}

fn open_queue(
    directory: &Path,
    clock: &Arc<ManualClock>,
    options: QueueOptions,
    id: u32,
) -> Queue<DirStorage, Arc<ManualClock>> {
    Queue::with_writer(DirStorage::open(directory).unwrap(), Arc::clone(clock), options, id).unwrap()
}
