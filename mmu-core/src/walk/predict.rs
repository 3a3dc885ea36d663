//! From walks to a prediction: everything that the manuals allow for one access.
//!
//! An access touches one page or two, and each is walked. The results of the walks decide the outcome
//! and the updates of the entries. Where processors legally differ, the walks are repeated for each
//! member of the choice.

use super::{Mmu, Path, Translation, WalkError};
use crate::access::{Access, AccessKind};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{Alternative, MAX_ALTERNATIVES, Outcome, Prediction, Span};
use crate::table::limits;
use crate::x86::fault::Fault;
use crate::x86::format::Format;
use crate::x86::profile::Pin;
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Cause, Denial, Semantics};
use crate::x86::state::{Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

/// A rule that leaves something open, and the member of the choice that is taken.
type OpenMember = (Rule, &'static str);

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Every way in which the access may go, and what it does to the entries on its path.
    ///
    /// Memory is only read: the prediction says what the tables must look like afterwards.
    pub fn predict<M: TableMemory>(&self, memory: &M, access: &Access) -> Prediction {
        let mut found = Prediction { alternatives: ArrayVec::new(), rules: RuleSet::default() };

        let Some(canonical) = self.canonical_access(access, &mut found.rules) else {
            let outcome = Outcome::Fault(self.semantics.non_canonical_fault(access));
            found.add(Alternative { outcome, updates: ArrayVec::new(), choice: None });
            return found;
        };

        self.predict_with(memory, &canonical, None, &mut found);
        for (choices, rule, member) in self.other_choices(&canonical) {
            let other = Self::with_regime(self.semantics, Regime { choices, ..self.regime });
            other.predict_with(memory, &canonical, Some((rule, member)), &mut found);
        }

        found.name_first_member();
        found
    }

    /// The access with the linear address that is translated: masked in long mode, cut to 32 bits
    /// elsewhere. `None` when it is not canonical.
    pub(crate) fn canonical_access(&self, access: &Access, rules: &mut RuleSet) -> Option<Access> {
        if !F::IS_LONG_MODE {
            return Some(Access { address: limits::wrapped::<F>(access.address), ..*access });
        }

        let masked = self.semantics.masked_address(access, &self.regime);
        if masked != Some(access.address) {
            rules.insert(Rule::Canon4);
        }

        let translated = Access { address: masked.unwrap_or(access.address), ..*access };
        if masked.is_some() && self.semantics.is_canonical(&translated, F::ADDRESS_BITS) {
            return Some(translated);
        }

        rules.insert(Rule::Canon1);
        if translated.crosses_page() {
            rules.insert(Rule::Canon2);
        }
        None
    }

    /// The combinations of open choices that the regime does not take and that may matter to this
    /// access.
    pub(crate) fn other_choices(
        &self,
        access: &Access,
    ) -> ArrayVec<(Choices, Rule, &'static str), 3> {
        let Regime { state, profile, choices } = self.regime;
        let mut others = ArrayVec::new();

        // At most one of these two is open: they belong to different modes.
        if F::IS_LONG_MODE && profile.global_in_pml4e_is_reserved() == Pin::Open {
            let reserved = Choices { global_in_pml4e_is_reserved: true, ..choices };
            others.push((reserved, Rule::Code7, "G in a PML4E is reserved"));
        }
        if F::MODE == PagingMode::Pae && profile.pdptes_are_walked() == Pin::Open {
            let walked = Choices { pdptes_are_walked: true, ..choices };
            others.push((walked, Rule::Pdpte4, "PDPTEs are read during the walk"));
        }

        // I/D is open for a fetch with SMEP alone, beside each of the above.
        let nx_is_on = state.cr4.contains(Cr4::PAE) && state.efer.contains(Efer::NXE);
        let smep_alone = state.cr4.contains(Cr4::SMEP) && !nx_is_on;
        if access.kind == AccessKind::Fetch
            && smep_alone
            && profile.smep_alone_reports_fetch() == Pin::Open
        {
            let silent = |choices| Choices { smep_alone_reports_fetch: false, ..choices };
            let combined = others.last().copied();
            others.push((silent(choices), Rule::Code8, "I/D is 0 with SMEP alone"));
            if let Some((choices, rule, member)) = combined {
                others.push((silent(choices), rule, member));
            }
        }

        others
    }

    /// Predicts with the regime's choices. If a table is outside memory, both contents are tried that
    /// machines give it (OUT-1).
    fn predict_with<M: TableMemory>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) {
        if self.predict_in(memory, access, choice, found).is_ok() {
            return;
        }

        for (value, member) in [(0, "reads as zeros"), (u64::MAX, "reads as ones")] {
            let filled = OutsideReads { memory, value };
            let choice = Some((Rule::Out1, member));
            // No read fails in such memory.
            let _ = self.predict_in(&filled, access, choice, found);
        }
    }

    fn predict_in<M: TableMemory>(
        &self,
        memory: &M,
        access: &Access,
        choice: Option<OpenMember>,
        found: &mut Prediction,
    ) -> Result<(), OutsideMemory> {
        let mut pages = ArrayVec::<WalkedPage, 2>::new();
        for (address, len) in Self::pages(access) {
            pages.push(self.walk_page(memory, address, len, access, found)?);
        }

        self.conclude(&pages, access, choice, found);
        Ok(())
    }

    /// The pages of an access, one or two: the first address that it touches in each, and the number
    /// of its bytes there.
    pub(crate) fn pages(access: &Access) -> ArrayVec<(VirtAddr, u16), 2> {
        let first_len = Self::bytes_in_first_page(access);
        let second = limits::wrapped::<F>(access.address.wrapping_add(first_len.into()));

        let both = [(access.address, first_len), (second, access.size - first_len)];
        both.into_iter().filter(|(_, len)| *len != 0).collect()
    }

    /// The number of bytes of an access that are in the page of its first byte. A page larger than
    /// 4 KiB counts as several: each 4 KiB of it is walked.
    fn bytes_in_first_page(access: &Access) -> u16 {
        let shift = F::LEVELS.last().map_or(PAGE_SHIFT, |level| level.shift.min(PAGE_SHIFT));
        let room = (1 << shift) - access.address.offset(shift) as u16;
        access.size.min(room)
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
        let walked = self.walk(memory, address, access, &mut path);
        found.rules.extend(path.rules);

        let end = match walked {
            Ok(translation) => PageEnd::Translated(translation, len),
            Err(WalkError::Fault(cause)) => {
                let code = self.semantics.page_fault_code(cause, access, &self.regime);
                found.rules.extend(rules_of_fault(cause, access));
                PageEnd::Fault(cause, Fault::page_fault(code, address))
            }
            Err(WalkError::Outside(outside)) => return Err(outside),
        };
        Ok(WalkedPage { path, end })
    }

    /// Adds what follows from the walks for the access's pages.
    pub(crate) fn conclude(
        &self,
        pages: &[WalkedPage],
        access: &Access,
        choice: Option<OpenMember>,
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

        let updates = self.updates(pages, access, &mut found.rules);
        found.add(Alternative { outcome, updates: updates.clone(), choice });

        // Where both pages fault, a processor may report either (CODE-12).
        if let [first, second] = pages
            && first.faults()
            && second.faults()
        {
            let choice = Some((Rule::Code12, "the upper page is reported"));
            found.add(Alternative { outcome: second.outcome(), updates, choice });
        }
    }
}

/// The rules that shape the error code of a page fault.
fn rules_of_fault(cause: Cause, access: &Access) -> RuleSet {
    let by_key = matches!(cause, Cause::Denied(denial) if denial.contains(Denial::KEY));

    let mut rules = RuleSet::default();
    rules.insert(Rule::Code9);
    for (applies, rule) in [
        (access.kind == AccessKind::Fetch, Rule::Code8),
        (access.kind == AccessKind::ReadModifyWrite, Rule::Code10),
        (by_key, Rule::Code11),
    ] {
        if applies {
            rules.insert(rule);
        }
    }
    rules
}

impl Prediction {
    /// Adds an alternative, unless an equal one is there. A choice whose members make no difference
    /// has decided nothing, so only a new alternative counts its rule.
    fn add(&mut self, alternative: Alternative) {
        let is_known = self.alternatives.iter().any(|known| {
            known.outcome == alternative.outcome && known.updates == alternative.updates
        });
        if is_known || self.alternatives.len() == MAX_ALTERNATIVES {
            return;
        }

        if let Some((rule, _)) = alternative.choice {
            self.rules.insert(rule);
        }
        self.alternatives.push(alternative);
    }

    /// Where there are several alternatives, the first is a member of the choice, too.
    fn name_first_member(&mut self) {
        let [first, second, ..] = self.alternatives.as_mut_slice() else { return };

        if let (None, Some((rule, _))) = (first.choice, second.choice) {
            let member = match rule {
                Rule::Code7 => "G in a PML4E is ignored",
                Rule::Code8 => "I/D is 1 with SMEP alone",
                Rule::Pdpte4 => "PDPTEs are in registers",
                _ => "the lower page is reported",
            };
            first.choice = Some((rule, member));
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
    pub(super) end: PageEnd,
}

/// How the walk for a page ended.
pub(super) enum PageEnd {
    /// At the page, of which the access touches this number of bytes.
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
                let span = Span { address: translation.address, len: *len };
                Outcome::Translated(core::iter::once(span).collect())
            }
            PageEnd::Fault(_, fault) => Outcome::Fault(*fault),
        }
    }
}

/// Memory in which everything outside reads as one value.
struct OutsideReads<'a, M> {
    memory: &'a M,
    value: u64,
}

impl<M: TableMemory> TableMemory for OutsideReads<'_, M> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let outside = self.value & limits::all_ones(bytes);
        Ok(self.memory.read_entry(at, bytes).unwrap_or(outside))
    }
}
