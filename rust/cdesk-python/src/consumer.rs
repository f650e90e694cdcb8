//! `Consumer`, `backlog` and `queue_depth`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cdesk_core::{BatchLimits, Error, Position};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::enter::detached;
use crate::error::into_py;
use crate::queue::{count, seconds};

/// One named reader of the log: it gives out good lines, once each, a batch in the order (segment, sequence).
///
/// It takes the lease of its name and registers: from then on, until unregister, no segment is deleted before it is
/// past it. It stands where the consumer of that name last committed, or at the oldest line.
///
/// A segment that cannot be read delays only itself: the others go on, `troubles` names it, and its lines come when it
/// can be read again, after those that have overtaken them.
///
/// Raises LeaseHeld, LockHeld, InvalidName, UnsafeDirectory, OSError.
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

    /// The next lines, None when there are none for now. A batch has at least one line, however long.
    ///
    /// It moves on whether or not the last batch was committed. A batch that was not delivered is kept by the
    /// caller, or read again after seek.
    ///
    /// Raises InvalidOption, OSError when the directory cannot be read, QueueClosed, ForkDetected.
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

    /// Remembers, durably, that this batch and all before it are consumed. It never moves backwards.
    ///
    /// `safe` is for a sink that may fall back, to its last checkpoint for example: the position of what it has whatever
    /// happens. Other consumers delete nothing beyond it. Without it, the batch is safe.
    ///
    /// It overwrites a file that is there, so it needs no space, but for every 430 segments more than there were. On a full
    /// disk it then raises OSError and has remembered the oldest segments alone: prune them, and commit again.
    ///
    /// Raises InvalidPosition, OSError, QueueClosed, ForkDetected.
    #[pyo3(signature = (batch, *, safe=None))]
    fn commit(&self, py: Python<'_>, batch: &Batch, safe: Option<&str>) -> PyResult<()> {
        let safe = safe.map(|safe| parse(py, safe)).transpose()?;
        let safe = safe.as_ref().unwrap_or(&batch.position);
        self.with(py, |consumer| consumer.commit_ahead(&batch.position, safe))
    }

    /// Stands at a position that the sink has: it knows better than the local file. "1" is the oldest line.
    ///
    /// Where that is backwards it is durable, so that no other consumer deletes what is to come again; forwards it is
    /// with the next commit. A position may name segments that are gone. It waits while another consumer registers or
    /// deletes.
    ///
    /// Raises InvalidPosition, LockHeld, OSError, QueueClosed, ForkDetected.
    fn seek(&self, py: Python<'_>, position: &str) -> PyResult<()> {
        let position = parse(py, position)?;
        self.with(py, |consumer| consumer.seek(&position))
    }

    /// Lines appended minus lines committed, over all segments that can be read.
    ///
    /// Raises OSError when the directory cannot be read, QueueClosed, ForkDetected.
    fn depth(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, cdesk_core::Consumer::depth)
    }

    /// Deletes segments that nobody needs, durably, and says how many, with those that an earlier call deleted and
    /// could not make durable.
    ///
    /// Those are finished (sealed, or their writer has died), unchanged for min_age_s, and wholly within what every
    /// registered consumer says is safe: for this one that is `position`, which the sink has checkpointed, and which
    /// other consumers go by from now on. Those whose damage has no copy yet stay; empty ones of dead writers go. One that cannot be looked at or
    /// deleted is passed over, and is among the troubles. It deletes none while another consumer registers or deletes.
    ///
    /// Raises InvalidPosition, InvalidOption, OSError, QueueClosed, ForkDetected.
    #[pyo3(signature = (position, *, min_age_s))]
    fn prune(&self, py: Python<'_>, position: &str, min_age_s: f64) -> PyResult<u64> {
        let position = parse(py, position)?;
        let min_age = seconds(py, "min_age_s", min_age_s)?;
        self.with(py, |consumer| consumer.prune(&position, min_age))
    }

    /// What was committed, or taken over with seek: what to prune by where there is nothing better to go by.
    ///
    /// Raises QueueClosed, ForkDetected.
    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |consumer| Ok(consumer.position().to_string()))
    }

    /// Takes the registration back, durably, and closes: nothing waits for this name any more.
    ///
    /// What the consumer has not consumed may be deleted from now on.
    ///
    /// Raises OSError, QueueClosed, ForkDetected.
    fn unregister(&self, py: Python<'_>) -> PyResult<()> {
        self.check_process(py)?;
        detached(py, || match self.inner.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(consumer) => consumer.unregister(),
            None => Err(Error::QueueClosed { path: self.directory.clone() }),
        })
    }

    /// What keeps segments waiting: those that could not be read, copied from or deleted when last tried.
    ///
    /// Raises QueueClosed, ForkDetected.
    fn troubles(&self, py: Python<'_>) -> PyResult<Vec<Trouble>> {
        let troubles = self.with(py, |consumer| Ok(consumer.troubles()))?;
        let seen = troubles.into_iter().map(|trouble| Trouble {
            segment: trouble.segment.to_string(),
            error: into_py(py, &trouble.error).into_value(py).into_any(),
        });
        Ok(seen.collect())
    }

    /// What this consumer has done since it was opened. Raises QueueClosed, ForkDetected.
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
            copied_bytes: stats.copied_bytes,
        })
    }

    /// Gives the lease back. Once is enough.
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
    /// The lines as they stand in the log, with _seq, _log and _crc, each with its \n.
    #[pyo3(get)]
    ndjson: Py<PyBytes>,
    /// How many there are; at least 1.
    #[pyo3(get)]
    lines: usize,
    position: Position,
}

#[pymethods]
impl Batch {
    /// Where the consumer stands when this batch and all before it are consumed.
    ///
    /// Printable ASCII without quotes, spaces or backslashes. Keep it with the data and pass it to seek and prune.
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
    /// Lines given out.
    lines: u64,
    /// Their bytes.
    bytes: u64,
    /// Batches given out.
    batches: u64,
    /// Segments there were when it looked for them last.
    segments: u64,
    /// Segments deleted.
    pruned_segments: u64,
    /// Segments that wait because something about them fails; Consumer.troubles says what. Alert on it.
    troubled_segments: u64,
    /// Bytes that crashes left at the ends of segments. Normal: they were never acknowledged.
    torn_bytes: u64,
    /// Lines that were written whole and cannot be read any more. Alert on it.
    damaged_lines: u64,
    /// Damaged bytes that were found and have a copy in damaged/, whoever made it.
    copied_bytes: u64,
}

#[pymethods]
impl ConsumerStats {
    fn __repr__(&self) -> String {
        format!(
            "ConsumerStats(lines={}, bytes={}, batches={}, segments={}, pruned_segments={}, \
             troubled_segments={}, torn_bytes={}, damaged_lines={}, copied_bytes={})",
            self.lines,
            self.bytes,
            self.batches,
            self.segments,
            self.pruned_segments,
            self.troubled_segments,
            self.torn_bytes,
            self.damaged_lines,
            self.copied_bytes
        )
    }
}

/// What keeps one segment waiting.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct Trouble {
    /// The name of its file.
    segment: String,
    /// What failed when it was tried last.
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
    /// Lines appended minus lines committed, in the segments that can be read.
    lines: u64,
    /// Segments in the directory.
    segments: u64,
    /// Of those, the ones that cannot be read; inspect says why.
    unreadable_segments: u64,
    /// Their size on disk, with the zeros written ahead, as far as it is known.
    bytes: u64,
    /// Does a process hold the consumer's lease now?
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

/// Looks at a log without a lease and without changing anything. No directory, no backlog.
///
/// Raises UnsafeDirectory, InvalidName, OSError.
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

/// The names of the consumers for which segments are kept, in order. No directory, none.
///
/// Raises UnsafeDirectory, OSError.
#[pyfunction]
pub(crate) fn registered(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<String>> {
    detached(py, move || cdesk_core::registered(directory))
}

/// `backlog(directory, name).lines`.
#[pyfunction]
#[pyo3(signature = (directory, name="uploader"))]
pub(crate) fn queue_depth(py: Python<'_>, directory: PathBuf, name: &str) -> PyResult<u64> {
    detached(py, move || cdesk_core::backlog(directory, name)).map(|backlog| backlog.lines)
}
