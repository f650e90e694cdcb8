//! A payload may hold a whole line of the log: a person pastes one, a tool reads the log. It is payload, whatever
//! becomes of the line around it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::path::Path;

use cdesk_core::{BatchLimits, Consumer, backlog};
use common::{NO_AGE, abandoned, memory, segment_of};

/// Numbered lines, each with what was pasted into it, and so many more bytes before that.
fn lines(pasted: &[&str], padding: usize) -> Vec<Vec<u8>> {
    let padding = "x".repeat(padding);
    let line = |(id, pasted): (usize, &&str)| format!("{{\"id\":{id},\"pad\":\"{padding}\",\"p\":{pasted}}}");
    pasted.iter().enumerate().map(line).map(String::into_bytes).collect()
}

/// The `number`-th line as it stands in the segment.
fn stored(segment: &[u8], number: usize) -> String {
    let line = segment.split(|&byte| byte == b'\n').nth(number).unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

fn ids(ndjson: &[u8]) -> Vec<u64> {
    let lines = ndjson.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect()
}

/// Everything that a life of the consumer gets, in batches of one line, committed and pruned after each.
fn live(directory: &Path, max_batches: usize) -> Vec<u64> {
    let mut consumer = Consumer::open(directory, "uploader").unwrap();
    let mut all = Vec::new();
    for _ in 0..max_batches {
        let Some(batch) = consumer.next_batch(BatchLimits::default().max_lines(1)).unwrap() else { break };
        all.extend(ids(&batch.ndjson));
        consumer.commit(&batch.position).unwrap();
        consumer.prune(&batch.position, NO_AGE).unwrap();
    }
    all
}

#[test]
fn what_was_acknowledged_is_delivered_though_its_last_line_holds_an_old_one() {
    for padding in [10, 9_000, 20_000] {
        let plain = segment_of(&lines(&["1"; 5], 10), false);
        let old = stored(&plain, 0);
        let pasting = lines(&["1", "1", "1", "1", &old], padding);
        let directory = memory();
        let path = abandoned(directory.path(), &segment_of(&pasting, false));
        assert_eq!(live(directory.path(), 1), [0]);
        assert_eq!(backlog(directory.path(), "uploader").unwrap().lines, 4, "{padding}");
        assert_eq!(live(directory.path(), 9), [1, 2, 3, 4], "{padding}");
        assert!(!path.exists(), "all was consumed");
    }
}

#[test]
fn a_torn_tail_delivers_no_object_that_nobody_appended() {
    let plain = segment_of(&lines(&["1"; 9], 10), false);
    let later = stored(&plain, 8);
    let whole = segment_of(&lines(&["1", &later], 9_000), false);
    let behind =
        whole.windows(later.len()).position(|window| window == later.as_bytes()).unwrap() + later.len();
    for torn in [&[][..], &[0; 300], b"\n", b"\0\0\n"] {
        let directory = memory();
        abandoned(directory.path(), &[&whole[..behind], torn].concat());
        assert_eq!(live(directory.path(), 9), [0]);
    }
}

#[test]
fn one_flipped_bit_around_a_pasted_line_hides_no_line_after_it() {
    let plain = segment_of(&lines(&["1"; 300], 10), false);
    let later = stored(&plain, 298);
    let mut pasted = vec!["1"; 300];
    pasted[1] = &later;
    let mut bytes = segment_of(&lines(&pasted, 10), true);
    let start = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    bytes[start] ^= 1;
    let directory = memory();
    abandoned(directory.path(), &bytes);
    let expected: Vec<_> = (0..300).filter(|&id| id != 1).collect();
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    assert_eq!(ids(&consumer.next_batch(BatchLimits::default()).unwrap().unwrap().ndjson), expected);
    assert_eq!(consumer.stats().damaged_lines, 1);
}

#[test]
fn blocks_of_a_deleted_segment_hold_no_line() {
    let deleted = segment_of(&lines(&["1"; 40], 10), false);
    let bytes = segment_of(&lines(&["1"; 3], 10), false);
    for at in [0, bytes.len() - 1, bytes.len(), 512, 1_024] {
        let directory = memory();
        // The same lines in the same places, of another segment.
        let mut torn = bytes.clone();
        torn.truncate(at);
        torn.extend_from_slice(deleted.get(at..).unwrap_or_default());
        let path = abandoned(directory.path(), &torn);
        let other = path.with_file_name("seg-1763694538123-9f3a01c2-000001.ndjson");
        fs::rename(path, other).unwrap();
        assert_eq!(live(directory.path(), 99), [0; 0], "{at}");
    }
}
