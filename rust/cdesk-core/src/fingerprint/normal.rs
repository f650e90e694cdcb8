//! A template without the spelling that does not matter: each run of JavaScript's `\s` becomes one space, and none is
//! left at the ends.

/// Appends the normal form.
pub(super) fn normalise(template: &str, out: &mut Vec<u8>) {
    if template.is_ascii() {
        return ascii(template.as_bytes(), out);
    }
    let words = template.split(is_js_space).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

/// Most of a template stays as it is: that part is looked at eight bytes at a time, and copied.
fn ascii(template: &[u8], out: &mut Vec<u8>) {
    let begin = template.iter().position(|&byte| !is_ascii_space(byte)).unwrap_or(template.len());
    let end = template.iter().rposition(|&byte| !is_ascii_space(byte)).map_or(begin, |last| last + 1);
    let mut rest = template.get(begin..end).unwrap_or_default();
    while !rest.is_empty() {
        let (plain, after) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let spaces = after.iter().position(|&byte| !is_ascii_space(byte)).unwrap_or(after.len());
        if spaces > 0 && out.last() != Some(&b' ') {
            out.push(b' ');
        }
        let (control, next) = match (spaces, after.split_first()) {
            (0, Some((control, next))) => (Some(*control), next), // one that is no space
            _ => (None, after.get(spaces..).unwrap_or_default()),
        };
        out.extend(control);
        rest = next;
    }
}

/// How many bytes need no change, up to the first control character or the first of two spaces.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const SPACES: u64 = 0x2020_2020_2020_2020;
    let word = |at: usize| text.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let mut at = 0;
    while let (Some(here), Some(next)) = (word(at), word(at + 1)) {
        // The high bit of a byte is set in the first byte that is meant, and perhaps in some after it.
        let control = here.wrapping_sub(SPACES) & !here & HIGH;
        let differs = (here ^ SPACES) | (next ^ SPACES);
        let two_spaces = differs.wrapping_sub(ONES) & !differs & HIGH;
        let found = control | two_spaces;
        if found != 0 {
            return at + usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
        }
        at += 8;
    }
    let tail = text.get(at..).unwrap_or_default();
    let is_plain = |(byte, next): (&u8, Option<&u8>)| *byte >= b' ' && (*byte, next) != (b' ', Some(&b' '));
    let nexts = tail.iter().skip(1).map(Some).chain([None]);
    at + tail.iter().zip(nexts).take_while(|pair| is_plain(*pair)).count()
}

fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
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
