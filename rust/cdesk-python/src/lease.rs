//! `Lease`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cdesk_core::{LeaseKind, LeaseWait};
use pyo3::exceptions::PyInterruptedError;
use pyo3::prelude::*;

use crate::enter::detached;

/// A right that one process has at a time, until release or its death, however it dies, and the death of the
/// children that it forked and that never started another program.
///
/// shared: any number of shared holders, and no exclusive one. wait: block, while other threads run, until it is
/// free. The file is created (0600) when it is missing and never deleted; its directory must exist.
///
/// Raises LeaseHeld, OSError.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct Lease {
    path: PathBuf,
    /// `None` after `release`.
    inner: Mutex<Option<cdesk_core::Lease>>,
}

#[pymethods]
impl Lease {
    #[new]
    #[pyo3(signature = (path, *, shared=false, wait=false))]
    fn new(py: Python<'_>, path: PathBuf, shared: bool, wait: bool) -> PyResult<Self> {
        let kind = if shared { LeaseKind::Shared } else { LeaseKind::Exclusive };
        let wait = if wait { LeaseWait::Yes } else { LeaseWait::No };
        loop {
            match detached(py, || cdesk_core::Lease::acquire(&path, kind, wait)) {
                Ok(inner) => return Ok(Self { path, inner: Mutex::new(Some(inner)) }),
                // Ctrl-C must end a wait that may be long; any other signal goes on with it.
                Err(error) if error.is_instance_of::<PyInterruptedError>(py) => py.check_signals()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives it back. Once is enough.
    fn release(&self) {
        drop(self.inner.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.release();
    }

    fn __repr__(&self) -> String {
        format!("Lease('{}')", self.path.display())
    }
}
