//! The one door out of the interpreter: whatever may block goes through it, so that other threads run meanwhile.

use pyo3::prelude::*;

use crate::error::into_py;

/// Runs `work` without the interpreter and turns its error into an exception.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> cdesk_core::Result<T> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|error| into_py(py, &error))
}
