//! Canonical JSON, RFC 8785, written as the values come: whoever has them says what they are, and nothing is copied
//! into a tree first.

use std::cmp::Ordering;
use std::io::Write;

use super::Value;
use crate::error::{Error, Result};

/// Integers beyond 2^53 are not the same number everywhere that JSON is read.
const MAX_SAFE: i128 = 1 << 53;
/// Deeper values are refused; canonicalising goes down with them.
pub(super) const MAX_DEPTH: usize = 128;

/// An error that knows its place among the values.
pub trait Placed: From<Error> {
    /// The same error, one step further from it: inside the value at that key or index.
    #[must_use]
    fn within(self, step: &str) -> Self;
}

impl Placed for Error {
    fn within(self, step: &str) -> Self {
        match self {
            Self::Canonicalisation { pointer, reason } => {
                let step = step.replace('~', "~0").replace('/', "~1");
                Self::Canonicalisation { pointer: format!("/{step}{pointer}"), reason }
            }
            other => other,
        }
    }
}

/// Writes one value after another, as its owner names them.
#[derive(Debug, Default)]
pub struct Canonical {
    out: Vec<u8>,
    depth: usize,
}

impl Canonical {
    /// Continues after bytes that were written already.
    pub(super) fn after(out: Vec<u8>) -> Self {
        Self { out, depth: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// `null`.
    pub fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A whole number.
    ///
    /// # Errors
    /// `Canonicalisation` beyond ±2^53.
    pub fn integer(&mut self, number: i128) -> Result<()> {
        match i64::try_from(number) {
            Ok(number) if i128::from(number.unsigned_abs()) <= MAX_SAFE => {
                let _ = write!(self.out, "{number}"); // writing to a vector cannot fail
                Ok(())
            }
            _ => Err(refused("an integer beyond 2^53 loses digits in JSON; send it as text")),
        }
    }

    /// Any other number; a whole one is printed without a fraction.
    ///
    /// # Errors
    /// `Canonicalisation` for one that is not finite.
    pub fn number(&mut self, number: f64) -> Result<()> {
        if !number.is_finite() {
            return Err(refused("JSON has no NaN and no infinity; send null or text"));
        }
        self.out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
        Ok(())
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.out.push(b'"');
        let mut plain = 0;
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            let two = match byte {
                b'"' | b'\\' => byte,
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0c => b'f',
                b'\r' => b'r',
                0..=0x1f => 0,
                _ => continue,
            };
            self.out.extend_from_slice(text.as_bytes().get(plain..at).unwrap_or_default());
            plain = at + 1;
            if two == 0 {
                let _ = write!(self.out, "\\u{byte:04x}"); // cannot fail
            } else {
                self.out.extend_from_slice(&[b'\\', two]);
            }
        }
        self.out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
        self.out.push(b'"');
    }

    /// Values in their order, each written by `write`.
    ///
    /// # Errors
    /// What `write` says; `Canonicalisation` for more than 128 levels.
    pub fn array<T, E: Placed>(
        &mut self,
        values: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.inside(|writer| write(writer, value)).map_err(|error| error.within(&index.to_string()))?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Values by key, each written by `write`. They may come in any order, and are sorted here.
    ///
    /// # Errors
    /// What `write` says; `Canonicalisation` for a key that comes twice or more than 128 levels.
    pub fn object<T, E: Placed>(
        &mut self,
        entries: &mut [(&str, T)],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), E>,
    ) -> Result<(), E> {
        if !entries.is_sorted_by(|(a, _), (b, _)| by_utf16(a, b).is_le()) {
            entries.sort_unstable_by(|(a, _), (b, _)| by_utf16(a, b));
        }
        let mut last = None;
        self.out.push(b'{');
        for (key, value) in entries {
            if last == Some(*key) {
                return Err(E::from(refused("the key comes twice")).within(key));
            }
            if last.is_some() {
                self.out.push(b',');
            }
            last = Some(*key);
            self.text(key);
            self.out.push(b':');
            self.inside(|writer| write(writer, value)).map_err(|error| error.within(key))?;
        }
        self.out.push(b'}');
        Ok(())
    }

    pub(super) fn value(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.bool(*value),
            Value::Integer(number) => return self.integer(*number),
            Value::Number(number) => return self.number(*number),
            Value::Text(text) => self.text(text),
            Value::Array(values) => return self.array(values, Self::value),
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value)).collect();
                return self.object(&mut entries, |writer, value| writer.value(value));
            }
        }
        Ok(())
    }

    fn inside<E: Placed>(&mut self, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        if self.depth == MAX_DEPTH {
            return Err(refused("nested deeper than 128 levels").into());
        }
        self.depth += 1;
        write(self)?;
        self.depth -= 1;
        Ok(())
    }
}

fn refused(reason: &str) -> Error {
    Error::Canonicalisation { pointer: String::new(), reason: reason.to_owned() }
}

/// The order of RFC 8785. It is the order of the bytes but where surrogates come in.
fn by_utf16(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}
