//! One line of the log as an event, or the rule that it breaks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
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

impl Event<'_> {
    /// The id as a number.
    pub(crate) fn id(&self) -> u128 {
        self.activity_id
            .bytes()
            .filter_map(|digit| char::from(digit).to_digit(16))
            .fold(0, |id, digit| id << 4 | u128::from(digit))
    }
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
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| meaning(&error, text))?;
        let kinds = fields.text("activity").and_then(|activity| self.payloads.get(&*activity));
        let mut drift = None;
        for (name, raw) in fields.values().filter(|(_, raw)| !is_plain_text(raw)) {
            let kinds = kinds.filter(|_| name == "feature_json");
            let shape = json::walk(raw, &mut |key, shape| {
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

    fn event<'a>(&self, fields: &Fields<'a>) -> Result<Event<'a>, Refused> {
        if let Some((unknown, _)) =
            fields.others.iter().filter(|(key, _)| !LOG_KEYS.contains(&&**key)).min_by_key(|(key, _)| key)
        {
            let shown: String = unknown.chars().take(UNKNOWN_KEY_CHARS).collect();
            return Err(broken(format!("unknown field '{}'", shown.escape_debug())));
        }
        let required = ["activity", "activity_id", "customer", "ts"];
        if let Some(missing) = required.into_iter().find(|name| fields.raw(name).is_none()) {
            return Err(broken(format!("field '{missing}' is missing")));
        }
        let moment = |name| fields.raw(name).map(|raw| time::micros(name, text(raw).as_deref())).transpose();
        let (ts, accepted_at) = (moment("ts")?.unwrap_or_default(), moment("accepted_at")?);
        let activity = match fields.text("activity") {
            Some(name) if names::is_name(&name) => name,
            name => return Err(names::malformed(name.as_deref(), self.payloads.keys().map(String::as_str))),
        };
        let Some(activity_id) = fields.text("activity_id").filter(|id| is_uuid(id)) else {
            return Err(broken("activity_id must be a UUID in lower-case canonical spelling"));
        };
        let is_customer = |name: &Cow<'_, str>| !name.is_empty() && has_chars_up_to(name, MAX_CUSTOMER_CHARS);
        let Some(customer) = fields.text("customer").filter(is_customer) else {
            return Err(broken(format!("customer must be a text of 1 to {MAX_CUSTOMER_CHARS} characters")));
        };
        let feature_json = fields.given("feature_json");
        if feature_json.is_some_and(|raw| !raw.starts_with('{')) {
            return Err(broken("feature_json must be a JSON object, such as {\"chars\": 12}"));
        }
        let source_system =
            fields.raw("source_system").map(|raw| short_text("source_system", raw, MAX_TEXT_CHARS));
        let optional = |name, most| fields.given(name).map(|raw| short_text(name, raw, most)).transpose();
        Ok(Event {
            activity_id,
            activity,
            customer,
            ts,
            feature_json,
            link: optional("link", MAX_LINK_CHARS)?,
            source_system: source_system.transpose()?,
            source_version: optional("source_version", MAX_TEXT_CHARS)?,
            session_id: optional("session_id", MAX_TEXT_CHARS)?,
            query_tag: optional("query_tag", MAX_TEXT_CHARS)?,
            revenue_impact: fields.given("revenue_impact").map(amount).transpose()?,
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

/// The fields of an event, in the order in which they are kept.
const NAMES: [&str; 12] = [
    "activity_id",
    "activity",
    "customer",
    "ts",
    "feature_json",
    "link",
    "revenue_impact",
    "source_system",
    "source_version",
    "session_id",
    "query_tag",
    "accepted_at",
];

/// A line's object as it is written.
#[derive(Default)]
struct Fields<'a> {
    /// The value of each of `NAMES`, where there is one.
    known: [Option<&'a RawValue>; NAMES.len()],
    /// What has another name, in its order.
    others: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// A field's value as it is written.
    fn raw(&self, name: &str) -> Option<&'a str> {
        let place = NAMES.iter().position(|one| *one == name)?;
        self.known.get(place).copied().flatten().map(RawValue::get)
    }

    /// A field's value, where it is not null.
    fn given(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).and_then(text)
    }

    fn values(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let known =
            NAMES.iter().zip(&self.known).filter_map(|(name, value)| Some((*name, value.as_ref()?.get())));
        known.chain(self.others.iter().map(|(name, value)| (&**name, value.get())))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let (mut fields, mut keys) = (Fields::default(), Keys::default());
                while let Some(key) = entries.next_key_seed(Key)? {
                    let value = entries.next_value()?;
                    let place = NAMES.iter().position(|name| *name == key);
                    if let Some(slot) = place.and_then(|place| fields.known.get_mut(place)) {
                        if slot.replace(value).is_some() {
                            return Err(Error::custom(json::TWICE));
                        }
                    } else {
                        keys.add(key.clone());
                        fields.others.push((key, value));
                    }
                }
                keys.check()?;
                Ok(fields)
            }
        }
        reader.deserialize_map(Entries)
    }
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

fn short_text<'a>(name: &str, raw: &'a str, most: usize) -> Result<Cow<'a, str>, Refused> {
    text(raw)
        .filter(|text| has_chars_up_to(text, most))
        .ok_or_else(|| broken(format!("{name} must be a text of at most {most} characters")))
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
