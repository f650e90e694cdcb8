//! What holds for any bytes in the place of a segment. The tests try it with lines and damage, the fuzzer with
//! whatever it can think of.

use cdesk_core::{BatchLimits, Consumer, ConsumerStats, Error, ManualClock};

use crate::ram::{Ram, SEGMENT};

const SEAL: &[u8] = b"{\"_sealed\":";
const VERSION: u64 = 2;

/// What a consumer made of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The lines without their `\n`, in the order in which they came.
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) stats: ConsumerStats,
    /// The segment is of this version, and is left alone.
    pub(crate) foreign: Option<u64>,
}

/// Checks all of it, and says what was read.
///
/// # Panics
/// When the log does not keep its promise.
pub(crate) fn check_any_bytes(bytes: &[u8]) -> Reading {
    let reading = read(&Ram::with_segment(bytes, false), BatchLimits::default());
    check_lines(bytes, &reading);

    // Whoever reads it again, line by line, gets the same.
    let by_line = BatchLimits::default().max_lines(1);
    let again = read(&Ram::with_segment(bytes, false), by_line);
    assert_eq!(again.lines, reading.lines, "two consumers, two contents");
    assert_eq!(again.foreign, reading.foreign);

    // And so does who met it while its writer lived. But nothing follows a seal, and nobody waits for it.
    let ram = Ram::with_segment(bytes, true);
    let mut consumer = open(&ram);
    let mut early = read_on(&mut consumer, BatchLimits::default());
    ram.end_writer();
    let late = read_on(&mut consumer, BatchLimits::default());
    early.lines.extend(late.lines);
    early.foreign = late.foreign;
    if bytes.windows(SEAL.len()).any(|window| window == SEAL) {
        assert!(reading.lines.starts_with(&early.lines), "what a living writer left is read otherwise");
    } else {
        assert_eq!(early.lines, reading.lines, "what a living writer left is read otherwise");
        assert_eq!(early.foreign, reading.foreign);
    }
    reading
}

/// Each line is as it was written, it stands in its place in the segment, and they came in its order.
fn check_lines(bytes: &[u8], reading: &Reading) {
    let mut from = 0;
    let mut next_seq = 0;
    for line in &reading.lines {
        let shown = line.escape_ascii();
        let places = bytes[from..].windows(line.len()).enumerate().filter(|(_, window)| window == line);
        let here = places.map(|(place, _)| from + place).find_map(|at| Some((at, checked_seq(line, at)?)));
        let (place, seq) = here.unwrap_or_else(|| panic!("not a line of this segment: {shown}"));
        assert!(seq >= next_seq, "{seq} came again: {shown}");
        next_seq = seq.saturating_add(1);
        from = place + line.len();
    }
    if let Some(version) = reading.foreign {
        assert!(reading.lines.is_empty(), "a foreign segment with a good line");
        assert_eq!(claimed_version(first_line(bytes)), Some(version));
    }
}

/// What stands before the first byte that ends a line.
pub(crate) fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default()
}

/// The other version that the first line claims to be of, with whatever checksum, unless it would be right for ours.
pub(crate) fn claimed_version(line: &[u8]) -> Option<u64> {
    let (body, crc) = split_checksum(line)?;
    let (rest, version) = number_at_end(body)?;
    let as_ours = [rest, VERSION.to_string().as_bytes()].concat();
    let is_other = rest.ends_with(b",\"_log\":") && version != VERSION;
    let is_whole = serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|line| line.is_object());
    (is_other && is_whole && crc != checksum(SEGMENT, 0, &as_ours)).then_some(version)
}

/// The `_seq` of a line at a place, by the book: the fields as they are documented, and a checksum that is right there.
pub(crate) fn checked_seq(line: &[u8], at: usize) -> Option<u64> {
    let (body, crc) = split_checksum(line)?;
    if crc != checksum(SEGMENT, at, body) || line.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        return None;
    }
    let (rest, version) = number_at_end(body)?;
    let (rest, seq) = number_at_end(rest.strip_suffix(b",\"_log\":")?)?;
    (version == VERSION && rest.starts_with(b"{") && rest.ends_with(b"\"_seq\":")).then_some(seq)
}

fn number_at_end(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let start = bytes.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let (rest, digits) = bytes.split_at(start);
    Some((rest, str::from_utf8(digits).unwrap().parse().ok()?))
}

/// Everything before `,"_crc"`, and what stands there.
fn split_checksum(line: &[u8]) -> Option<(&[u8], u32)> {
    let place = line.windows(9).rposition(|window| window == b",\"_crc\":\"")?;
    let digits = line[place..].strip_prefix(b",\"_crc\":\"")?.strip_suffix(b"\"}")?;
    let is_plain = digits.len() == 8 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let crc = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    is_plain.then_some((&line[..place], crc))
}

/// The checksum of a line of that segment that starts there.
pub(crate) fn checksum(segment: &str, at: usize, body: &[u8]) -> u32 {
    crc32c(&[segment.as_bytes(), &u64::try_from(at).unwrap().to_le_bytes(), body].concat())
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
    while let Some(batch) = consumer.next_batch(limits).unwrap() {
        let found: Vec<_> = batch.ndjson.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(found.len(), batch.lines);
        lines.extend(found.iter().map(|line| line.strip_suffix(b"\n").unwrap().to_vec()));
    }
    consumer.depth().unwrap();
    let stats = consumer.stats();
    assert_eq!(stats.lines - before, u64::try_from(lines.len()).unwrap());
    let foreign = consumer.troubles().pop().map(|trouble| match trouble.error {
        Error::UnsupportedFormat { offset: 0, version, .. } => version,
        error => panic!("{error}"),
    });
    Reading { lines, stats, foreign }
}
