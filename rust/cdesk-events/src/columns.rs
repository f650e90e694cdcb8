//! A batch of lines as columns.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Decimal128Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use foldhash::{HashSet, HashSetExt};

use crate::line::{Event, Refused, Rules};

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DOLLARS: (u8, i8) = (38, 6);

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let json = [("ARROW:extension:name".to_owned(), "arrow.json".to_owned())];
    Arc::new(Schema::new(vec![
        Field::new("activity_id", DataType::Utf8, false),
        Field::new("activity", DataType::Utf8, false),
        Field::new("customer", DataType::Utf8, false),
        Field::new("ts", MOMENT, false),
        Field::new("feature_json", DataType::Utf8, true).with_metadata(json),
        Field::new("link", DataType::Utf8, true),
        Field::new("revenue_impact", DataType::Decimal128(DOLLARS.0, DOLLARS.1), true),
        Field::new("source_system", DataType::Utf8, true),
        Field::new("source_version", DataType::Utf8, true),
        Field::new("session_id", DataType::Utf8, true),
        Field::new("query_tag", DataType::Utf8, true),
        Field::new("accepted_at", MOMENT, true),
    ]))
});

/// The events of some lines, the first of each id and time, in the order of their lines.
#[derive(Debug, Clone)]
pub struct Columns {
    /// One row an event. Columns: the names of a line, of the types of the stream's table; times are in UTC.
    pub rows: RecordBatch,
    /// Where each event's line is in what was decoded.
    pub lines: Vec<Range<usize>>,
    /// Whose they are.
    pub customers: BTreeSet<String>,
    /// What they are.
    pub activities: BTreeSet<String>,
    times: Vec<i64>,
}

impl Columns {
    /// Stretches of time, first and last moment, in which all events lie: `most` at most, cut at the widest gaps.
    ///
    /// Whoever looks for what is stored of them looks there: one late event does not make a long stretch.
    #[must_use]
    pub fn stretches(&self, most: usize) -> Vec<(i64, i64)> {
        let (Some(&first), Some(&last)) = (self.times.first(), self.times.last()) else { return Vec::new() };
        let mut gaps: Vec<(i64, i64)> =
            self.times.iter().copied().zip(self.times.iter().copied().skip(1)).collect();
        gaps.sort_unstable_by_key(|(one, next)| std::cmp::Reverse(next - one));
        gaps.truncate(most.saturating_sub(1));
        gaps.sort_unstable();
        let begins = std::iter::once(first).chain(gaps.iter().map(|&(_, next)| next));
        let ends = gaps.iter().map(|&(one, _)| one).chain(std::iter::once(last));
        begins.zip(ends).collect()
    }
}

/// What some lines are.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The events.
    pub events: Columns,
    /// How many lines are the same event as one before them.
    pub duplicates: usize,
    /// Lines that are no events, and why.
    pub refused: Vec<(Range<usize>, Refused)>,
}

impl Rules {
    /// Reads lines into columns, each line once.
    ///
    /// # Errors
    ///
    /// The columns cannot hold so much text: 2 GiB in one of them.
    pub fn decode(&self, ndjson: &[u8]) -> Result<Decoded, ArrowError> {
        let mut columns = Builder::default();
        let mut seen = HashSet::new();
        let (mut lines, mut refused, mut duplicates) = (Vec::new(), Vec::new(), 0);
        let (mut customers, mut activities) = (BTreeSet::new(), BTreeSet::new());
        let mut begin = 0;
        for line in ndjson.split_inclusive(|byte| *byte == b'\n') {
            let whole = begin..begin + line.strip_suffix(b"\n").unwrap_or(line).len();
            begin += line.len();
            match self.read(line) {
                Err(reason) => refused.push((whole, reason)),
                Ok(event) if !seen.insert((event.id(), event.ts)) => duplicates += 1,
                Ok(event) => {
                    columns.add(&event);
                    lines.push(whole);
                    note(&mut customers, &event.customer);
                    note(&mut activities, &event.activity);
                }
            }
        }
        let mut times: Vec<i64> = seen.into_iter().map(|(_, ts)| ts).collect();
        times.sort_unstable();
        times.dedup();
        let events = Columns { rows: columns.finish()?, lines, customers, activities, times };
        Ok(Decoded { events, duplicates, refused })
    }
}

fn note(names: &mut BTreeSet<String>, name: &str) {
    if !names.contains(name) {
        names.insert(name.to_owned());
    }
}

#[derive(Default)]
struct Builder {
    activity_id: StringBuilder,
    activity: StringBuilder,
    customer: StringBuilder,
    ts: TimestampMicrosecondBuilder,
    feature_json: StringBuilder,
    link: StringBuilder,
    revenue_impact: Decimal128Builder,
    source_system: StringBuilder,
    source_version: StringBuilder,
    session_id: StringBuilder,
    query_tag: StringBuilder,
    accepted_at: TimestampMicrosecondBuilder,
}

impl Builder {
    fn add(&mut self, event: &Event<'_>) {
        self.activity_id.append_value(&event.activity_id);
        self.activity.append_value(&event.activity);
        self.customer.append_value(&event.customer);
        self.ts.append_value(event.ts);
        self.feature_json.append_option(event.feature_json);
        self.link.append_option(event.link.as_deref());
        self.revenue_impact.append_option(event.revenue_impact);
        self.source_system.append_option(event.source_system.as_deref());
        self.source_version.append_option(event.source_version.as_deref());
        self.session_id.append_option(event.session_id.as_deref());
        self.query_tag.append_option(event.query_tag.as_deref());
        self.accepted_at.append_option(event.accepted_at);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let dollars = self.revenue_impact.finish().with_precision_and_scale(DOLLARS.0, DOLLARS.1)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.activity_id.finish()),
            Arc::new(self.activity.finish()),
            Arc::new(self.customer.finish()),
            Arc::new(self.ts.finish()),
            Arc::new(self.feature_json.finish()),
            Arc::new(self.link.finish()),
            Arc::new(dollars),
            Arc::new(self.source_system.finish()),
            Arc::new(self.source_version.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.query_tag.finish()),
            Arc::new(self.accepted_at.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
    }
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
