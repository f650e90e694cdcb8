use super::*;

fn line(seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    line::frame(format!("{{\"n\":{seq}}}").as_bytes(), seq, &mut out);
    out
}

fn seqs(bytes: &[u8], tail: Tail) -> Vec<u64> {
    let found = Scan::new(bytes, tail).map(|found| match found.content {
        Content::Line { seq } => seq,
        other => panic!("{other:?}"),
    });
    found.collect()
}

#[test]
fn lines_are_found_in_order() {
    assert_eq!(seqs(&[line(0), line(1), line(2)].concat(), Tail::More), [0, 1, 2]);
}

#[test]
fn a_line_without_its_end_is_not_yet_one() {
    let bytes = [line(0), line(1)].concat();
    let cut = &bytes[..bytes.len() - 1];
    assert_eq!(seqs(cut, Tail::More), [0]);
    assert_eq!(seqs(cut, Tail::Live), [0]);
    assert_eq!(seqs(cut, Tail::End), [0, 1]);
    let ahead = [cut, &[0; 100]].concat();
    assert_eq!(seqs(&ahead, Tail::Live), [0]);
    assert_eq!(seqs(&ahead, Tail::More), [0, 1]);
}

#[test]
fn a_bad_line_does_not_hide_the_good_ones() {
    assert_eq!(seqs(&[line(0), b"garbage\n".to_vec(), line(2)].concat(), Tail::More), [0, 2]);
}

#[test]
fn lines_whose_break_was_damaged_are_all_found() {
    for bad in [b'J', b'{', b'}', b'"', 0x0b, 0x8a, 0xff, 0] {
        let mut bytes = [line(0), line(1), line(2)].concat();
        let end = line(0).len() - 1;
        bytes[end] = bad;
        assert_eq!(seqs(&bytes, Tail::More), [0, 1, 2], "{bad:#x}");
    }
}

#[test]
fn zeros_anywhere_are_stepped_over() {
    let bytes = [vec![0; 10], line(0), vec![0; 5000], line(1), vec![0; 10]].concat();
    assert_eq!(seqs(&bytes, Tail::More), [0, 1]);
}

#[test]
fn an_end_inside_a_nested_object_is_not_mistaken_for_a_line() {
    // A caller forged the checksum of the beginning of its own line, and the line was damaged later.
    let mut forged = b"{\"a\":{\"x\":1,\"_seq\":7,\"_log\":1".to_vec();
    let crc = crc32c::crc32c(&forged);
    forged.extend_from_slice(format!(",\"_crc\":\"{crc:08x}\"}},\"b\":2}}").as_bytes());
    assert!(json::check_object(&forged, Keys::Callers).is_ok());
    let mut stored = Vec::new();
    line::frame(&forged, 0, &mut stored);
    let damaged = stored.len() - 30;
    stored[damaged] ^= 1;
    assert_eq!(seqs(&[stored, line(1)].concat(), Tail::More), [1]);
}

#[test]
fn a_stretch_longer_than_any_line_is_judged_piece_by_piece() {
    let bytes = [vec![b'x'; MAX_FRAMED_BYTES * 2], line(3)].concat();
    let mut scan = Scan::new(&bytes[..MAX_FRAMED_BYTES * 2], Tail::More);
    assert_eq!(scan.next(), None);
    assert_eq!(scan.judged(), MAX_FRAMED_BYTES);
    assert_eq!(seqs(&bytes[scan.judged()..], Tail::End), [3]);
}
