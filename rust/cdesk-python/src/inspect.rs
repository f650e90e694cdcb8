//! `inspect`, `SegmentView` and `Damage`.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cdesk_core::{BatchLimits, SegmentState};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::enter::detached;
use crate::error::into_py;
use crate::queue::count;

/// One damaged stretch of a segment.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct Damage {
    /// Where it starts in the file.
    offset: u64,
    /// How many bytes are bad; 0 where lines are missing without a trace.
    bytes: u64,
    /// Lines that are missing because of it.
    missing_lines: u64,
}

#[pymethods]
impl Damage {
    fn __repr__(&self) -> String {
        format!("Damage(offset={}, bytes={}, missing_lines={})", self.offset, self.bytes, self.missing_lines)
    }
}

/// One segment, to be looked at. Counts are of what was read so far.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct SegmentView {
    /// The name of the file.
    #[pyo3(get)]
    name: String,
    /// The queue that wrote it, as 8 hex digits.
    #[pyo3(get)]
    writer: String,
    /// When it was created, by the wall clock of its writer.
    #[pyo3(get)]
    created_unix_ms: u64,
    /// When it had last changed at the call of inspect.
    #[pyo3(get)]
    modified_unix_ms: u64,
    /// Its size on disk at the call of inspect, with the zeros written ahead.
    #[pyo3(get)]
    bytes: u64,
    inner: Mutex<cdesk_core::SegmentView>,
}

impl SegmentView {
    fn new(inner: cdesk_core::SegmentView) -> Self {
        Self {
            name: inner.name().to_string(),
            writer: format!("{:08x}", inner.name().writer()),
            created_unix_ms: inner.name().unix_ms(),
            modified_unix_ms: inner.modified_unix_ms(),
            bytes: inner.bytes(),
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, cdesk_core::SegmentView> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for another thread's read without holding it up.
    fn look<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&cdesk_core::SegmentView) -> T + Send,
    ) -> PyResult<T> {
        detached(py, || Ok(work(&self.lock())))
    }
}

#[pymethods]
impl SegmentView {
    /// The next good lines as they stand in the log, each with its \n; b"" when there are none for now.
    ///
    /// It holds one line at least, however long. Raises InvalidOption, OSError, UnsupportedFormat.
    #[pyo3(signature = (max_lines=10_000, max_bytes=8_388_608))]
    fn read<'py>(&self, py: Python<'py>, max_lines: i64, max_bytes: i64) -> PyResult<Bound<'py, PyBytes>> {
        let (max_lines, max_bytes) = (count(py, "max_lines", max_lines)?, count(py, "max_bytes", max_bytes)?);
        let limits = BatchLimits::default().max_lines(max_lines).max_bytes(max_bytes);
        let ndjson = detached(py, || self.lock().read(limits))?;
        Ok(PyBytes::new(py, &ndjson))
    }

    /// Checks every line from here on to the end, as it is for now. Raises as read.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.lock().check())
    }

    /// Its writer lives; finished it; died, or left it after an error; or it cannot be read. By what was seen last.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        let state = self.look(py, cdesk_core::SegmentView::state)?;
        Ok(match state {
            SegmentState::Open => "open",
            SegmentState::Sealed => "sealed",
            SegmentState::Abandoned => "abandoned",
            _ => "unreadable",
        })
    }

    /// What kept it from being read when that was tried last.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let error = self.look(py, |view| view.error().cloned())?;
        Ok(error.map(|error| into_py(py, &error).into_value(py).into_any()))
    }

    /// Was it read to an end that will not move any more?
    #[getter]
    fn is_ended(&self, py: Python<'_>) -> PyResult<bool> {
        self.look(py, cdesk_core::SegmentView::is_ended)
    }

    /// Good lines.
    #[getter]
    fn lines(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |view| view.findings().lines)
    }

    /// Their bytes, with what the log adds.
    #[getter]
    fn line_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |view| view.findings().line_bytes)
    }

    /// Bytes that a crash left at the end. Normal: they were never acknowledged.
    #[getter]
    fn torn_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |view| view.findings().torn_bytes)
    }

    /// Lines that were written whole and cannot be read any more: the holes in _seq.
    #[getter]
    fn missing_lines(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |view| view.findings().missing_lines)
    }

    /// Where, oldest first.
    #[getter]
    fn damage(&self, py: Python<'_>) -> PyResult<Vec<Damage>> {
        let found = self.look(py, |view| view.findings().damage)?;
        let damage = found.into_iter().map(|damage| Damage {
            offset: damage.offset,
            bytes: damage.bytes,
            missing_lines: damage.missing_lines,
        });
        Ok(damage.collect())
    }

    fn __repr__(&self) -> String {
        format!("SegmentView('{}')", self.name)
    }
}

/// The segments of a log, oldest first, without a lease and without changing anything. No directory, none.
///
/// Lines are judged exactly as a Consumer judges them. Raises UnsafeDirectory, OSError.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<SegmentView>> {
    let views = detached(py, move || cdesk_core::inspect(directory))?;
    Ok(views.into_iter().map(SegmentView::new).collect())
}
