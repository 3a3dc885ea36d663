//! What an access does to the entries on its path: which of A and D are set, and which may be (AD-1 to
//! AD-7).

use super::Mmu;
use super::predict::{PageEnd, WalkedPage};
use crate::access::Access;
use crate::address::PAGE_SHIFT;
use crate::outcome::{EntryUpdate, EntryUpdates};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::profile::Pin;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, Rights, Semantics};

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// What the access does to the entries of its pages.
    pub(crate) fn updates(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        rules: &mut RuleSet,
    ) -> EntryUpdates {
        let first_fault = pages.iter().position(WalkedPage::faults);
        let faulting = pages.iter().filter(|page| page.faults()).count();
        let completes = first_fault.is_none();
        let denied_pte_is_accessed = self.regime.profile.denied_pte_is_accessed();
        let mut updates = EntryUpdates::new();

        for (number, page) in pages.iter().enumerate() {
            let is_behind = first_fault.is_some_and(|fault| fault < number);
            let governed =
                if completes { AT_COMPLETION } else { self.page_flags(page, is_behind, access) };

            for step in &page.path.steps {
                // A bad entry is left alone, and PAE's PDPTEs have no flags (PDPTE-3).
                if step.error.is_some() || !step.level.has_flags {
                    continue;
                }
                let flags = self.flags_to_set(step.level, step.kind, step.rights, access);
                let flags = if governed.sets_dirty { flags } else { flags - EntryBits::D };
                let flags = flags.bits();
                let open_by = governed.rule_for(step.kind);
                let is_pte = step.level.shift == PAGE_SHIFT;
                let (must_set, may_set) = match denied_pte_is_accessed {
                    _ if completes => (flags, 0),
                    // Where several pages fault, the processor may not have come to this one.
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

    /// What governs A and D in the entries of a page of an access that faults: on this page or on
    /// another. `is_behind` says whether a page at lower addresses faults.
    fn page_flags(&self, page: &WalkedPage, is_behind: bool, access: &Access) -> PageFlags {
        let without_dirty = |rule| PageFlags { rule, sets_dirty: false };
        let is_written = self.semantics.is_write(access) && !page.faults();

        // A page may be written before the one behind it faults. A wide store is several accesses,
        // of which any may complete while another faults, whatever their addresses.
        if is_written && (!is_behind || access.size > MAX_UNDIVIDED_BYTES) {
            return PageFlags { rule: Rule::Ad7, sets_dirty: true };
        }
        // Otherwise a page behind the one that faults is reached by speculation only.
        if is_behind {
            return without_dirty(Rule::Ad5);
        }

        match &page.end {
            PageEnd::Fault(Cause::Denied(_), _) => without_dirty(Rule::Ad3),
            PageEnd::Fault(Cause::Entry(_), _) | PageEnd::Translated(_) => without_dirty(Rule::Ad2),
        }
    }

    /// The flags that an access sets in an entry when it completes: A, and D in a leaf.
    #[inline]
    pub(crate) fn flags_to_set(
        &self,
        level: &Level,
        kind: EntryKind,
        rights: Rights,
        access: &Access,
    ) -> EntryBits {
        let is_leaf = kind == EntryKind::Leaf;

        let mut flags = EntryBits::empty();
        flags.set(EntryBits::A, self.semantics.sets_accessed(level));
        flags.set(EntryBits::D, is_leaf && self.semantics.sets_dirty(rights, access));
        flags
    }
}

/// Number of bytes up to which a store that faults stores nothing. A larger one may complete in part
/// (AD-7; SDM "Guaranteed Atomic Operations").
const MAX_UNDIVIDED_BYTES: u16 = 8;

/// A completed access sets A, and D for a write (AD-1).
const AT_COMPLETION: PageFlags = PageFlags { rule: Rule::Ad1, sets_dirty: true };

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
fn merge(updates: &mut EntryUpdates, update: EntryUpdate, rules: &mut RuleSet) {
    match updates.iter_mut().find(|known| known.at == update.at) {
        Some(known) => {
            if known.level != update.level {
                rules.insert(Rule::Ad6);
            }
            known.must_set |= update.must_set;
            known.may_set |= update.may_set;
        }
        // There is room for all entries of two pages, and of any that share their upper tables.
        None => updates.push(update),
    }
}
