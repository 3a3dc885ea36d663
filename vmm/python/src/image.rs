//! Memory images.

use crate::keywords::Keywords;
use crate::mappings::Mappings;
use crate::outside::outside;
use crate::profile::Profile;
use crate::setting::take_access;
use crate::tables::{Tables, TablesKind};
use crate::walk::Walk;
use crosswalk_inspect::{
    ImageOptions, MemoryImage, MemoryImageError, RamRange, ReadError, StateOptions,
};
use mmu_core::{AnyMmu, PhysAddr};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::Arc;

pyo3::create_exception!(
    crosswalk_mmu,
    ImageError,
    PyValueError,
    "A file is no memory image, is malformed, or lacks what is asked for."
);

/// Maximum number of bytes that are read at once.
const MAX_READ: usize = 1 << 30;

/// A memory image. Its memory stays in the file.
#[pyclass(frozen, module = "crosswalk_mmu")]
pub(crate) struct Image {
    pub(crate) image: Arc<MemoryImage>,
    name: String,
}

#[pymethods]
impl Image {
    #[new]
    #[pyo3(signature = (path, *, format = None, ram = None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        format: Option<&str>,
        ram: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let format = format.map(str::parse).transpose();
        let format = format.map_err(|error| PyValueError::new_err(format!("format: {error}")))?;
        let ram = ram.unwrap_or_default().into_iter().map(|range| range.parse::<RamRange>());
        let ram = ram.collect::<Result<_, _>>();
        let ram = ram.map_err(|error| PyValueError::new_err(format!("ram: {error}")))?;

        let options = ImageOptions { format, ram };
        let image = py.detach(|| MemoryImage::open(&path, &options)).map_err(image_failed)?;
        Ok(Self { image: Arc::new(image), name: path.display().to_string() })
    }

    /// "elf", "lime", "kdump", "avml", "windows" or "raw".
    #[getter]
    fn format(&self) -> &'static str {
        self.image.format().name()
    }

    /// Number of bytes of physical memory.
    #[getter]
    fn byte_count(&self) -> u64 {
        self.image.memory().byte_count()
    }

    /// Number of CPUs whose registers it has.
    #[getter]
    fn cpu_count(&self) -> usize {
        self.image.cpus().len()
    }

    /// The bytes from a physical address on.
    fn read<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if length > MAX_READ {
            return Err(PyValueError::new_err(format!("length: expected at most {MAX_READ:#x}")));
        }
        let mut bytes = vec![0; length];
        let read = py.detach(|| self.image.memory().read(PhysAddr::new(address), &mut bytes));
        read.map_err(|error| match error {
            ReadError::Outside(error) => outside(error),
            error => PyOSError::new_err(error.to_string()),
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The control registers of a CPU, and what of them was derived.
    #[pyo3(signature = (**keywords), text_signature = "($self, *, cpu=0, cr0=None, cr3=None, cr4=None, efer=None)")]
    fn registers<'py>(
        &self,
        py: Python<'py>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keywords = Keywords::new("registers", keywords)?;
        let options = take_options(&keywords)?;
        keywords.finish()?;

        let found = py.detach(|| self.image.control_state(&options)).map_err(image_failed)?;
        let registers = PyDict::new(py);
        registers.set_item("mode", found.state.mode().name())?;
        registers.set_item("cr0", found.state.cr0.bits())?;
        registers.set_item("cr3", found.state.cr3)?;
        registers.set_item("cr4", found.state.cr4.bits())?;
        registers.set_item("efer", found.state.efer.bits())?;
        registers.set_item("derived", found.derived)?;
        Ok(registers)
    }

    /// Follows an address through the tables of a CPU.
    #[pyo3(signature = (va, **keywords), text_signature = "($self, va, *, access='read', size=1, ring=0, cpu=0, cr0=None, cr3=None, cr4=None, efer=None, ac=False, segment='data', implicit=False, shadow_stack=False, compatibility=False, profile=None)")]
    fn walk(
        this: &Bound<'_, Self>,
        va: u64,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Walk> {
        let py = this.py();
        let given = keywords.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        given.set_item("va", va)?;
        if !given.contains("ring")? {
            given.set_item("ring", 0)?;
        }
        let keywords = Keywords::new("walk", Some(&given))?;
        let options = take_options(&keywords)?;
        let profile = keywords.take("profile")?;
        let access = take_access(&keywords)?;
        keywords.finish()?;
        let mmu = this.get().mmu(py, &options, profile)?;

        Tables::new(TablesKind::Image(&this.get().image))
            .give(|tables| Walk::follow(&mmu, tables, &access))
    }

    /// Iterates over everything that the tables of a CPU map.
    #[pyo3(signature = (**keywords), text_signature = "($self, *, first=0, last=0xffffffffffffffff, pages=False, cpu=0, cr0=None, cr3=None, cr4=None, efer=None, profile=None)")]
    fn mappings(&self, py: Python<'_>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Mappings> {
        let keywords = Keywords::new("mappings", keywords)?;
        let first = keywords.take("first")?.unwrap_or(0);
        let last = keywords.take("last")?.unwrap_or(u64::MAX);
        let pages = keywords.take("pages")?.unwrap_or(false);
        let options = take_options(&keywords)?;
        let profile = keywords.take("profile")?;
        keywords.finish()?;
        let mmu = self.mmu(py, &options, profile)?;

        Ok(Mappings::start(self.image.clone(), &mmu, (first, last), pages)?)
    }

    fn __repr__(&self) -> String {
        format!("<Image {:?}, {}, {:#x} bytes>", self.name, self.format(), self.byte_count())
    }
}

impl Image {
    /// The MMU of a CPU.
    fn mmu(
        &self,
        py: Python<'_>,
        options: &StateOptions,
        profile: Option<Profile>,
    ) -> PyResult<AnyMmu> {
        let found = py.detach(|| self.image.control_state(options)).map_err(image_failed)?;
        Ok(AnyMmu::new(found.state, profile.unwrap_or_default().0))
    }
}

fn take_options(keywords: &Keywords<'_>) -> PyResult<StateOptions> {
    Ok(StateOptions {
        cpu: keywords.take("cpu")?.unwrap_or(0),
        cr0: keywords.take("cr0")?,
        cr3: keywords.take("cr3")?,
        cr4: keywords.take("cr4")?,
        efer: keywords.take("efer")?,
    })
}

fn image_failed(error: MemoryImageError) -> PyErr {
    match error {
        MemoryImageError::Host { .. } => PyOSError::new_err(error.to_string()),
        // The advice is that of the program, whose options are arguments here.
        error => ImageError::new_err(error.to_string().replace("--", "")),
    }
}
