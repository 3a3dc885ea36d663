//! An MMU that translates through the caches.

use super::invalidation::{Invalidation, RegisterWrite, invalidated_by, pcid};
use super::structures::StructureCaches;
use super::tlb::{Tag, TagCheck, Tlb};
use crate::access::{Access, MAX_PAGES};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{AtomicTableMemory, TableMemory};
use crate::outcome::{AccessError, AccessTranslation, Translation};
use crate::walk::{Demand, Mmu};
use crate::x86::fault::Fault;
use crate::x86::format::{EntryKind, Format, Leaf, Level};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::ControlState;
use arrayvec::ArrayVec;

/// The MMU of one processor for one table format, with a TLB of `SETS` sets of `WAYS` entries and
/// paging-structure caches of `STRUCTURES` entries each.
///
/// Unlike [`Mmu::predict`] it acts: it sets A and D in memory, and of the outcomes that the manuals
/// leave open it takes the likeliest. Its outcome is always among those that [`Mmu::predict_stale`]
/// allows for the edits since the last invalidation (TLB-2).
///
/// A change of the paging mode drops everything: make a new MMU for the new mode, or use
/// [`AnyCachedMmu`](super::AnyCachedMmu), which does so.
#[derive(Clone, Debug)]
pub struct CachedMmu<
    F: Format,
    R: Semantics = Reference,
    const SETS: usize = 64,
    const WAYS: usize = 4,
    const STRUCTURES: usize = 16,
> {
    pub(super) mmu: Mmu<F, R>,
    pub(super) tlb: Tlb<SETS, WAYS>,
    pub(super) structures: StructureCaches<STRUCTURES>,
    pub(super) pcid: u16,
    pub(super) decided: RuleSet,
}

impl<F: Format> CachedMmu<F> {
    /// The reference for a control state of this format and a processor, with empty caches of the
    /// default sizes.
    pub fn new(state: ControlState, profile: Profile) -> Self {
        Self::with_semantics(Reference, state, profile)
    }
}

impl<F: Format, R: Semantics, const SETS: usize, const WAYS: usize, const STRUCTURES: usize>
    CachedMmu<F, R, SETS, WAYS, STRUCTURES>
{
    /// An MMU that decides as `semantics` does, with empty caches of any size.
    pub fn with_semantics(semantics: R, state: ControlState, profile: Profile) -> Self {
        Self {
            mmu: Mmu::with_semantics(semantics, state, profile),
            tlb: Tlb::new(),
            structures: StructureCaches::new(),
            pcid: pcid(&state),
            decided: RuleSet::default(),
        }
    }

    /// The MMU that walks on a miss.
    pub fn mmu(&self) -> &Mmu<F, R> {
        &self.mmu
    }

    /// The cached translations.
    pub fn tlb(&self) -> &Tlb<SETS, WAYS> {
        &self.tlb
    }

    /// The cached entries above the leaf.
    pub fn structures(&self) -> &StructureCaches<STRUCTURES> {
        &self.structures
    }

    /// The rules of caching that have decided something so far.
    pub fn rules(&self) -> RuleSet {
        self.decided
    }

    /// Translates an access through the caches, sets A and D in memory, and caches what it walks.
    ///
    /// An access that faults on a page leaves A and D set for those before it (AD-7).
    ///
    /// # Errors
    /// The fault, the error of the memory, or why there is neither; see [`AccessError`].
    pub fn translate<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        let access = self.mmu.access_to_walk(access, &mut self.decided)?;
        let mut translated = AccessTranslation::new();

        // Most accesses touch one page.
        let first = self.mmu.pages(&access).next();
        if let Some((address, len)) = first
            && len == access.size
        {
            translated.push(self.walk_page(memory, address, &access)?, len);
            return Ok(translated);
        }

        let pages: ArrayVec<_, MAX_PAGES> = self.mmu.pages(&access).collect();
        for (address, len) in pages {
            translated.push(self.walk_page(memory, address, &access)?, len);
        }
        Ok(translated)
    }

    /// The same without any effect: neither memory nor the caches change. What is cached counts, so
    /// that the answer is that of [`Self::translate`].
    ///
    /// # Errors
    /// As [`Self::translate`].
    pub fn probe<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        access: &Access,
    ) -> Result<AccessTranslation, AccessError<M::Error>> {
        let access = self.mmu.access_to_walk(access, &mut RuleSet::default())?;

        let mut translated = AccessTranslation::new();
        for (address, len) in self.mmu.pages(&access) {
            translated.push(self.probe_page(memory, address, &access)?, len);
        }
        Ok(translated)
    }

    /// Translates one address as [`Mmu::walk`] does, through the caches, sets A and D in memory, and
    /// caches what it walks.
    ///
    /// The address must be canonical. The size of the access plays no part.
    ///
    /// # Errors
    /// The page fault, or the error of the memory; see [`AccessError`].
    #[inline]
    pub fn walk<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        self.walk_demanding(memory, address, access, self.demand(access))
    }

    /// The same as a call.
    #[inline(never)]
    fn walk_page<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        self.walk(memory, address, access)
    }

    /// Walks for many addresses, one after the other, and hands over the result of each, in their order. It
    /// is what [`Self::walk`] returns for an access like `access` at that address. It is faster, above all
    /// where a TLB or the tables are larger than the caches of the processor that runs this.
    ///
    /// The addresses must be canonical.
    #[inline]
    pub fn walk_batch<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        addresses: &[VirtAddr],
        access: &Access,
        mut each: impl FnMut(VirtAddr, Result<Translation, AccessError<M::Error>>),
    ) {
        /// Number of addresses whose sets are asked for at once.
        const TOUCHED: usize = 64;

        let demand = self.demand(access);
        for addresses in addresses.chunks(TOUCHED) {
            self.tlb.touch(addresses);
            for address in addresses {
                each(*address, self.walk_demanding(memory, *address, access, demand));
            }
        }
    }

    /// Walks for an access that demands this of a path: the short ways first.
    #[expect(clippy::inline_always, reason = "a call costs as much as a hit")]
    #[inline(always)]
    fn walk_demanding<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        demand: Option<Demand>,
    ) -> Result<Translation, AccessError<M::Error>> {
        let Some(demand) = demand else { return self.walk_in_doubt(memory, address, access) };

        match self.find(address, F::address) {
            Some((tag, translation)) if self.is_ready(tag, &translation, access, demand) => {
                Ok(translation)
            }
            Some(_) => self.walk_in_doubt(memory, address, access),
            None => self.walk_on_miss(memory, address, access, demand),
        }
    }

    /// Walks where the TLB may have something that the access cannot use as it is.
    #[inline(never)]
    fn walk_in_doubt<M: AtomicTableMemory + ?Sized>(
        &mut self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        match self.look_up(address, access) {
            TlbAnswer::Hit(translation) => return Ok(translation),
            TlbAnswer::Miss => {}
            // D is set in memory, where the leaf may have changed meanwhile.
            TlbAnswer::NotDirty => self.tlb.invalidate(self.path(address)),
            TlbAnswer::Denied => self.invalidate_for_fault(self.path(address)),
        }
        self.walk_in_detail(memory, address, access)
    }

    /// What a page fault at an address drops.
    pub(super) const fn path(&self, address: VirtAddr) -> Invalidation {
        Invalidation::Path { address, pcid: self.pcid }
    }

    fn probe_page<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, AccessError<M::Error>> {
        let answer = self.look_up(address, access);
        if let TlbAnswer::Hit(translation) = answer {
            return Ok(translation);
        }

        // A denied access drops what the structure caches have for it (TLB-3).
        let start = self.structures.start::<F>(address, self.pcid);
        if let (Some(start), TlbAnswer::Miss | TlbAnswer::NotDirty) = (start, answer)
            && let Ok(translation) = self.mmu.probe_from(start, memory, address, access)
        {
            return Ok(translation);
        }
        self.mmu.probe_from(self.mmu.root(), memory, address, access)
    }

    /// What an access demands of a path. `None` for shadow stacks and deviations, which judge otherwise.
    #[inline]
    fn demand(&self, access: &Access) -> Option<Demand> {
        if R::IS_REFERENCE { Demand::of(access, self.mmu.regime()) } else { None }
    }

    /// Whether an access may use a translation as it is.
    #[inline]
    fn is_ready(
        &self,
        tag: Tag,
        &Translation { rights, leaf, .. }: &Translation,
        access: &Access,
        demand: Demand,
    ) -> bool {
        let regime = self.mmu.regime();

        tag.passes(TagCheck::new(demand))
            && !(demand.has_keys && Reference.key_denied(rights, leaf, access, regime))
    }

    /// The translation of an address in the TLB, and its tag. `to_address` reads the leaf.
    #[expect(
        clippy::inline_always,
        reason = "levels become constants, and a call costs as much as a hit"
    )]
    #[inline(always)]
    fn find(
        &self,
        address: VirtAddr,
        to_address: impl Fn(&Level, EntryKind, u64) -> PhysAddr,
    ) -> Option<(Tag, Translation)> {
        let mut levels = F::LEVELS.iter().rev().filter(|level| level.leaf != Leaf::Never);
        levels.find_map(|level| {
            let (tag, leaf) = self.tlb.find(address, level.shift, self.pcid)?;
            let translation = Translation {
                address: to_address(level, EntryKind::Leaf, leaf) + address.offset(level.shift),
                rights: tag.rights(),
                leaf,
                level: Some(level),
            };
            Some((tag, translation))
        })
    }

    /// What the TLB knows about an access. The registers may have changed since an entry was cached, so
    /// its rights are judged again.
    fn look_up(&self, address: VirtAddr, access: &Access) -> TlbAnswer {
        let semantics = self.mmu.semantics();
        let to_address = |level: &_, kind, leaf| semantics.address::<F>(level, kind, leaf);
        let Some((tag, translation)) = self.find(address, to_address) else {
            return TlbAnswer::Miss;
        };
        let Translation { rights, leaf, .. } = translation;

        let denial = semantics.denial(tag.above(), rights, leaf, access, self.mmu.regime());
        if !denial.is_empty() {
            TlbAnswer::Denied
        } else if !tag.is_dirty() && semantics.sets_dirty(rights, access) {
            TlbAnswer::NotDirty
        } else {
            TlbAnswer::Hit(translation)
        }
    }

    /// A page fault drops what is cached for its address (TLB-3).
    pub(super) fn invalidate_for_fault(&mut self, path: Invalidation) {
        self.decided.insert(Rule::Tlb3);
        self.tlb.invalidate(path);
        self.structures.invalidate(path);
    }

    /// Drops a part of the caches.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        if invalidation == Invalidation::Nothing {
            return;
        }

        self.decided.insert(Rule::Tlb4);
        self.tlb.invalidate(invalidation);
        self.structures.invalidate(invalidation);
    }

    /// INVLPG. With AMD's EFER.TCE it drops no more than it must.
    pub fn invlpg(&mut self, address: VirtAddr) {
        let Regime { state, profile, .. } = self.mmu.regime();
        let allowed = Invalidation::invlpg::<F>(state, profile, address);
        let Some(&least) = allowed.first() else { return };

        if least == Invalidation::Nothing {
            self.decided.insert(Rule::Canon3);
        }
        self.invalidate(least);
    }

    /// INVPCID of a type, with its descriptor as the low and the high 64 bits.
    ///
    /// # Errors
    /// #GP(0), and nothing is dropped; see [`Invalidation::invpcid`].
    pub fn invpcid(&mut self, kind: u64, descriptor: [u64; 2]) -> Result<(), Fault> {
        let Regime { state, profile, .. } = self.mmu.regime();
        let invalidation = Invalidation::invpcid::<F>(state, profile, kind, descriptor)?;
        self.invalidate(invalidation);
        Ok(())
    }

    /// Enters a new control state of the same paging mode, and drops what the write that led to it
    /// drops ([`invalidated_by`]).
    pub fn set_state(&mut self, write: RegisterWrite, new: ControlState) {
        let regime = *self.mmu.regime();
        self.invalidate(invalidated_by(write, &regime.state, &new));

        self.mmu = Mmu::with_semantics(*self.mmu.semantics(), new, regime.profile);
        self.pcid = pcid(&new);
    }
}

/// What the TLB knows about an access to a page.
enum TlbAnswer {
    /// It may go on with this translation.
    Hit(Translation),
    /// Nothing.
    Miss,
    /// The access is allowed, and is the first write through a leaf without D.
    NotDirty,
    /// The rights deny the access, if they are still the same in memory.
    Denied,
}
