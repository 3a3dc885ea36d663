//! What a processor may do after tables were edited and nothing was invalidated (TLB-2; SDM
//! "Optional Invalidation" and "Delayed Invalidation", APM "TLB Management").
//!
//! [`History`] is memory that remembers what its entries were. [`Mmu::predict_stale`] walks it once
//! for every [`StaleView`], that is for every mixture of old and new entries that caches may hold:
//!
//! - Caches are filled from the top down. So an entry may be any that was in its place since the last
//!   invalidation, and the entries below it any that were in theirs then or later.
//! - An entry that has been replaced was cached only if it was good and had its A set, and so had
//!   those above it (TLB-1). So no invalidation is needed when P goes from 0 to 1.
//! - Flags that an access before the edit only may have set count as set: a processor that has set
//!   them may have cached the entry.
//! - What was invalidated since, by an instruction, a register change (TLB-4) or a page fault (TLB-3), is
//!   gone. So is everything below an upper entry that was gone before, unless it was cached with it.
//! - An entry may have been reached by earlier registers: by another root under the same PCID, under any
//!   PCID if its translation is global, and with another EFER.NXE or CR4.PSE.
//! - A hit sets no A. A write through a leaf without D does not end there: D is set in memory, where
//!   the leaf is read again (APM "Handling of D-Bit Updates"). A processor without CET may do so
//!   without another look at R/W (SDM "Accessed and Dirty Flags"): if R/W was cleared in that entry
//!   and nothing else, either the write faults, or it completes and the entry has D with R/W=0.
//! - A fault by such a mixture is spurious. An Intel processor may raise it, but only once, since the
//!   fault drops what is cached for the address (TLB-3). An AMD processor repeats the walk first (APM
//!   "Use of Cached Entries When Reporting a Page Fault Exception").
//!
//! The files: `view` chooses the mixtures, `cached_path` works out whether caches can still hold one, and
//! `after_edits` puts all of them together, with the rules that forbid the others.

mod after_edits;
mod cached_path;
mod view;

use super::history::{History, MAX_PAST_REGISTERS, walk_alike};
use crate::access::{Access, MAX_PAGES, SizeError};
use crate::address::VirtAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Prediction;
use crate::table::limits;
use crate::walk::{Mmu, Path, Step, WalkedPage};
use crate::x86::format::{EntryBits, EntryKind, Format};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::Semantics;
use crate::x86::state::{ControlState, Cr4, Efer};
use arrayvec::ArrayVec;
use cached_path::CachedPath;
use view::{Origin, StaleView};

/// A member of TLB-2: an access uses a whole translation that memory no longer has.
pub const CACHED_TRANSLATION: &str = "a cached translation";

/// A member of TLB-2: an access page-faults by what memory no longer has.
pub const SPURIOUS_FAULT: &str = "a spurious fault";

/// How a processor uses a cached path with entries that have been replaced.
enum CachedUse {
    /// As it is.
    Hit,
    /// It sets D in the leaf that memory has now, which is this, and looks at nothing else there.
    DirtyAlone(u64),
}

/// What a mixture leads to, and the rule by which caches do not show it, if there is one.
struct Mixture {
    prediction: Prediction,
    forbidden: Option<Rule>,
}

/// Why caches do not show a path.
#[derive(Clone, Copy, Debug)]
enum Forbidden {
    /// This rule alone forbids it.
    By(Rule),
    /// There was no moment at which they could have cached it, or several rules forbid it.
    Anyway,
}

/// MMUs for the current registers and for earlier ones.
type Walkers<M> = ArrayVec<M, { MAX_PAST_REGISTERS + 1 }>;

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Calls `visit` with what every mixture of old and new entries allows for an access (TLB-2),
    /// starting with the entries in memory. All of these together, and nothing else, is allowed; two
    /// mixtures may allow the same. [`Self::predict_after_edits`] puts them together. A prediction from a
    /// mixture with old entries has the choice TLB-2. It has the rule TLB-5 if it uses a page of another
    /// size than there is now, which is not safe to try on every processor, and CANON-3 if it uses what is
    /// cached only because INVLPG of a non-canonical address drops nothing.
    ///
    /// The number of mixtures is bounded by the edits: a walk of L levels over E of them has at most
    /// (E + L)! / (E! L!), and an access to several pages the product. The registers are those of the
    /// MMU; earlier ones ([`History::write_register`]) add mixtures of their own. Faults
    /// ([`History::page_fault`]) and invalidations must be recorded in the history, and flags that an
    /// earlier access may have set ([`History::may_set`]).
    ///
    /// # Errors
    /// When no instruction makes an access of this size. `visit` is not called then.
    pub fn predict_stale<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        mut visit: impl FnMut(&Prediction),
    ) -> Result<(), SizeError> {
        self.predict_mixtures(history, access, &mut |mixture| {
            if mixture.forbidden.is_none() {
                visit(&mixture.prediction);
            }
        })
    }

    /// What every mixture leads to, allowed or not.
    fn predict_mixtures<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        visit: &mut impl FnMut(&Mixture),
    ) -> Result<(), SizeError> {
        Self::check_size(access)?;

        let is_refused =
            |mmu: &Self| mmu.canonical_access(access, &mut RuleSet::default()).is_none();

        self.predict_views(history, access, None, visit);
        for (choices, rule, member) in self.other_choices(access) {
            let other = Self::with_regime(*self.semantics(), Regime { choices, ..*self.regime() });
            // What is refused either way is refused by the same fault.
            if !(is_refused(self) && is_refused(&other)) {
                other.predict_views(history, access, Some((rule, member)), visit);
            }
        }
        Ok(())
    }

    /// The same with the regime's choices.
    fn predict_views<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        visit: &mut impl FnMut(&Mixture),
    ) {
        let mut rules = RuleSet::default();
        let Some(access) = self.canonical_access(access, &mut rules) else {
            // Neither tables nor caches are used (CANON-1).
            let mut prediction = Prediction { rules, ..Prediction::default() };
            self.refuse(access, choice, &mut prediction);
            return visit(&Mixture { prediction, forbidden: None });
        };

        let walkers: Walkers<Self> = self.with_past_registers(history).collect();
        let view = StaleView::new(history);
        loop {
            if let Some(mixture) = self.predict_view(&walkers, &view, &access, choice, rules) {
                visit(&mixture);
            }
            if !view.advance() {
                return;
            }
        }
    }

    /// This MMU, and then those that walk by earlier registers.
    fn with_past_registers<M, const N: usize>(
        &self,
        history: &History<M, N>,
    ) -> impl Iterator<Item = Self> {
        let current = self.regime().state;
        let past = history.past_registers();

        let earlier = past.iter().enumerate().filter_map(move |(number, past_registers)| {
            let state = walking_by(&past_registers.state, &current);
            let is_known = |known: &ControlState| walk_alike(&walking_by(known, &current), &state);
            let is_new = !walk_alike(&current, &state)
                && !past[..number].iter().any(|known| is_known(&known.state));
            is_new.then(|| Self::with_regime(*self.semantics(), Regime { state, ..*self.regime() }))
        });
        core::iter::once(*self).chain(earlier)
    }

    /// What one view leads to. `None` if that is nothing of its own, or several rules forbid it.
    fn predict_view<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        walkers: &[Self],
        view: &StaleView<'_, M, N>,
        access: &Access,
        mut choice: Option<(Rule, &'static str)>,
        rules: RuleSet,
    ) -> Option<Mixture> {
        let mut found = Prediction { rules, ..Prediction::default() };
        let mut pages = ArrayVec::<WalkedPage, MAX_PAGES>::new();
        let mut forbidden = None;

        for (address, len) in self.pages(access) {
            // CR2 may hold a tag that no cache knows (CANON-4).
            let cached_address = limits::extended::<F>(address);
            let walker_number = view.start_walk(walkers.len());
            let walker = &walkers[walker_number];
            let reads_before = view.reads();
            let mut page = self.walk_page(walker, view, address, len, access, &mut found).ok()?;
            let mut picks = view.picks(&page.path, reads_before);

            let registers = [&self.regime().state, &walker.regime().state];
            let cached =
                CachedPath::new::<F>(view.history, &page, &picks, cached_address, registers);
            if let Some(cached) = cached {
                let last = cached.last();
                let used = self.cached_use(&cached, access, &mut found.rules);
                found.rules.insert(Rule::Tlb2);
                if self.changes_size(&page, view.history.memory(), address, access) {
                    found.rules.insert(Rule::Tlb5);
                }

                choice = match used {
                    Ok(CachedUse::DirtyAlone(now)) => {
                        // D is set in the entry that memory has now.
                        page.path.steps[last].entry = now;
                        picks[last].origin = Origin::Memory;
                        Some((Rule::Tlb2, "D is set in an entry whose R/W was cleared"))
                    }
                    Ok(CachedUse::Hit) => Some((Rule::Tlb2, member(&page, last))),
                    Err(Forbidden::By(_)) if forbidden.is_some() => return None,
                    Err(Forbidden::By(rule)) => {
                        forbidden = Some(rule);
                        Some((Rule::Tlb2, member(&page, last)))
                    }
                    Err(Forbidden::Anyway) => return None,
                };
            } else if walker_number > 0 {
                // Earlier registers lead to the same.
                return None;
            }
            for pick in &picks {
                if let Origin::Outside(member) = pick.origin {
                    choice = Some((Rule::Out1, member));
                }
            }

            // An entry that has been replaced is not updated: a hit sets no A.
            let mut pick = picks.iter();
            page.path.steps.retain(|_| pick.next().is_none_or(|pick| pick.origin != Origin::Past));
            pages.push(page);
        }

        self.conclude(&pages, access, choice, &mut found);
        Some(Mixture { prediction: found, forbidden })
    }

    /// How a processor may use a path with replaced entries for this access, or why it may not.
    fn cached_use<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        cached: &CachedPath<'_, M, N>,
        access: &Access,
        rules: &mut RuleSet,
    ) -> Result<CachedUse, Forbidden> {
        let page = cached.page;
        let last = cached.last();

        // Only good entries with A are cached (TLB-1).
        if !(0..=last).all(|number| cached.is_good(number)) {
            return Err(Forbidden::By(Rule::Tlb1));
        }

        let lowest = page.path.steps.len() - 1;
        let leaf = &page.path.steps[lowest];
        let dirties = !page.faults()
            && leaf.kind == EntryKind::Leaf
            && self.semantics().sets_dirty(leaf.rights, access)
            && !cached.may_have(lowest, EntryBits::D);

        if let Some(rule) = cached.dropped_by::<F>(!dirties) {
            // A processor that repeats the walk does not report the fault either.
            let is_anyway = page.faults() && !self.regime().profile.faults_may_be_stale();
            return Err(if is_anyway { Forbidden::Anyway } else { rule });
        }
        if page.faults() && !self.regime().profile.faults_may_be_stale() {
            return Err(Forbidden::By(Rule::Tlb2));
        }
        if dirties && last == lowest {
            let now = self.dirty_alone(cached.history, &page.path.steps[last]);
            return now.map(CachedUse::DirtyAlone).ok_or(Forbidden::By(Rule::Ad4));
        }

        if cached.is_spared_by_canon_3::<F>(!dirties) {
            rules.insert(Rule::Canon3);
        }
        Ok(CachedUse::Hit)
    }

    /// The leaf that memory has now, if a processor may set D in it for a write by way of the cached
    /// leaf, which is clean, without another look at R/W (SDM "Accessed and Dirty Flags": "This will
    /// never occur on a processor that supports" CET). The APM does not say.
    fn dirty_alone<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        cached: &Step,
    ) -> Option<u64> {
        if self.regime().profile.features.contains(Features::CET_SS) {
            return None;
        }

        let now = history.memory().read_entry(cached.at, F::ENTRY_BYTES).ok()?;
        let with_flags = now | history.maybe_set(cached.at);
        let changed = (with_flags ^ cached.entry) & !EntryBits::D.bits();
        let only_lost_write =
            changed == EntryBits::RW.bits() && cached.entry & EntryBits::RW.bits() != 0;
        only_lost_write.then_some(now)
    }

    /// Whether the page has another size than the one that memory has for its address (TLB-5).
    fn changes_size<M: TableMemory<Error = OutsideMemory>>(
        &self,
        page: &WalkedPage,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> bool {
        let mut now = Path::default();
        // A fault has a path, too.
        let _ = self.walk(memory, address, access, &mut now);

        let page_shift = |path: &Path| {
            let last = path.steps.last()?;
            let is_page = last.kind == EntryKind::Leaf && last.error.is_none();
            is_page.then_some(last.level.shift)
        };
        let shifts = page_shift(&now).zip(page_shift(&page.path));
        shifts.is_some_and(|(new, old)| new != old)
    }
}

/// The name of a mixture whose lowest replaced entry is step `last`.
fn member(page: &WalkedPage, last: usize) -> &'static str {
    if page.faults() {
        SPURIOUS_FAULT
    } else if page.path.steps[last].kind == EntryKind::Leaf {
        CACHED_TRANSLATION
    } else {
        "cached upper entries"
    }
}

/// The current registers, with those of earlier ones by which the processor walks.
fn walking_by(earlier: &ControlState, current: &ControlState) -> ControlState {
    let cr4 = Cr4::PSE | Cr4::PCIDE;

    ControlState {
        cr3: earlier.cr3,
        pdptes: earlier.pdptes,
        cr4: (current.cr4 - cr4) | (earlier.cr4 & cr4),
        efer: (current.efer - Efer::NXE) | (earlier.efer & Efer::NXE),
        ..*current
    }
}
