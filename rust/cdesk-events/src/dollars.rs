//! Amounts of US dollars.

use crate::Refused;

const RULE: &str = "revenue_impact must be a number of US dollars below 1e15 with at most six decimal places";

/// Digits before the decimal point, at most: 10^17 of such amounts fit into a sum of `NUMBER(38,6)`.
const MAX_WHOLE_DIGITS: i64 = 15;
const PLACES: i64 = 6;

/// An amount as a text (`12.5`, `-3`, `1e3`), in millionths of a dollar.
///
/// # Errors
///
/// It is not a finite decimal number, is 10^15 or more, or is finer than a millionth: nothing is ever rounded.
pub fn micro_dollars(amount: &str) -> Result<i128, Refused> {
    micros(amount).ok_or(Refused::Broken(RULE.into()))
}

fn micros(amount: &str) -> Option<i128> {
    let unsigned = amount.strip_prefix(['-', '+']).unwrap_or(amount);
    let (number, exponent) = unsigned
        .split_once(['e', 'E'])
        .map_or((unsigned, Some(0)), |(number, exponent)| (number, self::exponent(exponent)));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        exponent?;
        return Some(0);
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let shift = exponent?.checked_sub(length(fraction)?)?.checked_add(i64::try_from(trailing).ok()?)?;
    if shift < -PLACES || length(significant)?.checked_add(shift)? > MAX_WHOLE_DIGITS {
        return None;
    }
    let factor = 10_i128.checked_pow(u32::try_from(shift + PLACES).ok()?)?;
    let micros = significant.parse::<i128>().ok()?.checked_mul(factor)?;
    Some(if amount.starts_with('-') { -micros } else { micros })
}

/// The exponent; one beyond all bounds is as good as the largest.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bound = i64::MAX / 4;
    let size = digits.parse::<i64>().unwrap_or(bound).min(bound);
    Some(if text.starts_with('-') { -size } else { size })
}

fn length(text: &str) -> Option<i64> {
    i64::try_from(text.len()).ok()
}
