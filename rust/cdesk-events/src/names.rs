//! The names of activities.

use std::borrow::Cow;

use crate::Refused;

/// How long the name of an activity may be, in characters.
pub const MAX_NAME_CHARS: usize = 100;

const PREFIX: &str = "cdesk.";
/// How much alike two names are when one may be meant by the other, from 0 to 1.
const ALIKE: f64 = 0.5;

/// Is it `cdesk.` and words of lower-case letters and digits, joined by single underscores, the first beginning with
/// a letter?
pub(crate) fn is_name(name: &str) -> bool {
    let Some(words) = name.strip_prefix(PREFIX) else { return false };
    name.len() <= MAX_NAME_CHARS
        && words.starts_with(|first: char| first.is_ascii_lowercase())
        && words.split('_').all(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

/// The rule, and the known name that is nearest; never the name itself, which may be anything.
pub(crate) fn malformed<'a>(name: Option<&str>, known: impl Iterator<Item = &'a str>) -> Refused {
    let nearest: Cow<'_, str> = name.and_then(|name| nearest(name, known)).map_or_else(
        || name.map_or("", |_| "; for example 'cdesk.user_asked'").into(),
        |nearest| format!("; did you mean '{nearest}'?").into(),
    );
    Refused::Broken(
        format!(
            "activity is malformed; a name is a text, `cdesk.` and words of lower-case letters and digits joined by \
             single underscores, at most {MAX_NAME_CHARS} characters{nearest}"
        )
        .into(),
    )
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (mut spelled, mut before) = (String::with_capacity(MAX_NAME_CHARS), ' ');
    for character in name.chars().take(MAX_NAME_CHARS) {
        let begins_a_word = character.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (begins_a_word || !character.is_ascii_alphanumeric()) && !spelled.ends_with('_') {
            spelled.push('_');
        }
        if character.is_ascii_alphanumeric() {
            spelled.push(character.to_ascii_lowercase());
        }
        before = character;
    }
    let stem = spelled.trim_matches('_');
    let stem = stem.strip_prefix("cdesk_").unwrap_or(stem);
    known
        .map(|one| {
            (strsim::normalized_damerau_levenshtein(stem, one.strip_prefix(PREFIX).unwrap_or(one)), one)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(left, left_name), (right, right_name)| {
            left.total_cmp(right).then(right_name.cmp(left_name))
        })
        .map(|(_, one)| one)
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
