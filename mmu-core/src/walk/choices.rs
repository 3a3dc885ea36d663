//! Choices: where processors legally differ, and which of them can matter to an access.

use super::alternatives::BYTES_FOLLOW;
use super::{Mmu, Step};
use crate::access::{Access, AccessKind};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::format::{EntryBits, Format, Level};
use crate::x86::profile::Pin;
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::Rule;
use crate::x86::semantics::Semantics;
use crate::x86::state::{Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

/// A rule that leaves something open, and the member of the choice that is taken.
pub(super) type OpenMember = (Rule, &'static str);

/// Whether a choice is open, how to take its other member, and that member.
type PossibleChoice = (bool, fn(&mut Choices), OpenMember);

/// Whether an entry has a G that some processors reserve (CODE-7).
#[inline]
pub(super) const fn has_open_global(level: &Level, entry: u64) -> bool {
    level.number >= 4 && entry & EntryBits::G.bits() != 0
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// The combinations of open choices that the regime does not take and that may matter to this
    /// access.
    pub(crate) fn other_choices(
        &self,
        access: &Access,
    ) -> ArrayVec<(Choices, Rule, &'static str), 7> {
        let Regime { state, profile, choices } = self.regime;
        let is_fetch = access.kind == AccessKind::Fetch;
        let nx_is_on = state.cr4.contains(Cr4::PAE) && state.efer.contains(Efer::NXE);
        let smep_alone = state.cr4.contains(Cr4::SMEP) && !nx_is_on;
        let is_processor = F::MODE != PagingMode::Linear;
        let is_wide = self.has_64_bit_address(access);
        let is_tagged = is_wide && state.efer.contains(Efer::UAIE);

        // At most three of these are open for one access: the first two belong to different modes, and
        // each of the last three excludes the other two.
        let open: [PossibleChoice; 6] = [
            (
                F::IS_LONG_MODE && profile.global_in_pml4e_is_reserved() == Pin::Open,
                |choices| choices.global_in_pml4e_is_reserved = true,
                (Rule::Code7, "G in a PML4E is reserved"),
            ),
            (
                F::MODE == PagingMode::Pae && profile.pdptes_are_walked() == Pin::Open,
                |choices| choices.pdptes_are_walked = true,
                (Rule::Pdpte4, "PDPTEs are read during the walk"),
            ),
            (
                is_fetch && smep_alone && profile.smep_alone_reports_fetch() == Pin::Open,
                |choices| choices.smep_alone_reports_fetch = false,
                (Rule::Code8, "I/D is 0 with SMEP alone"),
            ),
            (
                is_tagged && !is_fetch,
                |choices| choices.cr2_holds_the_tag = true,
                (Rule::Canon4, "CR2 holds the tag"),
            ),
            (
                is_wide && !is_tagged && self.masking_decides(access),
                |choices| choices.bytes_follow_the_masked_first = true,
                (Rule::Canon2, BYTES_FOLLOW),
            ),
            (
                // Descriptor tables have limits of their own.
                !is_wide && is_processor && !access.implicit && passes_4_gib(access),
                |choices| choices.limit_ends_at_4_gib = true,
                (Rule::Canon2, "the segment's limit is exceeded"),
            ),
        ];

        let mut combined = ArrayVec::<(Choices, Option<OpenMember>), 8>::new();
        combined.push((choices, None));
        for (_, take, member) in open.into_iter().filter(|(is_open, ..)| *is_open) {
            for number in 0..combined.len() {
                let (mut choices, first) = combined[number];
                take(&mut choices);
                combined.push((choices, first.or(Some(member))));
            }
        }

        let others = combined.into_iter();
        others
            .filter_map(|(choices, member)| member.map(|(rule, name)| (choices, rule, name)))
            .collect()
    }

    /// Whether an access is of those whose bytes processors place differently (CANON-2).
    pub(super) fn bytes_are_open(&self, access: &Access) -> bool {
        if !access.crosses_page() {
            return false;
        }
        if self.has_64_bit_address(access) {
            self.masking_decides(access)
        } else {
            passes_4_gib(access)
        }
    }

    /// Whether a walk along this path, which `faults` or not, may end otherwise on another processor. It may
    /// say so in vain.
    pub(super) fn is_open<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        &self,
        memory: &M,
        path: &[Step],
        faults: bool,
        access: &Access,
    ) -> bool {
        let Regime { state, profile, .. } = &self.regime;

        // CODE-8 and CANON-4: what a fault reports.
        let is_reported_differently =
            access.kind == AccessKind::Fetch || state.efer.contains(Efer::UAIE);
        if faults && is_reported_differently {
            return true;
        }

        // PDPTE-4: memory may have another PDPTE than the register.
        if F::MODE == PagingMode::Pae
            && profile.pdptes_are_walked() == Pin::Open
            && let Some(first) = path.first()
            && memory.read_entry(first.at, F::ENTRY_BYTES) != Ok(first.entry)
        {
            return true;
        }

        path.iter().any(|step| has_open_global(step.level, step.entry))
    }

    /// Whether it matters to an access how LAM masks the bytes after the first (CANON-2).
    fn masking_decides(&self, access: &Access) -> bool {
        let follow = Choices { bytes_follow_the_masked_first: true, ..self.regime.choices };
        let is_canonical = |choices| {
            let regime = Regime { choices, ..self.regime };
            self.semantics.is_canonical(access, F::ADDRESS_BITS, &regime)
        };

        access.crosses_page() && is_canonical(follow) != is_canonical(self.regime.choices)
    }
}

/// Whether an access with an address of 32 bits has bytes at 4 GiB and above.
pub(super) const fn passes_4_gib(access: &Access) -> bool {
    let first = Access { address: access.address.truncated(32), ..*access };
    first.last_byte().get() >> 32 != 0
}
