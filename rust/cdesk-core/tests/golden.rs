//! The format, byte for byte. A change here is a change of the format: a new `_log` number, and these files stay.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use cdesk_core::{BatchLimits, Consumer, ConsumerStats, Error};
use common::directory;

const LINES: [&str; 4] = [
    "{}",
    r#"{"activity_id":"7f0c…","text":"é😀\n\\"}"#,
    r#"{"n":[1,-2.5e3,null,true],"nested":{"_seq":0}}"#,
    "{ \"spaced\" : 1 }",
];
const SEGMENT: &str = include_str!("golden/segment-v2.ndjson");

#[test]
fn a_segment_is_written_as_in_the_golden_file() {
    let lines = LINES.map(|line| line.as_bytes().to_vec());
    assert_eq!(String::from_utf8(common::segment_of(&lines, true)).unwrap(), SEGMENT);
}

#[test]
fn the_golden_file_is_read() {
    let directory = directory();
    common::abandoned(directory.path(), SEGMENT.as_bytes());
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    let (lines, seal) = SEGMENT.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(batch.ndjson, format!("{lines}\n").as_bytes());
    assert!(seal.starts_with("{\"_sealed\":{\"lines\":4},"));
    assert_eq!(batch.position.to_string(), "1;1763694538123-9f3a01c2-000000=4");
    consumer.commit(&batch.position).unwrap();
    let position = fs::read(directory.path().join("uploader.position")).unwrap();
    let (first, second) = position.split_at(position.len() / 2);
    let text = |slot: &[u8]| str::from_utf8(slot).unwrap().trim_end_matches('\0').to_owned();
    assert_eq!(text(first) + &text(second), include_str!("golden/position-v2"));
}

#[test]
fn a_segment_of_version_1_is_refused_and_left_alone() {
    let directory = directory();
    let bytes = include_bytes!("golden/segment-v1.ndjson");
    let path = common::abandoned(directory.path(), bytes);
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    let trouble = consumer.troubles().remove(0);
    assert!(matches!(trouble.error, Error::UnsupportedFormat { version: 1, .. }), "{trouble:?}");
    assert_eq!(consumer.stats().troubled_segments, 1);
    assert_eq!(consumer.prune(&"1".parse().unwrap(), common::NO_AGE).unwrap(), 0);
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert!(common::damaged_copies(directory.path()).is_empty());
}

/// What a consumer makes of a segment whose writer is gone: the lines, and what it counted.
fn read(segment: &[u8]) -> (String, ConsumerStats, BTreeMap<String, Vec<u8>>) {
    let directory = directory();
    common::abandoned(directory.path(), segment);
    let mut consumer = Consumer::open(directory.path(), "uploader").unwrap();
    let batch = consumer.next_batch(BatchLimits::default()).unwrap().unwrap();
    assert!(consumer.next_batch(BatchLimits::default()).unwrap().is_none());
    (String::from_utf8(batch.ndjson).unwrap(), consumer.stats(), common::damaged_copies(directory.path()))
}

#[test]
fn of_the_torn_golden_file_the_whole_lines_are_read() {
    let torn = include_bytes!("golden/segment-v2-torn.ndjson");
    let (lines, stats, copies) = read(torn);
    let whole: Vec<_> = SEGMENT.split_inclusive('\n').take(3).collect();
    assert_eq!(lines, whole.concat());
    let half = torn.iter().rposition(|&byte| byte != 0).unwrap() + 1 - lines.len();
    assert_eq!((stats.torn_bytes, stats.damaged_lines), (u64::try_from(half).unwrap(), 0));
    assert!(copies.is_empty());
}

#[test]
fn of_the_corrupt_golden_file_the_good_lines_are_read_and_the_bad_one_is_kept() {
    let corrupt = include_str!("golden/segment-v2-corrupt.ndjson");
    let (lines, stats, copies) = read(corrupt.as_bytes());
    let all: Vec<_> = SEGMENT.split_inclusive('\n').collect();
    assert_eq!(lines, [all[0], all[2], all[3]].concat());
    assert_eq!((stats.damaged_lines, stats.torn_bytes), (1, 0));
    let bad = corrupt.split_inclusive('\n').nth(1).unwrap();
    assert_ne!(bad, all[1]);
    assert_eq!(copies.into_values().collect::<Vec<_>>(), [bad.as_bytes()]);
}
