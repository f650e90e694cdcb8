//! A process may change its working directory. One test to a program: the directory is the whole program's.

mod common;

use std::{env, fs};

use cdesk_core::Consumer;
use common::{abandoned, damaged_copies, directory, drain, segment_bytes};

#[test]
fn a_log_that_was_opened_by_a_relative_path_stays_where_it_is() {
    let (home, elsewhere) = (directory(), directory());
    env::set_current_dir(home.path()).unwrap();
    let mut consumer = Consumer::open("log", "uploader").unwrap();
    let mut bytes = segment_bytes(3, true);
    bytes[3] ^= 1;
    abandoned(&home.path().join("log"), &bytes);
    env::set_current_dir(elsewhere.path()).unwrap();
    assert_eq!(drain(&mut consumer), [1, 2]);
    assert_eq!(damaged_copies(&home.path().join("log")).len(), 1);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(consumer.path().is_absolute());
}
