//! What is in a JSON value: its shape, and whether a key stands twice anywhere in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::payload::MAX_NUMBER;

/// How deeply a line may nest: as deeply as the log takes it.
const MAX_DEPTH: usize = 512;

/// The rules that only a walk can see broken, as people are told of them.
pub(crate) const TWICE: &str = "a key stands twice in an object, so what it says is open";
pub(crate) const TOO_DEEP: &str = "the line is nested too deeply to be looked through";

/// What a value is, as far as the rules ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Null,
    Flag,
    Text,
    /// A number without a fraction; `None` beyond 64 bits.
    Whole(Option<i64>),
    /// Any other number, and whether it is one that may be stored.
    Real {
        is_exact: bool,
    },
    List,
    Object,
}

/// The values of an object with their keys, as the walk comes by.
pub(crate) type Visit<'v> = dyn FnMut(&str, Shape) + 'v;

/// Walks through a value; the entries of the outermost object are shown to `visit`.
pub(crate) fn walk(text: &str, visit: &mut Visit<'_>) -> Result<Shape, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let shape = Walk { depth: 0, visit: Some(visit) }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(shape)
}

/// The keys of one object, none of which may stand twice.
#[derive(Default)]
pub(crate) struct Keys<'a>(Vec<Cow<'a, str>>);

impl<'a> Keys<'a> {
    pub(crate) fn add(&mut self, key: Cow<'a, str>) -> &str {
        self.0.push(key);
        self.0.last().map_or("", |key| key)
    }

    pub(crate) fn check<E: Error>(mut self) -> Result<(), E> {
        self.0.sort_unstable();
        if self.0.windows(2).any(|pair| pair.first() == pair.last()) { Err(E::custom(TWICE)) } else { Ok(()) }
    }
}

struct Walk<'w, 'v> {
    depth: usize,
    visit: Option<&'w mut Visit<'v>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Shape, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Flag)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Text)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Shape, E> {
        Ok(Shape::Whole(Some(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Shape, E> {
        Ok(Shape::Whole(i64::try_from(number).ok()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Shape, E> {
        if number == 0.0 {
            return Ok(Shape::Whole(Some(0))); // -0, which has no other form here
        }
        #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "below 2^53 it is exact")]
        let most = MAX_NUMBER as f64;
        Ok(Shape::Real { is_exact: number.abs() <= most })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let depth = deeper(self.depth)?;
        while items.next_element_seed(Walk { depth, visit: None })?.is_some() {}
        Ok(Shape::List)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Shape, A::Error> {
        let depth = deeper(self.depth)?;
        let mut keys = Keys::default();
        keys.0.reserve(8);
        while let Some(key) = entries.next_key_seed(Key)? {
            let key = keys.add(key);
            let shape = entries.next_value_seed(Walk { depth, visit: None })?;
            if let Some(visit) = &mut self.visit {
                visit(key, shape);
            }
        }
        keys.check()?;
        Ok(Shape::Object)
    }
}

fn deeper<E: Error>(depth: usize) -> Result<usize, E> {
    if depth == MAX_DEPTH { Err(E::custom(TOO_DEEP)) } else { Ok(depth + 1) }
}

/// A key, borrowed from the line where it can be.
pub(crate) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
