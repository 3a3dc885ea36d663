//! The processor.

use mmu_core::x86::profile::GENERATIONS;
use mmu_core::{Features, Vendor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A processor, as far as address translation is concerned.
#[pyclass(frozen, eq, module = "crosswalk_mmu", from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Profile(pub(crate) mmu_core::Profile);

#[pymethods]
impl Profile {
    #[new]
    #[pyo3(signature = (vendor = "unknown", *, max_physical_address = None, features = None))]
    fn new(
        vendor: &str,
        max_physical_address: Option<u8>,
        features: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let vendor: Vendor = vendor.parse().map_err(|error| about("vendor", error))?;
        let mut profile = mmu_core::Profile { vendor, ..mmu_core::Profile::default() };
        if let Some(bits) = max_physical_address {
            let wider = profile.with_physical_address_bits(bits);
            profile = wider.map_err(|error| about("max_physical_address", error))?;
        }
        if let Some(names) = features {
            profile.features = Features::empty();
            for name in names {
                let feature = Features::from_name(&name.to_uppercase());
                profile.features |=
                    feature.ok_or_else(|| about("features", format!("there is no {name:?}")))?;
            }
        }
        Ok(Self(profile))
    }

    /// A generation of processors, such as "skylake" or "zen-3".
    #[staticmethod]
    fn generation(name: &str) -> PyResult<Self> {
        let profile = mmu_core::Profile::generation(name).map(Self);
        profile.ok_or_else(|| {
            let names: Vec<_> = GENERATIONS.iter().map(|generation| generation.name).collect();
            about("generation", format!("expected one of {}", names.join(", ")))
        })
    }

    /// The names of all generations.
    #[staticmethod]
    fn generations() -> Vec<&'static str> {
        GENERATIONS.iter().map(|generation| generation.name).collect()
    }

    #[getter]
    const fn vendor(&self) -> &'static str {
        self.0.vendor.name()
    }

    #[getter]
    const fn max_physical_address(&self) -> u8 {
        self.0.physical_address_bits
    }

    #[getter]
    fn features(&self) -> Vec<String> {
        self.0.features.iter_names().map(|(name, _)| name.to_lowercase()).collect()
    }

    fn __repr__(&self) -> String {
        let (vendor, bits) = (self.vendor(), self.max_physical_address());
        let features = self.features();
        format!("Profile({vendor:?}, max_physical_address={bits}, features={features:?})")
    }
}

fn about(argument: &str, problem: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: {problem}"))
}
