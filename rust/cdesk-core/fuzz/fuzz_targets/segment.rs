//! Any bytes in the place of a segment. A fuzzer guesses no checksum, so it may ask for one: what begins with `!` and
//! ends before a `\n` becomes a line with the checksum that is right in that place, whatever else is wrong with it. What
//! begins with `?` gets that of its own bytes alone, as a line that was pasted from somewhere else.
#![no_main]

#[path = "../../tests/bytes/property.rs"]
mod property;
#[path = "../../tests/bytes/ram.rs"]
mod ram;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut segment = Vec::new();
    for piece in input.split_inclusive(|&byte| byte == b'\n') {
        let at = segment.len();
        let (body, crc) = match piece.strip_suffix(b"\n") {
            Some([b'!', body @ ..]) => (body, property::checksum(ram::SEGMENT, at, body)),
            Some([b'?', body @ ..]) => (body, property::crc32c(body)),
            _ => {
                segment.extend_from_slice(piece);
                continue;
            }
        };
        segment.extend_from_slice(body);
        segment.extend(format!(",\"_crc\":\"{crc:08x}\"}}\n").into_bytes());
    }
    property::check_any_bytes(&segment);
});
