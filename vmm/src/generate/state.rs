//! Random control states, one for each batch.

use crosswalk_case::plain_state;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use mmu_core::{ControlState, Cr0, Cr4, Efer, Features, PagingMode};
use rand::{Rng, RngExt};

/// The control state of a batch.
pub(super) fn random_state(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> ControlState {
    let features = machine.profile.features;
    let mut state = plain_state(mode, arena, machine.profile);
    state.cr3 |= match mode {
        // PWT and PCD: caching, not address (MODE-8).
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            [0, 0x8, 0x10, 0x18][rng.random_range(0..4)]
        }
        // Bits 11:0 are no part of the base.
        PagingMode::Bits32 => rng.random_range(0..0x1000),
        // Bits 11:5 are, bits 4:0 are not.
        PagingMode::Pae => (rng.random_range(0..0x1000 / 32) * 32) | rng.random_range(0..32),
        PagingMode::Unpaged | PagingMode::Linear => 0,
    };
    state.cr0.set(Cr0::WP, rng.random_bool(0.6));
    state.efer.set(Efer::NXE, features.contains(Features::NX) && rng.random_bool(0.7));
    let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
    let forced = if is_long_mode { machine.not_in_cpuid } else { Cr4::empty() };
    for (bit, feature, chance, everywhere) in [
        (Cr4::SMEP, Features::SMEP, 0.25, true),
        (Cr4::SMAP, Features::SMAP, 0.25, true),
        (Cr4::PKE, Features::PKU, 0.4, false),
        (Cr4::PKS, Features::PKS, 0.3, false),
    ] {
        let available = features.contains(feature) || forced.contains(bit);
        let applies = everywhere || is_long_mode;
        state.cr4.set(bit, available && applies && rng.random_bool(chance));
    }
    // When the machine itself sets CR4, the guest cannot flush global translations.
    let by_guest = !state.cr4.intersects(forced);
    let pge = features.contains(Features::PGE) && by_guest && rng.random_bool(0.5);
    state.cr4.set(Cr4::PGE, pge);
    // Decides in 32-bit paging only (MODE-3).
    state.cr4.set(Cr4::PSE, by_guest && rng.random_bool(0.6));
    let pcid = features.contains(Features::PCID) && mode == PagingMode::FourLevel;
    if pcid && by_guest && rng.random_bool(0.4) {
        // CR3[11:0] names an address space, and is no part of the base either (MODE-8).
        state.cr4 |= Cr4::PCIDE;
        state.cr3 = state.cr3 & !0xfff | rng.random_range(0..0x1000);
    }
    if mode == PagingMode::Unpaged {
        // Nothing of this matters without paging (MODE-12).
        state.cr4.set(Cr4::PAE, rng.random_bool(0.5));
    }
    if state.cr4.contains(Cr4::PKS) {
        // Key 0 is that of the guest's own pages.
        state.pkrs = rng.random::<u32>() & !3;
    }
    state
}
