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
//! - A hit sets no A. A write through a leaf without D does not end there: D is set in memory, where
//!   the leaf is read again (APM "Handling of D-Bit Updates").
//! - A fault by such a mixture is spurious. An Intel processor may raise it, but only once, since the
//!   fault drops what is cached for the address (TLB-3). An AMD processor repeats the walk first (APM
//!   "Use of Cached Entries When Reporting a Page Fault Exception").

use super::history::{EditNumber, History};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::{MAX_ENTRIES, Prediction};
use crate::table::limits;
use crate::walk::{Mmu, Path, WalkedPage};
use crate::x86::format::{EntryBits, EntryKind, Format, MAX_LEVELS};
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::Semantics;
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
}

/// The picks of a view, in the order of its reads.
#[derive(Debug, Default)]
struct Picks {
    list: ArrayVec<Pick, MAX_ENTRIES>,
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

impl<M: TableMemory, const N: usize> TableMemory for StaleView<'_, M, N> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let Picks { list, read, since } = &mut *self.picks.borrow_mut();
        let chosen = list.get(*read).map_or(0, |pick| pick.chosen);
        let mut past = self.history.past(at);
        let count_inside = 1 + self.history.past_since(at, *since);

        let (value, count, origin) = match (self.history.memory().read_entry(at, bytes), chosen) {
            (Ok(now), 0) => (now, count_inside, Origin::Memory),
            (Ok(now), _) => {
                let old = past.nth(chosen - 1).map_or(now, |past| past.value);
                (old, count_inside, Origin::Past)
            }
            (Err(_), 0) => (0, 2, Origin::Outside("reads as zeros")),
            (Err(_), _) => (limits::all_ones(bytes), 2, Origin::Outside("reads as ones")),
        };

        // The value was stored when the one before it was replaced. Entries below it were cached at
        // that moment or later.
        *since = past.next().map_or(0, |before| before.until).max(*since);

        let pick = Pick { chosen, count, origin };
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

    /// Starts a walk for an address.
    fn start_walk<F: Format>(&self, address: VirtAddr) {
        // CR2 may hold a tag that no cache knows (CANON-4).
        self.picks.borrow_mut().since = self.history.cached_since(limits::extended::<F>(address));
    }

    /// The number of reads so far.
    fn reads(&self) -> usize {
        self.picks.borrow().read
    }

    /// Where the entries of a path came from that was walked after `reads_before` reads. Steps
    /// without a read are registers, and come first (PDPTE-1).
    fn origins(&self, path: &Path, reads_before: usize) -> ArrayVec<Origin, MAX_LEVELS> {
        let picks = self.picks.borrow();
        let reads = &picks.list[reads_before..picks.read];
        let registers = path.steps.len() - reads.len();

        let in_registers = iter::repeat_n(Origin::Register, registers);
        in_registers.chain(reads.iter().map(|pick| pick.origin)).collect()
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

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Calls `visit` with what every mixture of old and new entries allows for an access (TLB-2),
    /// starting with the entries in memory. All of these together, and nothing else, is allowed; two
    /// mixtures may allow the same. A prediction from a mixture with old entries has the choice
    /// TLB-2. It has the rule TLB-5 if it uses a page of another size than there is now, which is not
    /// safe to try on every processor.
    ///
    /// The number of mixtures is bounded by the edits: a walk of L levels over E of them has at most
    /// (E + L)! / (E! L!), and an access to two pages the product. The registers are those of the
    /// MMU. Faults and INVLPG must be recorded in the history ([`History::forget`]).
    pub fn predict_stale<M: TableMemory, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        mut visit: impl FnMut(&Prediction),
    ) {
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
    }

    /// The same with the regime's choices.
    fn predict_views<M: TableMemory, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        visit: &mut impl FnMut(&Prediction),
    ) {
        let mut rules = RuleSet::default();
        let Some(access) = self.canonical_access(access, &mut rules) else {
            // Neither tables nor caches are used (CANON-1).
            let alternatives = [self.refusal(access, choice)].into_iter().collect();
            return visit(&Prediction { alternatives, rules });
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
    fn predict_view<M: TableMemory, const N: usize>(
        &self,
        view: &StaleView<'_, M, N>,
        access: &Access,
        mut choice: Option<(Rule, &'static str)>,
        rules: RuleSet,
    ) -> Option<Prediction> {
        let mut found = Prediction { alternatives: ArrayVec::new(), rules };
        let mut pages = ArrayVec::<WalkedPage, 2>::new();

        for (address, len) in self.pages(access) {
            view.start_walk::<F>(address);
            let reads_before = view.reads();
            let mut page = self.walk_page(view, address, len, access, &mut found).ok()?;
            let origins = view.origins(&page.path, reads_before);

            if let Some(last) = origins.iter().rposition(|origin| *origin == Origin::Past) {
                if !self.can_be_cached(&page, last, access) {
                    return None;
                }
                found.rules.insert(Rule::Tlb2);
                choice = Some((Rule::Tlb2, member(&page, last)));
                if self.changes_size(&page, view.history.memory(), address, access) {
                    found.rules.insert(Rule::Tlb5);
                }
            }
            for origin in &origins {
                if let Origin::Outside(member) = origin {
                    choice = Some((Rule::Out1, member));
                }
            }

            // An entry that has been replaced is not updated: a hit sets no A.
            let mut origin = origins.iter();
            page.path.steps.retain(|_| origin.next() != Some(&Origin::Past));
            pages.push(page);
        }

        self.conclude(&pages, access, choice, &mut found);
        Some(found)
    }

    /// Whether a processor may have cached the path of a page down to step `last`, the lowest of
    /// those that have been replaced, and may use it for this access.
    fn can_be_cached(&self, page: &WalkedPage, last: usize, access: &Access) -> bool {
        let cached = &page.path.steps[..=last];

        // Only good entries with A are cached (TLB-1).
        if !cached.iter().all(|step| step.error.is_none() && step.has(EntryBits::A)) {
            return false;
        }
        if page.faults() {
            return self.regime().profile.faults_may_be_stale();
        }

        let lowest = &cached[last];
        let must_set_dirty = lowest.kind == EntryKind::Leaf
            && self.semantics().sets_dirty(lowest.rights, access)
            && !lowest.has(EntryBits::D);
        !must_set_dirty
    }

    /// Whether the page has another size than the one that memory has for its address (TLB-5).
    fn changes_size<M: TableMemory>(
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
