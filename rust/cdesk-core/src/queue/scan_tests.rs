use super::*;

const SEGMENT: &str = "seg-1763694538123-9f3a01c2-000000.ndjson";

fn binding() -> Binding {
    Binding::of(SEGMENT.parse().unwrap())
}

/// Lines one after another, each with what stands in the place of its `\n`.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn line(mut self, seq: u64, end: u8) -> Self {
        let offset = u64::try_from(self.0.len()).unwrap();
        line::frame(
            format!("{{\"n\":{seq},\"pad\":\"{:x<30}\"}}", "").as_bytes(),
            seq,
            binding(),
            offset,
            &mut self.0,
        );
        self.0.pop();
        self.0.push(end);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

fn lines(count: u64) -> Vec<u8> {
    (0..count).fold(Bytes::default(), |bytes, seq| bytes.line(seq, b'\n')).0
}

fn scan(bytes: &[u8], tail: Tail) -> Scan<'_> {
    Scan::new(binding(), 0, bytes, Start::Line, tail)
}

fn seqs(bytes: &[u8], tail: Tail) -> Vec<u64> {
    scan(bytes, tail).map(|found| found.content.lines_before()).collect()
}

#[test]
fn lines_are_found_in_order() {
    assert_eq!(seqs(&lines(3), Tail::More), [0, 1, 2]);
    assert!(scan(&lines(3), Tail::More).all(|found| !found.is_salvaged));
}

#[test]
fn a_line_without_its_end_is_not_yet_one() {
    let bytes = lines(2);
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
    let bytes = Bytes::default().line(0, b'\n').bytes(b"garbage\n").line(2, b'\n').0;
    assert_eq!(seqs(&bytes, Tail::More), [0, 2]);
}

#[test]
fn lines_whose_break_was_damaged_are_all_found() {
    for bad in [b'J', b'{', b'}', b'"', 0x0b, 0x8a, 0xff, 0] {
        let bytes = Bytes::default().line(0, bad).line(1, bad).line(2, b'\n').0;
        assert_eq!(seqs(&bytes, Tail::More), [0, 1, 2], "{bad:#x}");
    }
}

#[test]
fn a_line_is_found_by_its_end_when_its_start_was_joined_to_damage() {
    for bad in [b'x', b'{', b'}', b'"', b'\\', 0xff] {
        let bytes = Bytes::default().bytes(&[bad; 100]).line(1, bad).line(2, b'\n').0;
        let found: Vec<_> = scan(&bytes, Tail::More).collect();
        assert_eq!(found.iter().map(|found| found.content.lines_before()).collect::<Vec<_>>(), [1, 2]);
        assert!(found.iter().all(|found| found.is_salvaged));
    }
    let bytes = Bytes::default().bytes(&[b'x'; 100]).line(1, b'x').0;
    assert_eq!(seqs(&bytes, Tail::End), [0; 0], "nothing says that this is its end");
}

#[test]
fn zeros_anywhere_are_stepped_over() {
    let bytes =
        Bytes::default().bytes(&[0; 10]).line(0, b'\n').bytes(&[0; 5000]).line(1, b'\n').bytes(&[0; 9]).0;
    assert_eq!(seqs(&bytes, Tail::More), [0, 1]);
}

#[test]
fn a_line_of_another_place_or_segment_is_none() {
    let good = lines(2);
    assert_eq!(seqs(&[&b"\n"[..], &good].concat(), Tail::More), [0; 0]);
    let other = Binding::of("seg-1763694538123-9f3a01c2-000001.ndjson".parse().unwrap());
    assert_eq!(Scan::new(other, 0, &good, Start::Line, Tail::More).count(), 0);
}

#[test]
fn a_look_from_anywhere_begins_with_the_next_line() {
    let bytes = Bytes::default().line(0, b'\n').line(1, b'x').line(2, b'\n').line(3, b'\n').0;
    for at in 1..bytes.len() {
        let offset = u64::try_from(at).unwrap();
        let scan = Scan::new(binding(), offset, &bytes[at..], Start::Anywhere, Tail::End);
        let found: Vec<_> = scan.map(|found| found.content.lines_before()).collect();
        let whole: Vec<_> = (0..4).filter(|&seq| at <= lines(seq).len()).collect();
        assert!(found == whole || found == whole[whole.len().min(1)..], "from {at}: {found:?}");
    }
}

#[test]
fn a_stretch_longer_than_any_line_is_judged_piece_by_piece() {
    let bytes = Bytes::default().bytes(&vec![b'x'; MAX_FRAMED_BYTES * 2]).line(3, b'\n').0;
    let mut scan = scan(&bytes[..MAX_FRAMED_BYTES * 2], Tail::More);
    assert_eq!(scan.next(), None);
    let (judged, start) = scan.judged();
    assert_eq!((judged, start), (MAX_FRAMED_BYTES, Start::Anywhere));
    let offset = u64::try_from(judged).unwrap();
    let rest = Scan::new(binding(), offset, &bytes[judged..], start, Tail::End);
    assert_eq!(rest.map(|found| found.content.lines_before()).collect::<Vec<_>>(), [3]);
}
