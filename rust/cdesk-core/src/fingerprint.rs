//! The query hash: one fingerprint for one question, whoever asks it and in whatever order its parameters come.
//!
//! It is the first 16 hex digits of SHA-256 over the normalised template followed by the canonical JSON of the
//! parameters. Canonical JSON is RFC 8785: no space, keys sorted by UTF-16 code units, numbers printed as
//! ECMAScript does. Flat parameters hash exactly as `JSON.stringify(params, Object.keys(params).sort())`.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Integers beyond 2^53 are not the same number everywhere that JSON is read.
const MAX_SAFE: i128 = 1 << 53;
/// Deeper values are refused; canonicalising goes down with them.
const MAX_DEPTH: usize = 128;

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
    let mut hasher = Sha256::new();
    hasher.update(normalise_template(template).as_bytes());
    hasher.update(canonical_json(params)?.as_bytes());
    let mut hash = String::with_capacity(16);
    for byte in hasher.finalize().iter().take(8) {
        let _ = write!(hash, "{byte:02x}"); // writing to a string cannot fail
    }
    Ok(hash)
}

/// Each run of JavaScript's `\s` becomes one space; none is left at the ends.
#[must_use]
pub fn normalise_template(template: &str) -> String {
    let words = template.split(is_js_space).filter(|word| !word.is_empty());
    let mut normalised = String::with_capacity(template.len());
    for word in words {
        if !normalised.is_empty() {
            normalised.push(' ');
        }
        normalised.push_str(word);
    }
    normalised
}

/// ECMAScript's `\s`: its `WhiteSpace` and `LineTerminator`. It has U+FEFF, which Unicode's white space has not, and not
/// U+0085, which Unicode's has.
fn is_js_space(character: char) -> bool {
    matches!(
        character,
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

/// The RFC 8785 form of a value.
///
/// # Errors
/// `Canonicalisation` for an integer beyond ±2^53, a number that is not finite, a repeated key, or more than 128
/// levels.
pub fn canonical_json(value: &Value) -> Result<String> {
    let mut writer = Writer { out: String::new(), place: Vec::new() };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    /// The keys and indices that lead to the value at hand.
    place: Vec<String>,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Integer(number) => {
                if number.abs() > MAX_SAFE {
                    return self.fail("an integer beyond 2^53 loses digits in JSON; send it as text");
                }
                let _ = write!(self.out, "{number}"); // writing to a string cannot fail
            }
            Value::Number(number) => {
                if !number.is_finite() {
                    return self.fail("JSON has no NaN and no infinity; send null or text");
                }
                self.out.push_str(ryu_js::Buffer::new().format_finite(*number));
            }
            Value::Text(text) => self.text(text),
            Value::Array(values) => return self.array(values),
            Value::Object(entries) => return self.object(entries),
        }
        Ok(())
    }

    fn array(&mut self, values: &[Value]) -> Result<()> {
        self.out.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.inside(index.to_string(), value)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, entries: &[(String, Value)]) -> Result<()> {
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        let mut last = None;
        self.out.push('{');
        for (key, value) in sorted {
            if last == Some(key) {
                self.place.push(key.clone());
                return self.fail("the key comes twice");
            }
            if last.is_some() {
                self.out.push(',');
            }
            last = Some(key);
            self.text(key);
            self.out.push(':');
            self.inside(key.clone(), value)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn inside(&mut self, step: String, value: &Value) -> Result<()> {
        self.place.push(step);
        if self.place.len() > MAX_DEPTH {
            return self.fail("nested deeper than 128 levels");
        }
        self.value(value)?;
        self.place.pop();
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\u{c}' => self.out.push_str("\\f"),
                '\r' => self.out.push_str("\\r"),
                '\0'..='\u{1f}' => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(character)); // cannot fail
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn fail<T>(&self, reason: &str) -> Result<T> {
        let mut pointer = String::new();
        for step in &self.place {
            pointer.push('/');
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        }
        Err(Error::Canonicalisation { pointer, reason: reason.to_owned() })
    }
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
