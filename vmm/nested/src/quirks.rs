//! The deviations of machines at hand. Each is one known finding; they can be combined, as a machine has several.

use crate::case::{CaseMemory, NestedCase, Step};
use crate::entry;
use crate::observation::Loss;
use crate::walker::{Deciding, NestedWalker};
use bitflags::bitflags;
use mmu_core::nested::{
    AnyRule, Dimension, EntryReference, NestedAccess, NestedAlternative, NestedEnd, NestedExit,
    NestedMmu, NestedPrediction, NestedReference, NestedSemantics, NestedUpdate, Purpose,
    SecondFault, SecondLevel,
};
use mmu_core::x86::fault::PageFaultCode;
use mmu_core::x86::format::{EntryBits, EntryKind, Level};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{Access, AccessKind, Features, PagingMode, PhysAddr, Rule};
use std::borrow::Cow;

bitflags! {
    /// Deviations of machines.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub(crate) struct Quirks: u32 {
        /// A page fault of the guest by a reserved bit does not report P.
        const GUEST_RSVD_WITHOUT_P = 1 << 0;
        /// A read-modify-write is a load first.
        const RMW_LOADS_FIRST = 1 << 1;
        /// A nested page fault by a reserved bit does not report P.
        const NESTED_RSVD_WITHOUT_P = 1 << 2;
        /// G is accepted in the upper entries of the second level.
        const NESTED_UPPER_GLOBAL = 1 << 3;
        /// PAE's PDPTEs of the second level are walked like table entries.
        const NESTED_LOOSE_PDPTES = 1 << 4;
        /// A and D of the guest are written through a page that the second level does not let write.
        const EPT_UNCHECKED_FLAGS = 1 << 5;
        /// An access to a guest's table is reported as a write alone.
        const EPT_TABLE_REPORTS_WRITE = 1 << 6;
        /// PAE's PDPTEs of the guest are walked like table entries: A is set in them, and their low reserved bits are
        /// free.
        const GUEST_LOOSE_PDPTES = 1 << 7;
        /// An entry with bits of nCR3 above MAXPHYADDR is not refused: the address is walked, and reads as zeros.
        const UNCHECKED_NCR3 = 1 << 13;
        /// An entry with bits of the guest's CR3 above MAXPHYADDR is not refused.
        const UNCHECKED_GUEST_CR3 = 1 << 14;
        /// EXITCODE of an entry that is refused has 32 bits.
        const SHORT_INVALID = 1 << 15;
        /// Bit 12 of a large page is accepted in EPT.
        const EPT_LARGE_BIT_12 = 1 << 11;
        /// The PDPTEs of a PAE guest are loaded at the entry: a nested page fault reports the address of their table.
        const GUEST_PDPTES_AT_ENTRY = 1 << 12;
        /// G is accepted in the guest's upper entries.
        const GUEST_UPPER_GLOBAL = 1 << 9;
        /// A guest-physical address is cut to the bits that the second level translates.
        const NESTED_CUT = 1 << 10;
        /// A of a PDPTE that maps 1 GiB is set before its alignment bits and the rights are checked, in either
        /// dimension.
        const EARLY_ACCESSED_1GB = 1 << 8;
        /// The same in the guest's dimension alone.
        const GUEST_EARLY_ACCESSED_1GB = 1 << 16;
        /// The low reserved bits of PAE's PDPTEs of the second level are free.
        const NESTED_UNCHECKED_PDPTES = 1 << 17;
        /// An entry is shut down if a PDPTE of the second level leads above MAXPHYADDR, whether it is used or not.
        const NESTED_PDPTES_SHUT_DOWN = 1 << 18;
        /// A guest-physical address above 4 GiB is cut to the bits that the second level translates, and if it leads
        /// to a page, the guest never comes back.
        const NESTED_CUT_LOOPS = 1 << 19;
        /// A 4 MiB page of the second level has 36 address bits.
        const NESTED_PSE_36_ENDS_AT_36 = 1 << 20;
        /// A PDPTE maps 1 GiB, in either dimension, although CPUID reports no such pages.
        const ALWAYS_1_GIB = 1 << 21;
        /// The exit for a misconfiguration has the exit qualification of another one.
        const STALE_QUALIFICATION = 1 << 22;
    }
}

impl Quirks {
    /// All but those that end a case early: what an access can reach at most.
    pub(crate) const FAR_REACHING: Self = Self::all()
        .difference(Self::NESTED_PDPTES_SHUT_DOWN)
        .difference(Self::NESTED_CUT_LOOPS)
        .difference(Self::NESTED_PSE_36_ENDS_AT_36);

    /// The name in files of known findings.
    pub(crate) fn by_written_name(name: &str) -> Option<Self> {
        Self::from_name(&name.to_uppercase().replace('-', "_"))
    }
}

/// The reference with deviations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quirked(pub(crate) Quirks);

impl NestedWalker for Quirked {
    fn refusal(&self, case: &NestedCase) -> Option<u64> {
        let passes = |is_legal: bool, quirk: Quirks| is_legal || self.0.contains(quirk);
        let is_entered = passes(entry::has_legal_root(case), Quirks::UNCHECKED_NCR3)
            && passes(entry::has_legal_guest_root(case), Quirks::UNCHECKED_GUEST_CR3);
        if !is_entered {
            let is_short = self.0.contains(Quirks::SHORT_INVALID);
            return Some(if is_short { 0xffff_ffff } else { entry::INVALID });
        }

        let is_shut_down =
            self.0.contains(Quirks::NESTED_PDPTES_SHUT_DOWN) && entry::has_far_pdpte(case);
        is_shut_down.then_some(entry::SHUTDOWN)
    }

    fn loses(
        &self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
        end: &NestedEnd,
    ) -> Option<Loss> {
        let SecondLevel::Npt(host) = case.second else { return None };
        if !self.0.contains(Quirks::NESTED_CUT_LOOPS) || host.mode().is_long_mode() {
            return None;
        }
        let is_beyond = |reference: &EntryReference| {
            reference.dimension == Dimension::Second && reference.guest_physical.get() >> 32 != 0
        };
        let case = self.on_its_processor(case);
        let references = self.references(&case, memory, step);
        let first = references.iter().find(|reference| is_beyond(reference))?.guest_physical;

        // What does not lead to a page by its lower half is a nested page fault.
        let is_fault = matches!(end, NestedEnd::Exit(NestedExit::NestedPageFault { info2, .. })
            if *info2 & !0xfff == first.get() & !0xfff);
        (!is_fault).then_some(Loss::Hang)
    }

    fn predict_step(
        &self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Option<NestedPrediction> {
        let case = &*self.on_its_processor(case);
        let is_illegal = !entry::has_legal_guest_root(case);
        if self.0.contains(Quirks::UNCHECKED_GUEST_CR3) && is_illegal && leads_nowhere(case) {
            return self.walk_from_nowhere(case, memory, step);
        }
        let original = memory;
        let mut memory = memory.clone();
        let pdptes = self.hide_what_is_free(case, &mut memory, step);
        let mut prediction = Deciding(*self).predict_step(case, &memory, step)?;

        if self.0.contains(Quirks::RMW_LOADS_FIRST)
            && step.access().kind == AccessKind::ReadModifyWrite
        {
            prediction = self.load_first(case, &memory, step, prediction)?;
        }
        for update in pdptes {
            touch(&mut prediction, update);
        }
        if self.0.contains(Quirks::GUEST_PDPTES_AT_ENTRY) && case.mode() == PagingMode::Pae {
            report_table_of_pdptes(case, &mut prediction);
        }
        if self.0.contains(Quirks::UNCHECKED_GUEST_CR3) && is_illegal {
            report_root(case, &mut prediction);
        }
        if memory.is_unknown() {
            original.note_unknown();
        }
        // What was hidden is there.
        for update in prediction.alternatives.iter_mut().flat_map(|way| &mut way.updates) {
            let at = update.at.get();
            if update.bytes == 8
                && let Some(word) = memory.word(at)
            {
                update.before = word;
            }
        }
        if self.0.intersects(Quirks::EARLY_ACCESSED_1GB | Quirks::GUEST_EARLY_ACCESSED_1GB) {
            for update in self.early_accessed(case, &memory, step) {
                touch(&mut prediction, update);
            }
        }
        if self.0.contains(Quirks::GUEST_RSVD_WITHOUT_P) {
            for alternative in &mut prediction.alternatives {
                if let NestedEnd::Fault(fault) = &mut alternative.end
                    && fault.error_code & PageFaultCode::RSVD.bits() != 0
                {
                    fault.error_code &= !PageFaultCode::P.bits();
                }
            }
        }
        Some(prediction)
    }
}

impl Quirked {
    /// The case on the processor that the machine is, whatever its CPUID says.
    fn on_its_processor(self, case: &NestedCase) -> Cow<'_, NestedCase> {
        let mut profile = case.profile;
        if self.0.contains(Quirks::ALWAYS_1_GIB) {
            profile.features |= Features::PAGE_1GB;
        }
        if profile == case.profile {
            return Cow::Borrowed(case);
        }
        Cow::Owned(NestedCase { profile, ..case.clone() })
    }

    /// What a read-modify-write does that is a load, and then a store.
    fn load_first(
        self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
        stored: NestedPrediction,
    ) -> Option<NestedPrediction> {
        let load = Access { kind: AccessKind::Read, ..*step.access() };
        let loaded = Deciding(self).predict_step(case, memory, &Step::Access(load))?;
        let completes = |way: &&NestedAlternative| matches!(way.end, NestedEnd::Translated(_));
        let Some(first) = loaded.alternatives.iter().find(completes) else { return Some(loaded) };

        // What the load has set stays set if the store fails.
        let mut both = stored;
        for way in &mut both.alternatives {
            for update in &first.updates {
                match way.updates.iter_mut().find(|known| known.at == update.at) {
                    Some(known) => known.must_set |= update.must_set,
                    None => way.updates.push(*update),
                }
            }
        }
        Some(both)
    }

    /// What happens from a CR3 that leads where no table is: its bits above MAXPHYADDR count, as far as the second level
    /// has them.
    fn walk_from_nowhere(
        self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Option<NestedPrediction> {
        let profile = case.profile.with_physical_address_bits(52).ok()?;
        let mmu = NestedMmu::with_semantics(self, case.guest, case.second, profile);
        mmu.predict(memory, step.access()).ok()
    }

    /// Hides the reserved bits that the machine does not check, and returns what becomes of the PDPTEs that the walk
    /// goes through.
    fn hide_what_is_free(
        self,
        case: &NestedCase,
        memory: &mut CaseMemory<'_>,
        step: &Step,
    ) -> Vec<NestedUpdate> {
        // What is hidden in one entry lets the walk come to others.
        let mut known: Vec<NestedUpdate> = Vec::new();
        loop {
            let mut references = self.references(case, memory, step).into_iter();
            let new = references.find_map(|reference| {
                let at = reference.at?;
                let free = self.free_bits(&reference)?;
                let is_known = known.iter().any(|update| update.at == at);
                (!is_known).then(|| (free, accessed(&reference, at)))
            });
            let Some((free, update)) = new else { break };
            memory.hide(update.at, free);
            known.push(update);
        }

        known.retain(|update| {
            let is_left = update.dimension == Dimension::Second && self.leaves_pdptes();
            !update.level.has_flags && !is_left
        });
        known
    }

    /// Whether it does not set A in PDPTEs of the second level.
    const fn leaves_pdptes(self) -> bool {
        !self.0.contains(Quirks::NESTED_LOOSE_PDPTES)
    }

    /// The reserved bits of an entry that the machine does not check; `None` if it checks all, or the entry is bad in
    /// another way.
    fn free_bits(self, reference: &EntryReference) -> Option<u64> {
        /// Bits 8:5 and 2:1 of a PDPTE.
        const LOW_RESERVED: u64 = 0x1e6;

        let is_guest = reference.dimension == Dimension::Guest;
        let free = if !reference.level.has_flags {
            let quirks = if is_guest {
                Quirks::GUEST_LOOSE_PDPTES
            } else {
                Quirks::NESTED_LOOSE_PDPTES | Quirks::NESTED_UNCHECKED_PDPTES
            };
            self.0.intersects(quirks).then_some(LOW_RESERVED)?
        } else if is_guest && reference.level.number >= 4 {
            self.0.contains(Quirks::GUEST_UPPER_GLOBAL).then_some(EntryBits::G.bits())?
        } else {
            return None;
        };

        let is_passed = match reference.error {
            None => true,
            Some(EntryError::Reserved(bits)) => bits & !free == 0,
            Some(EntryError::NotPresent) => false,
        };
        is_passed.then_some(free)
    }

    /// What becomes of the PDPTEs that map 1 GiB.
    fn early_accessed(
        self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Vec<NestedUpdate> {
        /// Bits 29:13.
        const ALIGNMENT: u64 = 0x3fff_e000;

        let references = self.references(case, memory, step).into_iter();
        let large = references.filter(|reference| {
            let maps_1gb = reference.kind == EntryKind::Leaf && reference.level.shift == 30;
            let is_touched = reference.dimension == Dimension::Guest
                || self.0.contains(Quirks::EARLY_ACCESSED_1GB);
            let is_passed = match reference.error {
                None => true,
                Some(EntryError::Reserved(bits)) => bits & !ALIGNMENT == 0,
                Some(EntryError::NotPresent) => false,
            };
            maps_1gb && is_touched && is_passed
        });
        large.filter_map(|reference| Some(accessed(&reference, reference.at?))).collect()
    }

    fn references(
        self,
        case: &NestedCase,
        memory: &CaseMemory<'_>,
        step: &Step,
    ) -> Vec<EntryReference> {
        let mmu = NestedMmu::with_semantics(self, case.guest, case.second, case.profile);
        let walk = |access: &Access| {
            mmu.walk(memory, access).map_or_else(|_| Vec::new(), |walk| walk.references)
        };

        let mut references = walk(step.access());
        let loads_first = self.0.contains(Quirks::RMW_LOADS_FIRST)
            && step.access().kind == AccessKind::ReadModifyWrite;
        if loads_first {
            references.extend(walk(&Access { kind: AccessKind::Read, ..*step.access() }));
        }
        references
    }
}

/// Bits of a guest-physical address that a second level of four levels translates.
const TRANSLATED: u64 = (1 << 48) - 1;

/// Whether bits of the guest's CR3 above MAXPHYADDR lead to another address.
const fn leads_nowhere(case: &NestedCase) -> bool {
    case.guest.cr3 & case.profile.bits_above_physical() & TRANSLATED != 0
}

/// A nested page fault on the guest's root reports the bits of CR3 that are not translated.
fn report_root(case: &NestedCase, prediction: &mut NestedPrediction) {
    let root = case.guest.cr3 & EntryBits::ADDRESS;
    for way in &mut prediction.alternatives {
        if let NestedEnd::Exit(NestedExit::NestedPageFault { info2, .. }) = &mut way.end
            && *info2 & !0xfff == root & TRANSLATED
        {
            *info2 |= root & !TRANSLATED;
        }
    }
}

/// A nested page fault on a PDPTE of the guest reports the address of the first of them.
fn report_table_of_pdptes(case: &NestedCase, prediction: &mut NestedPrediction) {
    let table = case.guest.cr3 & !0x1f;
    for way in &mut prediction.alternatives {
        if let NestedEnd::Exit(NestedExit::NestedPageFault { info2, .. }) = &mut way.end
            && (table..table + 4 * 8).contains(info2)
        {
            *info2 = table;
        }
    }
}

/// A is set in an entry.
fn accessed(reference: &EntryReference, at: PhysAddr) -> NestedUpdate {
    NestedUpdate {
        dimension: reference.dimension,
        at,
        bytes: 8,
        level: reference.level,
        before: reference.entry,
        must_set: EntryBits::A.bits(),
        may_set: 0,
        open_by: AnyRule::Paging(Rule::Ad1),
    }
}

/// Adds an update to every alternative.
fn touch(prediction: &mut NestedPrediction, update: NestedUpdate) {
    for way in &mut prediction.alternatives {
        match way.updates.iter_mut().find(|known| known.at == update.at) {
            Some(known) => {
                known.must_set |= update.must_set;
                known.before = update.before;
            }
            None => way.updates.push(update),
        }
    }
}

impl NestedSemantics for Quirked {
    fn root(&self, second: &SecondLevel, by_manual: PhysAddr) -> PhysAddr {
        let is_unchecked = self.0.contains(Quirks::UNCHECKED_NCR3);
        match second {
            SecondLevel::Npt(host) if is_unchecked && host.mode().is_long_mode() => {
                PhysAddr::new(host.cr3 & EntryBits::ADDRESS)
            }
            _ => by_manual,
        }
    }

    fn reserved_bits(
        &self,
        second: &SecondLevel,
        level: &Level,
        kind: EntryKind,
        by_manual: u64,
    ) -> u64 {
        let mut reserved = by_manual;
        if self.0.contains(Quirks::NESTED_UPPER_GLOBAL) && level.number >= 4 {
            reserved &= !EntryBits::G.bits();
        }
        let is_large = kind == EntryKind::Leaf && level.number > 1;
        let is_ept = matches!(second, SecondLevel::Ept(_));
        if self.0.contains(Quirks::EPT_LARGE_BIT_12) && is_large && is_ept {
            reserved &= !EntryBits::LARGE_PAT.bits();
        }
        // Address bits 39:36 are bits 20:17 of the entry (MODE-5).
        if self.0.contains(Quirks::NESTED_PSE_36_ENDS_AT_36) && is_large && level.shift == 22 {
            reserved |= 0xf << 17;
        }
        reserved
    }

    fn nested_fault_code(&self, fault: SecondFault, access: &NestedAccess) -> PageFaultCode {
        let mut code = NestedReference.nested_fault_code(fault, access);
        if self.0.contains(Quirks::NESTED_RSVD_WITHOUT_P) && code.contains(PageFaultCode::RSVD) {
            code -= PageFaultCode::P;
        }
        code
    }

    fn checks_reach(&self) -> bool {
        !self.0.intersects(Quirks::NESTED_CUT | Quirks::NESTED_CUT_LOOPS)
    }

    fn checks_flag_writes(&self) -> bool {
        !self.0.contains(Quirks::EPT_UNCHECKED_FLAGS)
    }

    fn misconfiguration_clears_qualification(&self) -> bool {
        !self.0.contains(Quirks::STALE_QUALIFICATION)
    }

    fn qualification_of_access(&self, access: &NestedAccess) -> u64 {
        let by_manual = NestedReference.qualification_of_access(access);
        let is_table = access.purpose == Purpose::Table;
        if self.0.contains(Quirks::EPT_TABLE_REPORTS_WRITE) && is_table && by_manual == 3 {
            2
        } else {
            by_manual
        }
    }
}
