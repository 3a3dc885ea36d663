//! What a processor may do after tables were edited and nothing was invalidated (TLB-2; SDM
//! "Optional Invalidation" and "Delayed Invalidation", APM "TLB Management").
//!
//! [`History`] is memory that remembers what its entries were. [`Mmu::predict_stale`] walks it once
//! for every mixture of these values that caches may hold:
//!
//! - Caches are filled from the top down. So an entry may be any that stood in its place since the
//!   last invalidation, and the entries below it any that stood there then or later.
//! - An entry that has been replaced was cached only if it was good and had its A set, as those
//!   above it (TLB-1). So nothing need be invalidated when P goes from 0 to 1.
//! - A hit sets no A. A write through a leaf without D does not end there: D is set in memory, where
//!   the leaf is read again (APM "Handling of D-Bit Updates").
//! - A fault by such a mixture is spurious. An Intel processor may raise it, and drops what it has
//!   cached for the address with it (TLB-3), so once; an AMD processor repeats the walk first (APM
//!   "Use of Cached Entries When Reporting a Page Fault Exception").

use super::TableMemoryUpdate;
use crate::access::Access;
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use crate::outcome::{MAX_ENTRIES, Prediction};
use crate::walk::{Mmu, Path, Step, WalkedPage};
use crate::x86::format::{EntryBits, EntryKind, Format};
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::Semantics;
use arrayvec::ArrayVec;
use core::cell::RefCell;
use core::fmt;

/// Why an edit was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is no memory at this place.
    Outside(OutsideMemory),
    /// As many edits as the history can hold came without [`History::forget_all`].
    Full,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(outside) => outside.fmt(f),
            Self::Full => f.write_str("too many edits without an invalidation"),
        }
    }
}

impl core::error::Error for EditError {}

impl From<OutsideMemory> for EditError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

/// A moment, as the number of edits made before it.
type EditNumber = u32;

/// What an entry was before an edit.
#[derive(Clone, Copy, Debug)]
struct Past {
    at: PhysAddr,
    value: u64,
    /// The first moment at which it was no more.
    until: EditNumber,
}

/// Memory that remembers up to `N` edits of its entries, as one address space uses them.
///
/// A and D that the processor sets in between are no edits: they stay with the entry they were set
/// in, and tell whether it can have been cached.
///
/// ```
/// use mmu_core::cache::History;
/// use mmu_core::x86::format::Bits32;
/// use mmu_core::memory::{Bytes, TableMemoryMut};
/// use mmu_core::{Access, ControlState, Cr4, Efer, Mmu, PhysAddr, Profile, Ring, VirtAddr};
///
/// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x2000]);
/// memory.write_entry(PhysAddr::new(0), 4, 0x1027)?; // PDE 0
/// memory.write_entry(PhysAddr::new(0x1004), 4, 0x5027)?; // PTE 1
/// let mut state = ControlState::long_mode(0);
/// (state.cr4, state.efer) = (Cr4::empty(), Efer::empty());
/// let mmu = Mmu::<Bits32>::new(state, Profile::default());
///
/// let mut tables = History::<_, 8>::new(memory);
/// tables.edit(PhysAddr::new(0x1004), 4, 0x6007)?;
/// let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Three);
/// let mut reached = Vec::new();
/// mmu.predict_stale(&tables, &read, |allowed| {
///     let outcome = &allowed.alternatives[0].outcome;
///     reached.push(outcome.physical_address().unwrap().get());
/// });
/// assert_eq!(reached, [0x6234, 0x5234]); // the new frame, or still the old one
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct History<M, const N: usize> {
    memory: M,
    now: EditNumber,
    /// Oldest first.
    past: ArrayVec<Past, N>,
    /// Pages for which nothing older than this moment is cached.
    forgotten: ArrayVec<(u64, EditNumber), N>,
}

impl<M, const N: usize> History<M, N> {
    /// Memory of which nothing is cached.
    pub const fn new(memory: M) -> Self {
        Self { memory, now: 0, past: ArrayVec::new_const(), forgotten: ArrayVec::new_const() }
    }

    /// The memory as it is.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Everything has been invalidated.
    pub fn forget_all(&mut self) {
        self.past.clear();
        self.forgotten.clear();
    }

    /// INVLPG of this address, or a page fault at it (TLB-3): nothing older is cached for its 4 KiB.
    /// That INVLPG drops upper entries for other addresses too is left out, which allows more.
    pub fn forget(&mut self, address: VirtAddr) {
        let page = address.get() >> PAGE_SHIFT;
        self.forgotten.retain(|(known, _)| *known != page);
        if self.forgotten.is_full() {
            // To remember less allows more.
            self.forgotten.pop_at(0);
        }
        let _ = self.forgotten.try_push((page, self.now));
    }

    /// From which moment on entries can have been cached for an address.
    fn cached_since(&self, address: VirtAddr) -> EditNumber {
        let page = address.get() >> PAGE_SHIFT;
        let known = self.forgotten.iter().find(|(known, _)| *known == page);
        known.map_or(0, |(_, since)| *since)
    }

    /// What stood at a place, newest first, without what stands there now.
    fn past(&self, at: PhysAddr) -> impl Iterator<Item = &Past> {
        self.past.iter().rev().filter(move |past| past.at == at)
    }

    /// How many of these still stood there at a moment or came later.
    fn past_since(&self, at: PhysAddr, since: EditNumber) -> usize {
        self.past(at).take_while(|past| past.until > since).count()
    }
}

impl<M: TableMemoryMut, const N: usize> History<M, N> {
    /// Software stores an entry of `bytes` bytes at `at`, a multiple of `bytes`, and invalidates
    /// nothing.
    ///
    /// # Errors
    /// When there is no memory, or no room to remember; nothing is stored then.
    pub fn edit(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), EditError> {
        let value = self.memory.read_entry(at, bytes)?;
        if value == entry {
            return Ok(());
        }
        let until = self.now + 1;
        self.past.try_push(Past { at, value, until }).map_err(|_| EditError::Full)?;
        self.memory.write_entry(at, bytes, entry)?;
        self.now = until;
        Ok(())
    }
}

/// The memory as it is.
impl<M: TableMemory, const N: usize> TableMemory for History<M, N> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        self.memory.read_entry(at, bytes)
    }
}

/// The processor sets A and D.
impl<M: TableMemoryUpdate, const N: usize> TableMemoryUpdate for History<M, N> {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        self.memory.update_entry(at, bytes, old, new)
    }
}

/// Where the value of one read came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Memory,
    Past,
    /// OUT-1: there is no memory, and this is what reads from it gave.
    Outside(&'static str),
}

/// Which value one read got: number `chosen` of so many.
#[derive(Clone, Copy, Debug)]
struct Pick {
    chosen: usize,
    of: usize,
    origin: Origin,
}

/// The picks of the reads of a mixture, in their order.
#[derive(Debug, Default)]
struct Picks {
    list: ArrayVec<Pick, MAX_ENTRIES>,
    /// How many of the reads have been made.
    read: usize,
    /// The moment from which on the next entry may be.
    since: EditNumber,
}

/// The memory of a history in which each read is answered with one of the values that stood there.
/// The walk is made again and again, each time with other picks, until all have been tried: first
/// with those in memory, then with the others of the last read, and so on upwards.
struct StaleView<'h, M, const N: usize> {
    history: &'h History<M, N>,
    picks: RefCell<Picks>,
}

impl<M: TableMemory, const N: usize> TableMemory for StaleView<'_, M, N> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let Picks { list, read, since } = &mut *self.picks.borrow_mut();
        let chosen = list.get(*read).map_or(0, |pick| pick.chosen);
        let mut past = self.history.past(at);
        let (value, of, origin) = match (self.history.memory.read_entry(at, bytes), chosen) {
            (Err(_), 0) => (0, 2, Origin::Outside("reads as zeros")),
            (Err(_), _) => (u64::MAX >> (64 - 8 * bytes), 2, Origin::Outside("reads as ones")),
            (Ok(value), 0) => (value, 1 + self.history.past_since(at, *since), Origin::Memory),
            (Ok(now), _) => {
                let value = past.nth(chosen - 1).map_or(now, |past| past.value);
                (value, 1 + self.history.past_since(at, *since), Origin::Past)
            }
        };
        // It was stored when the one before it was replaced; below it that moment counts.
        *since = past.next().map_or(0, |before| before.until).max(*since);
        let pick = Pick { chosen, of, origin };
        match list.get_mut(*read) {
            Some(known) => *known = pick,
            None => list.push(pick),
        }
        *read += 1;
        Ok(value)
    }
}

impl<M, const N: usize> StaleView<'_, M, N> {
    /// Starts a walk for an address.
    fn start(&self, address: VirtAddr) {
        self.picks.borrow_mut().since = self.history.cached_since(address);
    }

    /// Where the values of the reads so far came from, without the first ones.
    fn origins(&self, skipped: usize) -> ArrayVec<Origin, MAX_ENTRIES> {
        let picks = self.picks.borrow();
        picks.list[skipped..picks.read].iter().map(|pick| pick.origin).collect()
    }

    /// How many reads have been made.
    fn reads(&self) -> usize {
        self.picks.borrow().read
    }

    /// Goes on to the next mixture, if there is one.
    fn advance(&self) -> bool {
        let Picks { list, read, .. } = &mut *self.picks.borrow_mut();
        *read = 0;
        while let Some(last) = list.last_mut() {
            last.chosen += 1;
            if last.chosen < last.of {
                return true;
            }
            list.pop();
        }
        false
    }
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// Calls `visit` with what every mixture of old and new entries allows for an access (TLB-2),
    /// the entries in memory first. All together, and nothing else, is allowed; two mixtures may
    /// allow the same. A prediction by a mixture with old entries has the choice TLB-2, and the rule
    /// TLB-5 if it uses a page of another size than there is now: that is not safe to try
    /// everywhere.
    ///
    /// Their number is bounded by the edits: a walk of L levels over E of them has at most
    /// (E + L)! / (E! L!) mixtures, and an access to two pages the product. The registers are those
    /// of the MMU; after a fault and INVLPG the history must be told ([`History::forget`]).
    pub fn predict_stale<M: TableMemory, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        mut visit: impl FnMut(&Prediction),
    ) {
        let mut rules = RuleSet::default();
        let Some(masked) = self.canonical_access(access, &mut rules) else {
            // No walk is made, and no cache is asked (CANON-1).
            return visit(&self.predict(&history.memory, access));
        };
        self.each_mixture(history, &masked, None, rules, &mut visit);
        for (choices, rule, member) in self.other_choices(&masked) {
            let other = Self::with_regime(*self.semantics(), Regime { choices, ..*self.regime() });
            other.each_mixture(history, &masked, Some((rule, member)), rules, &mut visit);
        }
    }

    /// The same with the regime's choices.
    fn each_mixture<M: TableMemory, const N: usize>(
        &self,
        history: &History<M, N>,
        access: &Access,
        choice: Option<(Rule, &'static str)>,
        rules: RuleSet,
        visit: &mut impl FnMut(&Prediction),
    ) {
        let mixture = StaleView { history, picks: RefCell::default() };
        loop {
            let mut found = Prediction { alternatives: ArrayVec::new(), rules };
            if self.predict_mixture(&mixture, access, choice, &mut found).is_some() {
                visit(&found);
            }
            if !mixture.advance() {
                return;
            }
        }
    }

    /// What one mixture allows; `None` if no cache can hold it.
    fn predict_mixture<M: TableMemory, const N: usize>(
        &self,
        mixture: &StaleView<'_, M, N>,
        access: &Access,
        mut choice: Option<(Rule, &'static str)>,
        found: &mut Prediction,
    ) -> Option<()> {
        let mut pages = ArrayVec::<WalkedPage, 2>::new();
        for (address, len) in Self::pages(access) {
            mixture.start(address);
            let first_read = mixture.reads();
            let mut page = self.walk_page(mixture, address, len, access, found).ok()?;
            let origins = mixture.origins(first_read);
            // Steps without a read are registers, the first ones (PDPTE-1).
            let registers = page.path.steps.len() - origins.len();
            let is_old = |n: usize| n >= registers && origins[n - registers] == Origin::Past;
            if let Some(last) = (0..page.path.steps.len()).rev().find(|n| is_old(*n)) {
                if !self.can_be_cached(&page, last, access) {
                    return None;
                }
                found.rules.insert(Rule::Tlb2);
                choice = Some((Rule::Tlb2, member(&page, last)));
                if self.changes_size(&page, &mixture.history.memory, address, access) {
                    found.rules.insert(Rule::Tlb5);
                }
            }
            for origin in &origins {
                if let Origin::Outside(member) = origin {
                    choice = Some((Rule::Out1, member));
                }
            }
            // What is no more is not updated: a hit sets no A.
            let mut n = 0..;
            page.path.steps.retain(|_| n.next().is_some_and(|n| !is_old(n)));
            pages.push(page);
        }
        self.conclude(&pages, access, choice, found);
        Some(())
    }

    /// Whether a processor may have cached the path of a page down to step `last`, which is the
    /// lowest of those that have been replaced, and may use it for this access.
    fn can_be_cached(&self, page: &WalkedPage, last: usize, access: &Access) -> bool {
        let cached = &page.path.steps[..=last];
        let has = |step: &Step, bit| {
            !step.level.has_flags || EntryBits::from_bits_retain(step.entry).contains(bit)
        };
        // TLB-1.
        let are_good = cached.iter().all(|step| step.error.is_none() && has(step, EntryBits::A));
        if page.faults() {
            return are_good && self.regime().profile.faults_may_be_stale();
        }
        let lowest = &cached[last];
        let walks_again = lowest.kind == EntryKind::Leaf
            && self.semantics().sets_dirty(lowest.rights, access)
            && !has(lowest, EntryBits::D);
        are_good && !walks_again
    }

    /// TLB-5: whether the page is of another size than the one that memory has for its address.
    fn changes_size<M: TableMemory>(
        &self,
        page: &WalkedPage,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> bool {
        let mut now = Path::default();
        let _ = self.walk(memory, address, access, &mut now);
        let leaf = |path: &Path| {
            path.steps
                .last()
                .filter(|step| step.kind == EntryKind::Leaf && step.error.is_none())
                .map(|step| step.level.shift)
        };
        leaf(&now).zip(leaf(&page.path)).is_some_and(|(new, old)| new != old)
    }
}

/// What a mixture is called whose lowest replaced entry is step `last`.
fn member(page: &WalkedPage, last: usize) -> &'static str {
    if page.faults() {
        "a spurious fault"
    } else if page.path.steps[last].kind == EntryKind::Leaf {
        "a cached translation"
    } else {
        "cached upper entries"
    }
}
