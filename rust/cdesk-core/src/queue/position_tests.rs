use proptest::prelude::*;

use super::*;

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

proptest! {
    #[test]
    fn what_fits_is_about_the_oldest_segments(position in any_position(), max_bytes in 0_usize..400) {
        let fitting = position.fitting(max_bytes);
        prop_assert!(fitting.0.is_empty() || fitting.to_string().len() <= max_bytes);
        let left = position.0.iter().nth(fitting.0.len());
        prop_assert!(position.0.iter().take(fitting.0.len()).eq(&fitting.0));
        if let Some((segment, lines)) = left {
            let with_next = format!("{fitting};{}={lines}", segment.short());
            prop_assert!(with_next.len() > max_bytes);
        }
    }
}
