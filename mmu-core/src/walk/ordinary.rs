//! The prediction for an ordinary access, which completes and leaves nothing open: one walk by `masks`,
//! during which the updates of the entries and the rules are noted.
//!
//! What it cannot settle it leaves to the prediction in detail, which begins again. So it cannot disagree
//! about anything but an access that completes; a property checks that it does not.

use super::Mmu;
use super::choices::has_open_global;
use crate::access::{Access, MAX_PAGES};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{EntryUpdate, EntryUpdates, Prediction, Span, Translation};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::profile::Pin;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, Denial, Semantics};
use crate::x86::state::PagingMode;
use arrayvec::ArrayVec;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Predicts an ordinary access. `None` if it is not one; the prediction means nothing then.
    #[inline]
    pub(super) fn predict_ordinary<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        found: &mut Prediction,
    ) -> Option<()> {
        let may_read_pdptes =
            F::MODE == PagingMode::Pae && self.regime.profile.pdptes_are_walked() == Pin::Open;
        if !R::IS_REFERENCE || may_read_pdptes || self.bytes_are_open(access) {
            return None;
        }
        if self.semantics.alignment_check(access, &self.regime) != AlignmentCheck::Passes {
            return None;
        }
        let mut rules = RuleSet::default();
        let canonical = self.canonical_access(access, &mut rules)?;

        let (spans, updates) = found.only_completion();
        let in_first_page = canonical.bytes_before(Self::page_shift());
        if in_first_page == canonical.size {
            let page = canonical.address;
            let address = self.note_page(memory, page, &canonical, updates, &mut rules)?;
            spans.push(Span { address, len: in_first_page });
        } else {
            self.note_pages(memory, &canonical, spans, updates, &mut rules)?;
        }

        if !updates.is_empty() {
            rules.insert(Rule::Ad1);
        }
        // The root table is at CR3, less the bits that are not part of its address.
        if self.root.get() != self.regime.state.cr3 {
            rules.insert(Rule::Mode8);
        }
        found.rules = rules;
        Some(())
    }

    /// Walks for each page, and notes what the access does there.
    #[inline(never)]
    fn note_pages<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
        spans: &mut ArrayVec<Span, MAX_PAGES>,
        updates: &mut EntryUpdates,
        rules: &mut RuleSet,
    ) -> Option<()> {
        let mut of_page = EntryUpdates::new();
        for (page, len) in self.pages(access) {
            let is_first = spans.is_empty();
            let noted = if is_first { &mut *updates } else { &mut of_page };
            let address = self.note_page(memory, page, access, noted, rules)?;
            spans.push(Span { address, len });

            // The entries above are those of the page before, mostly. None may serve two levels (AD-6).
            for update in &of_page {
                match updates.iter().find(|known| known.at == update.at) {
                    Some(known) if known.level != update.level => return None,
                    Some(_) => {}
                    None => updates.push(*update),
                }
            }
        }
        Some(())
    }

    /// Walks for a page, and notes what the access does there: replaces `updates` by those of the page.
    /// Returns where the page leads. `None` if something is open, or an entry serves two levels (AD-6).
    #[inline]
    fn note_page<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        updates: &mut EntryUpdates,
        rules: &mut RuleSet,
    ) -> Option<PhysAddr> {
        // Places for the updates. What an earlier prediction has there is overwritten.
        while let Some(level) = F::LEVELS.get(updates.len()) {
            updates.push(Self::unwritten(level));
        }

        let mut levels = F::LEVELS.iter();
        let mut len = 0;
        let walked = self.walk_by_masks(memory, address, access, |at, before| {
            let Some(level) = levels.next() else { return };
            if level.has_flags
                && let Some(update) = updates.get_mut(len)
            {
                *update = EntryUpdate { at, before, ..Self::unwritten(level) };
                len += 1;
            } else {
                self.trace_entry(level, EntryKind::Table, before, rules);
            }
        });
        updates.truncate(len);

        let Translation { address, rights, leaf, level } = walked?;
        let is_open = self.trace_updates(updates, rules);
        if let Some(level) = level {
            self.trace_leaf(level, leaf, rights, Denial::empty(), access, rules);
        }
        if let Some(update) = updates.last_mut() {
            update.must_set =
                self.flags_to_set(update.level, EntryKind::Leaf, rights, access).bits();
        }
        (!is_open).then_some(address)
    }

    /// The update of an entry of this level that has not been read: A is set (AD-1).
    #[inline]
    fn unwritten(level: &'static Level) -> EntryUpdate {
        let at = PhysAddr::new(0);
        let must_set = EntryBits::A.bits();
        EntryUpdate { at, level, before: 0, must_set, may_set: 0, open_by: Rule::Ad1 }
    }

    /// The rules that are seen at work in the entries on a path, the leaf last. Returns whether they leave
    /// something open, or one of them serves two levels.
    #[inline]
    fn trace_updates(&self, updates: &[EntryUpdate], rules: &mut RuleSet) -> bool {
        let mut is_open = false;
        for (number, update) in updates.iter().enumerate() {
            let (above, below) = updates.split_at(number);
            let kind = if below.len() == 1 { EntryKind::Leaf } else { EntryKind::Table };

            is_open |= has_open_global(update.level, update.before);
            is_open |= above.iter().any(|other| other.at == update.at);
            self.trace_entry(update.level, kind, update.before, rules);
        }
        is_open
    }

    /// The rules that are seen at work in an entry.
    #[inline]
    fn trace_entry(&self, level: &Level, kind: EntryKind, entry: u64, rules: &mut RuleSet) {
        self.trace_good_entry(level, kind, entry, rules);
        if F::register(level, 0, &self.regime).is_some() {
            rules.insert(Rule::Pdpte1);
        }
    }
}
