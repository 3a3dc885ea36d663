//! What the tests of all registers share.

use super::LoadError;
use crate::memory::SparseTables;
use crate::x86::fault::{Fault, Vector};
use crate::x86::profile::Profile;
use crate::x86::state::{ControlState, Cr0, Efer, PagingMode};

pub(super) const NOTHING: SparseTables<'static> = SparseTables::new(&[]);

/// A processor with every feature and 40 physical address bits.
pub(super) fn profile() -> Profile {
    Profile { physical_address_bits: 40, ..Profile::default() }
}

pub(super) fn pae(cr3: u64) -> ControlState {
    let mut state = ControlState::four_level(cr3);
    state.efer = Efer::NXE;
    assert_eq!(state.mode(), PagingMode::Pae);
    state
}

/// Long mode with paging turned off: EFER.LME is still 1.
pub(super) fn unpaged() -> ControlState {
    let mut state = ControlState::four_level(0x1000);
    state.cr0.remove(Cr0::PG);
    state.efer.remove(Efer::LMA);
    state
}

pub(super) fn is_gp<T, E: Copy + Into<LoadError>>(result: &Result<T, E>) -> bool {
    const GP: Fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };

    result.as_ref().is_err_and(|error| (*error).into() == LoadError::Fault(GP))
}
