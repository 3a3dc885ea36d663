//! One walk, entry by entry.

use crate::fault::Fault;
use crate::outside::outside;
use crate::tables::Tables;
use mmu_core::outcome::{AccessError, AccessTranslation, Translation};
use mmu_core::walk::{Path, Step};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{EntryError, Rights};
use mmu_core::{Access, AnyMmu, PageSize, Rule, Vector};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A walk: the entries that it read, and how it ended.
#[pyclass(frozen, get_all, module = "crosswalk_mmu")]
pub(crate) struct Walk {
    mode: &'static str,
    va: u64,
    /// The physical address of the first byte; None if the access faults.
    physical: Option<u64>,
    /// The bytes of the access: address and length of each part, one for each page.
    parts: Vec<(u64, u16)>,
    page_size: Option<u64>,
    fault: Option<Py<Fault>>,
    /// The entries on the path of the first byte, the root's first.
    path: Vec<Py<Pte>>,
    writable: bool,
    user: bool,
    executable: bool,
    rules: Vec<&'static str>,
}

impl Walk {
    /// Follows an access. What it needs not know for the outcome is that of its first byte.
    pub(crate) fn follow(mmu: &AnyMmu, tables: &Tables<'_, '_>, access: &Access) -> PyResult<Self> {
        let translated = mmu.probe(tables, access);
        let fault = match &translated {
            Ok(_) => None,
            Err(AccessError::Fault(fault)) => Some(*fault),
            Err(AccessError::Memory(error)) => return Err(outside(*error)),
            Err(error) => return Err(PyValueError::new_err(error.to_string())),
        };

        // A bad address is refused before an entry is read.
        let mut path = Path::default();
        if fault.is_none_or(|fault| fault.vector == Vector::PageFault) {
            let _ = mmu.walk(tables, access.address, access, &mut path);
        }
        let rights = path.steps.last().map_or_else(Rights::all, |step| step.rights);
        let first = translated.as_ref().ok().and_then(|found| found.translations().first());

        Python::attach(|py| {
            let steps = path.steps.iter().map(|step| Py::new(py, Pte::of(step)));
            Ok(Self {
                mode: mmu.regime().state.mode().name(),
                va: access.address.get(),
                physical: first.map(|first| first.address.get()),
                parts: translated.as_ref().map_or_else(|_| Vec::new(), parts),
                page_size: first.and_then(Translation::page_size).map(PageSize::bytes),
                fault: fault.map(|fault| Py::new(py, Fault::from(fault))).transpose()?,
                path: steps.collect::<PyResult<_>>()?,
                writable: rights.contains(Rights::WRITE),
                user: rights.contains(Rights::USER),
                executable: rights.contains(Rights::EXECUTE),
                rules: path.rules.iter().map(Rule::id).collect(),
            })
        })
    }
}

fn parts(translation: &AccessTranslation) -> Vec<(u64, u16)> {
    translation.spans().map(|span| (span.address.get(), span.len)).collect()
}

#[pymethods]
impl Walk {
    fn __repr__(&self, py: Python<'_>) -> String {
        let end = match (&self.fault, self.physical) {
            (Some(fault), _) => fault.bind(py).to_string(),
            (None, physical) => format!("{:#x}", physical.unwrap_or_default()),
        };
        format!("<Walk {:#x} -> {end}>", self.va)
    }
}

/// A table entry on the path of a walk, of any level.
#[pyclass(frozen, get_all, name = "PTE", module = "crosswalk_mmu")]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of its own")]
pub(crate) struct Pte {
    /// The manuals' name of entries of this level: "PML4E", "PTE".
    name: &'static str,
    level: u8,
    /// Its physical address.
    address: u64,
    value: u64,
    /// The physical address in it: of the next table, or of the page's frame.
    frame: u64,
    is_leaf: bool,
    present: bool,
    writable: bool,
    user: bool,
    accessed: bool,
    dirty: bool,
    #[pyo3(name = "global_")]
    global: bool,
    no_execute: bool,
    /// The protection key of a leaf.
    key: u32,
    /// The reserved bits that are set; they end the walk.
    reserved: u64,
}

impl Pte {
    fn of(step: &Step) -> Self {
        let has = |flag: EntryBits| step.entry & flag.bits() != 0;
        let is_leaf = step.kind == EntryKind::Leaf;

        Self {
            name: step.level.entry_name,
            level: step.level.number,
            address: step.at.get(),
            value: step.entry,
            frame: step.target.get(),
            is_leaf,
            present: step.error != Some(EntryError::NotPresent),
            writable: has(EntryBits::RW),
            user: has(EntryBits::US),
            accessed: has(EntryBits::A),
            dirty: is_leaf && has(EntryBits::D),
            global: is_leaf && has(EntryBits::G),
            no_execute: has(EntryBits::XD),
            key: if is_leaf { EntryBits::key_of(step.entry) } else { 0 },
            reserved: match step.error {
                Some(EntryError::Reserved(bits)) => bits,
                _ => 0,
            },
        }
    }
}

#[pymethods]
impl Pte {
    fn __repr__(&self) -> String {
        format!("<{} {:#x} at {:#x}>", self.name, self.value, self.address)
    }
}
