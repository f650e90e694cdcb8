//! `EventRules`, `Events`.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator};
use cdesk_core::Error;
use cdesk_events::{Decoded, Kind, Refused, Rules};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyFrozenSet, PyString};

use crate::error::into_py;
use crate::exceptions::exceptions;

/// The rules of the event stream, in one place: what an event is, read from its line, once.
///
/// `payloads` gives the typed keys of each known activity's payload: by activity, by key, "text", "flag", "whole" or
/// "number". What depends on nothing of that stands in the rules themselves.
///
/// Raises InvalidOption for another type.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct EventRules {
    rules: Rules,
}

#[pymethods]
impl EventRules {
    #[new]
    fn new(py: Python<'_>, payloads: HashMap<String, HashMap<String, String>>) -> PyResult<Self> {
        let kinds = |keys: HashMap<String, String>| -> Option<_> {
            keys.into_iter().map(|(key, name)| Some((key, Kind::of(&name)?))).collect()
        };
        let payloads = payloads
            .into_iter()
            .map(|(activity, keys)| Some((activity, kinds(keys)?)))
            .collect::<Option<_>>();
        let reason = "must have text, flag, whole or number for each key";
        payloads
            .map(|payloads| Self { rules: Rules::new(payloads) })
            .ok_or_else(|| into_py(py, &Error::InvalidOption { option: "payloads", reason }))
    }

    /// Returns when the line is an event.
    ///
    /// Raises InvalidEvent: the first rule that it breaks.
    fn check(&self, py: Python<'_>, line: &[u8]) -> PyResult<()> {
        self.rules.read(line).map(drop).map_err(|refused| match refused {
            Refused::Broken(reason) => invalid_event(py, &reason),
            Refused::Drifted(reason) => {
                invalid_event(py, &format!("{reason}; mend the value or use another key"))
            }
        })
    }

    /// Reads lines into columns, each line once; what is no event is kept apart.
    ///
    /// Raises InvalidEvent: more than the columns can hold, which is 2 GiB of text in one of them.
    fn decode(&self, ndjson: &Bound<'_, PyBytes>) -> PyResult<Events> {
        let (py, bytes) = (ndjson.py(), ndjson.as_bytes());
        let decoded =
            py.detach(|| self.rules.decode(bytes)).map_err(|error| invalid_event(py, &error.to_string()))?;
        Ok(Events { decoded, ndjson: ndjson.clone().unbind() })
    }
}

/// Events as columns: an Arrow stream, which any engine that speaks Arrow reads without a copy. Made by
/// EventRules.decode: the first of each id and time, in the order of their lines.
///
/// Columns: activity_id, activity, customer, ts, feature_json (JSON as it was written), link, revenue_impact (decimal
/// of 38 digits, six places), source_system, source_version, session_id, query_tag, accepted_at; times are
/// microseconds in UTC, without a zone.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct Events {
    decoded: Decoded,
    ndjson: Py<PyBytes>,
}

impl Events {
    fn line<'py>(&self, py: Python<'py>, place: &Range<usize>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.ndjson.as_bytes(py).get(place.clone()).unwrap_or_default())
    }
}

#[pymethods]
impl Events {
    /// Whose they are.
    #[getter]
    fn customers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, &self.decoded.events.customers)
    }

    /// What they are.
    #[getter]
    fn activities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, &self.decoded.events.activities)
    }

    /// Stretches of time, first and last moment in microseconds since 1970, in which all events lie: `most` at most,
    /// cut at the widest gaps, so that one late event does not make a long stretch.
    fn stretches(&self, most: usize) -> Vec<(i64, i64)> {
        self.decoded.events.stretches(most)
    }

    /// How many lines are the event of a line before them once more.
    #[getter]
    fn duplicates(&self) -> usize {
        self.decoded.duplicates
    }

    /// The lines that are no events, each with the rule that it breaks.
    #[getter]
    fn refused<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, String)> {
        let reason = |refused: &Refused| match refused {
            Refused::Broken(reason) => reason.to_string(),
            Refused::Drifted(reason) => format!("schema drift: {reason}"),
        };
        self.decoded.refused.iter().map(|(place, refused)| (self.line(py, place), reason(refused))).collect()
    }

    /// Each event's line, as it was decoded.
    fn lines<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.decoded.events.lines.iter().map(|place| self.line(py, place)).collect()
    }

    fn __len__(&self) -> usize {
        self.decoded.events.rows.num_rows()
    }

    /// The Arrow PyCapsule interface: a stream of one batch. A requested schema is not looked at, as the interface
    /// allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let rows: RecordBatch = self.decoded.events.rows.clone();
        let schema = rows.schema();
        let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new([Ok(rows)], schema)));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}

/// An amount of US dollars as a text (12.5, -3, 1e3), in millionths.
///
/// Raises InvalidEvent: it is no finite decimal number, 1e15 or more, or finer than a millionth; nothing is rounded.
#[pyfunction]
pub(crate) fn micro_dollars(py: Python<'_>, amount: &Bound<'_, PyString>) -> PyResult<i128> {
    let text = amount.to_str().unwrap_or_default(); // half a character is no digit
    cdesk_events::micro_dollars(text).map_err(|reason| invalid_event(py, &reason.to_string()))
}

fn invalid_event(py: Python<'_>, reason: &str) -> PyErr {
    let raised = exceptions(py).and_then(|all| all.invalid_event.bind(py).call1((reason,)));
    raised.map_or_else(|failure| failure, PyErr::from_value)
}
