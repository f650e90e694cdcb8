use std::fs;

use super::*;
use crate::storage::DirStorage;

fn storage() -> (tempfile::TempDir, DirStorage) {
    let directory = tempfile::tempdir().unwrap();
    let storage = DirStorage::open(directory.path()).unwrap();
    (directory, storage)
}

fn position(lines: u64) -> Position {
    format!("1;1763694538123-9f3a01c2-000001={lines}").parse().unwrap()
}

/// All of it safe.
fn progress(lines: u64) -> Progress {
    Progress { consumed: position(lines), safe: position(lines) }
}

fn all_safe(position: Position) -> Progress {
    Progress { safe: position.clone(), consumed: position }
}

fn of_segments(count: u64) -> Position {
    let entries = (0..count).map(|number| format!(";1763694538123-9f3a01c2-{number:06}=18"));
    format!("1{}", entries.collect::<String>()).parse().unwrap()
}

#[test]
fn what_was_stored_last_is_read_and_the_file_never_grows() {
    let (_directory, storage) = storage();
    assert_eq!(load(&storage, "uploader"), None);
    let (mut file, start) = PositionFile::open(&storage, "uploader").unwrap();
    assert_eq!(start, Progress::default());
    let bytes = storage.stat("uploader.position").unwrap().bytes;
    for lines in 1..10 {
        file.store(&storage, &progress(lines)).unwrap();
        assert_eq!(load(&storage, "uploader"), Some(progress(lines)));
        assert_eq!(PositionFile::open(&storage, "uploader").unwrap().1, progress(lines));
    }
    assert_eq!(storage.stat("uploader.position").unwrap().bytes, bytes);
    assert_eq!(storage.list().unwrap(), ["uploader.position"]);
}

#[test]
fn whatever_becomes_of_one_slot_the_other_counts() {
    let (_directory, storage) = storage();
    let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
    file.store(&storage, &progress(1)).unwrap();
    file.store(&storage, &progress(2)).unwrap();
    let path = storage.path_of("uploader.position");
    let good = fs::read(&path).unwrap();
    let newest = if good.starts_with(b"1;1763694538123-9f3a01c2-000001=2 ") { 0 } else { good.len() / 2 };
    let length = good[newest..].iter().position(|&byte| byte == b'\n').unwrap();
    for at in newest..=newest + length {
        for damage in [0, b'x', good[at] ^ 1, b'\n'].into_iter().filter(|&damage| damage != good[at]) {
            let mut bad = good.clone();
            bad[at] = damage;
            fs::write(&path, &bad).unwrap();
            assert_eq!(load(&storage, "uploader"), Some(progress(1)), "byte {at} is {damage:#x}");
        }
    }
}

/// One whose text has so many bytes: 33 for a segment, and for the last two what is left.
fn of_length(length: usize) -> Position {
    let count = (length - 1) / 33 - 2;
    let rest = length - 1 - count * 33 - 2 * 31;
    let text = of_segments(u64::try_from(count).unwrap()).to_string();
    let [first, second] = [rest / 2, rest.div_ceil(2)].map(|digits| "1".repeat(digits));
    let name = "1763694538124-9f3a01c2";
    format!("{text};{name}-000001={first};{name}-000002={second}").parse().unwrap()
}

#[test]
fn a_position_never_runs_over_its_slot_however_long_its_text_is() {
    for length in (LEAST_SLOT_BYTES / 2 - 2 * FRAME_BYTES)..=LEAST_SLOT_BYTES / 2 + 1 {
        let (_directory, storage) = storage();
        let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
        for position in [position(1), of_length(length), position(3), position(4), of_length(length)] {
            let progress = all_safe(position);
            file.store(&storage, &progress).unwrap();
            assert!(load(&storage, "uploader") == Some(progress), "{length}");
        }
    }
}

#[test]
fn what_is_stored_where_the_file_cannot_grow_keeps_to_its_slot_too() {
    for digits in 2..36 {
        let (_directory, storage) = storage();
        let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
        fs::create_dir(storage.path_of("uploader.position.tmp")).unwrap(); // in the way
        let [first, second] = [digits / 2, digits - digits / 2].map(|digits| "1".repeat(digits));
        let name = "1763694538122-9f3a01c2";
        let rest = of_segments(600).to_string();
        let text = format!("1;{name}-000001={first};{name}-000002={second}{}", &rest[1..]);
        for _ in 0..3 {
            assert!(file.store(&storage, &all_safe(text.parse().unwrap())).is_err());
            let Progress { consumed, safe } = load(&storage, "uploader").unwrap();
            for stored in [consumed.to_string(), safe.to_string()] {
                let is_full = stored.len() > LEAST_SLOT_BYTES / 2 - 100;
                assert!(text.starts_with(&stored) && is_full, "{digits}");
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_the_oldest_position_and_a_registration() {
    let (_directory, storage) = storage();
    let path = storage.path_of("uploader.position");
    drop(PositionFile::open(&storage, "uploader").unwrap().0.store(&storage, &progress(1)));
    let good = fs::read(&path).unwrap();
    for bytes in [
        &b""[..],
        b"\xff garbage",
        b"1;1763694538123-9f3a01c2-000001=18 1 9f3a01c2\n",
        &good[1..],
        &good[..40],
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(load(&storage, "uploader"), Some(Progress::default()));
        let (mut file, start) = PositionFile::open(&storage, "uploader").unwrap();
        assert_eq!(start, Progress::default());
        file.store(&storage, &progress(7)).unwrap();
        assert_eq!(load(&storage, "uploader"), Some(progress(7)));
    }
}

#[test]
fn a_file_that_somebody_removed_is_there_again_after_the_next_commit() {
    let (_directory, storage) = storage();
    let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
    file.store(&storage, &progress(3)).unwrap();
    storage.unlink("uploader.position").unwrap();
    file.store(&storage, &progress(4)).unwrap();
    assert_eq!(load(&storage, "uploader"), Some(progress(4)));
}

#[test]
fn what_is_safe_is_never_further_than_what_was_consumed_and_never_goes_backwards() {
    let (_directory, storage) = storage();
    let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
    file.store(&storage, &Progress { consumed: position(5), safe: position(2) }).unwrap();
    for (told, safe) in [(3, 3), (1, 3), (9, 5)] {
        file.advance_safe(&storage, &position(told)).unwrap();
        let expected = Progress { consumed: position(5), safe: position(safe) };
        assert_eq!(load(&storage, "uploader"), Some(expected));
    }
    file.fall_back_to(&storage, &position(4)).unwrap();
    assert_eq!(load(&storage, "uploader"), Some(progress(4)));
}

#[test]
fn it_grows_before_a_position_needs_the_room() {
    let (_directory, storage) = storage();
    let (mut file, _) = PositionFile::open(&storage, "uploader").unwrap();
    file.store(&storage, &progress(3)).unwrap();
    let before = storage.stat("uploader.position").unwrap().bytes;
    file.reserve_segments(&storage, 2_000).unwrap();
    let after = storage.stat("uploader.position").unwrap().bytes;
    assert!(after > before);
    assert_eq!(load(&storage, "uploader"), Some(progress(3)));
    file.store(&storage, &all_safe(of_segments(2_000))).unwrap();
    assert_eq!(storage.stat("uploader.position").unwrap().bytes, after);
    assert_eq!(PositionFile::open(&storage, "uploader").unwrap().1, all_safe(of_segments(2_000)));
}

#[test]
fn only_names_of_consumers_register() {
    assert_eq!(consumer_of("uploader.position"), Some("uploader"));
    for other in ["uploader.position.tmp", ".position", "Uploader.position", "a.b.position", "uploader.lock"]
    {
        assert_eq!(consumer_of(other), None, "{other}");
    }
}
