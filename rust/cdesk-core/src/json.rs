//! Is this one JSON object that the log can take?
//!
//! The grammar of RFC 8259, checked in one pass without recursion, so that no nesting can overflow the stack. It is
//! stricter in four places, each because a reader of the log would choke: no line breaks between the tokens, no
//! space around the object, no unpaired surrogates, and at most [`MAX_DEPTH`] levels.

/// How deeply arrays and objects may nest: the parsers downstream stop at 1,000 or so.
pub(crate) const MAX_DEPTH: usize = 512;

/// Keys the log writes itself, at the top level.
const RESERVED: [&str; 4] = ["_seq", "_log", "_crc", "_sealed"];

/// What is wrong, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

/// Are the log's own keys allowed at the top level?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In a line that a caller hands in they are not.
    Callers,
    /// In a line read back they are.
    Stored,
}

/// Checks that `line` is exactly one JSON object.
pub(crate) fn check_object(line: &[u8], keys: Keys) -> Result<(), Invalid> {
    if let Err(error) = std::str::from_utf8(line) {
        return Err(Invalid { offset: error.valid_up_to(), reason: "not UTF-8" });
    }
    let check = Check { line, at: 0, keys, open: Stack::default() };
    if check.peek() != Some(b'{') {
        return check.fail("expected '{': a line is one JSON object");
    }
    check.run()
}

/// The open brackets: one bit each, set for an object.
#[derive(Default)]
struct Stack {
    bits: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Stack {
    fn push(&mut self, is_object: bool) -> bool {
        let Some(word) = self.bits.get_mut(self.depth / 64) else { return false };
        let bit = 1_u64 << (self.depth % 64);
        *word = if is_object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn is_in_object(&self) -> bool {
        let Some(top) = self.depth.checked_sub(1) else { return false };
        self.bits.get(top / 64).is_some_and(|word| word & (1 << (top % 64)) != 0)
    }
}

struct Check<'a> {
    line: &'a [u8],
    at: usize,
    keys: Keys,
    open: Stack,
}

impl Check<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn fail<T>(&self, reason: &'static str) -> Result<T, Invalid> {
        Err(Invalid { offset: self.at, reason })
    }

    /// One value after another, until the first object is closed.
    fn run(mut self) -> Result<(), Invalid> {
        loop {
            if self.value()? {
                continue; // a bracket was opened and is not empty: its first value is next
            }
            loop {
                if self.open.depth == 0 {
                    return if self.at == self.line.len() {
                        Ok(())
                    } else {
                        self.fail("expected nothing after the object")
                    };
                }
                self.space()?;
                match (self.peek(), self.open.is_in_object()) {
                    (Some(b','), is_in_object) => {
                        self.at += 1;
                        self.space()?;
                        if is_in_object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        self.open.pop();
                    }
                    (_, true) => return self.fail("expected ',' or '}'"),
                    (_, false) => return self.fail("expected ',' or ']'"),
                }
            }
        }
    }

    /// Passes one value; true when it was an opening bracket with something inside.
    fn value(&mut self) -> Result<bool, Invalid> {
        match self.peek() {
            Some(b'{') => self.bracket(true),
            Some(b'[') => self.bracket(false),
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.fail("expected a JSON value"),
        }
    }

    fn bracket(&mut self, is_object: bool) -> Result<bool, Invalid> {
        if !self.open.push(is_object) {
            return self.fail("nested deeper than 512 levels");
        }
        self.at += 1;
        self.space()?;
        if self.peek() == Some(if is_object { b'}' } else { b']' }) {
            self.at += 1;
            self.open.pop();
            return Ok(false);
        }
        if is_object {
            self.key()?;
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fail("expected a key in double quotes");
        }
        self.string()?;
        let raw = self.line.get(start + 1..self.at - 1).unwrap_or_default();
        if self.open.depth == 1 && self.keys == Keys::Callers && is_reserved(raw) {
            return Err(Invalid {
                offset: start,
                reason: "the top-level keys _seq, _log, _crc and _sealed belong to the log",
            });
        }
        self.space()?;
        if self.peek() != Some(b':') {
            return self.fail("expected ':'");
        }
        self.at += 1;
        self.space()
    }

    fn space(&mut self) -> Result<(), Invalid> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\n' | b'\r' => return self.fail("a line break"),
                _ => break,
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<bool, Invalid> {
        if self.line.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(false);
        }
        self.fail("expected a JSON value")
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.fail("expected a digit");
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1; // a digit after it is caught as a missing ',' or bracket
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        loop {
            self.at += plain_length(self.line.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return self.fail("a control character inside a string must be escaped"),
                Some(_) => self.at += 1,
                None => return self.fail("the string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        match self.line.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match unicode_escape(self.line.get(self.at..).unwrap_or_default()) {
                Some((_, length)) => {
                    self.at += length;
                    Ok(())
                }
                None => self.fail("expected four hex digits, and surrogates in pairs"),
            },
            _ => self.fail("no such escape"),
        }
    }
}

/// How many bytes there are, at least, before the first one that means something in a string. Eight at a time: most of
/// a line is text.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let mut length = 0;
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        // The high bit of a byte is set in the first byte that is meant, and perhaps in some after it.
        let is = |byte: u8| {
            let differs = word ^ (ONES * u64::from(byte));
            differs.wrapping_sub(ONES) & !differs
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (is(b'"') | is(b'\\') | control) & HIGH;
        if found != 0 {
            return length + usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
        }
        length += 8;
    }
    length
}

/// The character and length of the `\uXXXX`, or pair of them, that `raw` begins with.
fn unicode_escape(raw: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u16> {
        let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u16, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(value << 4 | u16::try_from(digit).ok()?)
        })
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, 6));
    }
    let pair = [first, unit(6)?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Some((character, 12))
}

/// Is the key one of the log's own, however it is spelled? `"\u005fseq"` is `"_seq"`.
fn is_reserved(raw: &[u8]) -> bool {
    if !raw.contains(&b'\\') {
        return RESERVED.iter().any(|name| name.as_bytes() == raw);
    }
    let mut spelled = Vec::with_capacity(8);
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if spelled.len() > "_sealed".len() {
            return false;
        }
        if byte != b'\\' {
            spelled.push(byte);
            at += 1;
        } else if let Some((character, length)) = unicode_escape(raw.get(at..).unwrap_or_default()) {
            let Ok(byte) = u8::try_from(character) else { return false };
            spelled.push(byte);
            at += length;
        } else {
            return false; // a two-character escape stands for none of the characters in those names
        }
    }
    RESERVED.iter().any(|name| name.as_bytes() == spelled)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
