//! From walks to a prediction: all that the manuals allow for one access.
//!
//! An access meets one page or two. Each page is walked; what the walks found decides the outcome
//! and, for every entry on the way, which of A and D are set, and which may be (AD-1 to AD-7).
//! Where processors legally differ, the walk is made once for each member of the choice.

use super::{Mmu, Path, Translation, WalkError};
use crate::access::{Access, AccessKind};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{
    Alternative, EntryUpdate, MAX_ALTERNATIVES, MAX_ENTRIES, Outcome, Prediction, Span,
};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryBits, EntryKind, Format};
use crate::x86::profile::Pin;
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, Denial, Semantics};
use crate::x86::state::{Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

const ACCESSED: u64 = EntryBits::A.bits();
const DIRTY: u64 = EntryBits::D.bits();

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Every way in which the access may go, and what it does to the entries it meets.
    ///
    /// Memory is only read: the prediction says what the tables are to look like afterwards.
    pub fn predict<M: TableMemory>(&self, memory: &M, access: &Access) -> Prediction {
        let mut found = Prediction { alternatives: ArrayVec::new(), rules: RuleSet::default() };
        let Some(masked) = self.canonical_access(access, &mut found.rules) else {
            let outcome = Outcome::Fault(self.semantics.non_canonical_fault(access));
            found.add(Alternative { outcome, updates: ArrayVec::new(), choice: None });
            return found;
        };
        self.predict_with(memory, &masked, None, &mut found);
        for (choices, rule, member) in self.other_choices(&masked) {
            let other = Self::with_regime(self.semantics, Regime { choices, ..self.regime });
            other.predict_with(memory, &masked, Some((rule, member)), &mut found);
        }
        found.name_first_member();
        found
    }

    /// The access with the linear address that is translated: masked in long mode, cut to 32 bits
    /// elsewhere. `None` when it is not canonical.
    pub(crate) fn canonical_access(&self, access: &Access, rules: &mut RuleSet) -> Option<Access> {
        if !F::IS_LONG_MODE {
            let address = access.address.truncated(F::ADDRESS_BITS);
            return Some(Access { address, ..*access });
        }
        let masked = self.semantics.masked_address(access, &self.regime);
        if masked != Some(access.address) {
            rules.insert(Rule::Canon4);
        }
        let access = masked.map_or(*access, |address| Access { address, ..*access });
        if masked.is_some() && self.semantics.is_canonical(&access, F::ADDRESS_BITS) {
            return Some(access);
        }
        rules.insert(Rule::Canon1);
        if access.crosses_page() {
            rules.insert(Rule::Canon2);
        }
        None
    }

    /// The combinations of open choices that the regime does not take and that could matter here.
    pub(crate) fn other_choices(
        &self,
        access: &Access,
    ) -> ArrayVec<(Choices, Rule, &'static str), 3> {
        let Regime { state, profile, choices } = self.regime;
        let global_open = F::IS_LONG_MODE && profile.global_in_pml4e_is_reserved() == Pin::Open;
        let registers_open = F::MODE == PagingMode::Pae && profile.pdptes_are_walked() == Pin::Open;
        let fetch_bit_open = access.kind == AccessKind::Fetch
            && state.cr4.contains(Cr4::SMEP)
            && !(state.cr4.contains(Cr4::PAE) && state.efer.contains(Efer::NXE))
            && profile.smep_alone_reports_fetch() == Pin::Open;
        let silent = |choices| Choices { smep_alone_reports_fetch: false, ..choices };
        let mut others = ArrayVec::new();
        // At most one of these two: they belong to different modes.
        if global_open {
            let reserved = Choices { global_in_pml4e_is_reserved: true, ..choices };
            others.push((reserved, Rule::Code7, "G in a PML4E is reserved"));
        }
        if registers_open {
            let walked = Choices { pdptes_are_walked: true, ..choices };
            others.push((walked, Rule::Pdpte4, "PDPTEs are read during the walk"));
        }
        if fetch_bit_open {
            let both = others.last().copied();
            others.push((silent(choices), Rule::Code8, "I/D is 0 with SMEP alone"));
            if let Some((choices, rule, member)) = both {
                others.push((silent(choices), rule, member));
            }
        }
        others
    }

    /// Predicts with the regime's choices; a table outside memory is tried with both contents that
    /// machines give it.
    fn predict_with<M: TableMemory>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        found: &mut Prediction,
    ) {
        if self.predict_in(memory, access, choice, found).is_ok() {
            return;
        }
        for (value, member) in [(0, "reads as zeros"), (u64::MAX, "reads as ones")] {
            let filled = OutsideReads { memory, value };
            let choice = Some((Rule::Out1, member));
            // Reading cannot fail once outside memory is filled.
            let _ = self.predict_in(&filled, access, choice, found);
        }
    }

    /// How many bytes of an access lie in the smallest page of its first byte, or in the 4 KiB of
    /// it that one walk answers for.
    fn bytes_in_first_page(access: &Access) -> u16 {
        let shift = F::LEVELS.last().map_or(PAGE_SHIFT, |level| level.shift.min(PAGE_SHIFT));
        let room = (1 << shift) - access.address.offset(shift) as u16;
        access.size.min(room)
    }

    fn predict_in<M: TableMemory>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        found: &mut Prediction,
    ) -> Result<(), OutsideMemory> {
        let mut pages = ArrayVec::<WalkedPage, 2>::new();
        for (address, len) in Self::pages(access) {
            pages.push(self.walk_page(memory, address, len, access, found)?);
        }
        self.conclude(&pages, access, choice, found);
        Ok(())
    }

    /// The pages of an access, one or two: where it enters each, and its bytes there.
    pub(crate) fn pages(access: &Access) -> ArrayVec<(VirtAddr, u16), 2> {
        let first_len = Self::bytes_in_first_page(access);
        let next = access.address.wrapping_add(first_len.into());
        let next = if F::IS_LONG_MODE { next } else { next.truncated(F::ADDRESS_BITS) };
        let both = [(access.address, first_len), (next, access.size - first_len)];
        both.into_iter().filter(|(_, len)| *len != 0).collect()
    }

    /// Adds what follows from the walks for the access's pages.
    pub(crate) fn conclude(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        found: &mut Prediction,
    ) {
        let faulting = pages.iter().find(|page| page.faults());
        let outcome = match (faulting, pages) {
            (Some(page), _) => page.outcome(),
            (None, [first, second]) => first.outcome().followed_by(&second.outcome()),
            (None, _) => pages[0].outcome(),
        };
        if outcome.fault().is_some() && pages.len() > 1 {
            found.rules.insert(Rule::Code12);
        }
        let updates = self.updates(pages, access, found);
        found.add(Alternative { outcome, updates: updates.clone(), choice });
        if let [first, second] = pages
            && first.faults()
            && second.faults()
        {
            let choice = Some((Rule::Code12, "the upper page is reported"));
            found.add(Alternative { outcome: second.outcome(), updates, choice });
        }
    }

    /// Walks for one of the access's pages.
    pub(crate) fn walk_page<M: TableMemory>(
        &self,
        memory: &M,
        address: VirtAddr,
        len: u16,
        access: &Access,
        found: &mut Prediction,
    ) -> Result<WalkedPage, OutsideMemory> {
        let mut path = Path::default();
        let end = match self.walk(memory, address, access, &mut path) {
            Ok(translation) => PageEnd::Translated(translation, len),
            Err(WalkError::Outside(outside)) => {
                found.rules.extend(path.rules);
                return Err(outside);
            }
            Err(WalkError::Fault(cause)) => {
                let code = self.semantics.page_fault_code(cause, access, &self.regime);
                found.rules.insert(Rule::Code9);
                for (applies, rule) in [
                    (access.kind == AccessKind::Fetch, Rule::Code8),
                    (access.kind == AccessKind::ReadModifyWrite, Rule::Code10),
                    (
                        matches!(cause, Cause::Denied(denial) if denial.contains(Denial::KEY)),
                        Rule::Code11,
                    ),
                ] {
                    if applies {
                        found.rules.insert(rule);
                    }
                }
                PageEnd::Fault(cause, Fault::page_fault(code, address))
            }
        };
        found.rules.extend(path.rules);
        Ok(WalkedPage { path, end })
    }

    /// What the access does to the entries of its pages.
    fn updates(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        found: &mut Prediction,
    ) -> ArrayVec<EntryUpdate, MAX_ENTRIES> {
        let completes = pages.iter().all(|page| matches!(page.end, PageEnd::Translated(..)));
        let first_completes = matches!(pages[0].end, PageEnd::Translated(..));
        let mut updates: ArrayVec<EntryUpdate, MAX_ENTRIES> = ArrayVec::new();
        for (number, page) in pages.iter().enumerate() {
            // The rule that leaves A and D open on this page, and whether D is open at all.
            let (open_by, dirty_open) = match &page.end {
                _ if completes => (Rule::Ad1, false),
                PageEnd::Translated(..) if number == 0 && self.semantics.is_write(access) => {
                    (Rule::Ad7, true)
                }
                PageEnd::Translated(..) if number == 0 => (Rule::Ad2, false),
                PageEnd::Translated(..) => (Rule::Ad5, false),
                PageEnd::Fault(Cause::Denied(_), _) => (Rule::Ad3, false),
                PageEnd::Fault(Cause::Entry(_), _) => (Rule::Ad2, false),
            };
            // A page after the one that faulted is reached by speculation only.
            let open_by = if number > 0 && !first_completes { Rule::Ad5 } else { open_by };
            for step in
                page.path.steps.iter().filter(|step| step.error.is_none() && step.level.has_flags)
            {
                let is_leaf = step.kind == EntryKind::Leaf;
                let mut bits = 0;
                if self.semantics.sets_accessed(step.level) {
                    bits |= ACCESSED;
                }
                let dirties = is_leaf && self.semantics.sets_dirty(step.rights, access);
                if dirties && (completes || dirty_open) {
                    bits |= DIRTY;
                }
                let (must_set, may_set) = if completes { (bits, 0) } else { (0, bits) };
                let open_by = if open_by == Rule::Ad3 && !is_leaf { Rule::Ad2 } else { open_by };
                found.rules.insert(open_by);
                let (at, level, before) = (step.at, step.level, step.entry);
                let update = EntryUpdate { at, level, before, must_set, may_set, open_by };
                merge(&mut updates, update, &mut found.rules);
            }
        }
        updates
    }
}

/// Adds an update; an entry met before gets the bits of both (AD-6, when at another level).
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

impl Prediction {
    /// Adds an alternative unless it is there already; the rule that leaves the choice decided then.
    fn add(&mut self, alternative: Alternative) {
        let known = self.alternatives.iter().any(|known| {
            known.outcome == alternative.outcome && known.updates == alternative.updates
        });
        if !known && self.alternatives.len() < MAX_ALTERNATIVES {
            if let Some((rule, _)) = alternative.choice {
                self.rules.insert(rule);
            }
            self.alternatives.push(alternative);
        }
    }
}

impl Prediction {
    /// When there are several alternatives, the first is the member of a choice too.
    fn name_first_member(&mut self) {
        let [first, second, ..] = self.alternatives.as_mut_slice() else { return };
        if let (None, Some((rule, _))) = (first.choice, second.choice) {
            first.choice = Some(match rule {
                Rule::Code7 => (rule, "G in a PML4E is ignored"),
                Rule::Code8 => (rule, "I/D is 1 with SMEP alone"),
                Rule::Pdpte4 => (rule, "PDPTEs are in registers"),
                _ => (rule, "the lower page is reported"),
            });
        }
    }
}

impl Outcome {
    /// The outcome of an access that completes on two pages.
    fn followed_by(mut self, second: &Self) -> Self {
        if let (Self::Translated(spans), Self::Translated(more)) = (&mut self, second) {
            spans.extend(more.iter().copied());
        }
        self
    }
}

/// The walk for one page of an access.
pub(crate) struct WalkedPage {
    pub(crate) path: Path,
    end: PageEnd,
}

enum PageEnd {
    Translated(Translation, u16),
    Fault(Cause, Fault),
}

impl WalkedPage {
    pub(crate) const fn faults(&self) -> bool {
        matches!(self.end, PageEnd::Fault(..))
    }

    fn outcome(&self) -> Outcome {
        match &self.end {
            PageEnd::Translated(translation, len) => {
                let mut spans = ArrayVec::new();
                spans.push(Span { address: translation.address, len: *len });
                Outcome::Translated(spans)
            }
            PageEnd::Fault(_, fault) => Outcome::Fault(*fault),
        }
    }
}

/// Memory in which what lies outside reads as one value.
struct OutsideReads<'a, M> {
    memory: &'a M,
    value: u64,
}

impl<M: TableMemory> TableMemory for OutsideReads<'_, M> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        Ok(self.memory.read_entry(at, bytes).unwrap_or(self.value & (u64::MAX >> (64 - 8 * bytes))))
    }
}
