//! What is appended: lines that tell their id, some of which hold, in a field, what looks like a line of the log.
//!
//! A program may log what it read from a log. When such a payload is torn, the line inside it is whole.

use crate::sim::{Rng, mix};
use crate::world::World;
use crate::writing::Writer;

/// Longer than the short look that is taken at the end of a segment.
const FAR_BYTES: usize = 9_000;
/// Longer lines are not copied: copies of copies would grow without end.
const MAX_COPY_BYTES: usize = 4_000;

impl World {
    /// The line with that id.
    pub(crate) fn payload(&self, writer: &Writer, id: u64) -> Vec<u8> {
        if !self.habits.pastes_lines || !self.rng().one_in(3) {
            return line(id);
        }
        let mut rng = self.rng();
        let pasted = match rng.below(4) {
            0 => framed(r#"{"a":1,"_seq":900"#, &mut rng),
            1 => framed(r#"{"_sealed":{"lines":500}"#, &mut rng),
            _ => self.copy(writer, &mut rng).unwrap_or_else(|| framed(r#"{"a":1,"_seq":900"#, &mut rng)),
        };
        let [before, after] = rng.pick([[0, 0], [0, 0], [FAR_BYTES, 0], [0, FAR_BYTES], [FAR_BYTES; 2]]);
        let (before, after) = ("b".repeat(before), "a".repeat(after));
        format!(r#"{{"id":{id},"before":"{before}","pasted":{pasted},"after":"{after}"}}"#).into_bytes()
    }

    /// The last line of a segment that is there: of the writer's own rather than of another.
    fn copy(&self, writer: &Writer, rng: &mut Rng) -> Option<String> {
        let machine = self.host.lock();
        let mut segments: Vec<_> = machine.disk.names().filter(|name| name.starts_with("seg-")).collect();
        if rng.one_in(2) {
            let id = format!("-{:08x}-", writer.id);
            segments.retain(|name| name.contains(&id));
        }
        let name = segments.get(rng.index(segments.len()))?;
        let mut lines = machine.disk.content(name)?.split(|&byte| byte == b'\n');
        let whole = lines.rfind(|line| line.starts_with(b"{") && line.ends_with(b"\"}"))?;
        let copy = std::str::from_utf8(whole).ok()?;
        (copy.len() <= MAX_COPY_BYTES).then(|| copy.to_owned())
    }
}

/// A line without anything in it.
fn line(id: u64) -> Vec<u8> {
    let noise = mix(id);
    let length = match noise % 64 {
        0 => 3_000,
        1..8 => 600,
        other => usize::try_from(other).unwrap(),
    };
    let letters = "abcdefghijklmnopqrstuvwxyz{\":,}".repeat(length / 31 + 1);
    let text = letters[..length].replace('"', "'");
    format!("{{\"id\":{id},\"noise\":\"{noise:x}\",\"text\":\"{text}\"}}").into_bytes()
}

/// What looks like a line of the log, of the old format, of this one or of one to come, with the checksum of its own bytes.
fn framed(open: &str, rng: &mut Rng) -> String {
    let body = format!(r#"{open},"_log":{}"#, rng.below(3) + 1);
    let crc = crc32c::crc32c(body.as_bytes());
    format!(r#"{body},"_crc":"{crc:08x}"}}"#)
}
