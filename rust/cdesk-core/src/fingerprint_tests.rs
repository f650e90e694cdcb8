use proptest::prelude::*;

use super::canonical::MAX_DEPTH;
use super::*;

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(i128::from(integer)),
            None => Value::Number(number.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(values) => Value::Array(values.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

fn canonical(json: &str) -> String {
    canonical_json(&from_json(&serde_json::from_str(json).unwrap())).unwrap()
}

/// RFC 8785, section 3.2.2 and 3.2.3.
#[test]
fn the_example_of_the_rfc_comes_out_as_printed_there() {
    let input = r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#;
    assert_eq!(
        canonical(input),
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
         \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
}

/// RFC 8785, section 3.2.3: sorted by UTF-16 code units, in which 😀 comes before U+FB33.
#[test]
fn keys_are_sorted_by_utf16_code_units() {
    let input = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
    let sorted = canonical(input);
    let mut last = 0;
    for value in ["Carriage Return", "One", "Control", "Latin", "Euro Sign", "Emoji", "Hebrew"] {
        let at = sorted.find(value).unwrap();
        assert!(at > last, "{value}");
        last = at;
    }
}

/// RFC 8785, appendix B.
#[test]
fn numbers_are_printed_as_in_the_table_of_the_rfc() {
    for (bits, text) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(canonical_json(&Value::Number(f64::from_bits(bits))).unwrap(), text, "{bits:x}");
    }
}

#[test]
fn what_has_no_canonical_form_is_refused_with_its_place() {
    let at = |value: Value| Value::Object(vec![("a/b~".into(), Value::Array(vec![Value::Null, value]))]);
    for value in [
        Value::Number(f64::NAN),
        Value::Number(f64::INFINITY),
        Value::Integer((1 << 53) + 1),
        Value::Integer(-(1 << 53) - 1),
        Value::Integer(i128::MAX),
    ] {
        let error = canonical_json(&at(value)).unwrap_err();
        assert!(
            matches!(&error, Error::Canonicalisation { pointer, .. } if pointer == "/a~1b~0/1"),
            "{error:?}"
        );
    }
    assert_eq!(canonical_json(&Value::Integer(1 << 53)).unwrap(), "9007199254740992");
    let twice = Value::Object(vec![("k".into(), Value::Null), ("k".into(), Value::Null)]);
    assert!(canonical_json(&twice).is_err());
}

#[test]
fn deep_nesting_is_refused_before_the_stack_is_at_risk() {
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert!(canonical_json(&nested(MAX_DEPTH)).is_ok());
    assert!(canonical_json(&nested(MAX_DEPTH + 1)).is_err());
}

#[test]
fn white_space_is_what_javascript_calls_so() {
    assert_eq!(normalise_template(" \u{feff}a\u{a0}\u{2028} b\r\n\tc\u{3000}"), "a b c");
    assert_eq!(normalise_template("a\u{85}b\u{200b}c\u{1c}d"), "a\u{85}b\u{200b}c\u{1c}d");
    assert_eq!(normalise_template(" \n "), "");
}

/// The first was computed with `createHash("sha256")` over the template and
/// `JSON.stringify(params, Object.keys(params).sort())`, the way earlier systems did.
#[test]
fn the_hash_stays_as_it_is() {
    let params = Value::Object(vec![
        ("limit".into(), Value::Integer(10)),
        ("customer".into(), Value::Text("acme".into())),
    ]);
    assert_eq!(query_hash("SELECT *\n  FROM events  ", &params).unwrap(), "f5c10a021c177560");
    assert_eq!(query_hash(" SELECT * FROM events", &params).unwrap(), "f5c10a021c177560");
}

proptest! {
    #[test]
    fn canonical_json_reads_back_as_the_same_value(map in prop::collection::btree_map(".{0,6}", any::<f64>(), 0..6)) {
        let value = Value::Object(map.iter().map(|(key, number)| (key.clone(), Value::Number(*number))).collect());
        let back: std::collections::BTreeMap<String, f64> = serde_json::from_str(&canonical_json(&value).unwrap()).unwrap();
        prop_assert_eq!(back, map);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(mut entries in prop::collection::btree_map(".{0,6}", any::<bool>(), 0..6).prop_map(|map| map.into_iter().collect::<Vec<_>>()), by in 0_usize..6) {
        let value = |entries: &[(String, bool)]| {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), Value::Bool(*value))).collect())
        };
        let straight = query_hash("t", &value(&entries)).unwrap();
        let by = by.min(entries.len());
        entries.rotate_left(by);
        prop_assert_eq!(query_hash("t", &value(&entries)).unwrap(), straight);
    }

    #[test]
    fn normalising_twice_changes_nothing(text in "[a-z \\s\u{feff}\u{a0}]{0,30}") {
        let once = normalise_template(&text);
        prop_assert_eq!(normalise_template(&once), once);
    }

    #[test]
    fn ascii_is_normalised_as_any_text_is(text in "[ab \\s\x00-\x1f~]{0,60}") {
        // A letter beyond ASCII takes it down the other path.
        let any = normalise_template(&format!("{text}é"));
        let ascii = normalise_template(&format!("{text}e"));
        prop_assert_eq!(any.strip_suffix('é'), ascii.strip_suffix('e'));
    }
}
