//! Walks in the mode that the control state selects, for those who learn it at run time. Each mode
//! is still a walk compiled for its format; this only picks one.

use super::{Mmu, Trace, Translation, WalkError};
use crate::access::Access;
use crate::address::VirtAddr;
use crate::format::{Bits32, FiveLevel, FourLevel, Pae, Unpaged};
use crate::memory::TableMemory;
use crate::outcome::Prediction;
use crate::profile::Profile;
use crate::rules::Rules;
use crate::state::{ControlState, PagingMode};

/// Makes the MMU of the state's mode and calls one of its methods.
macro_rules! in_mode {
    ($state:expr, $profile:expr, $rules:expr, $method:ident($($argument:expr),*)) => {
        match $state.mode() {
            PagingMode::Unpaged | PagingMode::Linear => {
                Mmu::<Unpaged, _>::with_rules($rules, $state, $profile).$method($($argument),*)
            }
            PagingMode::Bits32 => {
                Mmu::<Bits32, _>::with_rules($rules, $state, $profile).$method($($argument),*)
            }
            PagingMode::Pae => {
                Mmu::<Pae, _>::with_rules($rules, $state, $profile).$method($($argument),*)
            }
            PagingMode::FourLevel => {
                Mmu::<FourLevel, _>::with_rules($rules, $state, $profile).$method($($argument),*)
            }
            PagingMode::FiveLevel => {
                Mmu::<FiveLevel, _>::with_rules($rules, $state, $profile).$method($($argument),*)
            }
        }
    };
}

/// [`Mmu::predict`] in the mode of the control state.
///
/// ```
/// use mmu_core::memory::SparseTables;
/// use mmu_core::{Access, ControlState, Cr0, Profile, Reference, Ring, VirtAddr, walk};
/// let mut state = ControlState::long_mode(0);
/// state.cr0.remove(Cr0::PG);
/// let read = Access::read(VirtAddr::new(0x1234), 1, Ring::Zero);
/// let prediction =
///     walk::predict_in_mode(Reference, state, Profile::default(), &SparseTables::new(&[]), &read);
/// let outcome = &prediction.alternatives[0].outcome;
/// assert_eq!(outcome.physical_address().unwrap().get(), 0x1234); // MODE-12
/// ```
pub fn predict_in_mode<R: Rules, M: TableMemory>(
    rules: R,
    state: ControlState,
    profile: Profile,
    memory: &M,
    access: &Access,
) -> Prediction {
    in_mode!(state, profile, rules, predict(memory, access))
}

/// [`Mmu::walk`] in the mode of the control state.
///
/// # Errors
/// As [`Mmu::walk`].
pub fn walk_in_mode<R: Rules, M: TableMemory, T: Trace>(
    rules: R,
    state: ControlState,
    profile: Profile,
    memory: &M,
    (address, access): (VirtAddr, &Access),
    trace: &mut T,
) -> Result<Translation, WalkError> {
    in_mode!(state, profile, rules, walk(memory, address, access, trace))
}
