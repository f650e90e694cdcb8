//! `Queue`.

use std::path::PathBuf;
use std::time::Duration;

use cdesk_core::Error;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::enter::detached;
use crate::error::into_py;

/// The writing end of the log. Threads, and event loops, may share one.
///
/// The directory is created (0700) when it is missing; nothing is written into it before the first append. Any
/// number of processes may each have a Queue on the same directory. Not usable in a fork: open a new one there.
///
/// durability: "fsync" (default) waits until the device has the line, so that it survives process kill, operating
/// system crash and power loss; "os" until the operating system has it, so that it survives the process only.
///
/// A segment is sealed when it has max_segment_bytes (1 at least), and by the first append after max_segment_age_s.
///
/// Raises InvalidOption, UnsafeDirectory, OSError.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct Queue {
    pub(crate) inner: cdesk_core::Queue,
    directory: PathBuf,
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (directory, *, max_segment_bytes=50_000_000, max_segment_age_s=60.0, durability="fsync"))]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        max_segment_bytes: i64,
        max_segment_age_s: f64,
        durability: &str,
    ) -> PyResult<Self> {
        let durability = match durability {
            "fsync" => cdesk_core::Durability::Fsync,
            "os" => cdesk_core::Durability::Os,
            _ => return Err(invalid_option(py, "durability", "must be \"fsync\" or \"os\"")),
        };
        let max_segment_age = seconds(py, "max_segment_age_s", max_segment_age_s)?;
        let options = cdesk_core::QueueOptions::default()
            .max_segment_bytes(u64::try_from(max_segment_bytes).unwrap_or(0)) // which is refused
            .max_segment_age(max_segment_age)
            .durability(durability);
        let inner = detached(py, || cdesk_core::Queue::open(&directory, options))?;
        Ok(Self { inner, directory })
    }

    /// Appends one JSON object, without a line break; returns when it is durable.
    ///
    /// Other threads run meanwhile, and appends that arrive during one sync share the next.
    ///
    /// Raises InvalidLine or LineTooLong before anything is written; QueueClosed; ForkDetected; OSError when the
    /// device refused twice: the line is not acknowledged, and may be found in the log all the same.
    fn append(&self, py: Python<'_>, line: &Bound<'_, PyBytes>) -> PyResult<()> {
        let line = line.as_bytes();
        self.append_in_turn(py, &[line])
    }

    /// Appends several objects; returns when all are durable. Writes nothing unless every one is good.
    ///
    /// Raises as append; the message has the index of the line.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it converted")]
    fn append_many(&self, py: Python<'_>, lines: Vec<PyBackedBytes>) -> PyResult<()> {
        self.append_in_turn(py, &lines)
    }

    /// Seals the open segment, so that consumers can finish with it. Does nothing when none is open.
    ///
    /// Raises OSError when the seal is not durable; every acknowledged line still is.
    fn roll(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.inner.roll())
    }

    /// What the queue has done since it was opened.
    fn stats(&self) -> QueueStats {
        let stats = self.inner.stats();
        QueueStats {
            lines: stats.lines,
            bytes: stats.bytes,
            commits: stats.commits,
            segments: stats.segments,
            poisoned_segments: stats.poisoned_segments,
            failed_lines: stats.failed_lines,
            pending_lines: stats.pending_lines,
        }
    }

    /// Waits until everything accepted is durable, or its future says why it is not; seals the segment, and refuses what
    /// comes after. Once is enough.
    ///
    /// Raises OSError as roll, of the seal alone, and ForkDetected; the queue is closed all the same.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.inner.close())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        match detached(py, || Ok(self.inner.close()))? {
            Err(Error::ForkDetected { .. }) => Ok(()), // a fork leaves the block, and nothing in it is the fork's
            closed => closed.map_err(|error| into_py(py, &error)),
        }
    }

    fn __repr__(&self) -> String {
        format!("Queue('{}')", self.directory.display())
    }
}

impl Queue {
    /// The next thread is woken when this one has the interpreter back: those who wait for it ask for it all the time.
    fn append_in_turn<L: AsRef<[u8]> + Sync>(&self, py: Python<'_>, lines: &[L]) -> PyResult<()> {
        let (baton, result) = py.detach(|| self.inner.append_in_turn(lines));
        drop(baton);
        result.map_err(|error| into_py(py, &error))
    }
}

/// What a queue has done since it was opened.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct QueueStats {
    /// Lines that are durable.
    lines: u64,
    /// Bytes written for lines, with what the log adds, and again where a line was written twice.
    bytes: u64,
    /// Groups of lines that shared a sync.
    commits: u64,
    /// Segments created.
    segments: u64,
    /// Segments left without a seal because a write or a sync failed.
    poisoned_segments: u64,
    /// Lines that did not become durable; their callers got an error.
    failed_lines: u64,
    /// Lines accepted and not durable yet.
    pending_lines: u64,
}

#[pymethods]
impl QueueStats {
    fn __repr__(&self) -> String {
        format!(
            "QueueStats(lines={}, bytes={}, commits={}, segments={}, poisoned_segments={}, failed_lines={}, \
             pending_lines={})",
            self.lines,
            self.bytes,
            self.commits,
            self.segments,
            self.poisoned_segments,
            self.failed_lines,
            self.pending_lines
        )
    }
}

/// A duration from seconds; the error names the argument.
pub(crate) fn seconds(py: Python<'_>, name: &'static str, value: f64) -> PyResult<Duration> {
    if value.is_nan() || value < 0.0 {
        return Err(invalid_option(py, name, "must be a number of seconds, 0 or more"));
    }
    Ok(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)) // longer than anybody waits
}

/// A count; the error names the argument.
pub(crate) fn count(py: Python<'_>, name: &'static str, value: i64) -> PyResult<usize> {
    usize::try_from(value).map_err(|_| invalid_option(py, name, "must be 0 or more"))
}

fn invalid_option(py: Python<'_>, option: &'static str, reason: &'static str) -> PyErr {
    into_py(py, &Error::InvalidOption { option, reason })
}
