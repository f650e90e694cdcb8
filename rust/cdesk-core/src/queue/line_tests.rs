use proptest::prelude::*;

use super::*;

/// Far enough for any number of a test.
const FAR: u64 = 1 << 50;

fn binding() -> Binding {
    Binding::of("seg-1763694538123-9f3a01c2-000000.ndjson".parse().unwrap())
}

fn framed(line: &[u8], seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    frame(line, seq, binding(), FAR, &mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

#[test]
fn a_line_reads_back_with_its_number() {
    for (line, seq) in
        [(&b"{}"[..], 0), (b"{ }", 1), (b"{\"a\":1}", 17), (b"{\"a\":1 }", u64::from(u32::MAX))]
    {
        let stored = framed(line, seq);
        assert_eq!(read(&stored, binding(), FAR), Some(Content::Line { seq }), "{}", stored.escape_ascii());
        let value: serde_json::Value = serde_json::from_slice(&stored).unwrap();
        assert_eq!(value["_seq"], seq);
        assert_eq!(value["_log"], 2);
    }
}

#[test]
fn a_number_that_has_no_room_before_it_is_not_a_line() {
    for seq in [0, 1, 1_000_000] {
        let offset = seq * MIN_FRAMED_BYTES;
        let read_at = |offset| {
            let mut stored = Vec::new();
            frame(b"{}", seq, binding(), offset, &mut stored);
            read(stored.trim_ascii_end(), binding(), offset)
        };
        assert_eq!(read_at(offset), Some(Content::Line { seq }));
        assert_eq!(offset.checked_sub(1).and_then(read_at), None);
    }
    assert_eq!(u64::try_from(framed(b"{}", 0).len() + 1).unwrap(), MIN_FRAMED_BYTES);
    assert_eq!(read(&framed(b"{}", u64::MAX), binding(), FAR), None);
}

#[test]
fn a_line_holds_in_its_place_of_its_segment_alone() {
    let stored = framed(b"{\"a\":1}", 17);
    assert!(read(&stored, binding(), FAR).is_some());
    assert_eq!(read(&stored, binding(), FAR + 1), None);
    let other = Binding::of("seg-1763694538123-9f3a01c2-000001.ndjson".parse().unwrap());
    assert_eq!(read(&stored, other, FAR), None);
}

#[test]
fn a_seal_reads_back_with_its_count() {
    let mut seal = Vec::new();
    frame_seal(18, binding(), FAR, &mut seal);
    assert_eq!(read(seal.trim_ascii_end(), binding(), FAR), Some(Content::Seal { lines: 18 }));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&seal).unwrap()["_sealed"]["lines"], 18);
}

#[test]
fn a_line_of_another_version_is_told_from_damage() {
    let version = |line: &str| foreign_version(line.as_bytes(), binding());
    assert_eq!(version(r#"{"_seq":0,"_log":1,"_crc":"01234567"}"#), Some(1));
    assert_eq!(version(r#"{"_seq":0,"_log":3,"_crc":"01234567"}"#), Some(3));
    for other in
        [r#"{"_seq":0,"_log":2,"_crc":"01234567"}"#, r#"{"_log":3}"#, r#"{"n":3,"_crc":"01234567"}"#, ""]
    {
        assert_eq!(version(other), None, "{other}");
    }
    assert_eq!(
        version(r#"{"a":1,"p":{"_seq":0,"_log":1,"_crc":"01234567"}"#),
        None,
        "torn behind what was pasted"
    );
    let mut damaged = Vec::new();
    frame(b"{}", 0, binding(), 0, &mut damaged);
    damaged.pop();
    let place = damaged.len() - TRAILER_BYTES - 1;
    for digit in [b'1', b'3', b'9'] {
        damaged[place] = digit;
        assert_eq!(foreign_version(&damaged, binding()), None, "nothing but the version was damaged");
    }
}

#[test]
fn a_line_is_found_by_its_start_or_its_end_and_not_inside_another() {
    let inner = framed(br#"{"s":"} \" { \\"}"#, 3);
    let outer = framed(&[br#"{"p":"#, &inner[..], br#","q":[{"_log":2}]}"#].concat(), 4);
    let joined = [&outer[..], b"x", &inner].concat();
    assert_eq!(read_first(&joined, binding(), FAR), Some((outer.len(), Content::Line { seq: 4 })));
    let behind = u64::try_from(outer.len() + 1).unwrap();
    let last = read_last(&joined, binding(), FAR - behind);
    assert_eq!(last, Some((outer.len() + 1, Content::Line { seq: 3 })));
    // The inner line in the place it has in the outer one, and the outer one damaged.
    let mut bad = outer.clone();
    *bad.last_mut().unwrap() = b'?';
    assert_eq!(read_first(&bad, binding(), FAR), None);
    assert_eq!(read_last(&bad, binding(), FAR), None);
}

#[test]
fn the_checksum_is_crc_32c() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283); // the check value of its catalogue entry
}

#[test]
fn the_longest_line_fits_the_framed_limit() {
    let line = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_LINE_BYTES - 8));
    assert!(check(line.as_bytes()).is_ok());
    assert!(framed(line.as_bytes(), u64::MAX).len() < MAX_FRAMED_BYTES);
    let longer = line.replacen('x', "xx", 1);
    assert!(
        matches!(check(longer.as_bytes()), Err(Error::LineTooLong { bytes, .. }) if bytes == MAX_LINE_BYTES + 1)
    );
}

proptest! {
    #[test]
    fn no_change_of_a_byte_goes_unseen(text in "[a-z]{0,20}", seq in any::<u32>(), at in any::<prop::sample::Index>(), by in 1_u8..) {
        let mut stored = framed(format!("{{\"a\":\"{text}\"}}").as_bytes(), u64::from(seq));
        let at = at.index(stored.len());
        stored[at] ^= by;
        prop_assert_eq!(read(&stored, binding(), FAR), None);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes, binding(), 0);
        let _ = read_first(&bytes, binding(), 0);
        let _ = read_last(&bytes, binding(), 0);
        let _ = foreign_version(&bytes, binding());
    }
}
