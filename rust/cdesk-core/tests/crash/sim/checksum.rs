//! The checksum that a line of the log should have.

use cdesk_core::FORMAT_VERSION;

/// CRC-32C of the line up to its checksum. From format 2 on the name of its segment and its offset come before that.
fn checksum(name: &str, offset: u64, body: &[u8]) -> u32 {
    if FORMAT_VERSION == 1 {
        return crc32c::crc32c(body);
    }
    let place = crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, body)
}

/// Makes whatever ends like a line of the log a good one, in bytes of a segment from `offset` on.
pub(super) fn correct_checksums(name: &str, mut offset: u64, bytes: &mut [u8]) {
    for line in bytes.split_inclusive_mut(|&byte| matches!(byte, b'\n' | 0)) {
        let length = line.len();
        let end = length - usize::from(matches!(line.last(), Some(b'\n' | 0)));
        correct(name, offset, &mut line[..end]);
        offset += u64::try_from(length).unwrap();
    }
}

fn correct(name: &str, offset: u64, line: &mut [u8]) {
    const END: usize = 19; // `,"_crc":"9f3a01c2"}`
    let Some(body) = line.len().checked_sub(END) else { return };
    let (body, end) = line.split_at_mut(body);
    if end.starts_with(b",\"_crc\":\"") {
        end[9..17].copy_from_slice(format!("{:08x}", checksum(name, offset, body)).as_bytes());
    }
}
