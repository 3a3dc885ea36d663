//! From nested walks to a prediction: everything that the manuals allow for one access of a guest.

use super::exit::{OpenMember, Refusal};
use super::outcome::{NestedAlternative, NestedEnd, NestedPrediction};
use super::page::{Dimensions, FlagOrder, NestedPage, NestedPageEnd};
use super::rule::{AnyRule, NestedRule};
use super::semantics::{NestedRights, NestedSemantics};
use crate::access::{Access, MAX_PAGES};
use crate::address::PhysAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::table::limits;
use crate::walk::{CHECKED_16_BYTES, CHECKED_FIRST, Mmu, likeliest_member, rules_of_fault};
use crate::x86::fault::Fault;
use crate::x86::format::Format;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, EntryError, Reference, Rights, Semantics};
use crate::x86::state::PagingMode;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::cell::Cell;
use core::convert::Infallible;

/// The member of CODE-7 that the second level follows where it is open.
pub(super) const GLOBAL_RESERVED: OpenMember =
    (AnyRule::Paging(Rule::Code7), "G in a nested PML4E is reserved");
const GLOBAL_IGNORED: &str = "G in a nested PML4E is ignored";

/// Members of NEST-9.
const ON_THE_WAY: OpenMember =
    (AnyRule::Nested(NestedRule::Nest9), "A is set before the next entry is read");
const AT_END: &str = "A and D are set at the end of the walk";

impl<N: NestedSemantics, F: Format> Dimensions<'_, N, F> {
    /// Adds what the manuals allow, with each member of the guest's choices.
    pub(super) fn predict<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut NestedPrediction,
    ) {
        self.predict_in_regime(memory, access, choice, found);

        for (choices, rule, member) in self.guest.other_choices(access) {
            let regime = Regime { choices, ..*self.guest.regime() };
            let other = Mmu::<F>::with_regime(Reference, regime);
            let both = Dimensions { guest: &other, ..*self };
            let choice = choice.or(Some((AnyRule::Paging(rule), member)));
            both.predict_in_regime(memory, access, choice, found);
        }
    }

    fn predict_in_regime<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut NestedPrediction,
    ) {
        let Some(canonical) = self.guest.canonical_access(access, &mut found.rules) else {
            self.refuse(access, choice, found);
            return;
        };

        // If a table is outside memory, both contents are tried that machines give it (OUT-1).
        for (value, member) in [(0, "reads as zeros"), (u64::MAX, "reads as ones")] {
            let filled = FilledMemory { memory, value, was_outside: Cell::new(false) };
            let first = self.walk_pages(&filled, &canonical, FlagOrder::AtEnd);
            let is_open = self.flag_order_matters(&first, access);
            let other = is_open.then(|| self.walk_pages(&filled, &canonical, FlagOrder::OnTheWay));

            let is_outside = filled.was_outside.get();
            let outside = is_outside.then_some((AnyRule::Paging(Rule::Out1), member));
            let choice = outside.or(choice);
            self.conclude(&first, &canonical, choice, found);
            if let Some(other) = other {
                self.conclude(&other, &canonical, choice.or(Some(ON_THE_WAY)), found);
            }
            if !is_outside {
                break;
            }
        }
    }

    /// Adds what becomes of an access that no walk is made for.
    fn refuse(&self, access: &Access, choice: Option<OpenMember>, found: &mut NestedPrediction) {
        let semantics = self.guest.semantics();
        let end = NestedEnd::Fault(semantics.non_canonical_fault(access));
        found.add(NestedAlternative { end, updates: Vec::new(), choice });

        if semantics.alignment_check(access, self.guest.regime()) != AlignmentCheck::Passes {
            let end = NestedEnd::Fault(Fault::ALIGNMENT_CHECK);
            let choice = Some((AnyRule::Paging(Rule::Align1), CHECKED_FIRST));
            found.add(NestedAlternative { end, updates: Vec::new(), choice });
        }
    }

    fn walk_pages<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &FilledMemory<'_, M>,
        access: &Access,
        order: FlagOrder,
    ) -> Vec<NestedPage> {
        let pages = self.guest.pages(access);
        pages
            .map(|page| {
                let Ok(walked) = self.walk_page(memory, page, access, order);
                walked
            })
            .collect()
    }

    /// Whether it shows when the guest's A is set: the second level refuses a write to a table.
    fn flag_order_matters(&self, pages: &[NestedPage], access: &Access) -> bool {
        let mut reads = pages.iter().flat_map(|page| &page.reads);
        self.flags_are_written_apart(access)
            && reads.any(|read| !read.walk.rights().contains(NestedRights::WRITE))
    }

    /// Adds what follows from the walks for the access's pages.
    fn conclude(
        &self,
        pages: &[NestedPage],
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut NestedPrediction,
    ) {
        for page in pages {
            self.note_rules(page, access, found);
        }
        let failing: ArrayVec<&NestedPage, MAX_PAGES> =
            pages.iter().filter(|page| page.fails()).collect();
        if !failing.is_empty() && pages.len() > 1 {
            found.rules.insert(Rule::Code12);
        }

        let check = self.guest.semantics().alignment_check(access, self.guest.regime());
        let mut rules = RuleSet::default();
        let updates = self.updates(pages, access, &mut rules);
        let of_check = || NestedAlternative {
            end: NestedEnd::Fault(Fault::ALIGNMENT_CHECK),
            updates: self.updates_without_access(pages, access),
            choice,
        };
        if check == AlignmentCheck::Fails && failing.is_empty() {
            found.rules.insert(Rule::Align1);
            found.add(of_check());
            return;
        }
        found.rules.extend(rules);

        if failing.is_empty() {
            let spans = pages.iter().filter_map(NestedPage::translated).collect();
            let end = NestedEnd::Translated(spans);
            found.add(NestedAlternative { end, updates: updates.clone(), choice });
        }
        // Where several pages fail, a processor may report any of them (CODE-12).
        let others = ["the upper page is reported", "a page further up is reported"];
        for (number, page) in failing.iter().enumerate() {
            let upper = number
                .checked_sub(1)
                .map(|above| (AnyRule::Paging(Rule::Code12), others[above.min(1)]));
            for (end, own) in self.ends(page, found) {
                let choice = upper.or(choice).or(own);
                found.add(NestedAlternative { end, updates: updates.clone(), choice });
            }
        }

        if check != AlignmentCheck::Passes {
            let member = if failing.is_empty() { CHECKED_16_BYTES } else { CHECKED_FIRST };
            let choice = Some((AnyRule::Paging(Rule::Align1), member));
            found.add(NestedAlternative { choice, ..of_check() });
        }
    }

    /// How a page that fails may be reported.
    fn ends(
        &self,
        page: &NestedPage,
        found: &mut NestedPrediction,
    ) -> ArrayVec<(NestedEnd, Option<OpenMember>), 2> {
        match &page.end {
            NestedPageEnd::Translated(_) => ArrayVec::new(),
            NestedPageEnd::Fault(_, fault) => {
                ArrayVec::from_iter([(NestedEnd::Fault(*fault), None)])
            }
            NestedPageEnd::Refused(walk) => {
                let Err(fault) = walk.end else { return ArrayVec::new() };
                let refusal = Refusal {
                    walk,
                    fault,
                    linear: page.address,
                    guest_rights: page.guest_rights.unwrap_or(Rights::all()),
                };
                let exits =
                    refusal.exits(&self.nested, self.second.level(), &mut found.nested_rules);
                exits.into_iter().map(|(exit, own)| (NestedEnd::Exit(exit), own)).collect()
            }
        }
    }

    /// The rules that decided about a page.
    fn note_rules(&self, page: &NestedPage, access: &Access, found: &mut NestedPrediction) {
        found.rules.extend(page.path.rules);
        if let NestedPageEnd::Fault(cause, _) = page.end {
            found.rules.extend(rules_of_fault(cause, access));
        }

        let nested = &mut found.nested_rules;
        nested.insert(NestedRule::Nest1);
        let is_npt = self.second.is_npt();
        let has_tables = !page.reads.is_empty();
        let is_refused = matches!(page.end, NestedPageEnd::Refused(_));
        for (applies, rule) in [
            (is_npt && has_tables, NestedRule::Nest2),
            (matches!(page.end, NestedPageEnd::Fault(..)) || is_refused, NestedRule::Nest5),
            (page.fails_at_page() && has_tables, NestedRule::Nest6),
            (is_npt, NestedRule::Nest7),
            (!is_npt && has_tables, NestedRule::Nest9),
            (F::MODE == PagingMode::Pae, NestedRule::Nest13),
            (self.guest_entry_is_above(page), NestedRule::Nest4),
        ] {
            if applies {
                nested.insert(rule);
            }
        }
    }

    /// Whether the guest's walk ended at an address above its MAXPHYADDR.
    fn guest_entry_is_above(&self, page: &NestedPage) -> bool {
        let above = self.guest.regime().profile.bits_above_physical();
        matches!(page.end, NestedPageEnd::Fault(..))
            && F::ENTRY_BYTES == 8
            && page.path.steps.last().is_some_and(|step| {
                matches!(
                    step.error,
                    Some(EntryError::Reserved(bits)) if bits & above != 0
                )
            })
    }
}

impl NestedPrediction {
    /// Where there are several alternatives, the first is a member of the choice, too.
    pub(super) fn name_first_member(&mut self) {
        let [first, second, ..] = self.alternatives.as_mut_slice() else { return };
        let (None, Some((rule, member))) = (first.choice, second.choice) else { return };

        let name = match rule {
            AnyRule::Nested(_) => AT_END,
            AnyRule::Paging(_) if (rule, member) == GLOBAL_RESERVED => GLOBAL_IGNORED,
            AnyRule::Paging(rule) => likeliest_member(rule, member),
        };
        first.choice = Some((rule, name));
    }
}

/// Memory in which everything outside reads as one value.
struct FilledMemory<'a, M: ?Sized> {
    memory: &'a M,
    value: u64,
    /// Whether anything outside was read.
    was_outside: Cell<bool>,
}

impl<M: TableMemory<Error = OutsideMemory> + ?Sized> TableMemory for FilledMemory<'_, M> {
    type Error = Infallible;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, Infallible> {
        Ok(self.memory.read_entry(at, bytes).unwrap_or_else(|_| {
            self.was_outside.set(true);
            self.value & limits::all_ones(bytes)
        }))
    }
}
