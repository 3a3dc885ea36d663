//! Whether caches can still hold the path of a page with entries that have been replaced.

use super::Forbidden;
use super::view::{Origin, Pick};
use crate::address::{PhysAddr, VirtAddr};
use crate::cache::entry::{StructureEntry, TlbEntry};
use crate::cache::history::{History, PastInvalidation};
use crate::cache::invalidation::pcid;
use crate::cache::moments::MomentSet;
use crate::walk::{Step, WalkedPage};
use crate::x86::format::{EntryBits, EntryKind, Format};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr4, Efer, PagingMode};

/// The path of a page with entries that have been replaced, or to which earlier registers led.
pub(super) struct CachedPath<'a, M, const N: usize> {
    pub(super) history: &'a History<M, N>,
    pub(super) page: &'a WalkedPage,
    /// Where its entries came from.
    picks: &'a [Pick],
    /// The number of the lowest entry that only a cache has.
    last: usize,
    /// The address that was walked, as caches know it.
    address: VirtAddr,
    /// The current registers.
    current: &'a ControlState,
    /// Those by which it was walked.
    walked: &'a ControlState,
}

impl<'a, M, const N: usize> CachedPath<'a, M, N> {
    /// The path of a page, if only caches can have it. The registers are the current ones, and those by
    /// which it was walked.
    pub(super) fn new<F: Format>(
        history: &'a History<M, N>,
        page: &'a WalkedPage,
        picks: &'a [Pick],
        address: VirtAddr,
        [current, walked]: [&'a ControlState; 2],
    ) -> Option<Self> {
        let starts_elsewhere = current.cr3 != walked.cr3 || current.pdptes != walked.pdptes;
        // A register of earlier is gone: what it led to must be cached.
        let first_cached = picks.iter().take_while(|pick| pick.origin == Origin::Register).count();
        let steps = page.path.steps.iter().zip(picks).enumerate();

        let only_cached = steps.filter(|(number, (step, pick))| {
            pick.origin == Origin::Past
                || starts_elsewhere && *number == first_cached
                || depends_on_nxe::<F>(step) && (current.efer ^ walked.efer).contains(Efer::NXE)
                || depends_on_pse::<F>(step) && (current.cr4 ^ walked.cr4).contains(Cr4::PSE)
        });
        let last = only_cached.map(|(number, _)| number).max()?;
        Some(Self { history, page, picks, last, address, current, walked })
    }

    /// The number of the lowest entry that only a cache has.
    pub(super) const fn last(&self) -> usize {
        self.last
    }

    /// Whether a flag of an entry is set, or may be. What was replaced has every flag that may have
    /// been set.
    pub(super) fn may_have(&self, number: usize, flag: EntryBits) -> bool {
        let step = &self.page.path.steps[number];
        let is_in_memory = self.picks[number].origin == Origin::Memory;
        step.has(flag) || is_in_memory && self.history.maybe_set(step.at) & flag.bits() != 0
    }

    /// Whether an entry is good and may have A.
    pub(super) fn is_good(&self, number: usize) -> bool {
        self.page.path.steps[number].error.is_none() && self.may_have(number, EntryBits::A)
    }

    /// Whether caches still have it only because INVLPG of a non-canonical address dropped nothing. It is
    /// one that they may have.
    pub(super) fn is_spared_by_canon_3<F: Format>(&self, hits: bool) -> bool {
        let mut known = self.history.invalidations().iter();
        known.any(|known| known.rule == Rule::Canon3) && !self.is_left::<F>(hits, |_| true)
    }

    /// Why caches no longer have it, if they do not. `hits` is set if a translation in the TLB serves the
    /// access without another walk.
    pub(super) fn dropped_by<F: Format>(&self, hits: bool) -> Option<Forbidden> {
        let is_left_without = |ignored: &[Rule]| {
            self.is_left::<F>(hits, |known| {
                known.rule != Rule::Canon3 && !ignored.contains(&known.rule)
            })
        };
        if is_left_without(&[]) {
            return None;
        }

        let rules = [Rule::Tlb3, Rule::Tlb4];
        let decides = rules.into_iter().find(|rule| is_left_without(&[*rule]));
        Some(decides.map_or(Forbidden::Anyway, Forbidden::By))
    }

    /// Whether caches can still have it, after the invalidations that count.
    fn is_left<F: Format>(
        &self,
        hits: bool,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> bool {
        let lowest = self.page.path.steps.len() - 1;
        if hits {
            return self.walks_on::<F>(self.last, counts) || self.is_translation_left::<F>(counts);
        }

        // To set D the processor walks again.
        let is_elsewhere = self.current.cr3 != self.walked.cr3;
        let upper = &self.picks[..lowest];
        let last_upper = upper.iter().rposition(|pick| pick.origin == Origin::Past);
        let last_upper = last_upper.or((is_elsewhere && lowest > 0).then_some(0));
        let has_upper = last_upper.is_none_or(|last| self.walks_on::<F>(last, counts));
        has_upper && (self.last < lowest || self.is_translation_left::<F>(counts))
    }

    /// Whether a walk can begin below an upper entry: it is cached, or an entry below it is that was
    /// reached through it, even if the entry itself has been dropped since.
    fn walks_on<F: Format>(
        &self,
        number: usize,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> bool {
        let lowest = self.page.path.steps.len() - 1;
        let mut starts = (number..lowest).take_while(|start| self.is_good(*start));
        starts.any(|start| self.is_upper_left::<F>(start, counts))
    }

    /// Whether the paging-structure caches can have the path down to an entry.
    fn is_upper_left<F: Format>(
        &self,
        number: usize,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> bool {
        let cached = self.lasting::<F>(number, counts);
        pcid(self.current) == pcid(self.walked) && cached.contains(self.history.now())
    }

    /// Whether the TLB can have the translation.
    fn is_translation_left<F: Format>(
        &self,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> bool {
        let lowest = self.page.path.steps.len() - 1;
        let leaf = &self.page.path.steps[lowest];
        let is_page = leaf.kind == EntryKind::Leaf && leaf.error.is_none();
        if !is_page || !self.is_good(lowest) {
            return false;
        }

        let has_global_pages = self.current.cr4.contains(Cr4::PGE);
        let global = has_global_pages && leaf.level.has_flags && leaf.has(EntryBits::G);
        if !global && pcid(self.current) != pcid(self.walked) {
            return false;
        }

        let entry = TlbEntry {
            page: self.address.index(leaf.level.shift, 64),
            shift: leaf.level.shift,
            pcid: pcid(self.walked),
            global,
            above: leaf.rights,
            rights: leaf.rights,
            leaf: leaf.entry,
            dirty: false,
        };
        let dropped = self.history.invalidations().iter();
        let dropped = dropped.filter(|known| counts(known) && known.what.drops(&entry));
        let since = dropped.map(|known| known.before).max().unwrap_or(0);

        !self.cached::<F>(lowest, counts).and(MomentSet::since(since)).is_empty()
    }

    /// The moments at which an entry can have been cached.
    fn cached<F: Format>(
        &self,
        number: usize,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> MomentSet {
        let above = number.checked_sub(1).map(|above| self.lasting::<F>(above, counts));
        above.unwrap_or(MomentSet::ALL).and(self.moments_of::<F>(number))
    }

    /// The moments at which a walk can go on below an entry: those at which it is cached.
    fn lasting<F: Format>(
        &self,
        number: usize,
        counts: impl Fn(&PastInvalidation) -> bool + Copy,
    ) -> MomentSet {
        let step = &self.page.path.steps[number];
        let cached = self.cached::<F>(number, counts);
        if self.picks[number].origin == Origin::Register {
            return cached;
        }

        let shift = step.level.shift;
        let entry = StructureEntry {
            prefix: self.address.index(shift, 64),
            shift,
            pcid: pcid(self.walked),
            table: PhysAddr::new(0),
            rights: step.rights,
        };
        let dropped = self.history.invalidations().iter();
        let dropped = dropped.filter(|known| counts(known) && known.what.drops_structure(&entry));
        cached.lasting(dropped.map(|known| known.before).collect(), self.history.now())
    }

    /// The moments at which memory had an entry, and the registers were such that it was read as it is
    /// here.
    fn moments_of<F: Format>(&self, number: usize) -> MomentSet {
        let Self { current, walked, .. } = *self;
        let step = &self.page.path.steps[number];
        let pick = &self.picks[number];
        let first_read = self.picks.iter().take_while(|it| it.origin == Origin::Register).count();

        let by_registers = self.history.moments_with(current, |state| {
            let is_root = number <= first_read;
            pcid(state) == pcid(walked)
                && (!is_root || state.cr3 == walked.cr3 && state.pdptes == walked.pdptes)
                && (!depends_on_nxe::<F>(step) || !(state.efer ^ walked.efer).contains(Efer::NXE))
                && (!depends_on_pse::<F>(step) || !(state.cr4 ^ walked.cr4).contains(Cr4::PSE))
        });
        by_registers.and(MomentSet::between(pick.stored, pick.until))
    }
}

/// Whether EFER.NXE decides what an entry means (CODE-3).
const fn depends_on_nxe<F: Format>(step: &Step) -> bool {
    F::ENTRY_BYTES == 8 && step.level.has_flags && step.entry & EntryBits::XD.bits() != 0
}

/// Whether CR4.PSE decides what an entry means (MODE-4).
fn depends_on_pse<F: Format>(step: &Step) -> bool {
    let has_size = F::MODE == PagingMode::Bits32 && step.level.number == 2;
    has_size && step.entry & EntryBits::PS.bits() != 0
}
