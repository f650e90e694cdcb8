//! The rules of the event stream, in one place: what an event is, read from its line in the log, once, into columns.
//!
//! [`Rules::read`] reads one line or says which rule it breaks; [`Rules::decode`] reads a batch of lines into
//! [`Columns`], the types of which are those of the stream's table, and keeps the lines that are no events apart.
//!
//! Invariants:
//! - A line is an event or is refused, whole; which one does not depend on the lines beside it.
//! - A reason names the field and the rule, never a value; of a key nobody knows it names the key.
//! - What is stored of a payload is its text in the line, byte for byte.
//! - No nesting overflows the stack. No amount is rounded, but for what a JSON number itself loses.

#![forbid(unsafe_code)]

mod columns;
mod dollars;
mod json;
mod line;
mod names;
mod payload;
mod time;

pub use columns::{Columns, Decoded};
pub use dollars::micro_dollars;
pub use line::{Event, MAX_CUSTOMER_CHARS, MAX_LINK_CHARS, Payloads, Refused, Rules};
pub use names::MAX_NAME_CHARS;
pub use payload::{Kind, MAX_NUMBER};
