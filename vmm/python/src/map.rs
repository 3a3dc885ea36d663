//! Building page tables.

use crate::keywords::Keywords;
use crate::memory::{FreeFrames, Memory};
use crate::outside::outside;
use crate::setting::Setting;
use mmu_core::memory::Bytes;
use mmu_core::table::mapping::{self, Mapper};
use mmu_core::x86::format::{Bits32, EntryBits, FiveLevel, Format, FourLevel, Pae};
use mmu_core::{PageSize, PagingMode, PhysAddr, VirtAddr};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pyo3::create_exception!(crosswalk_mmu, MapError, PyValueError, "A page cannot be mapped.");

/// What to map.
struct Range {
    va: VirtAddr,
    frame: PhysAddr,
    length: u64,
    /// The only page size to use; otherwise the largest that fits at each place.
    page_size: Option<PageSize>,
    flags: EntryBits,
}

/// Maps pages in the tables at CR3; frames for new tables come from `memory.allocate`.
#[pyfunction]
#[pyo3(signature = (memory, **keywords), text_signature = "(memory, *, cr3, va, frame, length=4096, page_size=None, writable=True, user=True, executable=True, global_=False, accessed=False, dirty=False, key=0, mode=None, cr0=None, cr4=None, efer=None, profile=None)")]
pub(crate) fn map(
    memory: &Bound<'_, Memory>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let keywords = Keywords::new("map", keywords)?;
    let setting = Setting::take(&keywords)?;
    let mode = setting.state.mode();
    let range = Range::take(&keywords, mode)?;
    keywords.finish()?;

    let mut memory = memory.try_borrow_mut()?;
    memory.edit(|memory, frames| match mode {
        PagingMode::Bits32 => range.map::<Bits32>(&setting, memory, frames),
        PagingMode::Pae => range.map::<Pae>(&setting, memory, frames),
        PagingMode::FourLevel => range.map::<FourLevel>(&setting, memory, frames),
        PagingMode::FiveLevel => range.map::<FiveLevel>(&setting, memory, frames),
        PagingMode::Unpaged | PagingMode::Linear => {
            Err(PyValueError::new_err("mode: there are no tables without paging"))
        }
    })
}

impl Range {
    fn take(keywords: &Keywords<'_>, mode: PagingMode) -> PyResult<Self> {
        let mut flags = EntryBits::empty();
        for (name, flag, default) in [
            ("writable", EntryBits::RW, true),
            ("user", EntryBits::US, true),
            ("global_", EntryBits::G, false),
            ("accessed", EntryBits::A, false),
            ("dirty", EntryBits::D, false),
        ] {
            flags.set(flag, keywords.take(name)?.unwrap_or(default));
        }
        let executable: bool = keywords.take("executable")?.unwrap_or(true);
        flags.set(EntryBits::XD, !executable);
        let key: u32 = keywords.take("key")?.unwrap_or(0);
        if key > 15 || key > 0 && !mode.is_long_mode() {
            return Err(PyValueError::new_err("key: expected 0 to 15, in long mode only"));
        }
        flags |= EntryBits::from_bits_retain(EntryBits::with_key(key));

        let page_size: Option<u64> = keywords.take("page_size")?;
        let page_size = page_size.map(page_size_of).transpose()?;
        let length: Option<u64> = keywords.take("length")?;
        Ok(Self {
            va: VirtAddr::new(keywords.take_required("va")?),
            frame: PhysAddr::new(keywords.take_required("frame")?),
            length: length.unwrap_or_else(|| page_size.map_or(0x1000, PageSize::bytes)),
            page_size,
            flags,
        })
    }

    fn map<F: Format>(
        &self,
        setting: &Setting,
        memory: &mut Bytes<&mut [u8]>,
        frames: &mut FreeFrames,
    ) -> PyResult<()> {
        let mut tables = Mapper::<F, _, _>::new(setting.state, setting.profile, memory, frames);
        let Some(size) = self.page_size else {
            let mapped = tables.map_range(self.va, self.frame, self.length, self.flags);
            return mapped.map_err(map_failed);
        };

        if !self.length.is_multiple_of(size.bytes()) {
            return Err(PyValueError::new_err("length: expected a multiple of page_size"));
        }
        for done in (0..self.length).step_by(size.bytes() as usize) {
            let page = self.va.wrapping_add(done);
            let frame = self.frame.get().checked_add(done);
            let frame = frame.ok_or_else(|| PyValueError::new_err("frame: it leaves 64 bits"))?;
            let mapped = tables.map(page, PhysAddr::new(frame), size, self.flags);
            mapped.map_err(map_failed)?;
        }
        Ok(())
    }
}

fn page_size_of(bytes: u64) -> PyResult<PageSize> {
    let sizes = [PageSize::Size4KiB, PageSize::Size2MiB, PageSize::Size4MiB, PageSize::Size1GiB];
    let found = sizes.into_iter().find(|size| size.bytes() == bytes);
    found.ok_or_else(|| PyValueError::new_err("page_size: expected 4 KiB, 2 MiB, 4 MiB or 1 GiB"))
}

fn map_failed(error: mapping::MapError) -> PyErr {
    match error {
        mapping::MapError::OutOfFrames => PyMemoryError::new_err(error.to_string()),
        mapping::MapError::Memory(error) => outside(error),
        other => MapError::new_err(other.to_string()),
    }
}
