//! One line of the log as an event, or the rule that it breaks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::dollars::micro_dollars;
use crate::json::{self, Key, Keys};
use crate::names;
use crate::payload::Kind;
use crate::time;

/// How long a customer's name may be, in characters.
pub const MAX_CUSTOMER_CHARS: usize = 255;
/// How long a link may be, in characters.
pub const MAX_LINK_CHARS: usize = 2_000;
/// How long any other text beside the payload may be, in characters.
const MAX_TEXT_CHARS: usize = 4_096;

/// Keys of the log itself, which are no fields of an event.
const LOG_KEYS: [&str; 3] = ["_seq", "_log", "_crc"];
const UNKNOWN_KEY_CHARS: usize = 80;

/// Why a line is no event: names the field and the rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It breaks a rule of the stream.
    Broken(Cow<'static, str>),
    /// A key of its payload has a value of another type than its activity says.
    Drifted(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(reason) => formatter.write_str(reason),
            Self::Drifted(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Refused {}

/// One event, borrowed from its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// A UUID in its canonical spelling.
    pub activity_id: Cow<'a, str>,
    /// Its name.
    pub activity: Cow<'a, str>,
    /// Whose it is.
    pub customer: Cow<'a, str>,
    /// When it happened: microseconds since 1970, in UTC.
    pub ts: i64,
    /// The payload's text in the line: a JSON object.
    pub feature_json: Option<&'a str>,
    /// A link.
    pub link: Option<Cow<'a, str>>,
    /// Millionths of a US dollar.
    pub revenue_impact: Option<i128>,
    /// What spoke.
    pub source_system: Option<Cow<'a, str>>,
    /// Its version.
    pub source_version: Option<Cow<'a, str>>,
    /// The session.
    pub session_id: Option<Cow<'a, str>>,
    /// The query tag.
    pub query_tag: Option<Cow<'a, str>>,
    /// When the log took it: microseconds since 1970, in UTC.
    pub accepted_at: Option<i64>,
}

/// The rules of the stream. What depends on the catalogue of activities is given at the start; the rest stands here.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    payloads: HashMap<String, HashMap<String, Kind>>,
}

impl Rules {
    /// The rules, with the typed keys of each known activity's payload.
    #[must_use]
    pub fn new(payloads: HashMap<String, HashMap<String, Kind>>) -> Self {
        Self { payloads }
    }

    /// The event in one line, without the log's own fields.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn read<'a>(&self, line: &'a [u8]) -> Result<Event<'a>, Refused> {
        let text = std::str::from_utf8(line).map_err(|_| NO_JSON)?.trim_ascii();
        let Fields(fields) = serde_json::from_str(text).map_err(|error| meaning(&error, text))?;
        let kinds = self.kinds(&fields);
        let mut drift = None;
        for (key, value) in fields.iter().filter(|(_, value)| !is_plain_text(value.get())) {
            let kinds = kinds.filter(|_| key == "feature_json");
            let shape = json::walk(value.get(), &mut |key, shape| {
                let kind = kinds.and_then(|kinds| kinds.get(key));
                if let Some(kind) = kind.filter(|kind| drift.is_none() && !kind.fits(shape)) {
                    drift = Some((key.to_owned(), *kind));
                }
            });
            shape.map_err(|error| meaning(&error, text))?;
        }
        let event = self.event(&fields)?;
        match drift {
            None => Ok(event),
            Some((key, kind)) => Err(Refused::Drifted(format!(
                "feature_json.{key} must be {} in {}",
                kind.described(),
                event.activity
            ))),
        }
    }

    /// The typed keys of a line's payload, where its activity is a known one.
    fn kinds(&self, fields: &[(Cow<'_, str>, &RawValue)]) -> Option<&HashMap<String, Kind>> {
        let (_, activity) = fields.iter().find(|(key, _)| key == "activity")?;
        self.payloads.get(&*text(activity.get())?)
    }

    fn event<'a>(&self, fields: &[(Cow<'a, str>, &'a RawValue)]) -> Result<Event<'a>, Refused> {
        if let Some(unknown) = fields.iter().map(|(key, _)| key).filter(|key| !is_known(key)).min() {
            let shown: String = unknown.chars().take(UNKNOWN_KEY_CHARS).collect();
            return Err(broken(format!("unknown field '{}'", shown.escape_debug())));
        }
        let found = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get());
        if let Some(missing) =
            ["activity", "activity_id", "customer", "ts"].into_iter().find(|name| found(name).is_none())
        {
            return Err(broken(format!("field '{missing}' is missing")));
        }
        let moment = |name: &str| found(name).map(|raw| time::micros(name, text(raw).as_deref())).transpose();
        let (ts, accepted_at) = (moment("ts")?.unwrap_or_default(), moment("accepted_at")?);
        let activity = found("activity").and_then(text);
        let Some(activity) = activity.clone().filter(|name| names::is_name(name)) else {
            return Err(names::malformed(activity.as_deref(), self.payloads.keys().map(String::as_str)));
        };
        let Some(activity_id) = found("activity_id").and_then(text).filter(|id| is_uuid(id)) else {
            return Err(broken("activity_id must be a UUID in lower-case canonical spelling"));
        };
        let Some(customer) = found("customer")
            .and_then(text)
            .filter(|name| !name.is_empty() && has_chars_up_to(name, MAX_CUSTOMER_CHARS))
        else {
            return Err(broken(format!("customer must be a text of 1 to {MAX_CUSTOMER_CHARS} characters")));
        };
        let feature_json = found("feature_json").filter(|raw| *raw != "null");
        if feature_json.is_some_and(|raw| !raw.starts_with('{')) {
            return Err(broken("feature_json must be a JSON object, such as {\"chars\": 12}"));
        }
        let optional = |name: &str, most: usize| match found(name) {
            None => Ok(None),
            Some("null") if name != "source_system" => Ok(None),
            Some(raw) => text(raw)
                .filter(|text| has_chars_up_to(text, most))
                .map(Some)
                .ok_or_else(|| broken(format!("{name} must be a text of at most {most} characters"))),
        };
        Ok(Event {
            activity_id,
            activity,
            customer,
            ts,
            feature_json,
            link: optional("link", MAX_LINK_CHARS)?,
            source_system: optional("source_system", MAX_TEXT_CHARS)?,
            source_version: optional("source_version", MAX_TEXT_CHARS)?,
            session_id: optional("session_id", MAX_TEXT_CHARS)?,
            query_tag: optional("query_tag", MAX_TEXT_CHARS)?,
            revenue_impact: found("revenue_impact").filter(|raw| *raw != "null").map(amount).transpose()?,
            accepted_at,
        })
    }
}

const NO_JSON: Refused = Refused::Broken(Cow::Borrowed("the line is not JSON"));

fn broken(reason: impl Into<Cow<'static, str>>) -> Refused {
    Refused::Broken(reason.into())
}

/// What kept a line from being read through.
fn meaning(error: &serde_json::Error, text: &str) -> Refused {
    let said = error.to_string();
    for reason in [json::TWICE, json::TOO_DEEP] {
        if said.starts_with(reason) {
            return broken(reason);
        }
    }
    if error.is_data() && !text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() {
        return broken("the line is not a JSON object");
    }
    NO_JSON
}

/// The entries of a line's object as they are written, in their order.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let (mut fields, mut keys) = (Vec::with_capacity(16), Keys::default());
                while let Some(key) = entries.next_key_seed(Key)? {
                    keys.add(key.clone());
                    fields.push((key, entries.next_value()?));
                }
                keys.check()?;
                Ok(Fields(fields))
            }
        }
        reader.deserialize_map(Entries)
    }
}

fn is_known(key: &str) -> bool {
    LOG_KEYS.contains(&key)
        || matches!(
            key,
            "activity_id"
                | "activity"
                | "customer"
                | "ts"
                | "feature_json"
                | "link"
                | "revenue_impact"
                | "source_system"
                | "source_version"
                | "session_id"
                | "query_tag"
                | "accepted_at"
        )
}

/// Is it a text in which every character stands for itself? Then there is nothing to be looked through.
fn is_plain_text(raw: &str) -> bool {
    raw.starts_with('"') && !raw.contains('\\')
}

/// The text that a value is, where it is one.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// An amount, written as a text or as a number; a number with a fraction is the shortest that is read as the same.
fn amount(raw: &str) -> Result<i128, Refused> {
    if let Some(text) = text(raw) {
        return micro_dollars(&text);
    }
    let is_fraction = raw.contains(['.', 'e', 'E']);
    match raw.parse::<f64>() {
        Ok(number) if is_fraction => micro_dollars(&number.to_string()),
        _ => micro_dollars(raw),
    }
}

fn has_chars_up_to(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().nth(most).is_none()
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
