//! The exception for memory that is not there.

use mmu_core::memory::OutsideMemory;
use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;

pyo3::create_exception!(
    crosswalk_mmu,
    OutsideMemoryError,
    PyLookupError,
    "There is no memory at a physical address."
);

pub(crate) fn outside(error: OutsideMemory) -> PyErr {
    OutsideMemoryError::new_err(error.to_string())
}
