use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use proptest::prelude::*;

use crate::Rules;

fn line(number: u32, second: i64) -> String {
    let minute = format!("{:02}:{:02}:{:02}", second / 3_600 % 24, second / 60 % 60, second % 60);
    format!(
        r#"{{"activity_id":"00000000-0000-4000-8000-{number:012x}","activity":"cdesk.a{}","customer":"c{}","ts":"2026-01-{:02}T{minute}Z","feature_json":{{"n":{number}}}}}"#,
        number % 3,
        number % 2,
        1 + second / 86_400
    )
}

/// Numbers with times, of which some come again, and lines that are no events.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let event = (0_u32..20, 0_i64..86_400 * 20).prop_map(|(number, second)| line(number, second));
    let again = (0_u32..5).prop_map(|number| line(number, 7));
    prop::collection::vec(
        prop_oneof![3 => event, 2 => again, 1 => Just("{}".to_owned()), 1 => Just(String::new())],
        0..40,
    )
}

proptest! {
    #[test]
    fn a_batch_is_its_lines_one_by_one(lines in lines(), ends_with_a_newline: bool) {
        let rules = Rules::default();
        let ndjson = lines.join("\n") + if ends_with_a_newline { "\n" } else { "" };
        let decoded = rules.decode(ndjson.as_bytes()).expect("little text");
        let mut seen = Vec::new();
        let (mut duplicates, mut refused) = (0, Vec::new());
        for line in ndjson.split_inclusive('\n').map(|line| line.trim_end_matches('\n')) {
            match rules.read(line.as_bytes()) {
                Err(reason) => refused.push((line, reason)),
                Ok(event) if seen.iter().any(|(_, one): &(_, crate::Event<'_>)| (one.id(), one.ts) == (event.id(), event.ts)) => duplicates += 1,
                Ok(event) => seen.push((line, event)),
            }
        }
        prop_assert_eq!(decoded.duplicates, duplicates);
        let told: Vec<_> = decoded.refused.iter().map(|(place, reason)| (&ndjson[place.clone()], reason.clone())).collect();
        prop_assert_eq!(told, refused);
        let rows = &decoded.events.rows;
        prop_assert_eq!(rows.num_rows(), seen.len());
        let kept: Vec<_> = decoded.events.lines.iter().map(|place| &ndjson[place.clone()]).collect();
        prop_assert_eq!(kept, seen.iter().map(|(line, _)| *line).collect::<Vec<_>>());
        for (row, (_, event)) in seen.iter().enumerate() {
            prop_assert_eq!(rows["activity_id"].as_string::<i32>().value(row), &*event.activity_id);
            prop_assert_eq!(rows["ts"].as_primitive::<TimestampMicrosecondType>().value(row), event.ts);
            prop_assert_eq!(rows["feature_json"].as_string::<i32>().value(row), event.feature_json.unwrap_or_default());
            prop_assert!(rows["link"].is_null(row));
            prop_assert!(decoded.events.customers.contains(&*event.customer));
            prop_assert!(decoded.events.activities.contains(&*event.activity));
        }
    }

    #[test]
    fn ids_that_differ_in_any_one_digit_are_those_of_two_events(id in "[0-9a-f]{32}", at in 0_usize..32, other in 1_u32..16) {
        let with_id = |digits: &str| {
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            line(0, 0).replace("00000000-0000-4000-8000-000000000000", &parts.join("-"))
        };
        let digit = u32::from_str_radix(&id[at..=at], 16).expect("a digit") ^ other;
        let changed = format!("{}{digit:x}{}", &id[..at], &id[at + 1..]);
        let lines = [with_id(&id), with_id(&changed), with_id(&id)].join("\n");
        let decoded = Rules::default().decode(lines.as_bytes()).expect("little text");
        prop_assert_eq!((decoded.events.rows.num_rows(), decoded.duplicates), (2, 1));
    }

    #[test]
    fn every_event_lies_in_a_stretch_and_every_stretch_begins_and_ends_with_one(lines in lines(), most in 1_usize..8) {
        let decoded = Rules::default().decode(lines.join("\n").as_bytes()).expect("little text");
        let times: Vec<i64> = decoded.events.rows["ts"].as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let stretches = decoded.events.stretches(most);
        prop_assert!(stretches.len() <= most);
        prop_assert_eq!(stretches.is_empty(), times.is_empty());
        for time in &times {
            prop_assert_eq!(stretches.iter().filter(|(first, last)| (first..=last).contains(&time)).count(), 1);
        }
        for (first, last) in &stretches {
            prop_assert!(first <= last && times.contains(first) && times.contains(last));
        }
        prop_assert!(stretches.is_sorted());
        let covered: i64 = stretches.iter().map(|(first, last)| last - first).sum();
        for fewer in 1..most {
            let longer: i64 = decoded.events.stretches(fewer).iter().map(|(first, last)| last - first).sum();
            prop_assert!(covered <= longer);
        }
    }
}

#[test]
fn one_late_event_does_not_make_a_long_stretch() {
    let lines: Vec<String> =
        (0..100).map(|number| line(number, 86_400 * 10 + i64::from(number))).chain([line(200, 5)]).collect();
    let decoded = Rules::default().decode(lines.join("\n").as_bytes()).expect("little text");
    let day = 86_400 * 1_000_000;
    assert!(decoded.events.stretches(1)[0].1 - decoded.events.stretches(1)[0].0 > 9 * day);
    let (late, live) = (decoded.events.stretches(2)[0], decoded.events.stretches(2)[1]);
    assert_eq!(late.0, late.1);
    assert_eq!(live.1 - live.0, 99_000_000);
}
