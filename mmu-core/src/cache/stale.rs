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
//! - INVLPG and a page fault drop the whole of a large page. MOV to CR3 with CR4.PGE=1 keeps nothing
//!   but translations whose leaf has G (TLB-4).
//! - A hit sets no A. A write through a leaf without D does not end there: D is set in memory, where
//!   the leaf is read again (APM "Handling of D-Bit Updates"). A processor without CET may do so
//!   without another look at R/W (SDM "Accessed and Dirty Flags"): if R/W was cleared in that entry
//!   and nothing else, either the write faults, or it completes and the entry has D with R/W=0.
//! - A fault by such a mixture is spurious. An Intel processor may raise it, but only once, since the
//!   fault drops what is cached for the address (TLB-3). An AMD processor repeats the walk first (APM
//!   "Use of Cached Entries When Reporting a Page Fault Exception").

use super::history::{EditNumber, History};
use crate::access::{Access, MAX_PAGES, SizeError};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Prediction;
use crate::table::limits;
use crate::walk::{Mmu, Path, Step, WalkedPage};
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::Semantics;
use crate::x86::state::Cr4;
use arrayvec::ArrayVec;
use core::cell::RefCell;
use core::iter;

/// Where the value of an entry on a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A register of the processor (PDPTE-1).
    Register,
    /// Memory as it is now.
    Memory,
    /// A cache: it has been replaced in memory.
    Past,
    /// There is no memory, and this is what reads from it gave (OUT-1).
    Outside(&'static str),
}

/// The value that one read got: number `chosen` of `count`.
#[derive(Clone, Copy, Debug)]
struct Pick {
    chosen: usize,
    count: usize,
    origin: Origin,
    /// The moment at which the value was stored.
    stored: EditNumber,
    /// The first moment at which it was gone; none is so late for a value that is still there.
    until: EditNumber,
}

impl Pick {
    /// A PDPTE in a register (PDPTE-1).
    const REGISTER: Self =
        Self { chosen: 0, count: 1, origin: Origin::Register, stored: 0, until: EditNumber::MAX };
}

/// The picks of a view, in the order of its reads.
#[derive(Debug, Default)]
struct Picks {
    list: ArrayVec<Pick, { MAX_PAGES * MAX_LEVELS }>,
    /// The number of reads so far.
    read: usize,
    /// The moment since which the next entry can have been cached.
    since: EditNumber,
}

/// The memory of a history as caches may show it: each read returns one of the values that the entry
/// had.
///
/// The walk is repeated, each time with other picks, until all have been tried: first the values in
/// memory, then the others of the last read, and so on upwards.
struct StaleView<'h, M, const N: usize> {
    history: &'h History<M, N>,
    picks: RefCell<Picks>,
}

impl<M: TableMemory<Error = OutsideMemory>, const N: usize> TableMemory for StaleView<'_, M, N> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let Picks { list, read, since } = &mut *self.picks.borrow_mut();
        let chosen = list.get(*read).map_or(0, |pick| pick.chosen);
        let mut past = self.history.past(at);
        let count_inside = 1 + self.history.past_since(at, *since);

        let mut until = EditNumber::MAX;
        let (value, count, origin) = match (self.history.memory().read_entry(at, bytes), chosen) {
            (Ok(now), 0) => (now, count_inside, Origin::Memory),
            (Ok(now), _) => {
                let old = past.nth(chosen - 1);
                until = old.map_or(until, |past| past.until);
                (old.map_or(now, |past| past.value), count_inside, Origin::Past)
            }
            (Err(_), 0) => (0, 2, Origin::Outside("reads as zeros")),
            (Err(_), _) => (limits::all_ones(bytes), 2, Origin::Outside("reads as ones")),
        };

        // The value was stored when the one before it was replaced. Entries below it were cached at
        // that moment or later.
        let stored = past.next().map_or(0, |before| before.until);
        *since = stored.max(*since);

        let pick = Pick { chosen, count, origin, stored, until };
        match list.get_mut(*read) {
            Some(known) => *known = pick,
            None => list.push(pick),
        }
        *read += 1;
        Ok(value)
    }
}

impl<'h, M, const N: usize> StaleView<'h, M, N> {
    /// The view that shows memory as it is now.
    fn new(history: &'h History<M, N>) -> Self {
        Self { history, picks: RefCell::default() }
    }

    /// Starts a walk for an address, as caches know it.
    fn start_walk(&self, address: VirtAddr) {
        self.picks.borrow_mut().since = self.history.cached_since(address, PAGE_SHIFT);
    }

    /// The number of reads so far.
    fn reads(&self) -> usize {
        self.picks.borrow().read
    }

    /// The picks for the entries of a path that was walked after `reads_before` reads. Steps without
    /// a read are registers, and come first (PDPTE-1).
    fn picks(&self, path: &Path, reads_before: usize) -> ArrayVec<Pick, MAX_LEVELS> {
        let picks = self.picks.borrow();
        let reads = &picks.list[reads_before..picks.read];
        let registers = path.steps.len() - reads.len();

        iter::repeat_n(Pick::REGISTER, registers).chain(reads.iter().copied()).collect()
    }

    /// Goes on to the next view, if there is one.
    fn advance(&self) -> bool {
        let Picks { list, read, .. } = &mut *self.picks.borrow_mut();
        *read = 0;

        while let Some(last) = list.last_mut() {
            last.chosen += 1;
            if last.chosen < last.count {
                return true;
            }
            list.pop();
        }
        false
    }
}

/// The path of a page with entries that have been replaced.
#[derive(Clone, Copy)]
struct CachedPath<'a> {
    page: &'a WalkedPage,
    /// Where its entries came from.
    picks: &'a [Pick],
    /// The number of the lowest entry that has been replaced.
    last: usize,
    /// The address that was walked, as caches know it.
    address: VirtAddr,
}

impl CachedPath<'_> {
    /// Whether a flag of an entry is set, or may be. What was replaced has every flag that may have
    /// been set.
    fn may_have<M, const N: usize>(
        &self,
        number: usize,
        flag: EntryBits,
        history: &History<M, N>,
    ) -> bool {
        let step = &self.page.path.steps[number];
        let is_in_memory = self.picks[number].origin == Origin::Memory;
        step.has(flag) || is_in_memory && history.maybe_set(step.at) & flag.bits() != 0
    }

    /// Whether an entry is good and may have A.
    fn is_good<M, const N: usize>(&self, number: usize, history: &History<M, N>) -> bool {
        let step = &self.page.path.steps[number];
        step.error.is_none() && self.may_have(number, EntryBits::A, history)
    }
}

/// How a processor uses a cached path with entries that have been replaced.
enum CachedUse {
    /// As it is.
    Hit,
    /// It sets D in the leaf that memory has now, which is this, and looks at nothing else there.
    DirtyAlone(u64),
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Calls `visit` with what every mixture of old and new entries allows for an access (TLB-2),
    /// starting with the entries in memory. All of these together, and nothing else, is allowed; two
    /// mixtures may allow the same. A prediction from a mixture with old entries has the choice
    /// TLB-2. It has the rule TLB-5 if it uses a page of another size than there is now, which is not
    /// safe to try on every processor.
    ///
    /// The number of mixtures is bounded by the edits: a walk of L levels over E of them has at most
    /// (E + L)! / (E! L!), and an access to several pages the product. The registers are those of the
    /// MMU. Faults, INVLPG and MOV to CR3 must be recorded in the history ([`History::forget`],
    /// [`History::forget_non_global`]), and flags that an earlier access may have set
    /// ([`History::may_set`]).
    ///
    /// # Errors
    /// When no instruction makes an access of this size. `visit` is not called then.
    pub fn predict_stale<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        mut visit: impl FnMut(&Prediction),
    ) -> Result<(), SizeError> {
        Self::check_size(access)?;

        let is_refused =
            |mmu: &Self| mmu.canonical_access(access, &mut RuleSet::default()).is_none();

        self.predict_views(history, access, None, &mut visit);
        for (choices, rule, member) in self.other_choices(access) {
            let other = Self::with_regime(*self.semantics(), Regime { choices, ..*self.regime() });
            // What is refused either way is refused by the same fault.
            if !(is_refused(self) && is_refused(&other)) {
                other.predict_views(history, access, Some((rule, member)), &mut visit);
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
        visit: &mut impl FnMut(&Prediction),
    ) {
        let mut rules = RuleSet::default();
        let Some(access) = self.canonical_access(access, &mut rules) else {
            // Neither tables nor caches are used (CANON-1).
            let mut found = Prediction { rules, ..Prediction::default() };
            self.refuse(access, choice, &mut found);
            return visit(&found);
        };

        let view = StaleView::new(history);
        loop {
            if let Some(prediction) = self.predict_view(&view, &access, choice, rules) {
                visit(&prediction);
            }
            if !view.advance() {
                return;
            }
        }
    }

    /// What one view allows; `None` if caches cannot show it.
    fn predict_view<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        view: &StaleView<'_, M, N>,
        access: &Access,
        mut choice: Option<(Rule, &'static str)>,
        rules: RuleSet,
    ) -> Option<Prediction> {
        let mut found = Prediction { rules, ..Prediction::default() };
        let mut pages = ArrayVec::<WalkedPage, MAX_PAGES>::new();

        for (address, len) in self.pages(access) {
            // CR2 may hold a tag that no cache knows (CANON-4).
            let cached_address = limits::extended::<F>(address);
            view.start_walk(cached_address);
            let reads_before = view.reads();
            let mut page = self.walk_page(view, address, len, access, &mut found).ok()?;
            let mut picks = view.picks(&page.path, reads_before);

            if let Some(last) = picks.iter().rposition(|pick| pick.origin == Origin::Past) {
                let cached =
                    CachedPath { page: &page, picks: &picks, last, address: cached_address };
                let used = self.cached_use(view.history, &cached, access)?;
                found.rules.insert(Rule::Tlb2);
                if self.changes_size(&page, view.history.memory(), address, access) {
                    found.rules.insert(Rule::Tlb5);
                }

                choice = match used {
                    CachedUse::Hit => Some((Rule::Tlb2, member(&page, last))),
                    CachedUse::DirtyAlone(now) => {
                        // D is set in the entry that memory has now.
                        page.path.steps[last].entry = now;
                        picks[last].origin = Origin::Memory;
                        Some((Rule::Tlb2, "D is set in an entry whose R/W was cleared"))
                    }
                };
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
        Some(found)
    }

    /// How a processor may use a path with replaced entries for this access; `None` if it cannot have
    /// cached it.
    fn cached_use<M: TableMemory<Error = OutsideMemory>, const N: usize>(
        &self,
        history: &History<M, N>,
        cached: &CachedPath<'_>,
        access: &Access,
    ) -> Option<CachedUse> {
        let CachedPath { page, last, .. } = *cached;

        // Only good entries with A are cached (TLB-1).
        if !(0..=last).all(|number| cached.is_good(number, history)) {
            return None;
        }

        let dirties = |number: usize| {
            let step = &page.path.steps[number];
            !page.faults()
                && step.kind == EntryKind::Leaf
                && self.semantics().sets_dirty(step.rights, access)
                && !cached.may_have(number, EntryBits::D, history)
        };
        let lowest = page.path.steps.len() - 1;
        if !self.survives(history, cached, !dirties(lowest)) {
            return None;
        }

        if page.faults() {
            return self.regime().profile.faults_may_be_stale().then_some(CachedUse::Hit);
        }
        if dirties(last) {
            return self.dirty_alone(history, &page.path.steps[last]).map(CachedUse::DirtyAlone);
        }
        Some(CachedUse::Hit)
    }

    /// Whether a path with replaced entries can still be cached after the invalidations since. `hits`
    /// is set if a translation in the TLB serves the access without another walk.
    fn survives<M, const N: usize>(
        &self,
        history: &History<M, N>,
        cached: &CachedPath<'_>,
        hits: bool,
    ) -> bool {
        let CachedPath { page, picks, address, .. } = *cached;
        let gone = picks.iter().map(|pick| pick.until).min().unwrap_or(EditNumber::MAX);
        let lowest = page.path.steps.len() - 1;
        let leaf = &page.path.steps[lowest];
        let maps_page = leaf.kind == EntryKind::Leaf && leaf.error.is_none();

        // The whole of a large page is dropped. So are the upper entries on the way to it, which all
        // its bytes have in common.
        if maps_page && gone <= history.cached_since(address, leaf.level.shift) {
            return false;
        }

        let only_global_since = history.only_global_since();
        if gone > only_global_since {
            return true;
        }

        // The translation was in the TLB as a whole, and is global (SDM "Global Pages").
        let has_global_pages = self.regime().state.cr4.contains(Cr4::PGE);
        let is_global = has_global_pages && leaf.level.has_flags && leaf.has(EntryBits::G);
        let was_cached = cached.is_good(lowest, history)
            && picks.iter().all(|pick| pick.stored <= only_global_since);
        maps_page && hits && is_global && was_cached
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
        "a spurious fault"
    } else if page.path.steps[last].kind == EntryKind::Leaf {
        "a cached translation"
    } else {
        "cached upper entries"
    }
}
