//! What holds for any bytes in the place of a segment. The tests try it with lines and damage, the fuzzer with
//! whatever it can think of.

use cdesk_core::{BatchLimits, Consumer, ConsumerStats, Error, ManualClock};

use crate::ram::Ram;

const SEAL: &[u8] = b"{\"_sealed\":";

/// What a consumer made of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The lines without their `\n`, in the order in which they came.
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) stats: ConsumerStats,
    /// Where it met a line of another version, after which it does not go on.
    pub(crate) stopped_at: Option<u64>,
}

/// Checks all of it, and says what was read.
///
/// # Panics
/// When the log does not keep its promise.
pub(crate) fn check_any_bytes(bytes: &[u8]) -> Reading {
    let reading = read(&Ram::with_segment(bytes, false), BatchLimits::default());
    check_lines(bytes, &reading);

    // Whoever reads it again, line by line, gets the same.
    let by_line = BatchLimits { max_lines: 1, ..BatchLimits::default() };
    let again = read(&Ram::with_segment(bytes, false), by_line);
    assert_eq!(again.lines, reading.lines, "two consumers, two contents");
    assert_eq!(again.stopped_at, reading.stopped_at);

    // And so does who met it while its writer lived. But nothing follows a seal, and nobody waits for it.
    let ram = Ram::with_segment(bytes, true);
    let mut consumer = open(&ram);
    let mut early = read_on(&mut consumer, BatchLimits::default());
    if early.stopped_at.is_none() {
        ram.end_writer();
        let late = read_on(&mut consumer, BatchLimits::default());
        early.lines.extend(late.lines);
        early.stopped_at = late.stopped_at;
    }
    if bytes.windows(SEAL.len()).any(|window| window == SEAL) {
        assert!(reading.lines.starts_with(&early.lines), "what a living writer left is read otherwise");
    } else {
        assert_eq!(early.lines, reading.lines, "what a living writer left is read otherwise");
        assert_eq!(early.stopped_at, reading.stopped_at);
    }
    reading
}

/// Each line is as it was written, it stands in the segment, and they came in its order.
fn check_lines(bytes: &[u8], reading: &Reading) {
    let mut rest = bytes;
    let mut next_seq = 0;
    for line in &reading.lines {
        let shown = line.escape_ascii();
        let seq = checked_seq(line).unwrap_or_else(|| panic!("delivered: {shown}"));
        assert!(seq >= next_seq, "{seq} came again: {shown}");
        next_seq = seq.saturating_add(1);
        let place = rest.windows(line.len()).position(|window| window == line);
        let place = place.unwrap_or_else(|| panic!("nowhere in the segment: {shown}"));
        rest = &rest[place + line.len()..];
    }
    if let Some(offset) = reading.stopped_at {
        let line = bytes[usize::try_from(offset).unwrap()..].split(|byte| matches!(byte, b'\n' | 0)).next();
        let version = line.and_then(checked_body).and_then(number_at_end).map(|(_, version)| version);
        assert!(version.is_some_and(|version| version != 1), "stopped at {version:?}");
    }
}

/// The `_seq` of a line, by the book: the fields as they are documented, and a checksum that is right.
pub(crate) fn checked_seq(line: &[u8]) -> Option<u64> {
    let (rest, version) = number_at_end(checked_body(line)?)?;
    let (rest, seq) = number_at_end(rest.strip_suffix(b",\"_log\":")?)?;
    (version == 1 && seq < u64::MAX && rest.starts_with(b"{") && rest.ends_with(b"\"_seq\":")).then_some(seq)
}

fn number_at_end(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let start = bytes.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let (rest, digits) = bytes.split_at(start);
    Some((rest, str::from_utf8(digits).unwrap().parse().ok()?))
}

/// Everything before `,"_crc"`, if that is right.
fn checked_body(line: &[u8]) -> Option<&[u8]> {
    let place = line.windows(9).rposition(|window| window == b",\"_crc\":\"")?;
    let (body, end) = line.split_at(place);
    let expected = format!(",\"_crc\":\"{:08x}\"}}", crc32c(body));
    (end == expected.as_bytes() && !line.iter().any(|byte| matches!(byte, b'\n' | 0))).then_some(body)
}

/// CRC-32C bit by bit, as RFC 3720 has it: no code in common with the log's.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn open(ram: &Ram) -> Consumer<Ram, ManualClock> {
    Consumer::with(ram.clone(), ManualClock::new(0), "reader").unwrap()
}

fn read(ram: &Ram, limits: BatchLimits) -> Reading {
    read_on(&mut open(ram), limits)
}

/// Everything there is for now. It ends, and the consumer's own counts are right.
fn read_on(consumer: &mut Consumer<Ram, ManualClock>, limits: BatchLimits) -> Reading {
    let before = consumer.stats().lines;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let stopped_at = loop {
        match consumer.next_batch(limits) {
            Ok(Some(batch)) => {
                let found: Vec<_> = batch.ndjson.split_inclusive(|&byte| byte == b'\n').collect();
                assert_eq!(found.len(), batch.lines);
                lines.extend(found.iter().map(|line| line.strip_suffix(b"\n").unwrap().to_vec()));
            }
            Ok(None) => break None,
            Err(Error::UnsupportedFormat { offset, .. }) => break Some(offset),
            Err(error) => panic!("{error}"),
        }
    };
    consumer.depth().unwrap();
    let stats = consumer.stats();
    assert_eq!(stats.lines - before, u64::try_from(lines.len()).unwrap());
    Reading { lines, stats, stopped_at }
}
