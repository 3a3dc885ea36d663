//! Walks in the mode that the control state selects, where it is known only at run time. Each mode
//! still has a walk compiled for its format; these functions pick one.

use super::{Mmu, Trace, WalkError};
use crate::access::{Access, SizeError};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Prediction, Translation};
use crate::x86::format::{
    Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Level, Pae, Unpaged,
};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::semantics::Semantics;
use crate::x86::state::{ControlState, PagingMode};

/// Calls a method of the MMU for the state's mode.
macro_rules! in_mode {
    ($state:expr, $profile:expr, $semantics:expr, $method:ident($($argument:expr),*)) => {
        match $state.mode() {
            PagingMode::Unpaged | PagingMode::Linear => {
                Mmu::<Unpaged, _>::with_semantics($semantics, $state, $profile).$method($($argument),*)
            }
            PagingMode::Bits32 => {
                Mmu::<Bits32, _>::with_semantics($semantics, $state, $profile).$method($($argument),*)
            }
            PagingMode::Pae => {
                Mmu::<Pae, _>::with_semantics($semantics, $state, $profile).$method($($argument),*)
            }
            PagingMode::FourLevel => {
                Mmu::<FourLevel, _>::with_semantics($semantics, $state, $profile).$method($($argument),*)
            }
            PagingMode::FiveLevel => {
                Mmu::<FiveLevel, _>::with_semantics($semantics, $state, $profile).$method($($argument),*)
            }
        }
    };
}

/// [`Mmu::predict`] in the mode of the control state.
///
/// ```
/// use mmu_core::memory::SparseTables;
/// use mmu_core::{Access, ControlState, Cr0, Profile, Reference, Ring, VirtAddr, walk};
///
/// let mut state = ControlState::long_mode(0);
/// state.cr0.remove(Cr0::PG);
/// let read = Access::read(VirtAddr::new(0x1234), 1, Ring::Zero);
/// let memory = SparseTables::new(&[]);
/// let prediction =
///     walk::predict_in_mode(Reference, state, Profile::default(), &memory, &read).unwrap();
///
/// let outcome = &prediction.alternatives[0].outcome;
/// assert_eq!(outcome.physical_address().unwrap().get(), 0x1234); // MODE-12
/// ```
///
/// # Errors
/// As [`Mmu::predict`].
#[inline]
pub fn predict_in_mode<R: Semantics, M: TableMemory<Error = OutsideMemory>>(
    semantics: R,
    state: ControlState,
    profile: Profile,
    memory: &M,
    access: &Access,
) -> Result<Prediction, SizeError> {
    let mut found = Prediction::default();
    predict_into_in_mode(semantics, state, profile, (memory, access), &mut found)?;
    Ok(found)
}

/// [`Mmu::predict_into`] in the mode of the control state.
///
/// # Errors
/// As [`Mmu::predict`].
pub fn predict_into_in_mode<R: Semantics, M: TableMemory<Error = OutsideMemory>>(
    semantics: R,
    state: ControlState,
    profile: Profile,
    (memory, access): (&M, &Access),
    found: &mut Prediction,
) -> Result<(), SizeError> {
    in_mode!(state, profile, semantics, predict_into(memory, access, found))
}

/// [`Mmu::walk`] in the mode of the control state.
///
/// # Errors
/// As [`Mmu::walk`].
pub fn walk_in_mode<R: Semantics, M: TableMemory, T: Trace>(
    semantics: R,
    state: ControlState,
    profile: Profile,
    memory: &M,
    (address, access): (VirtAddr, &Access),
    trace: &mut T,
) -> Result<Translation, WalkError<M::Error>> {
    in_mode!(state, profile, semantics, walk(memory, address, access, trace))
}

/// What an entry of a level is for, and the physical address in it, in the mode of the regime.
pub fn decode_in_mode(regime: &Regime, level: &Level, entry: u64) -> (EntryKind, PhysAddr) {
    fn decode<F: Format>(regime: &Regime, level: &Level, entry: u64) -> (EntryKind, PhysAddr) {
        let is_leaf = F::is_leaf(level, entry, regime);
        let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };

        (kind, F::address(level, kind, entry))
    }

    match regime.state.mode() {
        PagingMode::Unpaged | PagingMode::Linear => decode::<Unpaged>(regime, level, entry),
        PagingMode::Bits32 => decode::<Bits32>(regime, level, entry),
        PagingMode::Pae => decode::<Pae>(regime, level, entry),
        PagingMode::FourLevel => decode::<FourLevel>(regime, level, entry),
        PagingMode::FiveLevel => decode::<FiveLevel>(regime, level, entry),
    }
}

/// The entry of a level that holds an address: [`Format::entry`] in a mode; 0 in a mode without
/// tables.
pub fn encode_in_mode(
    mode: PagingMode,
    level: &Level,
    kind: EntryKind,
    address: PhysAddr,
    flags: EntryBits,
) -> u64 {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => 0,
        PagingMode::Bits32 => Bits32::entry(level, kind, address, flags),
        PagingMode::Pae => Pae::entry(level, kind, address, flags),
        PagingMode::FourLevel => FourLevel::entry(level, kind, address, flags),
        PagingMode::FiveLevel => FiveLevel::entry(level, kind, address, flags),
    }
}

/// The root table's address, in the mode of the regime.
pub fn root_in_mode(regime: &Regime) -> PhysAddr {
    match regime.state.mode() {
        PagingMode::Unpaged | PagingMode::Linear => Unpaged::root(regime),
        PagingMode::Bits32 => Bits32::root(regime),
        PagingMode::Pae => Pae::root(regime),
        PagingMode::FourLevel => FourLevel::root(regime),
        PagingMode::FiveLevel => FiveLevel::root(regime),
    }
}
