//! The query hash: one fingerprint for one question, whoever asks it and in whatever order its parameters come.
//!
//! It is the first 16 hex digits of SHA-256 over the normalised template followed by the canonical JSON of the
//! parameters. Canonical JSON is RFC 8785: no space, keys sorted by UTF-16 code units, numbers printed as
//! ECMAScript does. Flat parameters hash exactly as `JSON.stringify(params, Object.keys(params).sort())`.

mod canonical;
mod normal;

use sha2::{Digest, Sha256};

pub use self::canonical::{Canonical, Placed};
use crate::error::{Error, Result};

/// A JSON value, in the shape in which a caller has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; beyond ±2^53 it has no canonical form.
    Integer(i128),
    /// Any other number. A whole one is printed without a fraction, so that 1.0 and 1 are one question.
    Number(f64),
    /// Text.
    Text(String),
    /// Values in their order.
    Array(Vec<Value>),
    /// Values by key, in any order. A key may come once.
    Object(Vec<(String, Value)>),
}

/// The first 16 hex digits of SHA-256 over the normalised template and the canonical parameters.
///
/// # Errors
/// `Canonicalisation`, naming the place as a JSON pointer.
pub fn query_hash(template: &str, params: &Value) -> Result<String> {
    let digits = query_hash_of(template, |writer| writer.value(params))?;
    Ok(digits.map(char::from).iter().collect())
}

/// [`query_hash`] of parameters that are somewhere else: `write` says what they are. The digits are ASCII.
///
/// # Errors
/// What `write` says.
pub fn query_hash_of<E: From<Error>>(
    template: &str,
    write: impl FnOnce(&mut Canonical) -> Result<(), E>,
) -> Result<[u8; 16], E> {
    /// Enough for most parameters, so that one allocation is the only one.
    const PARAMS_BYTES: usize = 256;
    let mut text = Vec::with_capacity(template.len() + PARAMS_BYTES);
    normal::normalise(template, &mut text);
    let mut writer = Canonical::after(text);
    write(&mut writer)?;
    let hash = Sha256::digest(writer.bytes());
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[hex(byte >> 4), hex(byte & 0xf)]);
    }
    Ok(digits)
}

fn hex(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

/// Each run of JavaScript's `\s` becomes one space; none is left at the ends.
#[must_use]
pub fn normalise_template(template: &str) -> String {
    let mut normalised = Vec::new();
    normal::normalise(template, &mut normalised);
    String::from_utf8_lossy(&normalised).into_owned() // it is UTF-8: bytes of ASCII were taken out of UTF-8
}

/// The RFC 8785 form of a value.
///
/// # Errors
/// `Canonicalisation` for an integer beyond ±2^53, a number that is not finite, a repeated key, or more than 128
/// levels.
pub fn canonical_json(value: &Value) -> Result<String> {
    let mut writer = Canonical::default();
    writer.value(value)?;
    Ok(String::from_utf8_lossy(writer.bytes()).into_owned()) // it is UTF-8: every text that went in was
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
