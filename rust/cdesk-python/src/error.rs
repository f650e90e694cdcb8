//! From the core's error to an exception.

use std::io;

use cdesk_core::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::exceptions::{Exceptions, exceptions};

/// `EIO`, for a failure that came without a number.
const EIO: i32 = 5;

/// The exception for an error of the core.
pub(crate) fn into_py(py: Python<'_>, error: &Error) -> PyErr {
    let raised = match error {
        Error::Io { path, source, .. } => os_error(py, error, path, source),
        other => exceptions(py).and_then(|all| {
            let exception = exception_of(all, other).bind(py);
            Ok(PyErr::from_value(exception.call1((other.to_string(),))?))
        }),
    };
    raised.unwrap_or_else(|failure| failure)
}

/// An `OSError` of the subclass that belongs to its number, with `errno`, `strerror` and `filename`.
fn os_error(py: Python<'_>, error: &Error, path: &std::path::Path, source: &io::Error) -> PyResult<PyErr> {
    let number = source.raw_os_error().unwrap_or(EIO);
    // Called, not raised by type: the call is what picks the subclass.
    let exception = py.get_type::<PyOSError>().call1((number, error.to_string(), path.to_str()))?;
    Ok(PyErr::from_value(exception))
}

fn exception_of<'a>(all: &'a Exceptions, error: &Error) -> &'a Py<PyType> {
    match error {
        Error::InvalidLine { .. } => &all.invalid_line,
        Error::LineTooLong { .. } => &all.line_too_long,
        Error::LeaseHeld { .. } => &all.lease_held,
        Error::LockHeld { .. } => &all.lock_held,
        Error::QueueClosed { .. } => &all.queue_closed,
        Error::ForkDetected { .. } => &all.fork_detected,
        Error::UnsafeDirectory { .. } => &all.unsafe_directory,
        Error::InvalidName { .. } => &all.invalid_name,
        Error::InvalidOption { .. } => &all.invalid_option,
        Error::InvalidPosition { .. } => &all.invalid_position,
        Error::UnsupportedFormat { .. } => &all.unsupported_format,
        Error::Canonicalisation { .. } => &all.canonicalisation_error,
        Error::TagsUnreadable { .. } => &all.tags_unreadable,
        Error::TagsExhausted { .. } => &all.tags_exhausted,
        _ => &all.error,
    }
}
