use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;

#[test]
fn a_tag_begins_a_version_4_uuid() {
    let directory = tempfile::tempdir().unwrap();
    let tags = QueryTags::open(directory.path()).unwrap();
    for _ in 0..100 {
        let tag = tags.next_tag().unwrap();
        let (tag, uuid) = (tag.to_string(), tag.uuid());
        assert_eq!(tag, format!("cdesk_{}", &uuid[..8]));
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
    }
}

#[test]
fn no_tag_comes_twice_over_threads_and_lives() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = HashSet::new();
    for _life in 0..3 {
        let tags = Arc::new(QueryTags::open(directory.path()).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let tags = Arc::clone(&tags);
                thread::spawn(move || {
                    (0..1_500).map(|_| tags.next_tag().unwrap().to_string()).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            for tag in thread.join().unwrap() {
                assert!(seen.insert(tag));
            }
        }
    }
    assert_eq!(seen.len(), 18_000);
}

#[test]
fn two_openings_of_one_directory_never_share_a_block() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (QueryTags::open(directory.path()).unwrap(), QueryTags::open(directory.path()).unwrap());
    let tags: HashSet<_> =
        (0..2_000).map(|at| if at % 2 == 0 { &a } else { &b }.next_tag().unwrap()).collect();
    assert_eq!(tags.len(), 2_000);
}

#[test]
fn a_damaged_counter_is_never_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    QueryTags::open(directory.path()).unwrap().next_tag().unwrap();
    let path = directory.path().join(STATE_FILE);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let error = QueryTags::open(directory.path()).unwrap().next_tag().unwrap_err();
        assert!(matches!(error, Error::TagsUnreadable { .. }), "byte {at}: {error:?}");
    }
}

#[test]
fn the_last_id_is_given_out_and_then_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let storage = DirStorage::open(directory.path()).unwrap();
    replace_durably(&storage, STATE_FILE, TEMPORARY_FILE, encode(Key::random().unwrap(), END - 3).as_bytes())
        .unwrap();
    let tags = QueryTags::with(storage);
    let last: HashSet<_> = (0..3).map(|_| tags.next_tag().unwrap()).collect();
    assert_eq!(last.len(), 3);
    assert!(matches!(tags.next_tag(), Err(Error::TagsExhausted { .. })));
    assert!(matches!(tags.next_tag(), Err(Error::TagsExhausted { .. })));
}

#[test]
fn the_state_is_written_before_the_first_tag_of_a_block() {
    let directory = tempfile::tempdir().unwrap();
    let tags = QueryTags::open(directory.path()).unwrap();
    assert!(!directory.path().join(STATE_FILE).exists());
    assert!(tags.try_next_tag().unwrap().is_none());
    tags.next_tag().unwrap();
    let state = std::fs::read(directory.path().join(STATE_FILE)).unwrap();
    assert_eq!(decode(&state).unwrap().1, BLOCK_IDS);
    assert!(tags.try_next_tag().unwrap().is_some());
}

#[test]
fn the_permutation_and_the_filling_stay_as_they_are() {
    // Another function under the same key could give out a tag again.
    let key = Key { permutation: *b"0123456789abcdef", filling: *b"fedcba9876543210" };
    assert_eq!(key.tag(0).uuid(), "2ebef844-839e-42a4-be90-95eb6b3c3626");
    assert_eq!(key.tag(1).uuid(), "f06e093b-0c2e-4a92-9785-406ba02e1a15");
}

proptest! {
    #[test]
    fn the_permutation_maps_no_two_ids_to_one(key in any::<[u8; 16]>(), a in any::<u32>(), b in any::<u32>()) {
        let key = Key { permutation: key, filling: [0; 16] };
        prop_assert_eq!(key.permute(a) == key.permute(b), a == b);
    }
}
