//! Every outcome that the manuals allow.

use crate::fault::Fault;
use crate::tables::Tables;
use mmu_core::{Access, Alternative, AnyMmu, EntryUpdate, Rule};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Every outcome that is allowed, the likeliest first, and the rules that decided.
#[pyclass(frozen, get_all, module = "crosswalk_mmu")]
pub(crate) struct Prediction {
    outcomes: Vec<Py<Outcome>>,
    rules: Vec<&'static str>,
}

impl Prediction {
    /// What an MMU allows of an access.
    pub(crate) fn of(
        py: Python<'_>,
        mmu: &AnyMmu,
        tables: &Tables<'_, '_>,
        access: &Access,
    ) -> PyResult<Self> {
        let predicted = mmu.predict(tables, access);
        let predicted = predicted.map_err(|error| PyValueError::new_err(error.to_string()))?;

        let outcomes = predicted.alternatives.iter().map(|way| Outcome::of(py, way));
        Ok(Self {
            outcomes: outcomes.collect::<PyResult<_>>()?,
            rules: predicted.rules.iter().map(Rule::id).collect(),
        })
    }
}

/// One way in which an access may go.
#[pyclass(frozen, get_all, module = "crosswalk_mmu")]
pub(crate) struct Outcome {
    /// The bytes that it reaches: address and length of each part, one for each page. Empty if it faults.
    parts: Vec<(u64, u16)>,
    fault: Option<Py<Fault>>,
    /// The entries whose A and D bits it changes, or may change.
    updates: Vec<Py<Update>>,
    /// Where a rule leaves a choice: its id, and the member that leads here.
    choice: Option<(&'static str, &'static str)>,
}

impl Outcome {
    fn of(py: Python<'_>, way: &Alternative) -> PyResult<Py<Self>> {
        let (parts, fault) = match &way.outcome {
            mmu_core::Outcome::Translated(spans) => {
                (spans.iter().map(|span| (span.address.get(), span.len)).collect(), None)
            }
            mmu_core::Outcome::Fault(fault) => {
                (Vec::new(), Some(Py::new(py, Fault::from(*fault))?))
            }
        };
        let updates = way.updates.iter().map(|update| Py::new(py, Update::from(update)));

        let choice = way.choice.map(|(rule, member)| (rule.id(), member));
        Py::new(py, Self { parts, fault, updates: updates.collect::<PyResult<_>>()?, choice })
    }
}

#[pymethods]
impl Outcome {
    /// The physical address of the first byte; None if it faults.
    #[getter]
    fn physical(&self) -> Option<u64> {
        self.parts.first().map(|(address, _)| *address)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match (&self.fault, self.physical()) {
            (Some(fault), _) => format!("<Outcome {}>", fault.bind(py)),
            (None, physical) => format!("<Outcome {:#x}>", physical.unwrap_or_default()),
        }
    }
}

#[pymethods]
impl Prediction {
    fn __repr__(&self, py: Python<'_>) -> String {
        let outcomes: Vec<_> =
            self.outcomes.iter().map(|outcome| outcome.get().__repr__(py)).collect();
        format!("<Prediction {}>", outcomes.join(" or "))
    }
}

/// How an outcome changes a table entry.
#[pyclass(frozen, get_all, module = "crosswalk_mmu")]
pub(crate) struct Update {
    /// Its physical address.
    address: u64,
    before: u64,
    /// Bits that must be set afterwards.
    must_set: u64,
    /// Bits that may be set or not.
    may_set: u64,
}

impl From<&EntryUpdate> for Update {
    fn from(update: &EntryUpdate) -> Self {
        Self {
            address: update.at.get(),
            before: update.before,
            must_set: update.must_set,
            may_set: update.open_bits(),
        }
    }
}

#[pymethods]
impl Update {
    /// Whether the entry may have this value afterwards.
    const fn allows(&self, value: u64) -> bool {
        (value ^ (self.before | self.must_set)) & !self.may_set == 0
    }

    fn __repr__(&self) -> String {
        let Self { address, before, must_set, may_set } = self;
        format!("<Update {before:#x} at {address:#x}, must {must_set:#x}, may {may_set:#x}>")
    }
}
