//! A keyed permutation of the numbers of 32 bits: a balanced Feistel network with SipHash-1-3 as its round function.
//!
//! Whatever the round function, no two numbers give the same one. The function is a format: another one under the same
//! key could give out a tag again.

/// An even number; four make a Feistel network a strong permutation, the rest is margin.
const ROUNDS: u8 = 8;

/// Permutes every number in place. They do not depend on each other, and the processor works on several at once.
pub(super) fn permute<const N: usize>(key: &[u8; 16], numbers: &mut [u32; N]) {
    let [k0, k1] = halves(key);
    let mut left = numbers.map(|number| number >> 16);
    let mut right = numbers.map(|number| number & 0xffff);
    for round in 0..ROUNDS {
        for (left, right) in left.iter_mut().zip(&mut right) {
            (*left, *right) = (*right, *left ^ round_mask(k0, k1, round, *right));
        }
    }
    for (number, (left, right)) in numbers.iter_mut().zip(left.iter().zip(&right)) {
        *number = left << 16 | right;
    }
}

fn halves(key: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*key);
    // Each is what it says: half of the bits.
    [number, number >> 64].map(|bits| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default())
}

/// The first two bytes of SipHash-1-3 over the round and the right half, which are three bytes: one block.
fn round_mask(k0: u64, k1: u64, round: u8, right: u32) -> u32 {
    let block = 3 << 56 | u64::from(right & 0xff) << 16 | u64::from(right >> 8) << 8 | u64::from(round);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573 ^ block,
    ];
    v = sip_round(v);
    v[0] ^= block;
    v[2] ^= 0xff;
    v = sip_round(sip_round(sip_round(v)));
    u32::try_from((v[0] ^ v[1] ^ v[2] ^ v[3]) >> 48).unwrap_or_default()
}

fn sip_round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v1);
    v0 = v0.wrapping_add(v3);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}
