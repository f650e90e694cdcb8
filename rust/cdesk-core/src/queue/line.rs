//! One line: the caller's object, the three fields the log adds, and their checksum.
//!
//! `{"activity_id":"…","_seq":17,"_log":1,"_crc":"9f3a01c2"}`, then `\n`. The checksum is CRC-32C of every byte of
//! the line before `,"_crc"`, so a line can be checked, and found, without parsing JSON.

use crate::error::{Error, Result};
use crate::json::{self, Keys};

/// The longest line a caller may hand in.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The version of the format, as every line carries it in `_log`.
pub const FORMAT_VERSION: u64 = 1;

/// `,"_crc":"9f3a01c2"}`
const TRAILER_BYTES: usize = 19;
const TRAILER_START: &[u8] = b",\"_crc\":\"";
const TRAILER_END: &[u8] = b"\"}";
/// No line in a segment is longer, its `\n` included: the caller's, 20 digits of `_seq`, and the fields' names.
pub(crate) const MAX_FRAMED_BYTES: usize = MAX_LINE_BYTES + 64 + TRAILER_BYTES;

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

/// Appends the framed line, with its `\n`, to `out`. `line` was checked when the caller handed it in.
pub(crate) fn frame(line: &[u8], seq: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let open = line.strip_suffix(b"}").unwrap_or(line);
    out.extend_from_slice(open);
    let is_empty = open.trim_ascii_end() == b"{";
    let comma = if is_empty { "" } else { "," };
    extend(out, format_args!("{comma}\"_seq\":{seq},\"_log\":{FORMAT_VERSION}"));
    finish(out, start);
}

/// Appends the seal of a segment with that many lines.
pub(crate) fn frame_seal(lines: u64, out: &mut Vec<u8>) {
    let start = out.len();
    extend(out, format_args!("{{\"_sealed\":{{\"lines\":{lines}}},\"_log\":{FORMAT_VERSION}"));
    finish(out, start);
}

fn finish(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
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
    /// Something that another version of the log wrote.
    Foreign { version: u64 },
}

/// Reads a line, without its `\n`; `None` unless every byte of it is as it was written.
pub(crate) fn read(line: &[u8]) -> Option<Content> {
    let body = line.get(..line.len().checked_sub(TRAILER_BYTES)?)?;
    let digits = line.get(body.len()..)?.strip_prefix(TRAILER_START)?.strip_suffix(TRAILER_END)?;
    if parse_hex(digits)? != crc32c::crc32c(body) {
        return None;
    }
    let (rest, version) = strip_number(body)?;
    let rest = rest.strip_suffix(b",\"_log\":")?;
    if version != FORMAT_VERSION {
        return Some(Content::Foreign { version });
    }
    if let Some(rest) = rest.strip_prefix(b"{\"_sealed\":{\"lines\":") {
        let (rest, lines) = strip_number(rest.strip_suffix(b"}")?)?;
        return rest.is_empty().then_some(Content::Seal { lines });
    }
    let (rest, seq) = strip_number(rest)?;
    seq.checked_add(1)?; // whoever consumed it has consumed so many
    let rest = rest.strip_suffix(b"\"_seq\":")?;
    (rest.starts_with(b"{") && matches!(rest.last(), Some(b',' | b'{' | b' ' | b'\t')))
        .then_some(Content::Line { seq })
}

/// Where the first thing that looks like the end of a line ends, at or after `from`.
pub(crate) fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.windows(TRAILER_START.len()).position(|window| window == TRAILER_START)?;
        let end = at + TRAILER_BYTES;
        if bytes.get(end - TRAILER_END.len()..end) == Some(TRAILER_END) {
            return Some(end);
        }
        at += 1;
    }
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
