//! Sequences: what the guest can run in one go, and go on after.

use super::super::registers::check_moved;
use crosswalk_case::{Action, Case, TableEntry};
use crosswalk_guest::layout::{Arena, is_in_table_window};
use crosswalk_guest::stub::{Code, Form};
use mmu_core::memory::TableMemoryMut;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::MAX_LEVELS;
use mmu_core::{Cr0, Cr4, PagingMode, PhysAddr};

/// Maximum number of actions before the last access.
const MAX_ACTIONS: usize = 16;
/// Maximum number of entries: those on the paths of two pages.
const MAX_ENTRIES: usize = 2 * MAX_LEVELS;

/// Checks what the guest can run in one go.
pub(super) fn check_sequence(case: &Case) -> Result<(), String> {
    let table_use = case.table_use();
    if table_use.mode == PagingMode::Unpaged {
        return Err("a sequence needs page tables; this one is without paging".into());
    }
    if case.accesses().iter().any(|alone| alone.table_use() != table_use) {
        return Err("a sequence is in 64-bit mode or in compatibility mode, not in both".into());
    }
    if Code::of(table_use) == Code::Bits32 {
        check_invlpg_32(case)?;
    }
    if table_use.mode == PagingMode::Pae {
        check_pdptes_of_actions(case)?;
    }
    if case.entries.len() > MAX_ENTRIES {
        let count = case.entries.len();
        return Err(format!("a sequence has at most {MAX_ENTRIES} entries; it has {count}"));
    }
    if case.accesses().iter().any(|alone| alone.form == Form::SegmentLoad) {
        return Err("no sequence loads a segment".into());
    }
    // Its handlers of faults turn shadow stacks off.
    let is_prepared = case.state.cr4.contains(Cr4::CET);
    if !is_prepared && case.accesses().iter().any(|alone| alone.access.shadow_stack) {
        return Err("a sequence with shadow-stack accesses begins with CR4.CET=1".into());
    }
    let stores_state =
        |action: &Action| matches!(action, Action::Access(step) if leaves_unknown(step.form));
    if case.before.iter().any(stores_state) {
        return Err("fxsave and enter come last, as what they store before a fault is open".into());
    }
    if case.before.len() > MAX_ACTIONS {
        let count = case.before.len();
        return Err(format!("at most {MAX_ACTIONS} actions come before an access; it has {count}"));
    }

    for TableEntry { at, .. } in written_entries(case) {
        // PDPTEs are in memory, listed or not.
        let is_listed = case.entries.iter().any(|entry| entry.at == *at);
        if !is_listed && case.pdpte_at(*at).is_none() {
            return Err(format!("it writes the entry at {at:#x}, which is not listed at first"));
        }
        if Arena::ALL.iter().any(|arena| arena.is_read_only(*at)) {
            return Err(format!("it writes the entry at {at:#x}, which can only be read"));
        }
        if is_in_table_window(*at) {
            return Err(format!("it writes the entry at {at:#x}, which is above 4 GiB"));
        }
    }

    Ok(())
}

/// Whether memory is not known after an instruction: FXSAVE stores what the processor has, and either may
/// have stored a part before it faults.
const fn leaves_unknown(form: Form) -> bool {
    matches!(form, Form::Fxsave | Form::Enter)
}

/// Maximum number of MOVs that name their value: a history has room for as many changes of registers.
const MAX_MOVS: usize = 6;

/// Checks the MOVs to control registers: the guest must go on with what they load, and a machine that accepts
/// a value by mistake must not be left without paging.
pub(super) fn check_movs(case: &Case, arena: Arena) -> Result<(), String> {
    let movs = case.before.iter().filter(|action| matches!(action, Action::Mov(_))).count();
    if movs > MAX_MOVS {
        return Err(format!(
            "at most {MAX_MOVS} MOVs to control registers come before an access; it has {movs}"
        ));
    }

    if movs != 0 && Code::of(case.table_use()) == Code::Bits32 {
        return Err("MOVs to control registers of any value are made in 64-bit code alone".into());
    }
    if Code::of(case.table_use()) == Code::Bits32 {
        let has_invpcid = case.before.iter().any(|action| matches!(action, Action::Invpcid(_)));
        let why = "INVPCID is executed in 64-bit code alone";
        return if has_invpcid { Err(why.into()) } else { Ok(()) };
    }

    let mut state = case.state;
    for action in &case.before {
        let Some(mov) = action.mov(&state) else { continue };
        let keeps_paging = match mov {
            Mov::Cr0(value) => value.contains(Cr0::PG | Cr0::PE),
            Mov::Cr4(value) => value.contains(Cr4::PAE),
            Mov::Cr3(_) | Mov::Efer(_) => true,
        };
        if !keeps_paging {
            return Err(format!(
                "its {mov} would end paging with 64-bit entries, if a machine accepted it"
            ));
        }

        if matches!(mov, Mov::Cr4(value) if (state.cr4 - value).contains(Cr4::PCIDE)) {
            return Err(format!(
                "after its {mov} the guest could not set PCIDE beside a PCID again"
            ));
        }
        action.change(&mut state, case.profile, case);
        check_moved(&Case { state, ..case.clone() }, arena)
            .map_err(|why| format!("after its {mov}, {why}"))?;
    }
    Ok(())
}

/// Checks that 32-bit code has the addresses that INVLPG takes.
fn check_invlpg_32(case: &Case) -> Result<(), String> {
    for action in &case.before {
        if let Action::Invlpg(address) = action
            && address.get() > u64::from(u32::MAX)
        {
            return Err(format!("INVLPG in 32-bit code cannot take {:#x}", address.get()));
        }
    }
    Ok(())
}

/// Checks what the actions do to PDPTEs: the guest itself lives below the first two, and it cannot go on
/// after a MOV to CR3 that faults.
fn check_pdptes_of_actions(case: &Case) -> Result<(), String> {
    for TableEntry { at, value } in written_entries(case) {
        if let Some(index @ 0..2) = case.pdpte_at(*at)
            && *value != case.state.pdptes[index]
        {
            return Err(format!("it writes PDPTE {index}, below which the guest itself lives"));
        }
    }

    let mut memory = Case { before: Vec::new(), ..case.clone() };
    for action in &case.before {
        match action {
            Action::Write(TableEntry { at, value }) => {
                let _ = memory.write_entry(PhysAddr::new(*at), 8, *value);
            }
            Action::ReloadCr3 => {
                let loads = case.state.loads(Mov::Cr3(case.state.cr3), case.profile, &memory);
                if loads.iter().any(|load| load.result.is_err()) {
                    return Err("it loads CR3 while a PDPTE has a reserved bit".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The entries that the actions of a case write.
pub(super) fn written_entries(case: &Case) -> impl Iterator<Item = &TableEntry> {
    case.before.iter().filter_map(|action| match action {
        Action::Write(entry) => Some(entry),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::arena_of;
    use super::super::tests::{assert_refused, plain};
    use super::*;
    use mmu_core::{ControlState, Ring, VirtAddr};

    #[test]
    fn a_sequence_that_the_guest_cannot_run_is_refused() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        case.before = vec![Action::ReloadCr3; 16];
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        case.before.push(Action::ReloadCr3);
        assert_refused(&case, "at most 16 actions");

        let mut unpaged = plain(PagingMode::Unpaged, Ring::Three);
        unpaged.before = vec![Action::ReloadCr3];
        assert_refused(&unpaged, "needs page tables");

        let mut writing = plain(PagingMode::FourLevel, Ring::Three);
        let unlisted = TableEntry { at: Arena::ALL[1].table(7) + 8, value: 0 };
        writing.before = vec![Action::Write(unlisted)];
        assert_refused(&writing, "not listed at first");
        // Nor may a step lead to the guest's own memory.
        let entry = writing.entries[3];
        writing.before = vec![Action::Write(TableEntry { value: 0x10_0007, ..entry })];
        assert_refused(&writing, "the guest's own memory");
    }

    /// What a machine accepts must not end paging, and the guest runs with what it should accept.
    #[test]
    fn a_mov_after_which_the_guest_could_not_go_on_is_refused() {
        let plain = plain(PagingMode::FourLevel, Ring::Three);
        let after = |movs: &[Mov]| {
            let before = movs.iter().map(|mov| Action::Mov(*mov)).collect();
            Case { before, ..plain.clone() }
        };
        let ControlState { cr0, cr3, cr4, .. } = plain.state;

        for (mov, words) in [
            (Mov::Cr0(cr0 - Cr0::PG), "would end paging"),
            (Mov::Cr0(cr0 - Cr0::PE), "would end paging"),
            (Mov::Cr4(cr4 - Cr4::PAE), "would end paging"),
            (Mov::Cr3(cr3 + 0x1000), "its CR3 is 0x641000"),
            (Mov::Cr0(cr0 | Cr0::CD), "its CR0 is"),
            (Mov::Cr4(cr4 | Cr4::LASS), "CR4.LASS"),
        ] {
            assert_refused(&after(&[mov]), words);
        }

        // What is #GP leaves everything as it is.
        let faulting = [Mov::Cr3(cr3 | 1 << 63), Mov::Cr4(cr4 | Cr4::LA57)];
        assert_eq!(arena_of(&after(&faulting)), Ok(Arena::ALL[1]));
        assert_eq!(arena_of(&after(&[faulting[0]; 6])), Ok(Arena::ALL[1]));
        assert_refused(&after(&[faulting[0]; 7]), "at most 6 MOVs");

        // A single case whose CR3 cannot be loaded runs as that MOV.
        let mut unloadable = plain.clone();
        unloadable.state.cr3 |= 1 << 63;
        assert_eq!(arena_of(&unloadable), Ok(Arena::ALL[1]));
    }

    /// PDPTE 0 and 1 map the guest itself. A load of CR3 with a bad PDPTE is #GP(0) (PDPTE-2), which the
    /// guest does not get over.
    #[test]
    fn pdpte_2_what_actions_do_to_pdptes_must_leave_the_guest_alive() {
        let arena = Arena::ALL[1];
        let pdpte =
            |index: u64, value| Action::Write(TableEntry { at: arena.table(0) + 8 * index, value });
        let mut case = plain(PagingMode::Pae, Ring::Three);

        // The PDPTE of the case, and one that it does not list.
        for index in [2, 3] {
            case.before = vec![pdpte(index, 0), Action::ReloadCr3];
            assert_eq!(arena_of(&case), Ok(arena));
        }
        case.before = vec![pdpte(2, arena.table(3) | 0x21)];
        assert_eq!(arena_of(&case), Ok(arena));
        case.before.push(Action::ReloadCr3);
        assert_refused(&case, "reserved bit");
        case.before.insert(1, pdpte(2, arena.table(3) | 1));
        assert_eq!(arena_of(&case), Ok(arena));
        case.before = vec![pdpte(1, 0)];
        assert_refused(&case, "below which the guest itself lives");
    }

    #[test]
    fn thirty_two_bit_code_takes_addresses_of_32_bits() {
        for mode in [PagingMode::Bits32, PagingMode::Pae] {
            let mut case = plain(mode, Ring::Zero);
            case.before = vec![Action::Invlpg(VirtAddr::new(0xffff_ffff))];
            assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
            case.before = vec![Action::Invlpg(VirtAddr::new(1 << 32))];
            assert_refused(&case, "INVLPG in 32-bit code");
        }
    }
}
