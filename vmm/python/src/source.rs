//! The memory that a caller passes to a walk.

use crate::image::Image;
use crate::memory::Memory;
use crate::tables::{Tables, TablesKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::collections::HashMap;

/// Gives the memory that the caller passes to `walk`.
pub(crate) fn with_tables<'py, T>(
    memory: &Bound<'py, PyAny>,
    walk: impl FnOnce(&Tables<'_, 'py>) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(memory) = memory.cast::<Memory>() {
        let memory = memory.try_borrow()?;
        return Tables::new(TablesKind::Bytes(&memory.bytes)).give(walk);
    }
    if let Ok(image) = memory.cast::<Image>() {
        return Tables::new(TablesKind::Image(&image.get().image)).give(walk);
    }
    if let Ok(bytes) = memory.cast::<PyBytes>() {
        return Tables::new(TablesKind::Bytes(bytes.as_bytes())).give(walk);
    }
    if let Ok(entries) = memory.cast::<PyDict>() {
        let values: HashMap<u64, u64> = entries.extract()?;
        let frames = values.keys().map(|address| address >> 12).collect();
        return Tables::new(TablesKind::Entries { values, frames }).give(walk);
    }
    if memory.is_callable() {
        return Tables::new(TablesKind::Function(memory)).give(walk);
    }

    Err(PyTypeError::new_err(format!(
        "memory: expected a Memory, an Image, bytes, a dict of entries by their physical addresses, or a \
         function of address and size, found {}",
        memory.get_type().name()?
    )))
}
