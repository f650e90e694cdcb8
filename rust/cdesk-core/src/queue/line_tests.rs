use proptest::prelude::*;

use super::*;

fn framed(line: &[u8], seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    frame(line, seq, &mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

#[test]
fn a_line_reads_back_with_its_number() {
    for (line, seq) in
        [(&b"{}"[..], 0), (b"{ }", 1), (b"{\"a\":1}", 17), (b"{\"a\":1 }", u64::from(u32::MAX))]
    {
        let stored = framed(line, seq);
        assert_eq!(read(&stored), Some(Content::Line { seq }), "{}", stored.escape_ascii());
        let value: serde_json::Value = serde_json::from_slice(&stored).unwrap();
        assert_eq!(value["_seq"], seq);
        assert_eq!(value["_log"], 1);
    }
}

#[test]
fn a_number_that_no_count_of_lines_reaches_is_not_a_line() {
    assert_eq!(read(&framed(b"{}", u64::MAX - 1)), Some(Content::Line { seq: u64::MAX - 1 }));
    assert_eq!(read(&framed(b"{}", u64::MAX)), None);
}

#[test]
fn a_seal_reads_back_with_its_count() {
    let mut seal = Vec::new();
    frame_seal(18, &mut seal);
    assert_eq!(read(seal.trim_ascii_end()), Some(Content::Seal { lines: 18 }));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&seal).unwrap()["_sealed"]["lines"], 18);
}

#[test]
fn a_line_of_another_version_is_told_from_damage() {
    let mut line = b"{\"_seq\":0,\"_log\":2".to_vec();
    finish(&mut line, 0);
    assert_eq!(read(line.trim_ascii_end()), Some(Content::Foreign { version: 2 }));
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
        prop_assert_eq!(read(&stored), None);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes);
        let _ = find_end(&bytes, 0);
    }
}
