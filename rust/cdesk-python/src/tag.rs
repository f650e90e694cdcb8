//! `QueryTags`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::enter::detached;
use crate::error::into_py;

/// Gives out query tags that no process, thread or life with the same directory gives out again.
///
/// Raises UnsafeDirectory, OSError.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct QueryTags {
    directory: PathBuf,
    inner: cdesk_core::QueryTags,
}

impl QueryTags {
    fn take(&self, py: Python<'_>) -> PyResult<cdesk_core::Tag> {
        match self.inner.try_next_tag().map_err(|error| into_py(py, &error))? {
            Some(tag) => Ok(tag),
            None => detached(py, || self.inner.next_tag()), // reserves a block, which syncs
        }
    }
}

#[pymethods]
impl QueryTags {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        let inner = detached(py, || cdesk_core::QueryTags::open(&directory))?;
        Ok(Self { directory, inner })
    }

    /// "cdesk_" and the first 8 hex digits of a UUID v4. Waits for the disk in the first call, after 1,024, and then
    /// less and less often, at last every 65,536 calls.
    ///
    /// Raises TagsUnreadable, TagsExhausted, LockHeld, ForkDetected, OSError.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        PyString::from_bytes(py, &self.take(py)?.text())
    }

    /// The tag and the whole UUID that it begins. Raises as next.
    fn next_with_uuid(&self, py: Python<'_>) -> PyResult<(String, String)> {
        let tag = self.take(py)?;
        Ok((tag.to_string(), tag.uuid()))
    }

    fn __repr__(&self) -> String {
        format!("QueryTags('{}')", self.directory.display())
    }
}
