//! Moments: RFC 3339 texts as microseconds since 1970 in UTC.

use speedate::{DateTime, MicrosecondsPrecisionOverflowBehavior, TimeConfigBuilder};

use crate::Refused;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what every reader of the stream can hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The moment that `text` is, in microseconds since 1970-01-01T00:00:00Z; digits beyond a microsecond are cut off.
pub(crate) fn micros(name: &str, text: Option<&str>) -> Result<i64, Refused> {
    let broken = |rule: &str| Refused::Broken(format!("{name} {rule}").into());
    let no_time = || broken("is no RFC 3339 time, such as 2026-11-21T08:00:00Z");
    let text = text.ok_or_else(no_time)?;
    if !is_spelled_so(text.as_bytes()) {
        return Err(no_time());
    }
    let config = TimeConfigBuilder::new()
        .microseconds_precision_overflow_behavior(MicrosecondsPrecisionOverflowBehavior::Truncate)
        .build();
    let moment =
        DateTime::parse_bytes_rfc3339_with_config(text.as_bytes(), &config).map_err(|_| no_time())?;
    if moment.time.tz_offset.is_none() {
        return Err(broken("must be a time with a time zone, such as 2026-11-21T08:00:00Z"));
    }
    let seconds = moment.timestamp_tz();
    if moment.date.year == 0 || !SECONDS.contains(&seconds) {
        return Err(broken("is before the year 1 or after the year 9999 in UTC"));
    }
    Ok(seconds * 1_000_000 + i64::from(moment.time.microsecond))
}

/// Is it `2026-11-21T08:00:00`, with a fraction or without, and with `Z`, an offset such as `+01:00`, or nothing behind
/// it? The library takes more: other signs and separators, no seconds, an offset without its colon.
fn is_spelled_so(text: &[u8]) -> bool {
    let Some((moment, rest)) = text.split_at_checked(19) else { return false };
    let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let is_moment = moment.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b't' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let zone_at = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_at);
    let is_fraction = fraction.is_empty() || fraction.strip_prefix(b".").is_some_and(is_digits);
    let is_zone = match zone {
        b"" | b"Z" | b"z" => true,
        [b'+' | b'-', hours @ .., b':', ten, one] => {
            hours.len() == 2 && is_digits(hours) && is_digits(&[*ten, *one])
        }
        _ => false,
    };
    is_moment && is_fraction && is_zone
}
