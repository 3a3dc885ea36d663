//! The control registers, reduced to what a walk with system rights depends on: what KVM, QEMU and
//! Unicorn are given.

use mmu_core::x86::format::EntryBits;
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode};

/// The registers of one walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalkRegisters {
    pub(crate) cr0: Cr0,
    /// The physical address of the root table; no PCID and no flags.
    pub(crate) cr3: u64,
    pub(crate) cr4: Cr4,
    /// NXE, and LME in long mode only. LMA follows from LME and CR0.PG.
    pub(crate) efer: Efer,
}

impl WalkRegisters {
    /// The registers for a control state. Without SMEP, SMAP and protection keys, a system access
    /// is never denied, and CR0.WP does not matter to reads.
    pub(crate) fn of(state: &ControlState) -> Self {
        let mut efer = state.efer & (Efer::LME | Efer::NXE);
        efer.set(Efer::LME, state.efer.contains(Efer::LMA));

        Self {
            cr0: state.cr0 & (Cr0::PE | Cr0::ET | Cr0::WP | Cr0::PG),
            cr3: root_table(state),
            cr4: state.cr4 & (Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::LA57),
            efer,
        }
    }
}

/// The physical address of the root table (MODE-8).
pub(crate) fn root_table(state: &ControlState) -> u64 {
    let address_bits = match state.mode() {
        PagingMode::Bits32 => 0xffff_f000,
        PagingMode::Pae => 0xffff_ffe0,
        _ => EntryBits::ADDRESS,
    };
    state.cr3 & address_bits
}
