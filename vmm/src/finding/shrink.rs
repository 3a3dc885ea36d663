//! Reducing a case that shows a finding: the machine runs simpler cases, and the simplest one that
//! still shows the same finding stays.

use super::Example;
use crosswalk_case::{AccessStep, Action, Case, TableEntry, size_of_case};
use crosswalk_guest::stub::Form;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, Cr0, Cr4, PagingMode, Ring, Segment};

/// Reduces an example as far as possible. Each round tries every single simplification of the case and
/// goes on with the first smaller one for which `show` returns an example.
///
/// # Errors
/// The error of `show`: the machine failed.
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

/// Every case that is simpler in one respect; some may be the same case.
fn simplifications(case: &Case) -> Vec<Case> {
    let mut simpler = Simplifications { case, simpler: Vec::new() };
    simpler.drop_actions();
    simpler.simplify_actions();
    simpler.drop_entries();
    simpler.clear_entries();
    simpler.clear_control_bits();
    if case.mode() == PagingMode::Pae {
        simpler.restore_pdptes();
    }
    simpler.clear_keys_and_ac();
    simpler.simplify_access();
    simpler.simpler
}

struct Simplifications<'c> {
    case: &'c Case,
    simpler: Vec<Case>,
}

impl Simplifications<'_> {
    fn add(&mut self, change: impl FnOnce(&mut Case)) {
        let mut changed = self.case.clone();
        change(&mut changed);
        self.simpler.push(changed);
    }

    /// Without two neighbouring actions before the access, such as a store and an invalidation, or
    /// without one.
    fn drop_actions(&mut self) {
        let count = self.case.before.len();
        for dropped in [2, 1] {
            for i in 0..=count.saturating_sub(dropped) {
                self.add(|case| {
                    case.before.drain(i..(i + dropped).min(count));
                });
            }
        }
    }

    /// With all accesses by ring 3, or one action before the access that is simpler.
    fn simplify_actions(&mut self) {
        if self.case.is_sequence() {
            self.add(|case| for_each_access(case, |access| access.ring = Ring::Three));
        }

        for (i, action) in self.case.before.iter().enumerate() {
            match *action {
                Action::Access(step) => self.simplify_step(i, step),
                Action::Write(entry) => self.simplify_store(i, entry),
                Action::Invlpg(_) => {
                    self.add(|case| case.before[i] = Action::Invlpg(case.access.address));
                }
                Action::Mov(mov) => self.simplify_mov(i, mov),
                Action::Invpcid(_)
                | Action::Pkru(_)
                | Action::ReloadCr3
                | Action::WriteProtect(_) => {}
            }
        }
    }

    /// With a simpler access as action `i`.
    fn simplify_step(&mut self, i: usize, step: AccessStep) {
        let mut add = |access: Access, form: Form| {
            self.add(|case| case.before[i] = Action::Access(AccessStep { access, form, ..step }));
        };

        let access = step.access;
        add(Access { kind: AccessKind::Read, size: access.size.min(8), ..access }, Form::Load);
        if access.kind == AccessKind::ReadModifyWrite {
            add(Access { kind: AccessKind::Write, ..access }, Form::Store);
        }
        add(Access { segment: Segment::Data, ac: false, ..access }, step.form);
        if !matches!(access.kind, AccessKind::Fetch | AccessKind::Clflush) {
            for size in [1, 2, 4] {
                add(Access { size: size.min(access.size), ..access }, step.form);
            }
        }
    }

    /// With action `i`, the store of an entry, into an entry below that one, or with one bit fewer that
    /// it changes.
    fn simplify_store(&mut self, i: usize, stored: TableEntry) {
        let entries = &self.case.entries;
        let Some(place) = entries.iter().position(|entry| entry.at == stored.at) else {
            return;
        };
        let changed = entries[place].value ^ stored.value;

        for below in entries[place + 1..].iter().rev() {
            let value = below.value ^ changed;
            self.add(|case| case.before[i] = Action::Write(TableEntry { value, ..*below }));
        }
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| changed & bit != 0) {
            let value = stored.value ^ bit;
            self.add(|case| case.before[i] = Action::Write(TableEntry { value, ..stored }));
        }
    }

    /// With one bit fewer that action `i`, a MOV, changes in the register of the case.
    fn simplify_mov(&mut self, i: usize, mov: Mov) {
        let changed = mov.value() ^ mov.register_in(&self.case.state);
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| changed & bit != 0) {
            let simpler = mov.with_value(mov.value() ^ bit);
            self.add(|case| case.before[i] = Action::Mov(simpler));
        }
    }

    /// Without an entry of a sequence that no action stores.
    fn drop_entries(&mut self) {
        if !self.case.is_sequence() {
            return;
        }
        for (i, entry) in self.case.entries.iter().enumerate() {
            let stores =
                |action: &Action| matches!(action, Action::Write(stored) if stored.at == entry.at);
            if !self.case.before.iter().any(stores) {
                self.add(|case| {
                    case.entries.remove(i);
                });
            }
        }
    }

    /// With one flag of an entry as in a plain case, or A and D clear.
    fn clear_entries(&mut self) {
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;
        let accessed_and_dirty = EntryBits::A | EntryBits::D;
        let not_flags = EntryBits::ADDRESS | (accessed_and_dirty | EntryBits::PS).bits();

        for (i, entry) in self.case.entries.iter().enumerate() {
            let unusual = (entry.value ^ plain.bits()) & !not_flags;
            for bit in (0..64).map(|bit| 1 << bit).filter(|bit| unusual & bit != 0) {
                self.add(|case| case.entries[i].value ^= bit);
            }
            self.add(|case| case.entries[i].value &= !accessed_and_dirty.bits());
        }
    }

    /// With one control bit as in a plain case.
    fn clear_control_bits(&mut self) {
        for bit in [Cr4::SMEP, Cr4::SMAP, Cr4::PKE, Cr4::PKS, Cr4::PGE, Cr4::PSE] {
            if self.case.state.cr4.contains(bit) {
                self.add(|case| case.state.cr4.remove(bit));
            }
        }
        self.add(|case| case.state.cr0.insert(Cr0::WP));
        self.add(|case| case.state.cr0.remove(Cr0::AM));
        self.add(|case| {
            case.state.cr4.remove(Cr4::PKS);
            case.state.pkrs = 0;
        });
    }

    /// With a PDPTE that is the same in its register and in memory, or is good. If it is the same, it
    /// need not be listed.
    fn restore_pdptes(&mut self) {
        for (i, entry) in self.case.entries.iter().enumerate() {
            let Some(pdpte) = self.case.pdpte_at(entry.at) else { continue };
            if entry.value == self.case.state.pdptes[pdpte] {
                self.add(|case| {
                    case.entries.remove(i);
                });
            }
            self.add(|case| case.state.pdptes[pdpte] = entry.value);
            self.add(|case| case.entries[i].value = case.state.pdptes[pdpte]);
            self.add(|case| {
                let good = entry.value & LOW_TABLE_ADDRESS | EntryBits::P.bits();
                case.state.pdptes[pdpte] = good;
                case.entries[i].value = good;
            });
        }
    }

    /// With PKRU or EFLAGS.AC clear.
    fn clear_keys_and_ac(&mut self) {
        self.add(|case| case.state.pkru = 0);
        self.add(clear_ac);
    }

    /// With a simpler kind of access, or a smaller one.
    fn simplify_access(&mut self) {
        let kind = self.case.access.kind;
        if kind != AccessKind::Fetch {
            self.add(|case| make_access(case, AccessKind::Read));
        }
        if kind == AccessKind::ReadModifyWrite {
            self.add(|case| make_access(case, AccessKind::Write));
        }
        if !matches!(kind, AccessKind::Fetch | AccessKind::Clflush) {
            for size in [1, 2, 4] {
                self.add(|case| case.access.size = size.min(case.access.size));
            }
        }
    }
}

/// The bits of a PDPTE that are the address of a table below 4 GiB.
const LOW_TABLE_ADDRESS: u64 = 0xffff_f000;

/// Clears EFLAGS.AC in every access.
fn clear_ac(case: &mut Case) {
    for_each_access(case, |access| access.ac = false);
}

/// Changes every access of a case.
fn for_each_access(case: &mut Case, change: impl Fn(&mut Access)) {
    change(&mut case.access);
    for action in &mut case.before {
        if let Action::Access(step) = action {
            change(&mut step.access);
        }
    }
}

fn make_access(case: &mut Case, kind: AccessKind) {
    case.access.kind = kind;
    case.form = Case::default_form(kind);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, VirtAddr};
    use std::convert::Infallible;

    /// Whether an access comes before a store that changes an entry, and that before an INVLPG: the
    /// planted fault.
    fn shows(case: &Case) -> bool {
        let place = |wanted: &dyn Fn(&Action) -> bool| case.before.iter().position(wanted);
        let changes = |action: &Action| match action {
            Action::Write(stored) => !case.entries.contains(stored),
            _ => false,
        };
        let access = place(&|action| matches!(action, Action::Access(_)));
        let store = place(&changes);
        let invlpg = place(&|action| matches!(action, Action::Invlpg(_)));

        let all = [access, store, invlpg];
        all.iter().all(Option::is_some) && all.is_sorted()
    }

    /// Six actions: a read-modify-write in ring 0, a store into the PDE that changes P and R/W, INVLPG of
    /// another page, and three that do not matter.
    fn six_actions() -> Case {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Zero, Profile::default());
        make_access(&mut case, AccessKind::ReadModifyWrite);
        case.access.size = 8;
        let step = case.access_step();
        let pde = case.entries[2];

        case.before = vec![
            Action::Pkru(0xc),
            Action::Access(step),
            Action::Write(TableEntry { value: pde.value ^ 0b11, ..pde }),
            Action::ReloadCr3,
            Action::Invlpg(VirtAddr::new(case.access.address.get() + 0x20_0000)),
            Action::WriteProtect(false),
        ];
        case
    }

    /// By hand: a read of one byte in ring 3, a store into the leaf that changes one bit, INVLPG of the
    /// page itself, and a read of one byte in ring 3. The entries are on the path of the accesses, and stay.
    #[test]
    fn a_sequence_becomes_the_one_with_the_fewest_and_simplest_actions() {
        let case = six_actions();
        let leaf = case.entries[3];
        let example = Example::in_words(&case, String::new(), String::new());
        let show = |case: &Case| {
            let example = || Example::in_words(case, String::new(), String::new());
            Ok::<_, Infallible>(shows(case).then(example))
        };
        let Ok(smallest) = shrink(example, show);
        let smallest = smallest.case;

        let [Action::Access(first), Action::Write(stored), Action::Invlpg(dropped)] =
            smallest.before[..]
        else {
            panic!("{:?}", smallest.before)
        };
        for AccessStep { access, .. } in [first, smallest.access_step()] {
            let Access { kind, size, ring, .. } = access;
            assert_eq!((kind, size, ring), (AccessKind::Read, 1, Ring::Three));
        }
        assert_eq!(stored.at, leaf.at);
        assert_eq!((stored.value ^ leaf.value).count_ones(), 1);
        assert_eq!(dropped, smallest.access.address);
        assert_eq!(smallest.entries, case.entries);
    }
}
