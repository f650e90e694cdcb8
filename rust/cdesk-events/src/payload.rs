//! Typed payloads: which keys of `feature_json` have a type, by activity.
//!
//! A missing key and an extra key are fine; a key with a value of another type, or with a number beyond
//! [`MAX_NUMBER`], is *schema drift*.

use crate::json::Shape;

/// The largest number, of either sign: every reader of JSON reads it exactly, and more of them than a stream can hold
/// fit into a sum.
pub const MAX_NUMBER: i64 = (1 << 53) - 1;

/// What a key's value must be; null is as good as no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// True or false.
    Flag,
    /// A number without a fraction.
    Whole,
    /// Any number.
    Number,
}

impl Kind {
    /// The kind of a name: `text`, `flag`, `whole` or `number`.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "flag" => Self::Flag,
            "whole" => Self::Whole,
            "number" => Self::Number,
            _ => return None,
        })
    }

    /// As it stands in a reason.
    pub(crate) fn described(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Flag => "true or false",
            Self::Whole => "a whole number up to 2^53 - 1",
            Self::Number => "a number up to 2^53 - 1",
        }
    }

    pub(crate) fn fits(self, shape: Shape) -> bool {
        match (self, shape) {
            (_, Shape::Null)
            | (Self::Text, Shape::Text)
            | (Self::Flag, Shape::Flag)
            | (Self::Number, Shape::Real { is_exact: true }) => true,
            (Self::Whole | Self::Number, Shape::Whole(number)) => {
                number.is_some_and(|number| (-MAX_NUMBER..=MAX_NUMBER).contains(&number))
            }
            _ => false,
        }
    }
}
