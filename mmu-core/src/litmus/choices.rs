//! What processors may choose to do in a test, by name.

use bitflags::bitflags;

bitflags! {
    /// LitmusChoices that an outcome needs. An outcome that needs none can be shown by every processor.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct LitmusChoices: u16 {
        /// A page fault by rights that were cached, though memory grants more (TLB-2; SDM "Delayed
        /// Invalidation"). AMD's processors walk again first.
        const SPURIOUS_FAULT = 1 << 0;
        /// D was set for a write that faults in the end, or goes elsewhere: the entry was changed between the
        /// two. No sentence of the manuals forbids it.
        const DIRTY_THEN_FAULT = 1 << 1;
        /// D is set in an entry whose R/W was cleared, by a write through the cached one (SDM "Accessed and
        /// Dirty Flags": never on a processor with CET).
        const DIRTY_ALONE = 1 << 2;
        /// The walk of a fetch does not see an earlier store of its own processor, since the fetch came
        /// before it (SDM "Self-Modifying Code").
        const FETCH_PASSES_STORES = 1 << 3;
        /// With EFER.TCE, INVLPG spares upper entries that do not lead to its page (APM "Extended Feature
        /// Enable Register").
        const NARROW_INVLPG = 1 << 4;
        /// MOV to CR3 spares a global translation (SDM "Global Pages").
        const GLOBAL_KEPT = 1 << 5;
        /// A is set where no access went: by speculation (SDM "Accessed and Dirty Flags", APM "Accessed (A)
        /// Bit").
        const SPECULATIVE_ACCESS = 1 << 6;
    }
}

impl LitmusChoices {
    /// The names, as reports and tests have them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(LitmusChoices, &str); 7] = [
            (LitmusChoices::SPURIOUS_FAULT, "spurious_fault"),
            (LitmusChoices::DIRTY_THEN_FAULT, "d_then_fault"),
            (LitmusChoices::DIRTY_ALONE, "d_without_rights"),
            (LitmusChoices::FETCH_PASSES_STORES, "fetch_passes_stores"),
            (LitmusChoices::NARROW_INVLPG, "tce"),
            (LitmusChoices::GLOBAL_KEPT, "g_kept"),
            (LitmusChoices::SPECULATIVE_ACCESS, "speculative_a"),
        ];
        NAMES.into_iter().filter(move |(choice, _)| self.contains(*choice)).map(|(_, name)| name)
    }
}
