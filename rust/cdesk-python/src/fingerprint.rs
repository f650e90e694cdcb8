//! `query_hash`.

use cdesk_core::{Canonical, Error, Placed};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::error::into_py;

/// The first 16 hex digits of SHA-256 over the normalised template and the canonical JSON of the parameters.
///
/// Normalised: each run of JavaScript's \s becomes one space, none at the ends. Canonical: RFC 8785, so the order of
/// keys does not matter and 1.0 is 1. Parameters are None, bool, int within 2**53, finite float, str, list, tuple and
/// mappings with str keys, nested up to 128 levels.
///
/// Raises CanonicalisationError, which names the place as a JSON pointer.
#[pyfunction]
pub(crate) fn query_hash<'py>(
    template: &Bound<'py, PyString>,
    params: &Bound<'py, PyMapping>,
) -> PyResult<Bound<'py, PyString>> {
    let py = template.py();
    let digits = text(template)
        .and_then(|template| cdesk_core::query_hash_of(template, |writer| mapping(writer, params)))
        .map_err(|failure| match failure {
            Failure::Refused(error) => into_py(py, &error),
            Failure::Raised(error) => error,
        })?;
    PyString::from_bytes(py, &digits)
}

/// What kept a value from being hashed.
enum Failure {
    /// It has no canonical form.
    Refused(Error),
    /// Its own code raised, or the interpreter did.
    Raised(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Placed for Failure {
    fn within(self, step: &str) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(error.within(step)),
            raised @ Self::Raised(_) => raised,
        }
    }
}

fn value(writer: &mut Canonical, value: &Bound<'_, PyAny>) -> Result<(), Failure> {
    if let Ok(value) = value.cast::<PyString>() {
        writer.text(text(value)?);
    } else if value.is_none() {
        writer.null();
    } else if let Ok(value) = value.cast::<PyBool>() {
        writer.bool(value.is_true()); // before int, of which bool is a subclass
    } else if value.is_instance_of::<PyInt>() {
        // One that does not fit is beyond 2^53 by far; the core says so.
        writer.integer(value.extract::<i64>().map_or(i128::MAX, i128::from))?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        writer.number(number.value())?;
    } else if let Ok(list) = value.cast::<PyList>() {
        writer.array(list, |writer, item| self::value(writer, &item))?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        writer.array(tuple, |writer, item| self::value(writer, &item))?;
    } else if let Ok(params) = value.cast::<PyMapping>() {
        mapping(writer, params)?;
    } else {
        let kind = value.get_type().fully_qualified_name()?;
        return Err(refused(format!(
            "{kind} is no JSON type; send None, bool, int, float, str, list, tuple or a mapping"
        )));
    }
    Ok(())
}

fn mapping(writer: &mut Canonical, mapping: &Bound<'_, PyMapping>) -> Result<(), Failure> {
    let items: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = match mapping.cast_exact::<PyDict>() {
        Ok(dict) => dict.iter().collect(),
        Err(_) => mapping.items()?.iter().map(|item| item.extract()).collect::<PyResult<_>>()?,
    };
    let mut entries = Vec::with_capacity(items.len());
    for (key, value) in &items {
        let Ok(key) = key.cast::<PyString>() else {
            let kind = key.get_type().fully_qualified_name()?;
            return Err(refused(format!("a key is {kind}; JSON has only text for keys")));
        };
        entries.push((text(key)?, value));
    }
    writer.object(&mut entries, |writer, item| value(writer, item))
}

fn text<'a>(text: &'a Bound<'_, PyString>) -> Result<&'a str, Failure> {
    text.to_str().map_err(|_| refused("the text has an unpaired surrogate, which UTF-8 cannot hold".into()))
}

fn refused(reason: String) -> Failure {
    Failure::Refused(Error::Canonicalisation { pointer: String::new(), reason })
}
