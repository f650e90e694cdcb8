//! One line of the log as an event, or the rule that it breaks.

use std::borrow::Cow;
use std::fmt;

use foldhash::HashMap;
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

/// The typed keys of each known activity's payload: by activity, by key.
pub type Payloads = HashMap<String, HashMap<String, Kind>>;

/// The rules of the stream. What depends on the catalogue of activities is given at the start; the rest stands here.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    payloads: Payloads,
}

impl Rules {
    /// The rules, with the typed keys of each known activity's payload.
    #[must_use]
    pub fn new(payloads: Payloads) -> Self {
        Self { payloads }
    }

    /// The event in one line, without the log's own fields.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn read<'a>(&self, line: &'a [u8]) -> Result<Event<'a>, Refused> {
        let written = std::str::from_utf8(line).map_err(|_| NO_JSON)?.trim_matches([' ', '\t', '\r', '\n']);
        let fields: Fields<'_> = serde_json::from_str(written).map_err(|error| meaning(&error, written))?;
        let mut drift = None;
        if let Some(payload) = fields.feature_json {
            let kinds = fields.activity.and_then(text).and_then(|activity| self.payloads.get(&*activity));
            json::walk(payload.get(), &mut |key, shape| {
                let kind = kinds.and_then(|kinds| kinds.get(key));
                if let Some(kind) = kind.filter(|kind| drift.is_none() && !kind.fits(shape)) {
                    drift = Some((key.to_owned(), *kind));
                }
            })
            .map_err(|error| meaning(&error, written))?;
        }
        for value in fields.beside_the_payload().filter(|value| !is_plain(value.get())) {
            json::walk(value.get(), &mut |_, _| ()).map_err(|error| meaning(&error, written))?;
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
        let (Some(activity), Some(activity_id), Some(customer), Some(ts)) =
            (fields.activity, fields.activity_id, fields.customer, fields.ts)
        else {
            let required = [
                ("activity", fields.activity),
                ("activity_id", fields.activity_id),
                ("customer", fields.customer),
                ("ts", fields.ts),
            ];
            let missing = required.iter().find(|(_, value)| value.is_none()).map_or("", |(name, _)| name);
            return Err(broken(format!("field '{missing}' is missing")));
        };
        let ts = time::micros("ts", text(ts).as_deref())?;
        let accepted_at = fields.accepted_at.map(|value| time::micros("accepted_at", text(value).as_deref()));
        let accepted_at = accepted_at.transpose()?;
        let activity = match text(activity) {
            Some(name) if names::is_name(&name) => name,
            name => return Err(names::malformed(name.as_deref(), self.payloads.keys().map(String::as_str))),
        };
        let Some(activity_id) = text(activity_id).filter(|id| is_uuid(id)) else {
            return Err(broken("activity_id must be a UUID in lower-case canonical spelling"));
        };
        let is_customer = |name: &Cow<'_, str>| !name.is_empty() && has_chars_up_to(name, MAX_CUSTOMER_CHARS);
        let Some(customer) = text(customer).filter(is_customer) else {
            return Err(broken(format!("customer must be a text of 1 to {MAX_CUSTOMER_CHARS} characters")));
        };
        let feature_json = given(fields.feature_json).map(RawValue::get);
        if feature_json.is_some_and(|raw| !raw.starts_with('{')) {
            return Err(broken("feature_json must be a JSON object, such as {\"chars\": 12}"));
        }
        Ok(Event {
            activity_id,
            activity,
            customer,
            ts,
            feature_json,
            link: short_text("link", given(fields.link), MAX_LINK_CHARS)?,
            source_system: short_text("source_system", fields.source_system, MAX_TEXT_CHARS)?,
            source_version: short_text("source_version", given(fields.source_version), MAX_TEXT_CHARS)?,
            session_id: short_text("session_id", given(fields.session_id), MAX_TEXT_CHARS)?,
            query_tag: short_text("query_tag", given(fields.query_tag), MAX_TEXT_CHARS)?,
            revenue_impact: given(fields.revenue_impact).map(amount).transpose()?,
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

/// A line's object as it is written: the value of each field that is there.
#[derive(Default)]
struct Fields<'a> {
    activity_id: Option<&'a RawValue>,
    activity: Option<&'a RawValue>,
    customer: Option<&'a RawValue>,
    ts: Option<&'a RawValue>,
    feature_json: Option<&'a RawValue>,
    link: Option<&'a RawValue>,
    revenue_impact: Option<&'a RawValue>,
    source_system: Option<&'a RawValue>,
    source_version: Option<&'a RawValue>,
    session_id: Option<&'a RawValue>,
    query_tag: Option<&'a RawValue>,
    accepted_at: Option<&'a RawValue>,
    /// What has another name, in its order.
    others: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The place of a field; `None` for another name.
    fn place(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            "activity_id" => &mut self.activity_id,
            "activity" => &mut self.activity,
            "customer" => &mut self.customer,
            "ts" => &mut self.ts,
            "feature_json" => &mut self.feature_json,
            "link" => &mut self.link,
            "revenue_impact" => &mut self.revenue_impact,
            "source_system" => &mut self.source_system,
            "source_version" => &mut self.source_version,
            "session_id" => &mut self.session_id,
            "query_tag" => &mut self.query_tag,
            "accepted_at" => &mut self.accepted_at,
            _ => return None,
        })
    }

    /// Every value but the payload.
    fn beside_the_payload(&self) -> impl Iterator<Item = &'a RawValue> {
        let named = [
            self.activity_id,
            self.activity,
            self.customer,
            self.ts,
            self.link,
            self.revenue_impact,
            self.source_system,
            self.source_version,
            self.session_id,
            self.query_tag,
            self.accepted_at,
        ];
        named.into_iter().flatten().chain(self.others.iter().map(|(_, value)| *value))
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
                    if let Some(place) = fields.place(&key) {
                        if place.replace(value).is_some() {
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

/// Is there anything in it to be looked through? Not in a number, nor in a text in which every character stands for
/// itself.
fn is_plain(raw: &str) -> bool {
    !raw.starts_with(['{', '[']) && !raw.contains('\\')
}

/// A value that is not null.
fn given(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

/// The text that a value is, where it is one.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// An amount, written as a text or as a number; a number with a fraction is the shortest that is read as the same.
fn amount(value: &RawValue) -> Result<i128, Refused> {
    if let Some(text) = text(value) {
        return micro_dollars(&text);
    }
    let raw = value.get();
    match raw.parse::<f64>() {
        Ok(number) if raw.contains(['.', 'e', 'E']) => micro_dollars(&number.to_string()),
        _ => micro_dollars(raw),
    }
}

fn short_text<'a>(
    name: &str,
    value: Option<&'a RawValue>,
    most: usize,
) -> Result<Option<Cow<'a, str>>, Refused> {
    let Some(value) = value else { return Ok(None) };
    match text(value).filter(|text| has_chars_up_to(text, most)) {
        Some(text) => Ok(Some(text)),
        None => Err(broken(format!("{name} must be a text of at most {most} characters"))),
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
