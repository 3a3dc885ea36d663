//! The control state with which the guest runs: which registers a case may have.

use super::tables::place_at;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Code;
use mmu_core::memory::SparseTables;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr0, Cr4, Efer, PagingMode};

/// The bits of a word that 32-bit code sees.
pub(super) const LOW_HALF: u64 = 0xffff_ffff;
/// The others.
pub(super) const UPPER_HALF: u64 = !LOW_HALF;

/// The MOV to CR3 that comes before the access of a single case in long mode, if it faults (MODE-8): the
/// access is not made. The batch is run with the CR3 that is left without the bits that are wrong.
pub(super) fn unloadable_cr3(case: &Case) -> Option<Mov> {
    // Every processor has at least 32 physical address bits.
    if case.state.cr3 & UPPER_HALF == 0
        || case.is_sequence()
        || !case.mode().is_long_mode()
        || Code::of(case.table_use()) != Code::Bits64
    {
        return None;
    }
    let unread = SparseTables::new(&[]);
    let mov = Mov::Cr3(case.state.cr3);
    case.state.load_cr3(case.state.cr3, case.profile, &unread).is_err().then_some(mov)
}

/// Checks that the guest runs with the registers that it loads for a case.
pub(super) fn check_state(case: &Case, arena: Arena) -> Result<(), String> {
    let root = high_root(case, arena).unwrap_or_else(|| arena.table(0));
    check_registers(case, arena, root)
}

/// Checks that the guest goes on with the registers that 64-bit code has moved something to. There is a copy
/// of its own entry in every root.
pub(super) fn check_moved(case: &Case, arena: Arena) -> Result<(), String> {
    let root = place_at(case, arena, case.state.cr3).filter(|place| place.index == 0);
    let root = root.map_or_else(|| arena.table(0), |place| place.address(arena));
    check_registers(case, arena, root)
}

fn check_registers(case: &Case, arena: Arena, root: u64) -> Result<(), String> {
    let state = &case.state;
    let mode = case.mode();
    if mode.is_long_mode() && state.cr4.contains(Cr4::LASS) {
        return Err("the guest's ring-0 code lies in the lower half of the addresses, where \
                    CR4.LASS lets no supervisor fetch"
            .into());
    }
    let limits = limits(mode, state.cr4.contains(Cr4::PCIDE));
    let (cr4, free_cr4) = limits.cr4;
    let has_cet = state.cr4.contains(Cr4::CET) && may_have_cet(case);
    if has_cet && !state.cr0.contains(Cr0::WP) {
        return Err("CR4.CET=1 needs CR0.WP=1 (SDM \"Control Registers\")".into());
    }
    let cr4 = if has_cet { cr4 | Cr4::CET } else { cr4 };
    let pg = if mode == PagingMode::Unpaged { Cr0::empty() } else { Cr0::PG };
    let cr0 = Cr0::PE | Cr0::ET | pg;
    // A CR3 that cannot be loaded is moved in place of the access.
    let faulting = if unloadable_cr3(case).is_some() { UPPER_HALF } else { 0 };
    let free_cr3 = limits.cr3_free | faulting;

    for (register, value, required, free) in [
        ("CR0", state.cr0.bits(), cr0.bits(), (Cr0::WP | Cr0::AM).bits()),
        ("CR4", state.cr4.bits(), cr4.bits(), free_cr4.bits()),
        ("EFER", state.efer.bits(), limits.efer.bits(), Efer::NXE.bits()),
        ("CR3", state.cr3, root & !free_cr3, free_cr3),
    ] {
        if value & !free != required {
            return Err(format!(
                "its {register} is {value:#x}; in {mode} the guest runs with {required:#x}, and \
                 with or without {free:#x}"
            ));
        }
    }

    if state.pkrs & 3 != 0 {
        return Err("the guest's own pages have key 0, which PKRS must leave free".into());
    }
    if mode == PagingMode::Pae {
        check_pdptes(case, arena)?;
    }
    Ok(())
}

/// Whether the guest runs the case with CR4.CET=1: in 64-bit code of 4-level paging.
fn may_have_cet(case: &Case) -> bool {
    case.mode() == PagingMode::FourLevel && Code::of(case.table_use()) == Code::Bits64
}

/// The address of the root, if it is in a window. The guest loads such a CR3 where it stays in 64-bit code.
pub(super) fn high_root(case: &Case, arena: Arena) -> Option<u64> {
    if case.mode() != PagingMode::FourLevel || case.access.compatibility {
        return None;
    }
    let place = place_at(case, arena, case.state.cr3).filter(|place| place.index == 0);
    place.filter(|place| place.window.is_some()).map(|place| place.address(arena))
}

/// The registers with which the guest runs in a mode.
struct RegisterLimits {
    /// The bits of CR4 that must be set, and those that may be set.
    cr4: (Cr4, Cr4),
    /// The bits of EFER that must be set. NXE may be set.
    efer: Efer,
    /// The bits of CR3 outside the address of the root that may be set.
    cr3_free: u64,
}

fn limits(mode: PagingMode, pcid: bool) -> RegisterLimits {
    let sse = Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    let checks = Cr4::PGE | Cr4::SMEP | Cr4::SMAP | Cr4::PSE;
    let long = |own: Cr4| RegisterLimits {
        cr4: (sse | Cr4::PAE | own, checks | Cr4::PKE | Cr4::PKS),
        efer: Efer::LME | Efer::LMA,
        cr3_free: 0x18, // PWT and PCD
    };
    let legacy = |own: Cr4, free: Cr4, cr3_free| RegisterLimits {
        cr4: (sse | own, checks | free),
        efer: Efer::empty(),
        cr3_free,
    };

    match mode {
        PagingMode::FiveLevel => long(Cr4::LA57),
        PagingMode::FourLevel | PagingMode::Linear if pcid => {
            RegisterLimits { cr3_free: 0xfff, ..long(Cr4::PCIDE) }
        }
        PagingMode::FourLevel | PagingMode::Linear => long(Cr4::empty()),
        PagingMode::Pae => legacy(Cr4::PAE, Cr4::empty(), 0xfff),
        PagingMode::Bits32 => legacy(Cr4::empty(), Cr4::empty(), 0xfff),
        PagingMode::Unpaged => legacy(Cr4::empty(), Cr4::PAE, u64::MAX),
    }
}

/// Checks the first two PDPTEs, under which the guest itself is mapped.
fn check_pdptes(case: &Case, arena: Arena) -> Result<(), String> {
    /// The bits that may be set: PWT, PCD, and those that are ignored.
    const FREE: u64 = 0xe18;

    for i in 0..2 {
        let required = arena.table(1 + i) | EntryBits::P.bits();
        let is_good = |entry: u64| entry & !FREE == required;
        let in_register = case.state.pdptes[i];
        let in_memory = case.entries.iter().find(|entry| case.pdpte_at(entry.at) == Some(i));

        if !is_good(in_register) || !in_memory.is_none_or(|entry| is_good(entry.value)) {
            return Err(format!(
                "its PDPTE {i} is {in_register:#x}; the guest itself lives there and needs \
                 {required:#x}, in the register and in memory"
            ));
        }
    }

    Ok(())
}
