//! Others come between two system calls of a real process, where no test of one process can put them.

use std::fs;

use crate::call::Call;
use crate::record::{directory, is_segment, is_write, real, segments};
use crate::trace::{Meddling, watch};

#[test]
fn a_segment_that_was_deleted_before_it_was_locked_is_not_written_to() {
    let directory = directory();
    let queue = real(directory.path()).join("queue");
    let mut deleted = None;
    // A consumer finds an empty segment that nobody holds.
    let mut others = |call: &Call| {
        if let Call::Create(path) = call
            && is_segment(path)
            && deleted.is_none()
        {
            fs::remove_file(path).unwrap();
            deleted = Some(path.clone());
        }
    };
    let Some(record) = watch("append", &[&queue], "{\"n\":0}\n", Meddling::Meanwhile(&mut others)) else {
        return;
    };
    let durable = record.said("durable 0");
    let segment =
        segments(&queue).pop().expect("what was acknowledged has gone with the name of its segment");
    assert_ne!(Some(&segment), deleted.as_ref());
    let written = record.find(0, |call| is_write(call, &segment, b"{\"n\":0,")).unwrap();
    record.assert_synced(&segment, written, durable);
}

#[test]
fn a_directory_that_another_process_makes_first_is_shared_with_it() {
    let directory = directory();
    let queue = real(directory.path()).join("a/queue");
    let mut others = |call: &Call| {
        if matches!(call, Call::MakeDirectory(made) if made.ends_with("a")) {
            fs::create_dir(&queue).unwrap();
        }
    };
    let Some(record) = watch("append", &[&queue], "{\"n\":0}\n", Meddling::Meanwhile(&mut others)) else {
        return;
    };
    record.said("durable 0");
    assert_eq!(record.code, 0, "{record:#?}");
}
