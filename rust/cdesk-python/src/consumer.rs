//! `Consumer`, `backlog` and `queue_depth`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cdesk_core::{BatchLimits, Error, Position};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::enter::detached;
use crate::error::into_py;
use crate::queue::{count, seconds};

/// One named reader of the log.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct Consumer {
    directory: PathBuf,
    name: String,
    /// A fork may have got the mutex while another thread had it: it must not wait for it.
    process_id: u32,
    /// `None` after `close`.
    inner: Mutex<Option<cdesk_core::Consumer>>,
}

impl Consumer {
    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        let (opened_by, called_by) = (self.process_id, std::process::id());
        if opened_by == called_by {
            return Ok(());
        }
        Err(into_py(py, &Error::ForkDetected { opened_by, called_by }))
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut cdesk_core::Consumer) -> cdesk_core::Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process(py)?;
        detached(py, || {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let consumer =
                inner.as_mut().ok_or_else(|| Error::QueueClosed { path: self.directory.clone() })?;
            work(consumer)
        })
    }
}

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (directory, name="uploader"))]
    fn new(py: Python<'_>, directory: PathBuf, name: &str) -> PyResult<Self> {
        let inner = detached(py, || cdesk_core::Consumer::open(&directory, name))?;
        let process_id = std::process::id();
        Ok(Self { directory, name: name.to_owned(), process_id, inner: Mutex::new(Some(inner)) })
    }

    #[pyo3(signature = (max_lines=10_000, max_bytes=8_388_608))]
    fn next_batch(&self, py: Python<'_>, max_lines: i64, max_bytes: i64) -> PyResult<Option<Batch>> {
        let (max_lines, max_bytes) = (count(py, "max_lines", max_lines)?, count(py, "max_bytes", max_bytes)?);
        let limits = BatchLimits::default().max_lines(max_lines).max_bytes(max_bytes);
        let batch = self.with(py, |consumer| consumer.next_batch(limits))?;
        Ok(batch.map(|batch| Batch {
            ndjson: PyBytes::new(py, &batch.ndjson).unbind(),
            lines: batch.lines,
            position: batch.position,
        }))
    }

    fn commit(&self, py: Python<'_>, batch: &Batch) -> PyResult<()> {
        self.with(py, |consumer| consumer.commit(&batch.position))
    }

    fn seek(&self, py: Python<'_>, position: &str) -> PyResult<()> {
        let position = parse(py, position)?;
        self.with(py, |consumer| consumer.seek(&position))
    }

    fn depth(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, cdesk_core::Consumer::depth)
    }

    #[pyo3(signature = (position, *, min_age_s))]
    fn prune(&self, py: Python<'_>, position: &str, min_age_s: f64) -> PyResult<u64> {
        let position = parse(py, position)?;
        let min_age = seconds(py, "min_age_s", min_age_s)?;
        self.with(py, |consumer| consumer.prune(&position, min_age))
    }

    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |consumer| Ok(consumer.position().to_string()))
    }

    fn unregister(&self, py: Python<'_>) -> PyResult<()> {
        self.check_process(py)?;
        detached(py, || match self.inner.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(consumer) => consumer.unregister(),
            None => Err(Error::QueueClosed { path: self.directory.clone() }),
        })
    }

    fn troubles(&self, py: Python<'_>) -> PyResult<Vec<Trouble>> {
        let troubles = self.with(py, |consumer| Ok(consumer.troubles()))?;
        let seen = troubles.into_iter().map(|trouble| Trouble {
            segment: trouble.segment.to_string(),
            error: into_py(py, &trouble.error).into_value(py).into_any(),
        });
        Ok(seen.collect())
    }

    fn stats(&self, py: Python<'_>) -> PyResult<ConsumerStats> {
        let stats = self.with(py, |consumer| Ok(consumer.stats()))?;
        Ok(ConsumerStats {
            lines: stats.lines,
            bytes: stats.bytes,
            batches: stats.batches,
            segments: stats.segments,
            pruned_segments: stats.pruned_segments,
            troubled_segments: stats.troubled_segments,
            torn_bytes: stats.torn_bytes,
            damaged_lines: stats.damaged_lines,
            quarantined_bytes: stats.quarantined_bytes,
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.check_process(py).is_err() {
            return Ok(()); // nothing in it is the fork's
        }
        detached(py, || {
            drop(self.inner.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(())
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        format!("Consumer('{}', '{}')", self.directory.display(), self.name)
    }
}

fn parse(py: Python<'_>, position: &str) -> PyResult<Position> {
    position.parse().map_err(|error| into_py(py, &error))
}

/// Lines to be delivered together.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct Batch {
    #[pyo3(get)]
    ndjson: Py<PyBytes>,
    #[pyo3(get)]
    lines: usize,
    position: Position,
}

#[pymethods]
impl Batch {
    #[getter]
    fn position(&self) -> String {
        self.position.to_string()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        // Never the payload.
        let bytes = self.ndjson.bind(py).as_bytes().len();
        format!("Batch(lines={}, bytes={bytes}, position='{}')", self.lines, self.position)
    }
}

/// What a consumer has done since it was opened.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct ConsumerStats {
    lines: u64,
    bytes: u64,
    batches: u64,
    segments: u64,
    pruned_segments: u64,
    troubled_segments: u64,
    torn_bytes: u64,
    damaged_lines: u64,
    quarantined_bytes: u64,
}

#[pymethods]
impl ConsumerStats {
    fn __repr__(&self) -> String {
        format!(
            "ConsumerStats(lines={}, bytes={}, batches={}, segments={}, pruned_segments={}, \
             troubled_segments={}, torn_bytes={}, damaged_lines={}, quarantined_bytes={})",
            self.lines,
            self.bytes,
            self.batches,
            self.segments,
            self.pruned_segments,
            self.troubled_segments,
            self.torn_bytes,
            self.damaged_lines,
            self.quarantined_bytes
        )
    }
}

/// What keeps one segment waiting.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct Trouble {
    segment: String,
    error: Py<PyAny>,
}

#[pymethods]
impl Trouble {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Trouble(segment='{}', error={})", self.segment, self.error.bind(py).repr()?))
    }
}

/// What waits for one consumer.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct Backlog {
    lines: u64,
    segments: u64,
    unreadable_segments: u64,
    bytes: u64,
    has_consumer: bool,
}

#[pymethods]
impl Backlog {
    fn __repr__(&self) -> String {
        let has_consumer = if self.has_consumer { "True" } else { "False" };
        format!(
            "Backlog(lines={}, segments={}, unreadable_segments={}, bytes={}, has_consumer={has_consumer})",
            self.lines, self.segments, self.unreadable_segments, self.bytes
        )
    }
}

/// Looks at a log without a lease and without changing anything.
#[pyfunction]
#[pyo3(signature = (directory, name="uploader"))]
pub(crate) fn backlog(py: Python<'_>, directory: PathBuf, name: &str) -> PyResult<Backlog> {
    let backlog = detached(py, move || cdesk_core::backlog(directory, name))?;
    Ok(Backlog {
        lines: backlog.lines,
        segments: backlog.segments,
        unreadable_segments: backlog.unreadable_segments,
        bytes: backlog.bytes,
        has_consumer: backlog.has_consumer,
    })
}

/// The names of the consumers for which segments are kept.
#[pyfunction]
pub(crate) fn registered(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<String>> {
    detached(py, move || cdesk_core::registered(directory))
}

/// Lines appended minus lines committed by the consumer of that name.
#[pyfunction]
#[pyo3(signature = (directory, name="uploader"))]
pub(crate) fn queue_depth(py: Python<'_>, directory: PathBuf, name: &str) -> PyResult<u64> {
    detached(py, move || cdesk_core::backlog(directory, name)).map(|backlog| backlog.lines)
}
