//! Moments: RFC 3339 texts as microseconds since 1970 in UTC.

use speedate::{DateTime, MicrosecondsPrecisionOverflowBehavior, ParseError, TimeConfigBuilder};

use crate::Refused;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what every reader of the stream can hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The moment that `text` is, in microseconds since 1970-01-01T00:00:00Z; digits beyond a microsecond are cut off.
pub(crate) fn micros(name: &str, text: Option<&str>) -> Result<i64, Refused> {
    let broken = |rule: &str| Refused::Broken(format!("{name} {rule}").into());
    let no_time = || broken("is not an ISO 8601 time");
    let config = TimeConfigBuilder::new()
        .microseconds_precision_overflow_behavior(MicrosecondsPrecisionOverflowBehavior::Truncate)
        .build();
    let moment = DateTime::parse_bytes_rfc3339_with_config(text.ok_or_else(no_time)?.as_bytes(), &config)
        .map_err(|error| {
            if matches!(error, ParseError::TooShort) {
                broken("must be a time with a time zone, such as 2026-11-21T08:00:00Z")
            } else {
                no_time()
            }
        })?;
    if moment.time.tz_offset.is_none() {
        return Err(broken("must be a time with a time zone, such as 2026-11-21T08:00:00Z"));
    }
    let seconds = moment.timestamp_tz();
    if !SECONDS.contains(&seconds) {
        return Err(broken("is before the year 1 or after the year 9999 in UTC"));
    }
    Ok(seconds * 1_000_000 + i64::from(moment.time.microsecond))
}
