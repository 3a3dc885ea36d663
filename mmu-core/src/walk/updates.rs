//! What an access does to the entries on its path: which of A and D are set, and which may be (AD-1 to
//! AD-7).

use super::predict::{PageEnd, WalkedPage};
use super::{Mmu, Step};
use crate::access::Access;
use crate::address::PAGE_SHIFT;
use crate::outcome::{EntryUpdate, MAX_ENTRIES};
use crate::x86::format::{EntryBits, EntryKind, Format};
use crate::x86::profile::Pin;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, Semantics};
use arrayvec::ArrayVec;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// What the access does to the entries of its pages.
    pub(super) fn updates(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        rules: &mut RuleSet,
    ) -> ArrayVec<EntryUpdate, MAX_ENTRIES> {
        let faulting = pages.iter().filter(|page| page.faults()).count();
        let completes = faulting == 0;
        let denied_pte_is_accessed = self.regime.profile.denied_pte_is_accessed();
        let mut updates = ArrayVec::new();

        for number in 0..pages.len() {
            let governed = self.page_flags(pages, number, access);

            for step in &pages[number].path.steps {
                // A bad entry is left alone, and PAE's PDPTEs have no flags (PDPTE-3).
                if step.error.is_some() || !step.level.has_flags {
                    continue;
                }
                let flags = self.flags_to_set(step, access, governed.sets_dirty);
                let open_by = governed.rule_for(step.kind);
                let is_pte = step.level.shift == PAGE_SHIFT;
                let (must_set, may_set) = match denied_pte_is_accessed {
                    _ if completes => (flags, 0),
                    // Where two pages fault, the processor may not have come to this one.
                    Pin::Yes if open_by == Rule::Ad3 && is_pte && faulting == 1 => (flags, 0),
                    Pin::No if open_by == Rule::Ad3 && is_pte => (0, 0),
                    Pin::No | Pin::Yes | Pin::Open => (0, flags),
                };
                let update = EntryUpdate {
                    at: step.at,
                    level: step.level,
                    before: step.entry,
                    must_set,
                    may_set,
                    open_by,
                };
                rules.insert(update.open_by);
                merge(&mut updates, update, rules);
            }
        }

        updates
    }

    /// What governs A and D in the entries of one of the pages.
    fn page_flags(&self, pages: &[WalkedPage], number: usize, access: &Access) -> PageFlags {
        let without_dirty = |rule| PageFlags { rule, sets_dirty: false };
        let is_second = number > 0;

        if !pages.iter().any(WalkedPage::faults) {
            return PageFlags { rule: Rule::Ad1, sets_dirty: true };
        }
        // A page behind the one that faults is reached by speculation only.
        if is_second && pages[0].faults() {
            return without_dirty(Rule::Ad5);
        }

        match &pages[number].end {
            PageEnd::Fault(Cause::Denied(_), _) => without_dirty(Rule::Ad3),
            PageEnd::Translated(..) if is_second => without_dirty(Rule::Ad5),
            // The first page may be written before the second one faults.
            PageEnd::Translated(..) if self.semantics.is_write(access) => {
                PageFlags { rule: Rule::Ad7, sets_dirty: true }
            }
            PageEnd::Fault(Cause::Entry(_), _) | PageEnd::Translated(..) => {
                without_dirty(Rule::Ad2)
            }
        }
    }

    /// The flags that an access sets in an entry: A, and D in a leaf where `sets_dirty` allows it.
    fn flags_to_set(&self, step: &Step, access: &Access, sets_dirty: bool) -> u64 {
        let is_leaf = step.kind == EntryKind::Leaf;
        let dirties = is_leaf && self.semantics.sets_dirty(step.rights, access);

        let mut flags = EntryBits::empty();
        flags.set(EntryBits::A, self.semantics.sets_accessed(step.level));
        flags.set(EntryBits::D, dirties && sets_dirty);
        flags.bits()
    }
}

/// What governs A and D in the entries of a page.
#[derive(Clone, Copy)]
struct PageFlags {
    /// The rule that requires the flags, or leaves them open.
    rule: Rule,
    /// Whether D may be set.
    sets_dirty: bool,
}

impl PageFlags {
    /// The rule for an entry of this kind: AD-3 is about the leaf only.
    fn rule_for(self, kind: EntryKind) -> Rule {
        match (self.rule, kind) {
            (Rule::Ad3, EntryKind::Table) => Rule::Ad2,
            (rule, _) => rule,
        }
    }
}

/// Adds an update. An entry that is there already gets the bits of both; that it is at another level
/// is AD-6.
fn merge(
    updates: &mut ArrayVec<EntryUpdate, MAX_ENTRIES>,
    update: EntryUpdate,
    rules: &mut RuleSet,
) {
    match updates.iter_mut().find(|known| known.at == update.at) {
        Some(known) => {
            if known.level != update.level {
                rules.insert(Rule::Ad6);
            }
            known.must_set |= update.must_set;
            known.may_set |= update.may_set;
        }
        None => updates.push(update),
    }
}
