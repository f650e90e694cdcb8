//! `query_hash`.

use cdesk_core::{Error, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::error::into_py;

/// Deeper values are refused before the stack is at risk, and so is a list that contains itself.
const MAX_DEPTH: usize = 128;

/// The first 16 hex digits of SHA-256 over the normalised template and the canonical parameters.
#[pyfunction]
pub(crate) fn query_hash(
    py: Python<'_>,
    template: &Bound<'_, PyString>,
    params: &Bound<'_, PyMapping>,
) -> PyResult<String> {
    let mut conversion = Conversion { place: Vec::new() };
    let template = conversion.text(template)?;
    let params = conversion.mapping(params)?;
    cdesk_core::query_hash(&template, &params).map_err(|error| into_py(py, &error))
}

/// From Python's values to the core's. `place` is where the value at hand is.
struct Conversion {
    place: Vec<String>,
}

impl Conversion {
    fn value(&mut self, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        if value.is_none() {
            return Ok(Value::Null);
        }
        if let Ok(value) = value.cast::<PyBool>() {
            return Ok(Value::Bool(value.is_true())); // before int, of which bool is a subclass
        }
        if let Ok(text) = value.cast::<PyString>() {
            return self.text(text).map(Value::Text);
        }
        if value.is_instance_of::<PyInt>() {
            // One that does not fit is beyond 2^53 by far; the core says so.
            return Ok(Value::Integer(value.extract().unwrap_or(i128::MAX)));
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return Ok(Value::Number(number.value()));
        }
        if let Ok(list) = value.cast::<PyList>() {
            return self.array(list.py(), list.iter());
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            return self.array(tuple.py(), tuple.iter());
        }
        if let Ok(mapping) = value.cast::<PyMapping>() {
            return self.mapping(mapping);
        }
        let kind = value.get_type().fully_qualified_name()?;
        let reason =
            format!("{kind} is no JSON type; send None, bool, int, float, str, list, tuple or a mapping");
        Err(self.fail(value.py(), &reason))
    }

    fn array<'py>(
        &mut self,
        py: Python<'py>,
        values: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<Value> {
        let mut array = Vec::new();
        for (index, value) in values.enumerate() {
            array.push(self.inside(py, index.to_string(), &value)?);
        }
        Ok(Value::Array(array))
    }

    fn mapping(&mut self, mapping: &Bound<'_, PyMapping>) -> PyResult<Value> {
        let py = mapping.py();
        let mut object = Vec::new();
        for item in mapping.items()?.iter() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let Ok(key) = key.cast::<PyString>() else {
                let kind = key.get_type().fully_qualified_name()?;
                return Err(self.fail(py, &format!("a key is {kind}; JSON has only text for keys")));
            };
            let key = self.text(key)?;
            let value = self.inside(py, key.clone(), &value)?;
            object.push((key, value));
        }
        Ok(Value::Object(object))
    }

    fn inside(&mut self, py: Python<'_>, step: String, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        self.place.push(step);
        if self.place.len() > MAX_DEPTH {
            return Err(self.fail(py, "nested deeper than 128 levels"));
        }
        let value = self.value(value)?;
        self.place.pop();
        Ok(value)
    }

    fn text(&self, text: &Bound<'_, PyString>) -> PyResult<String> {
        text.to_cow()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| self.fail(text.py(), "the text has an unpaired surrogate, which UTF-8 cannot hold"))
    }

    fn fail(&self, py: Python<'_>, reason: &str) -> PyErr {
        let mut pointer = String::new();
        for step in &self.place {
            pointer.push('/');
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        }
        into_py(py, &Error::Canonicalisation { pointer, reason: reason.to_owned() })
    }
}
