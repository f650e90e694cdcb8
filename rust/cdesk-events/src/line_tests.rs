use proptest::prelude::*;

use super::{Event, Refused, Rules};
use crate::{Kind, micro_dollars};

const PLAIN: &str = r#"{"activity_id":"0f8fad5b-d9cb-469f-a165-70867728950e","activity":"cdesk.user_asked","customer":"acme","ts":"2026-11-21T08:00:00.000001Z"}"#;

fn rules() -> Rules {
    let kinds = [("chars", Kind::Whole), ("ok", Kind::Flag), ("cost", Kind::Number), ("text", Kind::Text)];
    let kinds = kinds.into_iter().map(|(key, kind)| (key.to_owned(), kind)).collect();
    Rules::new([("cdesk.user_asked".to_owned(), kinds)].into_iter().collect())
}

/// The plain line with more fields.
fn with(fields: &str) -> String {
    format!("{},{fields}}}", PLAIN.trim_end_matches('}'))
}

fn read(line: &str) -> Result<Event<'_>, String> {
    rules().read(line.as_bytes()).map_err(|refused| refused.to_string())
}

fn reason(line: &str) -> String {
    read(line).expect_err("it breaks a rule")
}

#[test]
fn a_line_is_read_as_it_is_written() {
    let line = with(
        r#""_seq":1,"_log":2,"_crc":"00000000","feature_json":{ "chars": 1e0x },"link":"l\u0041","revenue_impact":"12.5","accepted_at":"2026-11-21T09:00:00+01:00""#,
    )
    .replace("1e0x", "12 , \"x\":[1.50,\"\\u00fc\"]");
    let event = read(&line).expect("an event");
    assert_eq!(event.feature_json, Some(r#"{ "chars": 12 , "x":[1.50,"\u00fc"] }"#));
    assert_eq!(event.link.as_deref(), Some("lA"));
    assert_eq!(event.revenue_impact, Some(12_500_000));
    assert_eq!((event.ts, event.accepted_at), (1_795_248_000_000_001, Some(1_795_248_000_000_000)));
    assert_eq!(event.source_system, None);
}

#[test]
fn a_key_that_stands_twice_anywhere_is_refused_however_it_is_spelled() {
    for twice in [
        r#""customer":"bob""#,
        r#""link":"a","l\u0069nk":"b""#,
        r#""_seq":1,"_seq":1"#,
        r#""feature_json":{"a":1,"b":2,"\u0061":3}"#,
        r#""feature_json":{"a":[{"b":{"c":1,"d":{},"c":2}}]}"#,
    ] {
        assert!(reason(&with(twice)).starts_with("a key stands twice"), "{twice}");
    }
    read(&with(r#""feature_json":{"a":{"a":1},"b":{"a":1}}"#)).expect("each stands once in its object");
}

#[test]
fn nesting_as_deep_as_the_log_takes_it_is_read_and_any_deeper_is_refused() {
    let nested = |levels: usize| {
        with(&format!(r#""feature_json":{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels)))
    };
    let in_objects = |levels: usize| {
        with(&format!(r#""feature_json":{{"a":{}1{}}}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels)))
    };
    let forms: [&dyn Fn(usize) -> String; 2] = [&nested, &in_objects];
    for nested in forms {
        read(&nested(511)).expect("512 levels with the payload's own");
        assert!(reason(&nested(512)).starts_with("the line is nested too deeply"));
        assert!(reason(&nested(200_000)).starts_with("the line is nested too deeply"));
    }
}

#[test]
fn what_is_no_json_object_says_so() {
    for text in
        ["", "nul", "{", "\u{feff}{}", r#"{"a":1}x"#, r#"{"a":01}"#, r#"{"a":"\ud800"}"#, "{'a':1}", "[1"]
    {
        assert_eq!(reason(text), "the line is not JSON", "{text}");
    }
    for text in ["null", "1", "[1]", "\"text\"", " true "] {
        assert_eq!(reason(text), "the line is not a JSON object", "{text}");
    }
    let bytes = [b"{\"a\":\"".as_slice(), b"\xff", b"\"}"].concat();
    assert_eq!(
        rules().read(&bytes).map_err(|refused| refused.to_string()),
        Err("the line is not JSON".to_owned())
    );
}

#[test]
fn half_a_character_in_any_text_is_no_json() {
    for field in
        [r#""link":"\udc00""#, r#""feature_json":{"\ud83d":1}"#, r#""feature_json":{"a":["\ud83d\u0041"]}"#]
    {
        assert_eq!(reason(&with(field)), "the line is not JSON", "{field}");
    }
}

#[test]
fn times_are_of_a_zone_and_of_years_1_to_9999() {
    let at = |text: &str| read(&PLAIN.replace("2026-11-21T08:00:00.000001Z", text)).map(|event| event.ts);
    assert_eq!(at("1970-01-01T00:00:00Z"), Ok(0));
    assert_eq!(at("1970-01-01 00:00:00.123456789+00:00"), Ok(123_456));
    assert_eq!(at("1969-12-31T23:59:59.999999Z"), Ok(-1));
    assert_eq!(at("0001-01-01T00:00:00Z"), Ok(-62_135_596_800_000_000));
    assert_eq!(at("9999-12-31T23:59:59.999999Z"), Ok(253_402_300_799_999_999));
    for outside in [
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-01:00",
        "0000-12-31T00:00:00Z",
        "0000-12-31T23:59:59-23:59",
    ] {
        assert_eq!(
            at(outside),
            Err("ts is before the year 1 or after the year 9999 in UTC".to_owned()),
            "{outside}"
        );
    }
    for zoneless in ["2026-11-21T08:00:00", "2026-11-21T08:00:00.5"] {
        assert!(
            at(zoneless).expect_err("no zone").starts_with("ts must be a time with a time zone"),
            "{zoneless}"
        );
    }
    for no_time in [
        "",
        "now",
        "2026-02-30T00:00:00Z",
        "2026-11-21T08:00:60Z",
        "2026-11-21T24:00:00Z",
        "20261121T080000Z",
        "2026-11-21T08:00Z",
        "2026-11-21T08:00:00,5Z",
        "2026-11-21_08:00:00Z",
        "2026-11-21T08:00:00+0100",
        "2026-11-21T08:00:00+01",
        "2026-11-21T08:00:00\u{2212}01:00",
        "2026-11-21T08:00:00.Z",
        "2026-11-21T08:00:00.5.5Z",
        "2026-11-21T08:00:00Z ",
    ] {
        assert!(at(no_time).is_err(), "{no_time}");
    }
    assert_eq!(
        reason(&PLAIN.replace("\"2026-11-21T08:00:00.000001Z\"", "5")),
        "ts is no RFC 3339 time, such as 2026-11-21T08:00:00Z"
    );
}

#[test]
fn null_is_as_good_as_no_key_where_a_field_may_be_absent() {
    for name in ["feature_json", "link", "revenue_impact", "source_version", "session_id", "query_tag"] {
        assert_eq!(read(&with(&format!("\"{name}\":null"))), read(PLAIN), "{name}");
    }
    assert!(reason(&with(r#""source_system":null"#)).starts_with("source_system must be a text"));
    assert_eq!(
        reason(&with(r#""accepted_at":null"#)),
        "accepted_at is no RFC 3339 time, such as 2026-11-21T08:00:00Z"
    );
    read(&with(r#""feature_json":{"chars":null}"#)).expect("null fits any type");
    read(&with(r#""feature_json":{"chars":-0}"#)).expect("readers take it for 0");
    read(&with(r#""feature_json":{"x":1.7976931348623158e308}"#))
        .expect("readers take it for the largest number");
}

#[test]
fn lengths_count_characters_and_not_bytes() {
    for (name, most) in [
        ("link", 2_000),
        ("source_system", 4_096),
        ("source_version", 4_096),
        ("session_id", 4_096),
        ("query_tag", 4_096),
    ] {
        read(&with(&format!("\"{name}\":\"{}\"", "ü".repeat(most)))).expect("as long as it may be");
        assert!(reason(&with(&format!("\"{name}\":\"{}\"", "ü".repeat(most + 1)))).starts_with(name));
    }
}

#[test]
fn of_several_keys_that_drift_the_first_is_told() {
    let told = |payload: &str| reason(&with(&format!("\"feature_json\":{payload}")));
    assert!(told(r#"{"ok":1,"chars":"a","cost":"b"}"#).starts_with("feature_json.ok must be true or false"));
    assert!(
        told(r#"{"cost":"b","text":"c","ok":1,"chars":"a"}"#)
            .starts_with("feature_json.cost must be a number")
    );
}

#[test]
fn a_field_that_nobody_knows_is_named_in_one_short_line_that_steers_no_terminal() {
    let odd = with(r#""a\n\u001b[31m\u202e'":1"#);
    assert_eq!(reason(&odd), r"unknown field 'a\n\u{1b}[31m\u{202e}\''");
    let long = with(&format!("\"{}\":1", "ü".repeat(10_000)));
    assert_eq!(reason(&long), format!("unknown field '{}'", "ü".repeat(80)));
}

#[test]
fn a_drift_is_told_apart_from_a_broken_rule() {
    let line = with(r#""feature_json":{"other":1,"chars":"s3cret"}"#);
    let refused = rules().read(line.as_bytes());
    let told = "feature_json.chars must be a whole number up to 2^53 - 1 in cdesk.user_asked";
    assert_eq!(refused, Err(Refused::Drifted(told.to_owned())));
    read(&line.replace("user_asked", "never_heard_of")).expect("nobody says what is in it");
    read(&with(r#""feature_json":{"other":{"chars":"within"}}"#))
        .expect("only keys of the payload itself have types");
    assert!(reason(&line.replace("acme", "")).starts_with("customer"), "a rule goes first");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_never_more(bytes: Vec<u8>) {
        let _ = rules().read(&bytes);
    }

    #[test]
    fn any_change_of_one_byte_is_read_or_refused(at in 0..PLAIN.len(), byte: u8) {
        let mut bytes = PLAIN.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = rules().read(&bytes);
    }

    #[test]
    fn an_amount_is_what_its_digits_say(micros in -(10_i128.pow(21) - 1)..10_i128.pow(21), zeros in 0_usize..20) {
        let sign = if micros < 0 { "-" } else { "" };
        let (whole, fraction) = (micros.abs() / 1_000_000, micros.abs() % 1_000_000);
        let spelled = format!("{sign}{whole}.{fraction:06}{}", "0".repeat(zeros));
        prop_assert_eq!(micro_dollars(&spelled), Ok(micros));
        prop_assert_eq!(micro_dollars(&format!("{sign}{}e-6", micros.abs())), Ok(micros));
        let shifted = format!("{sign}0.{:021}e15", micros.abs());
        prop_assert_eq!(micro_dollars(&shifted), Ok(micros));
    }

    #[test]
    fn an_exponent_of_any_length_leaves_nothing_as_it_is_and_makes_no_amount_of_the_rest(
        exponent in "[-+]?[1-9][0-9]{3,40}",
        nothing in "-?0{1,20}(\\.0{0,20})?",
        digit in 1_u8..10,
    ) {
        prop_assert_eq!(micro_dollars(&format!("{nothing}e{exponent}")), Ok(0));
        let spelled = format!("{digit}e{exponent}");
        prop_assert!(micro_dollars(&spelled).is_err());
    }

    #[test]
    fn an_amount_finer_than_a_millionth_is_refused(micros in 1_i128..10_i128.pow(15), digit in 1_u8..10, zeros in 0_usize..30) {
        let spelled = format!("{micros}.000000{}{digit}", "0".repeat(zeros));
        prop_assert!(micro_dollars(&spelled).is_err());
    }
}

#[test]
fn what_is_no_amount_is_refused() {
    for text in [
        "",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "NaN",
        "inf",
        "1_000",
        " 1",
        "1 ",
        "--1",
        "0x10",
        "1e16",
        "1000000000000000",
        "1e-7",
        "9e99999999999999999999",
        "1e-99999999999999999999",
        "1.2.3",
        "1e1.5",
    ] {
        assert!(micro_dollars(text).is_err(), "{text}");
    }
    for (text, micros) in [
        ("0e-999999999999", 0),
        ("-0", 0),
        ("+5", 5_000_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1E3", 1_000_000_000),
    ] {
        assert_eq!(micro_dollars(text), Ok(micros), "{text}");
    }
}

#[test]
fn an_amount_that_is_a_number_is_the_decimals_it_shows() {
    let amount =
        |number: &str| read(&with(&format!("\"revenue_impact\":{number}"))).map(|event| event.revenue_impact);
    assert_eq!(amount("0.1"), Ok(Some(100_000)));
    assert_eq!(amount("0.1000000000000000055"), Ok(Some(100_000)), "the same number, written longer");
    assert_eq!(amount("999999999999999"), Ok(Some(999_999_999_999_999_000_000)));
    assert_eq!(amount("1.5e2"), Ok(Some(150_000_000)));
    for no_amount in ["true", "[1]", "{}", "1e-7", "1e300", "1e999"] {
        assert!(amount(no_amount).is_err(), "{no_amount}");
    }
}
