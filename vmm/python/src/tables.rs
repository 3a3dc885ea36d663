//! What a walk may read: memory of this package or of the caller's.

use crosswalk_inspect::{MemoryImage, ReadError};
use mmu_core::PhysAddr;
use mmu_core::memory::{Bytes, OutsideMemory, TableMemory};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Memory that holds tables. An error of the caller's own is kept until the walk has ended.
pub(crate) struct Tables<'a, 'py> {
    kind: TablesKind<'a, 'py>,
    failure: RefCell<Option<PyErr>>,
}

pub(crate) enum TablesKind<'a, 'py> {
    /// Physical memory from address 0 on.
    Bytes(&'a [u8]),
    /// Entries that matter; the rest of their frames is 0, and nothing else is memory.
    Entries {
        values: HashMap<u64, u64>,
        frames: HashSet<u64>,
    },
    Image(&'a MemoryImage),
    /// Called with the address and the size of an entry: returns its value, or None.
    Function(&'a Bound<'py, PyAny>),
}

impl<'a, 'py> Tables<'a, 'py> {
    /// Memory of a kind.
    pub(crate) fn new(kind: TablesKind<'a, 'py>) -> Self {
        Self { kind, failure: RefCell::new(None) }
    }

    /// Gives it to a walk. Fails if the memory did, however the walk ended.
    pub(crate) fn give<T>(self, walk: impl FnOnce(&Self) -> PyResult<T>) -> PyResult<T> {
        let result = walk(&self);
        match self.failure.into_inner() {
            Some(failure) => Err(failure),
            None => result,
        }
    }

    /// Keeps the first error, and lets the walk end as if there were no memory.
    fn fail<T>(&self, at: PhysAddr, error: PyErr) -> Result<T, OutsideMemory> {
        self.failure.borrow_mut().get_or_insert(error);
        Err(OutsideMemory(at))
    }
}

impl TableMemory for Tables<'_, '_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        match &self.kind {
            TablesKind::Bytes(memory) => Bytes::new(PhysAddr::new(0), memory).read_entry(at, bytes),
            TablesKind::Entries { values, frames } => match values.get(&at.get()) {
                Some(value) => Ok(*value),
                None if frames.contains(&(at.get() >> 12)) => Ok(0),
                None => Err(OutsideMemory(at)),
            },
            TablesKind::Image(image) => match image.memory().read_entry(at, bytes) {
                Ok(entry) => Ok(entry),
                Err(ReadError::Outside(outside)) => Err(outside),
                Err(error) => self.fail(at, PyOSError::new_err(error.to_string())),
            },
            TablesKind::Function(function) => {
                let found = function.call1((at.get(), bytes));
                match found.and_then(|value| value.extract::<Option<u64>>()) {
                    Ok(Some(value)) => Ok(value),
                    Ok(None) => Err(OutsideMemory(at)),
                    Err(error) => self.fail(at, error),
                }
            }
        }
    }
}
