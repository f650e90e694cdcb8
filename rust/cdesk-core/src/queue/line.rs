//! One line: the caller's object, the three fields the log adds, and their checksum.
//!
//! `{"activity_id":"…","_seq":17,"_log":2,"_crc":"9f3a01c2"}`, then `\n`. The checksum is CRC-32C of the name of the
//! segment's file, the byte at which the line starts (eight bytes, the lowest first), and every byte of the line before
//! `,"_crc"`. So a line can be checked without parsing JSON, and holds in one place of one file: what a caller pasted
//! into a payload, what a deleted file left on the disk, and what was copied elsewhere are no lines there.

use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::json::{self, Keys};

/// The longest line a caller may hand in.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The version of the format, as every line carries it in `_log`.
pub const FORMAT_VERSION: u64 = 2;

/// `,"_crc":"9f3a01c2"}`
const TRAILER_BYTES: usize = 19;
const TRAILER_START: &[u8] = b",\"_crc\":\"";
const TRAILER_END: &[u8] = b"\"}";
/// No line in a segment is longer, its `\n` included: the caller's, 20 digits of `_seq`, and the fields' names.
pub(crate) const MAX_FRAMED_BYTES: usize = MAX_LINE_BYTES + 64 + TRAILER_BYTES;
/// No line in a segment is shorter, its `\n` included: `{"_seq":0,"_log":2,"_crc":"9f3a01c2"}`.
pub(crate) const MIN_FRAMED_BYTES: u64 = 38;

/// Checks a caller's line: length, UTF-8, one JSON object, none of the log's own keys.
pub(crate) fn check(line: &[u8]) -> Result<()> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Error::LineTooLong { index: 0, bytes: line.len(), max_bytes: MAX_LINE_BYTES });
    }
    json::check_object(line, Keys::Callers).map_err(|invalid| Error::InvalidLine {
        index: 0,
        offset: invalid.offset,
        reason: invalid.reason,
    })
}

/// What binds the lines of a segment to it: the checksum of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding(u32);

impl Binding {
    pub(crate) fn of(segment: SegmentName) -> Self {
        Self(crc32c::crc32c(segment.to_string().as_bytes()))
    }

    /// The checksum of a line that starts at `offset`, before its first byte.
    fn at(self, offset: u64) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_le_bytes())
    }
}

/// Appends the framed line, with its `\n`, to `out`. `line` was checked when the caller handed it in; it will stand at
/// `offset` of its segment.
pub(crate) fn frame(line: &[u8], seq: u64, binding: Binding, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let open = line.strip_suffix(b"}").unwrap_or(line);
    out.extend_from_slice(open);
    let is_empty = open.trim_ascii_end() == b"{";
    let comma = if is_empty { "" } else { "," };
    extend(out, format_args!("{comma}\"_seq\":{seq},\"_log\":{FORMAT_VERSION}"));
    finish(out, start, binding.at(offset));
}

/// Appends the seal of a segment with that many lines, which will stand at `offset`.
pub(crate) fn frame_seal(lines: u64, binding: Binding, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    extend(out, format_args!("{{\"_sealed\":{{\"lines\":{lines}}},\"_log\":{FORMAT_VERSION}"));
    finish(out, start, binding.at(offset));
}

fn finish(out: &mut Vec<u8>, start: usize, seed: u32) {
    let crc = crc32c::crc32c_append(seed, out.get(start..).unwrap_or_default());
    extend(out, format_args!(",\"_crc\":\"{crc:08x}\"}}\n"));
}

fn extend(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = std::io::Write::write_fmt(out, text);
}

/// What a checksummed line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// An event, the `seq`-th of its segment.
    Line { seq: u64 },
    /// The end of a finished segment.
    Seal { lines: u64 },
}

impl Content {
    /// How many lines its writer had written before it.
    pub(crate) fn lines_before(self) -> u64 {
        match self {
            Self::Line { seq } => seq,
            Self::Seal { lines } => lines,
        }
    }

    /// How many there were with it. Below the highest number there is, because [`read`] has looked at its offset.
    pub(crate) fn lines_after(self) -> u64 {
        match self {
            Self::Line { seq } => seq + 1,
            Self::Seal { lines } => lines,
        }
    }
}

/// Reads a line, without its `\n`, that stands at `offset`; `None` unless every byte of it is as it was written, there.
pub(crate) fn read(line: &[u8], binding: Binding, offset: u64) -> Option<Content> {
    let (body, crc) = split_trailer(line)?;
    if crc != crc32c::crc32c_append(binding.at(offset), body) {
        return None;
    }
    read_body(body, offset)
}

/// Reads the line that starts where `bytes` do, at `offset`, and ends somewhere within; says how long it is. `bytes` are
/// summed up once, however many places in them look like an end.
pub(crate) fn read_first(bytes: &[u8], binding: Binding, offset: u64) -> Option<(usize, Content)> {
    let mut crc = binding.at(offset);
    let mut summed = 0;
    for start in memchr::memmem::find_iter(bytes, TRAILER_START) {
        crc = crc32c::crc32c_append(crc, bytes.get(summed..start)?);
        summed = start;
        let end = start + TRAILER_BYTES;
        let Some(line) = bytes.get(..end) else { break };
        if let Some((body, written)) = split_trailer(line)
            && written == crc
            && let Some(content) = read_body(body, offset)
            && json::check_object(line, Keys::Stored).is_ok()
        {
            return Some((end, content));
        }
    }
    None
}

/// Reads the line that ends where `bytes` do and starts somewhere within; says where. `offset` is that of `bytes`. A JSON
/// object can begin at one place alone: at the brace that its last one closes.
pub(crate) fn read_last(bytes: &[u8], binding: Binding, offset: u64) -> Option<(usize, Content)> {
    split_trailer(bytes)?;
    let from = bytes.len().saturating_sub(MAX_FRAMED_BYTES);
    let start = from + object_start(bytes.get(from..)?)?;
    let line = bytes.get(start..)?;
    let content = read(line, binding, offset.checked_add(u64::try_from(start).ok()?)?)?;
    json::check_object(line, Keys::Stored).is_ok().then_some((start, content))
}

/// The version that the first line of a segment claims, if it is another one. A line of ours in which nothing but the
/// version was damaged is none of another.
pub(crate) fn foreign_version(line: &[u8], binding: Binding) -> Option<u64> {
    let (body, crc) = split_trailer(line)?;
    let (rest, version) = strip_number(body)?;
    if !rest.ends_with(b",\"_log\":") || version == FORMAT_VERSION {
        return None;
    }
    let as_ours = [rest, FORMAT_VERSION.to_string().as_bytes()].concat();
    let is_damaged = crc == crc32c::crc32c_append(binding.at(0), &as_ours);
    // The end of what was pasted into a line that was torn there is no line.
    let is_whole = json::check_object(line, Keys::Stored).is_ok();
    (is_whole && !is_damaged).then_some(version)
}

/// Everything before `,"_crc"`, and the checksum that is written there.
fn split_trailer(line: &[u8]) -> Option<(&[u8], u32)> {
    let (body, trailer) = line.split_at_checked(line.len().checked_sub(TRAILER_BYTES)?)?;
    let digits = trailer.strip_prefix(TRAILER_START)?.strip_suffix(TRAILER_END)?;
    Some((body, parse_hex(digits)?))
}

fn read_body(body: &[u8], offset: u64) -> Option<Content> {
    let (rest, version) = strip_number(body)?;
    let rest = rest.strip_suffix(b",\"_log\":")?;
    if version != FORMAT_VERSION {
        return None;
    }
    let content = if let Some(rest) = rest.strip_prefix(b"{\"_sealed\":{\"lines\":") {
        let (rest, lines) = strip_number(rest.strip_suffix(b"}")?)?;
        rest.is_empty().then_some(Content::Seal { lines })?
    } else {
        let (rest, seq) = strip_number(rest)?;
        let rest = rest.strip_suffix(b"\"_seq\":")?;
        let is_line = rest.starts_with(b"{") && matches!(rest.last(), Some(b',' | b'{' | b' ' | b'\t'));
        is_line.then_some(Content::Line { seq })?
    };
    // So many lines before it need so much room.
    (content.lines_before() <= offset / MIN_FRAMED_BYTES).then_some(content)
}

/// Where the object begins that ends with `bytes`.
fn object_start(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut is_in_string = false;
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let before = bytes.get(..at)?.iter().rev();
                let backslashes = before.take_while(|&&byte| byte == b'\\').count();
                is_in_string ^= backslashes % 2 == 0;
            }
            b'}' if !is_in_string => depth += 1,
            b'{' if !is_in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Eight lower-case hex digits, as [`frame`] writes them; anything else was damaged.
pub(crate) fn parse_hex(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0, |value: u32, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

/// The number at the end of `bytes`, and what stands before it.
fn strip_number(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = bytes.split_at(bytes.len() - digits);
    Some((rest, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
