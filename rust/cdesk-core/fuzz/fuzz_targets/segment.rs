//! Any bytes in the place of a segment. A fuzzer guesses no checksum, so it may ask for one: what begins with `!` and
//! ends before a `\n` becomes a line with the right checksum, whatever else is wrong with it.
#![no_main]

#[path = "../../tests/bytes/property.rs"]
mod property;
#[path = "../../tests/bytes/ram.rs"]
mod ram;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut segment = Vec::new();
    for piece in input.split_inclusive(|&byte| byte == b'\n') {
        match piece.strip_prefix(b"!").and_then(|rest| rest.strip_suffix(b"\n")) {
            Some(body) => {
                segment.extend_from_slice(body);
                segment.extend(format!(",\"_crc\":\"{:08x}\"}}\n", property::crc32c(body)).into_bytes());
            }
            None => segment.extend_from_slice(piece),
        }
    }
    property::check_any_bytes(&segment);
});
