//! Reducing a case that shows a finding: simpler cases are run on the machine, and the simplest that
//! still shows the same finding stays.

use super::Example;
use crosswalk_case::Case;
use crosswalk_case::size_of_case;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Cr0, Cr4, PagingMode};

/// Makes an example as small as it gets: each round tries every single simplification of its case
/// and goes on with the first for which `show` returns an example.
///
/// # Errors
/// What `show` fails with: the machine died.
pub fn shrink<E>(
    example: Example,
    mut show: impl FnMut(&Case) -> Result<Option<Example>, E>,
) -> Result<Example, E> {
    let mut smallest = example;
    'rounds: loop {
        for simpler in simplifications(&smallest.case) {
            if size_of_case(&simpler) < size_of_case(&smallest.case)
                && let Some(example) = show(&simpler)?
            {
                smallest = example;
                continue 'rounds;
            }
        }
        return Ok(smallest);
    }
}

/// Every case that is simpler in one respect.
fn simplifications(case: &Case) -> Vec<Case> {
    let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let mut simpler = Vec::new();
    let mut add = |change: &dyn Fn(&mut Case)| {
        let mut changed = case.clone();
        change(&mut changed);
        simpler.push(changed);
    };
    for i in 0..case.before.len() {
        add(&|case| {
            case.before.remove(i);
        });
    }
    for (i, entry) in case.entries.iter().enumerate() {
        let odd = (entry.value ^ plain) & !0x000f_ffff_ffff_f0e0;
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| odd & bit != 0) {
            add(&|case| case.entries[i].value ^= bit);
        }
        add(&|case| case.entries[i].value &= !(EntryBits::A | EntryBits::D).bits());
    }
    for bit in [Cr4::SMEP, Cr4::SMAP, Cr4::PKE, Cr4::PKS, Cr4::PGE, Cr4::PSE] {
        if case.state.cr4.contains(bit) {
            add(&|case| case.state.cr4.remove(bit));
        }
    }
    add(&|case| case.state.cr0.insert(Cr0::WP));
    add(&|case| {
        case.state.cr4.remove(Cr4::PKS);
        case.state.pkrs = 0;
    });
    if case.mode() == PagingMode::Pae {
        // Registers and memory alike, one way or the other; and then the entry need not be listed.
        for (i, entry) in case.entries.iter().enumerate() {
            let Some(pdpte) = case.pdpte_at(entry.at) else { continue };
            if entry.value == case.state.pdptes[pdpte] {
                add(&|case| {
                    case.entries.remove(i);
                });
            }
            add(&|case| case.state.pdptes[pdpte] = entry.value);
            add(&|case| case.entries[i].value = case.state.pdptes[pdpte]);
            add(&|case| {
                let good = entry.value & 0xffff_f000 | EntryBits::P.bits();
                (case.state.pdptes[pdpte], case.entries[i].value) = (good, good);
            });
        }
    }
    add(&|case| case.state.pkru = 0);
    add(&|case| case.state.ac = false);
    add(&|case| {
        if case.access.kind != AccessKind::Fetch {
            case.access.kind = AccessKind::Read;
            case.form = Case::default_form(AccessKind::Read);
        }
    });
    add(&|case| {
        if case.access.kind == AccessKind::ReadModifyWrite {
            case.access.kind = AccessKind::Write;
            case.form = Case::default_form(AccessKind::Write);
        }
    });
    if !matches!(case.access.kind, AccessKind::Fetch | AccessKind::Clflush) {
        for size in [1, 2, 4] {
            add(&|case| case.access.size = size.min(case.access.size));
        }
    }
    simpler
}
