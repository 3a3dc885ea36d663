//! Keyword arguments that several functions share.

use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The keyword arguments of a call, of which each is taken once.
pub(crate) struct Keywords<'py> {
    function: &'static str,
    left: Option<Bound<'py, PyDict>>,
}

impl<'py> Keywords<'py> {
    /// Those of a call of this function.
    pub(crate) fn new(
        function: &'static str,
        given: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self { function, left: given.map(PyDictMethods::copy).transpose()? })
    }

    /// Takes one, if it was given and is not None.
    pub(crate) fn take<T: FromPyObjectOwned<'py>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(left) = &self.left else { return Ok(None) };
        let Some(value) = left.get_item(name)? else { return Ok(None) };
        left.del_item(name)?;
        if value.is_none() {
            return Ok(None);
        }

        // Which of the arguments it is, Python does not say.
        let about = |error: PyErr| {
            if error.is_instance_of::<PyTypeError>(value.py()) {
                PyTypeError::new_err(format!("{name}: {}", error.value(value.py())))
            } else {
                error
            }
        };
        value.extract::<T>().map(Some).map_err(|error| about(error.into()))
    }

    /// Takes one that must be given.
    pub(crate) fn take_required<T: FromPyObjectOwned<'py>>(&self, name: &str) -> PyResult<T> {
        self.take(name)?.ok_or_else(|| {
            let function = self.function;
            PyTypeError::new_err(format!("{function}() missing the keyword argument '{name}'"))
        })
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> PyResult<()> {
        match self.left.as_ref().and_then(|left| left.keys().iter().next()) {
            None => Ok(()),
            Some(name) => {
                let function = self.function;
                let problem = format!("{function}() got an unexpected keyword argument '{name}'");
                Err(PyTypeError::new_err(problem))
            }
        }
    }
}
