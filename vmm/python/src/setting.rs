//! In which control state, on which processor, an access is made.

use crate::keywords::Keywords;
use crate::profile::Profile;
use crate::tables::Tables;
use mmu_core::x86::control::LoadError;
use mmu_core::{
    Access, AccessKind, AnyMmu, ControlState, Cr0, Cr4, Efer, PagingMode, Ring, Segment, VirtAddr,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::fmt::Display;
use std::str::FromStr;

/// The control registers and the processor, as keyword arguments say.
pub(crate) struct Setting {
    pub(crate) state: ControlState,
    pub(crate) profile: mmu_core::Profile,
    /// Whether the PDPTE registers are still to be loaded from memory.
    loads_pdptes: bool,
}

impl Setting {
    /// Takes the arguments.
    pub(crate) fn take(keywords: &Keywords<'_>) -> PyResult<Self> {
        let mode = keywords.take::<String>("mode")?;
        let mode = mode.map(|name| parse::<PagingMode>("mode", &name)).transpose()?;
        let cr3 = match mode {
            Some(PagingMode::Unpaged) => keywords.take("cr3")?.unwrap_or(0),
            _ => keywords.take_required("cr3")?,
        };

        let mut state = match mode.unwrap_or(PagingMode::FourLevel) {
            PagingMode::Unpaged => ControlState { cr3, ..ControlState::unpaged() },
            PagingMode::Bits32 => ControlState::bits32(cr3),
            PagingMode::Pae => ControlState::pae(cr3, [0; 4]),
            PagingMode::FourLevel => ControlState::four_level(cr3),
            PagingMode::FiveLevel => ControlState::five_level(cr3),
            PagingMode::Linear => return Err(PyValueError::new_err("mode: no processor has it")),
        };
        if let Some(cr0) = keywords.take("cr0")? {
            state.cr0 = Cr0::from_bits_retain(cr0);
        }
        if let Some(cr4) = keywords.take("cr4")? {
            state.cr4 = Cr4::from_bits_retain(cr4);
        }
        if let Some(efer) = keywords.take("efer")? {
            state.efer = Efer::from_bits_retain(efer);
        }
        if let Some(mode) = mode.filter(|mode| *mode != state.mode()) {
            let found = state.mode();
            let problem = format!("mode: the registers select {found}, not {mode}");
            return Err(PyValueError::new_err(problem));
        }

        state.pkru = keywords.take("pkru")?.unwrap_or(0);
        state.pkrs = keywords.take("pkrs")?.unwrap_or(0);
        let pdptes: Option<[u64; 4]> = keywords.take("pdptes")?;
        state.pdptes = pdptes.unwrap_or_default();
        let profile: Option<Profile> = keywords.take("profile")?;

        Ok(Self {
            state,
            profile: profile.unwrap_or_default().0,
            loads_pdptes: state.mode() == PagingMode::Pae && pdptes.is_none(),
        })
    }

    /// The MMU. In PAE paging it loads the PDPTE registers from memory, as MOV to CR3 does, unless they were given.
    pub(crate) fn mmu(&self, tables: &Tables<'_, '_>) -> PyResult<AnyMmu> {
        let mut state = self.state;
        if self.loads_pdptes {
            let before = ControlState { cr3: 0, ..state };
            state = before.load_cr3(state.cr3, self.profile, tables).map_err(load_failed)?;
        }
        Ok(AnyMmu::new(state, self.profile))
    }
}

fn load_failed<E: Display>(error: LoadError<E>) -> PyErr
where
    LoadError<E>: Display,
{
    PyValueError::new_err(format!("cr3: loading it fails: {error}"))
}

/// Takes the arguments about an access.
pub(crate) fn take_access(keywords: &Keywords<'_>) -> PyResult<Access> {
    let address = VirtAddr::new(keywords.take_required("va")?);
    let kind = keywords.take::<String>("access")?;
    let kind = kind.map_or(Ok(AccessKind::Read), |name| parse("access", &name))?;
    let segment = keywords.take::<String>("segment")?;
    let segment = segment.map_or(Ok(Segment::Data), |name| parse("segment", &name))?;
    let ring = Ring::from_cpl(keywords.take("ring")?.unwrap_or(3));
    let ring = ring.ok_or_else(|| PyValueError::new_err("ring: expected 0 or 3"))?;
    let size = keywords.take("size")?.unwrap_or(1);

    Ok(Access {
        segment,
        ac: keywords.take("ac")?.unwrap_or(false),
        implicit: keywords.take("implicit")?.unwrap_or(false),
        shadow_stack: keywords.take("shadow_stack")?.unwrap_or(false),
        compatibility: keywords.take("compatibility")?.unwrap_or(false),
        ..Access::new(kind, address, size, ring)
    })
}

/// What a name stands for.
pub(crate) fn parse<T: FromStr<Err: Display>>(argument: &str, name: &str) -> PyResult<T> {
    name.parse()
        .map_err(|problem| PyValueError::new_err(format!("{argument}: {problem}, found {name:?}")))
}
