//! Quirks: what a machine was found to do otherwise than the manuals say, as walkers. A known finding
//! that names a quirk covers exactly the cases which the reference with that quirk predicts, alone or
//! together with others, and nothing else; the reference itself stays as it is.
//!
//! Those here are QEMU's TCG and KVM's walker. Those of TCG say where `mmu_translate`
//! (`excp_helper.c`) or the translator of QEMU 7.2 does it, those of KVM which function of Linux 6.1
//! (arch/x86/kvm/mmu) does.

use super::{Walker, control_load};
use arrayvec::ArrayVec;
use bitflags::bitflags;
use crosswalk_case::Case;
use mmu_core::walk::{Path, Translation, WalkError, predict_in_mode, walk_in_mode};
use mmu_core::x86::format::{Bits32, EntryBits, EntryKind, Format, Level, Pae};
use mmu_core::x86::semantics::{Cause, Denial, EntryError};
use mmu_core::{
    Access, AccessKind, Alternative, Efer, EntryUpdate, Fault, Outcome, PageFaultCode, PagingMode,
    PhysAddr, Prediction, Reference, Regime, Rule, RuleSet, Segment, Semantics, Vector, VirtAddr,
};

bitflags! {
    /// A set of quirks.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Quirks: u32 {
        /// P is not reported with RSVD (`do_fault_rsvd` leaves it out).
        const RSVD_WITHOUT_P = 1 << 0;
        /// A read-modify-write loads first, by itself: what the load runs into is a read's fault.
        const RMW_LOADS_FIRST = 1 << 1;
        /// An address that is not canonical is #GP for the stack, too.
        const STACK_IS_GP = 1 << 2;
        /// An access that leaves the canonical addresses walks for its first page, and only then
        /// notices.
        const STRADDLE_WALKS_FIRST = 1 << 3;
        /// G is free in a PML4E and a PML5E.
        const GLOBAL_IS_FREE = 1 << 4;
        /// A of a PDPTE that maps 1 GiB is set before its alignment and the rights are looked at.
        const A_BEFORE_1_GIB = 1 << 5;
        /// CLFLUSH makes no access.
        const CLFLUSH_IS_NOTHING = 1 << 6;
        /// A PDPTE maps 1 GiB whatever CPUID says.
        const ALWAYS_1_GIB = 1 << 7;
        /// PAE's PDPTEs are walked like tables: A is set in them, and of their reserved bits only
        /// those from MAXPHYADDR on are looked at.
        const LOOSE_PDPTES = 1 << 8;
        /// A user's access to a supervisor page is refused before the key is looked at.
        const KEY_AFTER_PAGE = 1 << 9;
        /// PSE-36 address bits above MAXPHYADDR are free, and all of them without PSE-36.
        const PSE_36_IS_FREE = 1 << 10;
        /// The PAT bits of leaves are free without PAT, too.
        const PAT_IS_FREE = 1 << 11;
        /// NXE alone makes a fetch known as one, without PAE (KVM's `walk_addr_generic`).
        const FETCH_BY_NXE_ALONE = 1 << 12;
        /// PSE-36 addresses have 36 bits, however wide physical addresses are (KVM's
        /// `__reset_rsvds_bits_mask`).
        const PSE_36_ENDS_AT_36 = 1 << 13;
    }
}

impl Quirks {
    /// The quirk that a file of known findings means: `rsvd-without-p`.
    pub fn named(name: &str) -> Option<Self> {
        Self::from_name(&name.to_uppercase().replace('-', "_"))
    }

    /// Every name.
    pub fn names() -> Vec<String> {
        Self::all().iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect()
    }

    /// Those that can show in a case: prediction costs time, and many quirks have a mode or an access
    /// of their own.
    pub(crate) fn possible_for(case: &Case) -> Self {
        let (mode, access) = (case.mode(), &case.access);
        let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
        let long_mode_only =
            Self::GLOBAL_IS_FREE | Self::A_BEFORE_1_GIB | Self::ALWAYS_1_GIB | Self::KEY_AFTER_PAGE;
        let mut possible = Self::all();
        for (quirks, can_show) in [
            (long_mode_only, is_long_mode),
            (Self::STRADDLE_WALKS_FIRST, is_long_mode && access.crosses_page()),
            (Self::LOOSE_PDPTES, mode == PagingMode::Pae),
            (Self::PSE_36_IS_FREE | Self::PSE_36_ENDS_AT_36, mode == PagingMode::Bits32),
            (Self::RMW_LOADS_FIRST, access.kind == AccessKind::ReadModifyWrite),
            (Self::CLFLUSH_IS_NOTHING, access.kind == AccessKind::Clflush),
            (Self::FETCH_BY_NXE_ALONE, access.kind == AccessKind::Fetch),
            (Self::STACK_IS_GP, access.segment == Segment::Stack),
        ] {
            if !can_show {
                possible -= quirks;
            }
        }
        possible
    }
}

/// The reference with some quirks.
#[derive(Clone, Copy, Debug)]
pub struct Quirky(pub Quirks);

impl Walker for Quirky {
    fn predict(&self, case: &Case) -> Prediction {
        if case.is_sequence() {
            // Quirks that are no decision of one walk do not show in sequences.
            return QuirkyRules(self.0).predict(case);
        }
        let access = &case.access;
        let on = |quirk| self.0.contains(quirk);
        let mut predicted = if on(Quirks::CLFLUSH_IS_NOTHING) && access.kind == AccessKind::Clflush
        {
            completes_without_a_trace()
        } else if on(Quirks::RMW_LOADS_FIRST) && access.kind == AccessKind::ReadModifyWrite {
            let load = Access { kind: AccessKind::Read, ..*access };
            stores_if_loaded(&self.predict_access(case, &load), self.predict_access(case, access))
        } else {
            self.predict_access(case, access)
        };
        if on(Quirks::LOOSE_PDPTES) && case.mode() == PagingMode::Pae {
            may_set_accessed_in_pdptes(case, &mut predicted);
        }
        predicted
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        QuirkyRules(self.0).predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        let mut path = Path::default();
        let at = (address, &case.access);
        let rules = QuirkyRules(self.0);
        let end = walk_in_mode(rules, case.state, case.profile, case, at, &mut path);
        (path, end)
    }
}

impl Quirky {
    fn predict_access(self, case: &Case, access: &Access) -> Prediction {
        let on = |quirk| self.0.contains(quirk);
        let rules = QuirkyRules(self.0);
        let [first, last] = case.canonical_ends();
        if on(Quirks::STRADDLE_WALKS_FIRST) && first && !last {
            return self.predict_straddling(case, access);
        }
        let predict = |state, profile| predict_in_mode(rules, state, profile, case, access);
        let is_loose = on(Quirks::LOOSE_PDPTES);
        let mut walked = if is_loose {
            predict(case.state, case.profile)
        } else {
            control_load::predict_with_control_load(rules, case, predict)
        };
        if on(Quirks::A_BEFORE_1_GIB) && case.mode() != PagingMode::Pae && first {
            add_early_accessed(rules, case, access, &mut walked);
        }
        walked
    }

    /// The first page's walk, then the fault of the address.
    fn predict_straddling(self, case: &Case, access: &Access) -> Prediction {
        let first = Access { size: access.bytes_in_first_page(), ..*access };
        let rules = QuirkyRules(self.0);
        let mut walked = predict_in_mode(rules, case.state, case.profile, case, &first);
        if self.0.contains(Quirks::A_BEFORE_1_GIB) {
            add_early_accessed(rules, case, &first, &mut walked);
        }
        for way in &mut walked.alternatives {
            if way.outcome.fault().is_none() {
                way.outcome = Outcome::Fault(rules.non_canonical_fault(access));
            }
        }
        walked
    }
}

/// A of a 1 GiB leaf that is set before the walk is known to fail.
fn add_early_accessed(rules: QuirkyRules, case: &Case, access: &Access, walked: &mut Prediction) {
    let second = access.address.wrapping_add(access.bytes_in_first_page().into());
    let pages = [Some(access.address), access.crosses_page().then_some(second)];
    for address in pages.into_iter().flatten() {
        let mut path = Path::default();
        let at = (address, access);
        if walk_in_mode(rules, case.state, case.profile, case, at, &mut path).is_ok() {
            continue;
        }
        let checked_before = case.profile.bits_above_physical() | EntryBits::XD.bits();
        let last = path.steps.last().filter(|step| {
            let in_time = match step.error {
                None => true,
                Some(EntryError::NotPresent) => false,
                Some(EntryError::Reserved(bits)) => bits & checked_before == 0,
            };
            in_time && step.level.number == 3 && step.kind == EntryKind::Leaf
        });
        if let Some(step) = last {
            for way in &mut walked.alternatives {
                must_set_accessed(way, step.at, step.level, step.entry);
            }
        }
        // What lies behind a fault is not reached.
        return;
    }
}

/// The ways of a read-modify-write: where its load faults, that fault; else its own.
fn stores_if_loaded(load: &Prediction, mut whole: Prediction) -> Prediction {
    let faults = |way: &&Alternative| way.outcome.fault().is_some();
    whole.alternatives.retain(|way| {
        let same_choice = load.alternatives.iter().filter(|loaded| loaded.choice == way.choice);
        !same_choice.clone().any(|loaded| loaded.outcome.fault().is_some())
    });
    for way in load.alternatives.iter().filter(faults) {
        if !whole.alternatives.is_full() {
            whole.alternatives.push(way.clone());
        }
    }
    whole
}

/// A of a PDPTE, which the lanes of a batch share: any of them may have set it.
fn may_set_accessed_in_pdptes(case: &Case, predicted: &mut Prediction) {
    let root = case.state.cr3 & 0xffff_ffe0;
    let accessed = EntryBits::A.bits();
    let pdptes = case.entries.iter().filter(|entry| (root..root + 32).contains(&entry.at));
    for entry in pdptes {
        for way in &mut predicted.alternatives {
            let update = EntryUpdate {
                at: PhysAddr::new(entry.at),
                level: &Pae::LEVELS[0],
                before: entry.value,
                must_set: 0,
                may_set: accessed,
                open_by: Rule::Pdpte3,
            };
            if !way.updates.is_full() {
                way.updates.push(update);
            }
        }
    }
}

/// Demands A of an entry.
fn must_set_accessed(way: &mut Alternative, at: PhysAddr, level: &'static Level, before: u64) {
    let accessed = EntryBits::A.bits();
    if let Some(known) = way.updates.iter_mut().find(|update| update.at == at) {
        known.must_set |= accessed;
    } else if !way.updates.is_full() {
        let open_by = Rule::Ad1;
        way.updates.push(EntryUpdate {
            at,
            level,
            before,
            must_set: accessed,
            may_set: 0,
            open_by,
        });
    }
}

fn completes_without_a_trace() -> Prediction {
    let outcome = Outcome::Translated(ArrayVec::new());
    let way = Alternative { outcome, updates: ArrayVec::new(), choice: None };
    Prediction { alternatives: [way].into_iter().collect(), rules: RuleSet::default() }
}

/// The quirks that are decisions of one walk.
#[derive(Clone, Copy, Debug)]
struct QuirkyRules(Quirks);

impl Semantics for QuirkyRules {
    fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
        let mut code = Reference.page_fault_code(cause, access, regime);
        let is_fetch = access.kind == AccessKind::Fetch;
        code.set(PageFaultCode::I, is_fetch && self.reports_fetch(regime));
        if self.0.contains(Quirks::RSVD_WITHOUT_P) && code.contains(PageFaultCode::RSVD) {
            code -= PageFaultCode::P;
        }
        let refused = matches!(cause, Cause::Denied(why) if why.contains(Denial::SUPERVISOR_PAGE));
        if self.0.contains(Quirks::KEY_AFTER_PAGE) && refused {
            code -= PageFaultCode::PK;
        }
        code
    }

    fn reports_fetch(&self, regime: &Regime) -> bool {
        let by_nxe =
            self.0.contains(Quirks::FETCH_BY_NXE_ALONE) && regime.state.efer.contains(Efer::NXE);
        by_nxe || Reference.reports_fetch(regime)
    }

    fn non_canonical_fault(&self, access: &Access) -> Fault {
        let mut fault = Reference.non_canonical_fault(access);
        if self.0.contains(Quirks::STACK_IS_GP) {
            fault.vector = Vector::GeneralProtection;
        }
        fault
    }

    fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
        let large = F::IS_LONG_MODE && level.number == 3 && entry & EntryBits::PS.bits() != 0;
        (large && self.0.contains(Quirks::ALWAYS_1_GIB)) || F::is_leaf(level, entry, regime)
    }

    fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
        let reserved = Reference.reserved_bits::<F>(level, kind, regime);
        let (mut free, mut more) = (0, 0);
        if self.0.contains(Quirks::GLOBAL_IS_FREE) && level.number >= 4 {
            free |= EntryBits::G.bits();
        }
        if self.0.contains(Quirks::LOOSE_PDPTES) && !level.has_flags {
            free |= 0x1e6;
        }
        let is_4_mib = F::MODE == Bits32::MODE && level.number == 2 && kind == EntryKind::Leaf;
        if self.0.contains(Quirks::PSE_36_IS_FREE) && is_4_mib {
            free |= 0x001f_e000;
        }
        if self.0.contains(Quirks::PAT_IS_FREE) && kind == EntryKind::Leaf && !F::IS_LONG_MODE {
            let pat = if level.number == 1 { EntryBits::PS } else { EntryBits::LARGE_PAT };
            free |= pat.bits();
        }
        if self.0.contains(Quirks::PSE_36_ENDS_AT_36) && is_4_mib {
            more |= 0x001e_0000;
        }
        (reserved & !free) | more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_has_a_name() {
        for name in Quirks::names() {
            assert_eq!(Quirks::named(&name).map(|quirk| quirk.iter().count()), Some(1), "{name}");
        }
        assert_eq!(Quirks::named("rsvd-without-p"), Some(Quirks::RSVD_WITHOUT_P));
        assert_eq!(Quirks::named("none-of-these"), None);
    }
}
