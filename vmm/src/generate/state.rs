//! Random control states, one for each batch.

use super::{PERIOD, is_alone};
use crosswalk_case::plain_state;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::x86::format::EntryBits;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode};
use rand::{Rng, RngExt};

/// What all cases of a batch have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchState {
    pub(super) state: ControlState,
    /// Whether the accesses are made in compatibility mode.
    pub(super) compatibility: bool,
    /// The bits in which PDPTE 2 and 3 are unusual in compatibility mode, where all lanes share them.
    pub(super) unusual_pdptes: [u64; 2],
}

impl BatchState {
    /// What decides how the batch uses the tables.
    pub(super) fn table_use(&self) -> TableUse {
        TableUse { mode: self.state.mode(), compatibility: self.compatibility }
    }
}

/// The state of a batch with this number.
pub(super) fn random_batch_state(
    rng: &mut impl Rng,
    (mode, number): (PagingMode, u64),
    arena: Arena,
    machine: &Capabilities,
) -> BatchState {
    let mut state = random_state(rng, mode, arena, machine);
    let compatibility = is_compatible(mode, number, machine);
    if has_shadow_stacks(mode, number, machine) {
        turn_shadow_stacks_on(&mut state);
    }
    let mut unusual_pdptes = [0; 2];
    if compatibility && !is_alone(mode, number) {
        let rights = [EntryBits::RW, EntryBits::US, EntryBits::XD];
        for bits in &mut unusual_pdptes {
            let unusual = rights.get(rng.random_range(0..10));
            *bits = unusual.map_or(0, EntryBits::bits);
        }
    }

    BatchState { state, compatibility, unusual_pdptes }
}

/// Whether the cases of a batch are in compatibility mode.
pub(super) fn is_compatible(mode: PagingMode, number: u64, machine: &Capabilities) -> bool {
    let is_turn = matches!(number % PERIOD, 11 | 12) || matches!(number % (4 * PERIOD), 55 | 56);
    mode.is_long_mode() && machine.compatibility.is_ok() && is_turn
}

/// Whether a batch has CR4.CET=1. It is one of 64-bit code, and not of those with a single case.
pub(super) fn has_shadow_stacks(mode: PagingMode, number: u64, machine: &Capabilities) -> bool {
    let has_cet = machine.profile.features.contains(Features::CET_SS);
    mode == PagingMode::FourLevel && has_cet && matches!(number % PERIOD, 3 | 4)
}

/// Sets CR4.CET, which needs CR0.WP.
pub(super) fn turn_shadow_stacks_on(state: &mut ControlState) {
    state.cr0 |= Cr0::WP;
    state.cr4 |= Cr4::CET;
}

/// The control state of a batch.
pub(super) fn random_state(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> ControlState {
    let features = machine.profile.features;
    let not_in_cpuid = not_in_cpuid(mode, machine);

    let mut state = plain_state(mode, arena, machine.profile);
    let cr3_bits = random_cr3_bits(rng, mode);
    let leaves_out = machine.left_out.contains(LeftOut::CR3_BITS);
    state.cr3 |= if leaves_out { cr3_bits & address_bits_of_cr3(mode) } else { cr3_bits };
    state.cr0.set(Cr0::WP, rng.random_bool(0.6));
    state.cr0.set(Cr0::AM, rng.random_bool(0.15));
    state.efer.set(Efer::NXE, features.contains(Features::NX) && rng.random_bool(0.7));
    for (bit, feature, chance, in_every_mode) in [
        (Cr4::SMEP, Features::SMEP, 0.25, true),
        (Cr4::SMAP, Features::SMAP, 0.25, true),
        (Cr4::PKE, Features::PKU, 0.4, false),
        (Cr4::PKS, Features::PKS, 0.3, false),
    ] {
        let is_available = features.contains(feature) || not_in_cpuid.contains(bit);
        let applies = in_every_mode || mode.is_long_mode();
        state.cr4.set(bit, is_available && applies && rng.random_bool(chance));
    }

    // If the machine itself sets CR4, the guest cannot flush global translations.
    let set_by_guest = !state.cr4.intersects(not_in_cpuid);
    let pge = features.contains(Features::PGE) && set_by_guest && rng.random_bool(0.5);
    state.cr4.set(Cr4::PGE, pge);
    // Matters in 32-bit paging only (MODE-3).
    let is_fixed = mode == PagingMode::Pae && machine.left_out.contains(LeftOut::PAE_WITHOUT_PSE);
    state.cr4.set(Cr4::PSE, set_by_guest && rng.random_bool(0.6) || is_fixed);
    let has_pcid = features.contains(Features::PCID) && mode == PagingMode::FourLevel;
    if has_pcid && set_by_guest && rng.random_bool(0.4) {
        // CR3[11:0] is the PCID, which is not part of the base either (MODE-8).
        state.cr4 |= Cr4::PCIDE;
        state.cr3 = state.cr3 & !0xfff | rng.random_range(0..0x1000);
    }

    if mode == PagingMode::Unpaged {
        // PAE has no effect without paging (MODE-12).
        state.cr4.set(Cr4::PAE, rng.random_bool(0.5));
    }
    if state.cr4.contains(Cr4::PKS) {
        // Key 0 is that of the guest's own pages.
        state.pkrs = rng.random::<u32>() & !3;
    }
    state
}

/// The control bits that the guest can use in a mode although CPUID does not report them.
pub(super) fn not_in_cpuid(mode: PagingMode, machine: &Capabilities) -> Cr4 {
    if mode.is_long_mode() { machine.not_in_cpuid } else { Cr4::empty() }
}

/// The bits below 12 that are part of the base in CR3 (MODE-8).
const fn address_bits_of_cr3(mode: PagingMode) -> u64 {
    if matches!(mode, PagingMode::Pae) { 0xfe0 } else { 0 }
}

/// Low bits of CR3 that are not part of the base, or in PAE that are bits 11:5 of it (MODE-8).
fn random_cr3_bits(rng: &mut impl Rng, mode: PagingMode) -> u64 {
    match mode {
        // PWT and PCD.
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            [0, 0x8, 0x10, 0x18][rng.random_range(0..4)]
        }
        // Bits 11:0 are not part of the base.
        PagingMode::Bits32 => rng.random_range(0..0x1000),
        // Bits 11:5 are part of it, bits 4:0 are not.
        PagingMode::Pae => (rng.random_range(0..0x1000 / 32) * 32) | rng.random_range(0..32),
        PagingMode::Unpaged | PagingMode::Linear => 0,
    }
}
