//! Exceptions of the processor.

use mmu_core::PageFaultCode;
use mmu_core::{Vector, VirtAddr};
use pyo3::prelude::*;

/// An exception that a translation raises.
#[pyclass(frozen, eq, hash, module = "crosswalk_mmu")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fault(mmu_core::Fault);

impl From<mmu_core::Fault> for Fault {
    fn from(fault: mmu_core::Fault) -> Self {
        Self(fault)
    }
}

#[pymethods]
impl Fault {
    /// 14 for #PF, 13 for #GP, 12 for #SS, 17 for #AC.
    #[getter]
    const fn vector(&self) -> u8 {
        self.0.vector as u8
    }

    /// "#PF", "#GP", "#SS" or "#AC".
    #[getter]
    const fn mnemonic(&self) -> &'static str {
        self.0.vector.mnemonic()
    }

    #[getter]
    const fn error_code(&self) -> u32 {
        self.0.error_code
    }

    /// The bits of a page fault's error code: "P", "W", "U", "RSVD", "I", "PK", "SS".
    #[getter]
    fn bits(&self) -> Vec<&'static str> {
        let is_page_fault = self.0.vector == Vector::PageFault;
        let code = if is_page_fault { self.0.error_code } else { 0 };
        PageFaultCode::from_bits_truncate(code).iter_names().map(|(name, _)| name).collect()
    }

    /// The new CR2; None if CR2 keeps its value.
    #[getter]
    fn cr2(&self) -> Option<u64> {
        self.0.cr2.map(VirtAddr::get)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Fault {}>", self.0)
    }
}
