//! The format, byte for byte. A change here is a change of the format: a new `_log` number, and these files stay.

mod common;

use std::fs;

use cdesk_core::{BatchLimits, Consumer};
use common::{directory, small};

const LINES: [&str; 4] = [
    "{}",
    r#"{"activity_id":"7f0c…","text":"é😀\n\\"}"#,
    r#"{"n":[1,-2.5e3,null,true],"nested":{"_seq":0}}"#,
    "{ \"spaced\" : 1 }",
];
const SEGMENT: &str = include_str!("golden/segment-v1.ndjson");

#[test]
fn a_segment_is_written_as_in_the_golden_file() {
    let directory = directory();
    let (queue, _) = small(directory.path(), 50_000_000);
    queue.append_many(&LINES).unwrap();
    queue.close().unwrap();
    let segment = common::segments(directory.path()).remove(0);
    assert_eq!(fs::read_to_string(&segment).unwrap(), SEGMENT);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("seg-1763694538123-") && name.ends_with("-000000.ndjson"), "{name}");
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
    let position = fs::read_to_string(directory.path().join("uploader.position")).unwrap();
    assert_eq!(position, include_str!("golden/position-v1"));
}
