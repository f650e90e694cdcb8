use proptest::prelude::*;

use super::*;

fn is_good(line: &str) -> bool {
    check_object(line.as_bytes(), Keys::Callers).is_ok()
}

fn fault(line: &[u8]) -> (usize, &'static str) {
    let invalid = check_object(line, Keys::Callers).unwrap_err();
    (invalid.offset, invalid.reason)
}

#[test]
fn objects_of_every_kind_of_value_are_taken() {
    for line in [
        "{}",
        "{ }",
        r#"{"a":1}"#,
        r#"{"a":[],"b":{},"c":[1,[2,{"d":null}]],"e":true,"f":false}"#,
        r#"{"n":[0,-0,1.5,-2e10,3E-2,1e+5,123456789012345678901234567890]}"#,
        r#"{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é😀"}"#,
        "{\t\"a\" : 1 ,\t\"b\" : [ 1 , 2 ] }",
        r#"{"a":1,"a":2}"#,
    ] {
        assert!(is_good(line), "{line}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for line in [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"a\"",
        "{",
        "}",
        "{}}",
        "{}{}",
        "{} ",
        " {}",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":{]}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":nulll}",
        "{'a':1}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "\u{feff}{}",
        "{\"a\":1}\0",
    ] {
        assert!(!is_good(line), "{line:?}");
    }
}

#[test]
fn line_breaks_are_refused_even_where_json_allows_them() {
    assert_eq!(fault(b"{\n}"), (1, "a line break"));
    assert_eq!(fault(b"{\"a\":\r1}"), (5, "a line break"));
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_place() {
    assert_eq!(fault(b"{\"a\":\"\xff\"}"), (6, "not UTF-8"));
    assert_eq!(fault(b"{\"a\":\"\xed\xa0\x80\"}").1, "not UTF-8");
}

#[test]
fn unpaired_surrogates_are_refused() {
    for line in [r#"{"a":"\ud800"}"#, r#"{"a":"\udc00"}"#, r#"{"a":"\ud800\u0041"}"#, r#"{"a":"\ud800x"}"#] {
        assert!(!is_good(line), "{line}");
    }
}

#[test]
fn reserved_keys_are_refused_however_they_are_spelled() {
    for line in [
        r#"{"_seq":1}"#,
        r#"{"_log":1}"#,
        r#"{"_crc":""}"#,
        r#"{"_sealed":{}}"#,
        r#"{"a":1,"\u005fseq":1}"#,
        r#"{"_\u0073eq":1}"#,
        r#"{"\u005F\u0073\u0065\u0061\u006c\u0065\u0064":1}"#,
    ] {
        assert!(!is_good(line), "{line}");
    }
}

#[test]
fn reserved_keys_are_free_below_the_top_level_and_as_parts_of_names() {
    for line in [
        r#"{"a":{"_seq":1},"b":[{"_crc":"00000000"}]}"#,
        r#"{"_seq2":1,"seq":2,"__log":3,"_sealedx":4,"_":5}"#,
        r#"{"\u005fsequence":1,"_\\seq":2,"\n_seq":3,"_seq\u00e9":4,"\ud83d\ude00":5}"#,
        r#"{"a":"_seq"}"#,
    ] {
        assert!(is_good(line), "{line}");
    }
}

#[test]
fn deep_nesting_is_refused_and_never_overflows_the_stack() {
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
    };
    assert!(is_good(&nested(MAX_DEPTH)));
    assert!(!is_good(&nested(MAX_DEPTH + 1)));
    assert!(!is_good(&format!("{{\"a\":{}", "[".repeat(1 << 20))));
    assert!(!is_good(&"{\"a\":".repeat(1 << 17)));
}

#[test]
fn stored_lines_may_have_the_keys_of_the_log() {
    assert!(check_object(br#"{"a":1,"_seq":0,"_log":1,"_crc":"00000000"}"#, Keys::Stored).is_ok());
}

proptest! {
    #[test]
    fn the_verdict_is_that_of_a_json_parser(bytes in "[{}\\[\\]\":,0-9a-ntrue\\\\. _-]{0,24}") {
        let parsed = serde_json::from_str::<serde_json::Value>(&bytes);
        let is_object = parsed.is_ok_and(|value| value.is_object())
            && bytes.starts_with('{') && bytes.ends_with('}');
        prop_assert_eq!(check_object(bytes.as_bytes(), Keys::Stored).is_ok(), is_object);
    }

    #[test]
    fn objects_that_a_writer_makes_are_taken(keys in prop::collection::btree_map("[a-z\"\\\\\u{e9}\n]{0,6}", any::<f64>(), 0..6)) {
        let line = serde_json::to_string(&keys).unwrap();
        prop_assert!(is_good(&line));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = check_object(&bytes, Keys::Callers);
    }

    #[test]
    fn looking_at_eight_bytes_finds_what_looking_at_each_finds(bytes in prop::collection::vec(prop_oneof![
        any::<u8>(), 0x1e_u8..0x24, 0x5a_u8..0x5e, Just(b'x')], 0..40))
    {
        let first = bytes.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
        let whole_words = bytes.len() / 8 * 8;
        prop_assert_eq!(plain_length(&bytes), first.unwrap_or(whole_words).min(whole_words));
    }
}
