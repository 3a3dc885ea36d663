//! An MMU that translates through the caches.

use super::error::{AccessError, TranslationError};
use super::invalidation::{Invalidation, RegisterWrite, invalidated_by, pcid};
use super::structures::StructureCaches;
use super::tlb::Tlb;
use super::update::TableMemoryUpdate;
use crate::access::{Access, MAX_PAGES};
use crate::address::VirtAddr;
use crate::outcome::{Outcome, Span};
use crate::walk::{Mmu, Translation};
use crate::x86::fault::Fault;
use crate::x86::format::Format;
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::rule::{Rule, RuleSet};
use crate::x86::semantics::{AlignmentCheck, Cause, Reference, Semantics};
use crate::x86::state::ControlState;
use arrayvec::ArrayVec;

/// The MMU of one processor for one table format, with a TLB of `SETS` sets of `WAYS` entries and
/// paging-structure caches of `STRUCTURES` entries each.
///
/// Unlike [`Mmu::predict`] it acts: it sets A and D in memory, and of the outcomes that the manuals
/// leave open it takes the likeliest. Its outcome is always among those that [`Mmu::predict_stale`]
/// allows for the edits since the last invalidation (TLB-2).
///
/// A change of the paging mode drops everything: make a new MMU for the new mode.
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

    /// Performs an access: the bytes that it reaches, with A and D set in memory, or its fault.
    ///
    /// An access that faults leaves A and D set in the pages before the one that faults (AD-7).
    ///
    /// # Errors
    /// When there is no outcome; see [`AccessError`].
    pub fn access<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        access: &Access,
    ) -> Result<Outcome, AccessError> {
        Mmu::<F, R>::check_size(access)?;

        let Some(access) = self.mmu.canonical_access(access, &mut self.decided) else {
            return Ok(Outcome::Fault(self.mmu.semantics().non_canonical_fault(access)));
        };

        // Before the walk, which would set D (ALIGN-1).
        let check = self.mmu.semantics().alignment_check(&access, self.mmu.regime());
        if check == AlignmentCheck::Fails {
            self.decided.insert(Rule::Align1);
            return Ok(Outcome::Fault(Fault::ALIGNMENT_CHECK));
        }

        let pages: ArrayVec<_, MAX_PAGES> = self.mmu.pages(&access).collect();
        let mut spans = ArrayVec::new();
        for (address, len) in pages {
            match self.translate(memory, address, &access) {
                Ok(translation) => spans.push(Span { address: translation.address, len }),
                Err(TranslationError::Fault(cause)) => {
                    return Ok(Outcome::Fault(self.page_fault(cause, &access, address)));
                }
                Err(TranslationError::Failed(error)) => return Err(error),
            }
        }
        Ok(Outcome::Translated(spans))
    }

    fn page_fault(&self, cause: Cause, access: &Access, address: VirtAddr) -> Fault {
        let code = self.mmu.semantics().page_fault_code(cause, access, self.mmu.regime());
        Fault::page_fault(code, address)
    }

    /// Translates one address, which must be canonical, for an access. The size of the access plays
    /// no part.
    ///
    /// # Errors
    /// The cause of a page fault, or why there is no outcome.
    #[inline]
    pub fn translate<M: TableMemoryUpdate>(
        &mut self,
        memory: &mut M,
        address: VirtAddr,
        access: &Access,
    ) -> Result<Translation, TranslationError> {
        let Some(entry) = self.tlb.lookup(address, self.pcid) else {
            return self.walk(memory, address, access);
        };

        // The registers may have changed since the entry was cached, so rights are judged again.
        let semantics = self.mmu.semantics();
        let regime = self.mmu.regime();
        let denial = semantics.denial(entry.above, entry.rights, entry.leaf, access, regime);
        let is_allowed = denial.is_empty();
        let must_set_dirty = !entry.dirty && semantics.sets_dirty(entry.rights, access);
        if is_allowed && !must_set_dirty {
            return Ok(Translation {
                address: entry.physical_address(address),
                rights: entry.rights,
                leaf: entry.leaf,
            });
        }

        let path = Invalidation::Path { address, pcid: self.pcid };
        if is_allowed {
            // D is set in memory, where the leaf may have changed meanwhile.
            self.tlb.invalidate(path);
        } else {
            self.invalidate_for_fault(path);
        }
        self.walk(memory, address, access)
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
