//! What stands in the directory, read without the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// `<unix_ms>-<writer>-<n>`: a segment as positions name it, in the order in which it is read.
pub(crate) type Name = String;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The lines as they stand in the file, each with its `\n`.
    pub(crate) lines: Vec<String>,
    ids: Vec<u64>,
    pub(crate) is_sealed: bool,
    pub(crate) torn_bytes: usize,
    file_bytes: u64,
}

impl Segment {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let text = str::from_utf8(&bytes[..end]).unwrap();
        let mut segment = Self { file_bytes: u64::try_from(bytes.len()).unwrap(), ..Self::default() };
        for line in text.split_inclusive('\n') {
            assert!(!segment.is_sealed, "something follows the seal: {text}");
            if !line.ends_with('\n') {
                segment.torn_bytes = line.len();
                break;
            }
            let fields: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(seal) = fields.get("_sealed") {
                assert_eq!(seal["lines"], segment.lines.len(), "{text}");
                segment.is_sealed = true;
            } else {
                assert_eq!(fields["_seq"], segment.lines.len(), "{text}");
                segment.lines.push(line.to_owned());
                segment.ids.push(fields["id"].as_u64().unwrap());
            }
        }
        segment
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap()
    }
}

/// The segments that there are, and those that there were.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) segments: BTreeMap<Name, Segment>,
    pub(crate) deleted: BTreeMap<Name, Segment>,
    /// Writers that live.
    pub(crate) live: BTreeSet<u32>,
}

impl Files {
    /// Looks again, after a writer wrote. A segment only grows, and not after its seal.
    pub(crate) fn look(&mut self, directory: &Path) {
        for name in names(directory) {
            assert!(!self.deleted.contains_key(&name), "{name} is there again");
            let known = self.segments.entry(name.clone()).or_default();
            let path = directory.join(format!("seg-{name}.ndjson"));
            if known.is_sealed && fs::metadata(&path).unwrap().len() == known.file_bytes {
                continue;
            }
            let now = Segment::read(&path);
            assert!(now.lines.starts_with(&known.lines), "{name} was rewritten");
            assert!(!known.is_sealed, "{name} changed after its seal");
            *known = now;
        }
        assert!(self.segments.keys().eq(names(directory).iter()), "a segment is gone");
    }

    /// Those segments were deleted, and no others.
    pub(crate) fn delete(&mut self, directory: &Path, due: &BTreeSet<Name>) {
        for name in due {
            self.deleted.insert(name.clone(), self.segments.remove(name).unwrap());
        }
        assert!(self.segments.keys().eq(names(directory).iter()), "{due:?} should have been deleted");
    }

    /// May lines be added to it?
    fn is_open(&self, name: &Name) -> bool {
        !self.segments[name].is_sealed && self.live.contains(&writer(name))
    }

    /// Nothing will be added to it.
    pub(crate) fn is_finished(&self, name: &Name) -> bool {
        !self.is_open(name) && !self.segments[name].lines.is_empty()
    }

    /// The segments of one writer, wherever they are now.
    pub(crate) fn of(&self, writer_id: u32) -> impl Iterator<Item = &Segment> {
        let all: BTreeMap<_, _> = self.deleted.iter().chain(&self.segments).collect();
        all.into_iter().filter(move |(name, _)| writer(name) == writer_id).map(|(_, segment)| segment)
    }

    /// The ids of one writer's lines, in the order of the log.
    pub(crate) fn ids_of(&self, writer: u32) -> Vec<u64> {
        self.of(writer).flat_map(|segment| &segment.ids).copied().collect()
    }
}

fn writer(name: &Name) -> u32 {
    u32::from_str_radix(&name[14..22], 16).unwrap()
}

fn names(directory: &Path) -> BTreeSet<Name> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| Some(name.strip_prefix("seg-")?.strip_suffix(".ndjson")?.to_owned())).collect()
}
