use proptest::prelude::*;

use super::*;
use crate::storage::{DirStorage, Storage};

fn any_position() -> impl Strategy<Value = Position> {
    let entry = (0_u64..9_999_999_999_999, any::<u32>(), 0_u32..1_000_000, 1..u64::MAX);
    prop::collection::vec(entry, 0..8).prop_map(|entries| {
        let mut position = Position::default();
        for (unix_ms, writer, number, lines) in entries {
            position.set(SegmentName::new(unix_ms, writer, number), lines);
        }
        position
    })
}

proptest! {
    #[test]
    fn a_position_reads_back_as_it_was(position in any_position()) {
        let text = position.to_string();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' && byte != b'\''));
        prop_assert_eq!(text.parse::<Position>().unwrap(), position);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9;=a-f-]{0,80}") {
        let _ = text.parse::<Position>();
    }

    #[test]
    fn a_name_reads_back_and_sorts_as_text(a in any_position(), b in any_position()) {
        let names: Vec<_> = a.0.keys().chain(b.0.keys()).copied().collect();
        for &x in &names {
            prop_assert_eq!(x.to_string().parse::<SegmentName>(), Ok(x));
            for &y in &names {
                prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
            }
        }
    }
}

#[test]
fn the_text_is_as_documented() {
    let text = "1;1763694538123-9f3a01c2-000001=18";
    let position: Position = text.parse().unwrap();
    assert_eq!(position.lines("seg-1763694538123-9f3a01c2-000001.ndjson".parse().unwrap()), 18);
    assert_eq!(position.to_string(), text);
    assert_eq!("1".parse::<Position>().unwrap(), Position::default());
}

#[test]
fn what_is_not_a_position_is_refused_with_its_place() {
    let entry = "1763694538123-9f3a01c2-000001=18";
    for (text, offset) in [
        (String::new(), 0),
        ("2".into(), 0),
        ("x".into(), 0),
        ("1;".into(), 2),
        (format!("1;{entry};"), 35),
        (format!("1;{entry};{entry}x"), 35),
        (format!("1;{}", entry.to_uppercase()), 2),
        (format!("1;{}", entry.replace("=18", "=+1")), 2),
        (format!("1;{}", entry.replace("=18", "=99999999999999999999")), 2),
    ] {
        let error = text.parse::<Position>().unwrap_err();
        assert!(matches!(error, Error::InvalidPosition { offset: at } if at == offset), "{text}: {error:?}");
    }
}

#[test]
fn an_unreadable_file_is_the_oldest_position() {
    let directory = tempfile::tempdir().unwrap();
    let storage = DirStorage::open(directory.path()).unwrap();
    assert_eq!(load(&storage, "uploader"), None);
    let position: Position = "1;1763694538123-9f3a01c2-000001=18".parse().unwrap();
    store(&storage, "uploader", &position).unwrap();
    assert_eq!(load(&storage, "uploader"), Some(position));
    let path = storage.path_of("uploader.position");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(load(&storage, "uploader"), Some(Position::default()), "byte {at}");
        std::fs::write(&path, &good[..at]).unwrap();
        assert_eq!(load(&storage, "uploader"), Some(Position::default()), "cut at {at}");
    }
}
