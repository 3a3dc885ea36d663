//! Whether a case can be run at all in the fixed layout of the guest's memory. Generated cases fit
//! by construction; a case that somebody wrote may not, and must not be able to hurt the guest.

use crate::case::Case;
use guest::layout::{Arena, DATA_BASE, DATA_SIZE, HOLE_BASE};
use mmu_core::format::EntryBits;
use mmu_core::walk::predict_in_mode;
use mmu_core::{AccessKind, Cr0, Cr4, Efer, Outcome, PagingMode, Reference, Ring};

/// The arena whose tables the case uses.
///
/// # Errors
/// The reason why the case cannot be run, for people.
pub fn arena_of(case: &Case) -> Result<Arena, String> {
    if case.mode() != PagingMode::FourLevel {
        return Err(format!("the guest runs 4level paging only, not {}", case.mode()));
    }
    let base = case.state.cr3 & 0x000f_ffff_ffff_f000;
    let arena = Arena::ALL.into_iter().find(|arena| arena.table(0) == base).ok_or_else(|| {
        let [first, second] = Arena::ALL.map(|arena| arena.table(0));
        format!("its CR3 points to {base:#x}; a root table lies at {first:#x} or {second:#x}")
    })?;
    check_state(case)?;
    check_entries(case, arena)?;
    check_access(case)?;
    Ok(arena)
}

fn check_state(case: &Case) -> Result<(), String> {
    let state = &case.state;
    let cr0 = Cr0::PE | Cr0::ET | Cr0::PG;
    let cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
    let efer = Efer::LME | Efer::LMA;
    let free_cr4 = Cr4::PGE | Cr4::SMEP | Cr4::SMAP | Cr4::PKE;
    for (register, value, wanted, free) in [
        ("CR0", state.cr0.bits(), cr0.bits(), Cr0::WP.bits()),
        ("CR4", state.cr4.bits(), cr4.bits(), free_cr4.bits()),
        ("EFER", state.efer.bits(), efer.bits(), Efer::NXE.bits()),
        ("CR3", state.cr3 & 0xfff, 0, 0x18),
    ] {
        if value & !free != wanted {
            return Err(format!(
                "its {register} is {value:#x}; the guest runs with {wanted:#x}, and with or \
                 without {free:#x}"
            ));
        }
    }
    if state.pkrs != 0 {
        return Err("the guest does not load PKRS".into());
    }
    if state.pkru != 0 && case.access.ring == Ring::Zero {
        return Err("the guest loads PKRU for ring-3 accesses only".into());
    }
    Ok(())
}

fn check_entries(case: &Case, arena: Arena) -> Result<(), String> {
    for entry in &case.entries {
        if arena.table_at(entry.at).is_none() {
            let (from, to) = (arena.table(0), arena.table(Arena::TABLES));
            let at = entry.at;
            return Err(format!(
                "its entry at {at:#x} lies outside the tables, {from:#x} to {to:#x}"
            ));
        }
        if entry.at == arena.table(0) {
            return Err("slot 0 of the PML4 maps the guest itself".into());
        }
        let target = entry.value & 0x000f_ffff_ffff_f000;
        let is_own = target < DATA_BASE && arena.table_at(target).is_none();
        let is_large = entry.value & EntryBits::PS.bits() != 0;
        if entry.value & EntryBits::P.bits() != 0 && is_own && !is_large {
            let (at, value) = (entry.at, entry.value);
            return Err(format!(
                "its entry {value:#x} at {at:#x} points into the guest's own memory, not to a \
                 table of its arena or to data"
            ));
        }
    }
    Ok(())
}

fn check_access(case: &Case) -> Result<(), String> {
    let access = &case.access;
    if access.implicit {
        return Err("the guest makes explicit accesses only".into());
    }
    let has_stub = access.size.is_power_of_two()
        || matches!(access.kind, AccessKind::Fetch | AccessKind::Clflush);
    if !has_stub {
        return Err(format!("the guest has no instruction for {} bytes", access.size));
    }
    let prediction = predict_in_mode(Reference, case.state, case.profile, case, access);
    for alternative in &prediction.alternatives {
        let Outcome::Translated(spans) = &alternative.outcome else { continue };
        for span in spans {
            let (first, last) = (span.address.get(), span.address.get() + span.len as u64 - 1);
            let in_data = first >= DATA_BASE && last < DATA_BASE + DATA_SIZE;
            if !in_data && first < HOLE_BASE {
                return Err(format!(
                    "it would reach physical address {first:#x}; data lies at {DATA_BASE:#x} to \
                     {:#x}, and there is certainly nothing from {HOLE_BASE:#x} on",
                    DATA_BASE + DATA_SIZE
                ));
            }
        }
    }
    Ok(())
}
