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
fn a_tag_is_spelled_one_way() {
    let tag = Tag { number: 0x00ab_cdef, id: 0, filling: Secret::default() };
    assert_eq!(tag.text(), *b"cdesk_00abcdef");
    assert_eq!(tag.to_string(), "cdesk_00abcdef");
}

#[test]
fn who_needs_many_ids_reserves_more_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let tags = QueryTags::open(directory.path()).unwrap();
    let reserved = || decode(&std::fs::read(directory.path().join(STATE_FILE)).unwrap()).unwrap().1;
    let mut ends = vec![];
    let mut seen = HashSet::new();
    for _ in 0..10_000 {
        assert!(seen.insert(tags.next_tag().unwrap().text()));
        if ends.last() != Some(&reserved()) {
            ends.push(reserved());
        }
    }
    assert_eq!(ends, [1_024, 3_072, 7_168, 15_360]);
}

/// The first tags under a key.
fn first_tags<const N: usize>(key: Key) -> [Tag; N] {
    let mut block = Block { key, next: 0, end: END, ids: 0, ready: [0; READY], at: READY };
    std::array::from_fn(|_| {
        if block.at == READY {
            block.compute();
        }
        block.take().unwrap()
    })
}

#[test]
fn the_permutation_and_the_filling_stay_as_they_are() {
    // Another function under the same key could give out a tag again.
    let key = Key { permutation: Secret(*b"0123456789abcdef"), filling: Secret(*b"fedcba9876543210") };
    let tags: [Tag; 2 * READY] = first_tags(key);
    assert_eq!(tags[0].uuid(), "2ebef844-839e-42a4-be90-95eb6b3c3626");
    assert_eq!(tags[1].uuid(), "f06e093b-0c2e-4a92-9785-406ba02e1a15");
    for (tag, id) in tags.iter().zip(0..) {
        assert_eq!(tag.number, permuted_by_the_book(&key.permutation.0, id));
    }
}

/// The permutation as it was first written, with SipHash as a crate of its own has it.
fn permuted_by_the_book(key: &[u8; 16], id: u32) -> u32 {
    let [a, b, c, d] = id.to_be_bytes();
    let (mut left, mut right) = ([a, b], [c, d]);
    for round in 0..8 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(key);
        hasher.write(&[round, right[0], right[1]]);
        let [mask_high, mask_low, ..] = hasher.finish().to_be_bytes();
        (left, right) = (right, [left[0] ^ mask_high, left[1] ^ mask_low]);
    }
    u32::from_be_bytes([left[0], left[1], right[0], right[1]])
}

proptest! {
    #[test]
    fn the_permutation_maps_no_two_ids_to_one(key in any::<[u8; 16]>(), a in any::<u32>(), b in any::<u32>()) {
        let mut numbers = [a, b];
        permutation::permute(&key, &mut numbers);
        prop_assert_eq!(numbers[0] == numbers[1], a == b);
        prop_assert_eq!(numbers, [a, b].map(|id| permuted_by_the_book(&key, id)));
    }
}
