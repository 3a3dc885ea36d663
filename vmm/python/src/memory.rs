//! Physical memory of the caller's own.

use crate::outside::outside;
use mmu_core::PhysAddr;
use mmu_core::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::table::mapping::FrameAllocator;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Maximum size in bytes.
const MAX_SIZE: usize = 4 << 30;

const FRAME: u64 = 0x1000;

/// Physical memory from address 0 on, zero at first.
#[pyclass(module = "crosswalk_mmu")]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    /// The end of the memory that has not been handed out as frames.
    free: u64,
}

#[pymethods]
impl Memory {
    #[new]
    fn new(size: usize) -> PyResult<Self> {
        if size == 0 || size > MAX_SIZE || !(size as u64).is_multiple_of(FRAME) {
            let problem = format!("size: expected a multiple of {FRAME:#x}, up to {MAX_SIZE:#x}");
            return Err(PyValueError::new_err(problem));
        }

        let mut bytes = Vec::new();
        let reserved = bytes.try_reserve_exact(size);
        reserved.map_err(|error| PyMemoryError::new_err(error.to_string()))?;
        bytes.resize(size, 0);
        Ok(Self { bytes, free: size as u64 })
    }

    /// Its size in bytes.
    #[getter]
    const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out a frame that is filled with zeros, from the end of the memory downwards.
    fn allocate(&mut self) -> PyResult<u64> {
        let mut frames = FreeFrames { free: self.free };
        let frame = (&mut frames).allocate();
        let frame = frame.ok_or_else(|| PyMemoryError::new_err("no frame is left"))?.get();
        self.free = frame;
        self.slice(frame, FRAME as usize)?.fill(0);
        Ok(frame)
    }

    /// The bytes from a physical address on.
    fn read<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let memory = Bytes::new(PhysAddr::new(0), &self.bytes);
        let bytes = memory.bytes(PhysAddr::new(address), length as u64).map_err(outside)?;
        Ok(PyBytes::new(py, bytes))
    }

    /// Stores bytes from a physical address on.
    fn write(&mut self, address: u64, data: &[u8]) -> PyResult<()> {
        self.slice(address, data.len())?.copy_from_slice(data);
        Ok(())
    }

    /// The table entry of 4 or 8 bytes at a physical address.
    #[pyo3(signature = (address, *, size = 8))]
    fn read_entry(&self, address: u64, size: u8) -> PyResult<u64> {
        let memory = Bytes::new(PhysAddr::new(0), &self.bytes);
        memory.read_entry(PhysAddr::new(address), check_size(size)?).map_err(outside)
    }

    /// Stores a table entry of 4 or 8 bytes.
    #[pyo3(signature = (address, value, *, size = 8))]
    fn write_entry(&mut self, address: u64, value: u64, size: u8) -> PyResult<()> {
        let mut memory = Bytes::new(PhysAddr::new(0), &mut self.bytes);
        memory.write_entry(PhysAddr::new(address), check_size(size)?, value).map_err(outside)
    }

    fn __repr__(&self) -> String {
        format!("Memory({:#x})", self.bytes.len())
    }
}

impl Memory {
    fn slice(&mut self, address: u64, length: usize) -> PyResult<&mut [u8]> {
        let start = usize::try_from(address).ok();
        let end = start.and_then(|start| start.checked_add(length));
        let range = start.zip(end).and_then(|(start, end)| self.bytes.get_mut(start..end));
        range.ok_or_else(|| outside(OutsideMemory(PhysAddr::new(address))))
    }

    /// Gives the memory and the frames that are left to `edit`, and keeps account of those that it takes.
    pub(crate) fn edit<T>(
        &mut self,
        edit: impl FnOnce(&mut Bytes<&mut [u8]>, &mut FreeFrames) -> T,
    ) -> T {
        let mut frames = FreeFrames { free: self.free };
        let mut memory = Bytes::new(PhysAddr::new(0), self.bytes.as_mut_slice());
        let result = edit(&mut memory, &mut frames);
        self.free = frames.free;
        result
    }
}

/// The frames from the end of the memory downwards. That at 0 is never handed out.
pub(crate) struct FreeFrames {
    free: u64,
}

impl FrameAllocator for &mut FreeFrames {
    fn allocate(&mut self) -> Option<PhysAddr> {
        let frame = self.free.checked_sub(FRAME).filter(|frame| *frame > 0)?;
        self.free = frame;
        Some(PhysAddr::new(frame))
    }
}

fn check_size(size: u8) -> PyResult<u8> {
    match size {
        4 | 8 => Ok(size),
        _ => Err(PyValueError::new_err("size: expected 4 or 8")),
    }
}
