//! The exception tree. Whatever the operating system refuses is an `OSError`; the rest is under `Error`.

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// Every exception type of the module.
pub(crate) struct Exceptions {
    pub(crate) error: Py<PyType>,
    pub(crate) invalid_line: Py<PyType>,
    pub(crate) line_too_long: Py<PyType>,
    pub(crate) invalid_event: Py<PyType>,
    pub(crate) invalid_name: Py<PyType>,
    pub(crate) invalid_option: Py<PyType>,
    pub(crate) invalid_position: Py<PyType>,
    pub(crate) canonicalisation_error: Py<PyType>,
    pub(crate) lease_held: Py<PyType>,
    pub(crate) lock_held: Py<PyType>,
    pub(crate) queue_closed: Py<PyType>,
    pub(crate) fork_detected: Py<PyType>,
    pub(crate) unsafe_directory: Py<PyType>,
    pub(crate) unsupported_format: Py<PyType>,
    pub(crate) tags_unreadable: Py<PyType>,
    pub(crate) tags_exhausted: Py<PyType>,
}

static EXCEPTIONS: PyOnceLock<Exceptions> = PyOnceLock::new();

/// The exception types, made at the first call.
pub(crate) fn exceptions(py: Python<'_>) -> PyResult<&'static Exceptions> {
    EXCEPTIONS.get_or_try_init(py, || Exceptions::new(py))
}

impl Exceptions {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let exception = py.get_type::<PyException>();
        let value_error = py.get_type::<PyValueError>();
        let new = |name: &str, doc: &str, bases: &[&Bound<'_, PyType>]| {
            let namespace = PyDict::new(py);
            namespace.set_item("__module__", "cdesk_core")?;
            namespace.set_item("__doc__", doc)?;
            let made = py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, namespace))?;
            Ok::<_, PyErr>(made.cast_into::<PyType>()?.unbind())
        };
        let error = new(
            "Error",
            "The base of everything this package raises, except what the operating system refuses: that is OSError.",
            &[&exception],
        )?;
        let base = error.bind(py).clone();
        let invalid_line = new(
            "InvalidLine",
            "A line is not one JSON object that the log can take; nothing of the call was written.",
            &[&base, &value_error],
        )?;
        let line_base = invalid_line.bind(py).clone();
        let plain = |name: &str, doc: &str| new(name, doc, &[&base]);
        let value = |name: &str, doc: &str| new(name, doc, &[&base, &value_error]);
        Ok(Self {
            line_too_long: new(
                "LineTooLong",
                "A line is longer than MAX_LINE_BYTES; nothing of the call was written.",
                &[&line_base],
            )?,
            invalid_event: value(
                "InvalidEvent",
                "A line, or an amount, breaks a rule of the event stream; the message names the field and the rule, never a value.",
            )?,
            invalid_name: value(
                "InvalidName",
                "A consumer's name has characters that a file name here may not have; the message has the name.",
            )?,
            invalid_option: value(
                "InvalidOption",
                "An option has a value that it may not have; the message names it.",
            )?,
            invalid_position: value("InvalidPosition", "A position string was not made by this package.")?,
            canonicalisation_error: value(
                "CanonicalisationError",
                "A parameter has no canonical JSON form; the message names the place.",
            )?,
            lease_held: plain(
                "LeaseHeld",
                "Another process, or another object of this one, holds the lease.",
            )?,
            lock_held: plain(
                "LockHeld",
                "A lock of the log that is held for a moment has been held by another program for 10 s; try again when it lets go.",
            )?,
            queue_closed: plain("QueueClosed", "The queue or the consumer was closed before the call.")?,
            fork_detected: plain(
                "ForkDetected",
                "An object made before a fork was used in the child; the message names both processes.",
            )?,
            unsafe_directory: plain(
                "UnsafeDirectory",
                "The directory is no directory, a symbolic link, another user's, writable by others, or on a network filesystem.",
            )?,
            unsupported_format: plain(
                "UnsupportedFormat",
                "A segment of the log was written by another version.",
            )?,
            tags_unreadable: plain(
                "TagsUnreadable",
                "The counter file of the query tags is damaged, and starting again could repeat a tag.",
            )?,
            tags_exhausted: plain("TagsExhausted", "All 2**32 query tags of the directory were given out.")?,
            error,
            invalid_line,
        })
    }
}

/// Adds the exception types to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let all = exceptions(module.py())?;
    for exception in [
        &all.error,
        &all.invalid_line,
        &all.line_too_long,
        &all.invalid_event,
        &all.invalid_name,
        &all.invalid_option,
        &all.invalid_position,
        &all.canonicalisation_error,
        &all.lease_held,
        &all.lock_held,
        &all.queue_closed,
        &all.fork_detected,
        &all.unsafe_directory,
        &all.unsupported_format,
        &all.tags_unreadable,
        &all.tags_exhausted,
    ] {
        let exception = exception.bind(module.py());
        module.add(exception.name()?, exception)?;
    }
    Ok(())
}
