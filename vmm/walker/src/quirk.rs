//! Quirks: deviations from the manuals that were found in machines, as walkers.
//!
//! The reference itself stays as the manuals have it. A known finding that names a quirk covers exactly
//! the cases that the reference with this quirk predicts, alone or together with other quirks.
//!
//! The quirks here are those of QEMU's TCG, of KVM's walker, of KVM's module pvm, of Bochs, and of v86. They name the
//! function that deviates: in TCG of QEMU 7.2 it is `mmu_translate` (`excp_helper.c`) or the translator
//! unless stated otherwise, in KVM of Linux 6.1 a function of arch/x86/kvm.

mod in_sequence;
mod movs;
mod semantics;

use super::{PredictedPrivileged, Walker, control_load, instruction, predict_case};
use arrayvec::ArrayVec;
use bitflags::bitflags;
use crosswalk_case::Case;
use crosswalk_case::observation::SavedRip;
use mmu_core::outcome::EntryUpdates;
use mmu_core::walk::{Path, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level, Pae};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{
    Access, AccessKind, Alternative, AnyMmu, Cr0, Cr4, EntryUpdate, Fault, Features, Outcome,
    PagingMode, PhysAddr, Prediction, Reference, Rule, RuleSet, Segment, Semantics, Translation,
    VirtAddr,
};
use semantics::QuirkySemantics;
use std::str::FromStr;

bitflags! {
    /// A set of quirks.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Quirks: u64 {
        /// P is not reported with RSVD (`do_fault_rsvd`).
        const RSVD_WITHOUT_P = 1 << 0;
        /// A read-modify-write starts with a load of its own, and a fault of the load is reported as a
        /// read's.
        const RMW_LOADS_FIRST = 1 << 1;
        /// A non-canonical address raises #GP for the stack as well.
        const STACK_IS_GP = 1 << 2;
        /// An access that leaves the canonical addresses is walked for its first page before it is
        /// refused.
        const STRADDLE_WALKS_FIRST = 1 << 3;
        /// G is not reserved in a PML4E or PML5E.
        const GLOBAL_IS_FREE = 1 << 4;
        /// A of a PDPTE that maps 1 GiB is set before its alignment bits and the rights are checked.
        const A_BEFORE_1_GIB = 1 << 5;
        /// CLFLUSH does not access memory.
        const CLFLUSH_IS_NOTHING = 1 << 6;
        /// A PDPTE may map 1 GiB whether or not CPUID reports such pages.
        const ALWAYS_1_GIB = 1 << 7;
        /// PAE's PDPTEs are walked like table entries: A is set in them, and of their reserved bits
        /// only those from MAXPHYADDR up are checked.
        const LOOSE_PDPTES = 1 << 8;
        /// A user access to a supervisor page is denied before the protection key is checked.
        const KEY_AFTER_PAGE = 1 << 9;
        /// PSE-36 address bits above MAXPHYADDR are not reserved, nor is any of them without PSE-36.
        const PSE_36_IS_FREE = 1 << 10;
        /// The PAT bits of leaves are not reserved on a processor without PAT.
        const PAT_IS_FREE = 1 << 11;
        /// I/D is reported for a fetch with NXE alone, without PAE (KVM's `walk_addr_generic`).
        const FETCH_BY_NXE_ALONE = 1 << 12;
        /// PSE-36 addresses have 36 bits, whatever MAXPHYADDR is (KVM's `__reset_rsvds_bits_mask`).
        const PSE_36_ENDS_AT_36 = 1 << 13;
        /// Alignment is not checked: CR0.AM and EFLAGS.AC do nothing.
        const NO_ALIGNMENT_CHECK = 1 << 14;
        /// CR0.AM counts as 1: ring 3 runs natively under the host's CR0 (kvm-pvm).
        const AM_IS_ALWAYS_1 = 1 << 15;
        /// In compatibility mode an access past 4 GiB goes on at 4 GiB (`probe_access` adds to a linear
        /// address of 64 bits).
        const GOES_ON_AT_4_GIB = 1 << 16;
        /// A jump to an address that is not canonical goes there, and the fetch faults: the saved RIP is
        /// the target.
        const JUMPS_TO_NON_CANONICAL = 1 << 17;
        /// A page fault drops nothing that is cached for its address.
        const FAULT_DROPS_NOTHING = 1 << 18;
        /// INVLPG of another address in a large page does not drop what was fetched there
        /// (`tb_jmp_cache_clear_page`).
        const CODE_OUTLIVES_INVLPG = 1 << 19;
        /// A page fault whose error code lacks P or has RSVD drops nothing that is cached for its address
        /// (KVM's `kvm_inject_emulated_page_fault`).
        const BAD_ENTRY_DROPS_NOTHING = 1 << 20;
        /// MOV to CR0 or CR4 drops bits 63:32 of its operand (`mk_cr_64` in KVM's emulator).
        const MOV_HAS_32_BITS = 1 << 21;
        /// A written EFER.LMA is ignored whatever it is.
        const LMA_IS_IGNORED = 1 << 22;
        /// WRMSR of EFER checks nothing: bits that the processor lacks are dropped, and LME is stored.
        const EFER_IS_UNCHECKED = 1 << 23;
        /// MOV to CR0 checks nothing: all of the low 32 bits are stored.
        const CR0_IS_UNCHECKED = 1 << 24;
        /// MOV to CR4 accepts SMEP, SMAP and PKE, and they act, although CPUID does not report them.
        const CR4_BEYOND_CPUID = 1 << 25;
        /// CR4.PKE drops nothing when it becomes 1 (`cpu_x86_update_cr4`).
        const PKE_DROPS_NOTHING = 1 << 26;
        /// The fault of an address that is not canonical puts the address into CR2 (`x86_cpu_tlb_fill`, QEMU
        /// 10.0).
        const NON_CANONICAL_SETS_CR2 = 1 << 27;
        /// Whether PKRU or PKRS applies does not depend on U/S of the page: AD of PKRU binds user accesses, its WD
        /// all writes, and PKRS supervisor accesses (Bochs 2.7's `translate_linear_long_mode`).
        const KEYS_BY_RING = 1 << 28;
        /// Physical addresses have 40 bits, and PSE-36 is there, whatever CPUID says (Bochs 2.7).
        const ALWAYS_40_BITS = 1 << 29;
        /// No bit is reserved or forbids fetches, and addresses have 32 bits (v86's `do_page_walk` and
        /// `load_pdpte`).
        const NOTHING_IS_RESERVED = 1 << 30;
        /// INVLPG drops nothing of a large page but the named 4 KiB (v86, as mutant B18).
        const INVLPG_DROPS_4_KIB = 1 << 31;
        /// A write of ring 0 under WP=0 lets ring 3 write the read-only page (v86, as mutant B55).
        const OPEN_AFTER_WRITE = 1 << 32;
        /// EFLAGS.AC excuses implicit accesses from SMAP as it does explicit ones (Bochs 2.7, as mutant B05).
        const AC_EXCUSES_IMPLICIT = 1 << 33;
        /// INVPCID looks at the low 32 bits of its type (Bochs 2.7: those of its encoding without REX.W).
        const INVPCID_TYPE_HAS_32_BITS = 1 << 34;
        /// What one processor translates while another one stores into it stays, and both run it (QEMU's
        /// `tb_gen_code`). It takes two processors, so that no case shows it.
        const CODE_OUTLIVES_STORE = 1 << 35;
    }
}

impl Quirks {
    /// Those that are about what is cached.
    const OF_SEQUENCES: Self = Self::FAULT_DROPS_NOTHING
        .union(Self::CODE_OUTLIVES_INVLPG)
        .union(Self::INVLPG_DROPS_4_KIB)
        .union(Self::OPEN_AFTER_WRITE)
        .union(Self::BAD_ENTRY_DROPS_NOTHING);

    /// The quirks that can show in a case, or in an access of a sequence. Many are limited to one mode, one kind of
    /// access or one bit of an entry, and each one left out saves predictions.
    pub fn possible_for(case: &Case) -> Self {
        if case.is_sequence() {
            let each = case.accesses().iter().map(Self::possible_for_access).collect::<Self>();
            return (each - Self::OF_MOVS) | Self::OF_SEQUENCES | Self::of_movs_in(case);
        }

        // A walk meets the entries that the case lists, and others that are 0.
        let bits = case.entries.iter().fold(0, |bits, entry| bits | entry.value);
        let has = |flag: EntryBits| bits & flag.bits() != 0;
        Self::possible_for_access(case).without_impossible([
            (Self::GLOBAL_IS_FREE, has(EntryBits::G)),
            (Self::A_BEFORE_1_GIB | Self::ALWAYS_1_GIB, has(EntryBits::PS)),
            (Self::PSE_36_IS_FREE | Self::PSE_36_ENDS_AT_36, has(EntryBits::PS)),
        ])
    }

    /// The quirks that can show in an access, whatever the entries are.
    fn possible_for_access(case: &Case) -> Self {
        let mode = case.mode();
        let access = &case.access;
        let state = &case.state;
        let is_long_mode = mode.is_long_mode();
        let has_keys = is_long_mode && state.cr4.intersects(Cr4::PKE | Cr4::PKS);
        let features = case.profile.features;

        Self::all().without_impossible([
            (Self::OF_SEQUENCES | Self::OF_MOVS | Self::CODE_OUTLIVES_STORE, false),
            (Self::GLOBAL_IS_FREE | Self::A_BEFORE_1_GIB, is_long_mode),
            (Self::ALWAYS_1_GIB, is_long_mode && !features.contains(Features::PAGE_1GB)),
            (Self::KEY_AFTER_PAGE | Self::KEYS_BY_RING, has_keys),
            (Self::PAT_IS_FREE, !is_long_mode && !features.contains(Features::PAT)),
            (Self::STRADDLE_WALKS_FIRST, is_long_mode && access.crosses_page()),
            (Self::LOOSE_PDPTES, mode == PagingMode::Pae),
            (Self::AC_EXCUSES_IMPLICIT, access.implicit && access.ac),
            (Self::NOTHING_IS_RESERVED, mode != PagingMode::Unpaged),
            (Self::ALWAYS_40_BITS, case.profile.physical_address_bits < 40),
            (Self::PSE_36_IS_FREE | Self::PSE_36_ENDS_AT_36, mode == PagingMode::Bits32),
            (Self::RMW_LOADS_FIRST, access.kind == AccessKind::ReadModifyWrite),
            (Self::CLFLUSH_IS_NOTHING, access.kind == AccessKind::Clflush),
            (Self::FETCH_BY_NXE_ALONE, access.kind == AccessKind::Fetch),
            (Self::GOES_ON_AT_4_GIB, access.compatibility && access.crosses_page()),
            (Self::STACK_IS_GP, access.segment == Segment::Stack),
            (Self::NON_CANONICAL_SETS_CR2, case.canonical_ends() != [true; 2]),
            (Self::JUMPS_TO_NON_CANONICAL, jumps_to_non_canonical(case)),
            (Self::NO_ALIGNMENT_CHECK, state.cr0.contains(Cr0::AM) && access.ac),
            (Self::AM_IS_ALWAYS_1, !state.cr0.contains(Cr0::AM) && access.ac),
        ])
    }

    /// Without the quirks that cannot show.
    fn without_impossible(self, can_show: impl IntoIterator<Item = (Self, bool)>) -> Self {
        let impossible = can_show.into_iter().filter(|(_, can_show)| !can_show);
        impossible.fold(self, |possible, (quirks, _)| possible - quirks)
    }
}

/// Whether an address is that of the instruction behind the one that the case fetches.
fn is_behind(case: &Case, address: VirtAddr) -> bool {
    let Access { kind, address: first, size, .. } = case.access;
    kind == AccessKind::Fetch && address == first.wrapping_add(size.into())
}

/// Whether the access of a case is a jump to an address that is not canonical.
fn jumps_to_non_canonical(case: &Case) -> bool {
    let [first_is_canonical, _] = case.canonical_ends();
    case.access.kind == AccessKind::Fetch && !first_is_canonical
}

/// Reads the name of one quirk as files of known findings have it: `rsvd-without-p`.
impl FromStr for Quirks {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let in_files = |constant: &str| constant.to_lowercase().replace('_', "-");
        let mut quirks = Self::all().iter_names();

        let found = quirks.find(|(constant, _)| in_files(constant) == name);
        found.map(|(_, quirk)| quirk).ok_or_else(|| {
            let names: Vec<_> = Self::all().iter_names().map(|(name, _)| in_files(name)).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// The reference with some quirks.
#[derive(Clone, Copy, Debug)]
pub struct Quirky(pub Quirks);

impl Walker for Quirky {
    fn predict(&self, case: &Case) -> Prediction {
        if let Some((narrower, case)) = self.with_40_bits(case) {
            return narrower.predict(&case);
        }
        if case.is_sequence() {
            return self.predict_accesses(case).pop().expect("a case has an access");
        }

        let mut predicted = instruction::predict(&case.access_step(), &|access| {
            self.predict_instruction(access, |access| self.predict_access(case, access))
        });
        if self.has(Quirks::LOOSE_PDPTES) && case.mode() == PagingMode::Pae {
            may_set_accessed_in_pdptes(case, &mut predicted);
        }
        predicted
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        if !case.is_sequence() {
            return Vec::new();
        }
        let mut predictions = self.predict_accesses(case);
        predictions.pop();
        predictions
    }

    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        if let Some((narrower, case)) = self.with_40_bits(case) {
            return narrower.predict_accesses(&case);
        }
        if case.is_sequence() { self.predict_sequence(case) } else { vec![self.predict(case)] }
    }

    fn predict_privileged(&self, case: &Case) -> Vec<PredictedPrivileged> {
        self.predict_movs(case)
    }

    fn saved_rip(&self, case: &Case, fault: &Fault) -> SavedRip {
        let is_at_target = self.has(Quirks::JUMPS_TO_NON_CANONICAL) && jumps_to_non_canonical(case);
        match fault.cr2 {
            _ if is_at_target => SavedRip::Address(case.access.address.get()),
            // The fault is that of the instruction behind the one that is fetched.
            Some(behind) if self.has(Quirks::CODE_OUTLIVES_INVLPG) && is_behind(case, behind) => {
                SavedRip::Address(behind.get())
            }
            _ => Reference.saved_rip(case, fault),
        }
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        let mut path = Path::default();
        let semantics = QuirkySemantics::of(self.0);
        let mmu = AnyMmu::with_semantics(semantics, case.state, case.profile);
        let end = mmu.walk(case, address, &case.access, &mut path);
        (path, end)
    }
}

impl Quirky {
    const fn has(self, quirk: Quirks) -> bool {
        self.0.contains(quirk)
    }

    /// The case on a processor that has 40 address bits, for the other quirks, if that is one of them.
    fn with_40_bits(self, case: &Case) -> Option<(Self, Case)> {
        let mut case = Some(case).filter(|_| self.has(Quirks::ALWAYS_40_BITS))?.clone();
        case.profile.physical_address_bits = 40;
        case.profile.features |= Features::PSE36;
        Some((Self(self.0 - Quirks::ALWAYS_40_BITS), case))
    }

    /// Predicts the accesses of an instruction, by the predictions for each.
    fn predict_instruction(
        self,
        access: &Access,
        predict: impl Fn(&Access) -> Prediction,
    ) -> Prediction {
        match access.kind {
            AccessKind::Clflush if self.has(Quirks::CLFLUSH_IS_NOTHING) => {
                completes_without_a_trace()
            }
            AccessKind::ReadModifyWrite if self.has(Quirks::RMW_LOADS_FIRST) => {
                let loaded = predict(&Access { kind: AccessKind::Read, ..*access });
                stores_if_loaded(&loaded, predict(access))
            }
            _ => predict(access),
        }
    }

    /// Predicts one access of a case.
    fn predict_access(self, case: &Case, access: &Access) -> Prediction {
        let semantics = QuirkySemantics::of(self.0);
        let [first_is_canonical, last_is_canonical] = case.canonical_ends();
        let straddles = first_is_canonical && !last_is_canonical;
        if self.has(Quirks::STRADDLE_WALKS_FIRST) && straddles {
            return self.predict_straddling(case, access);
        }

        let predict = |state, profile| predict_case(semantics, state, profile, case, access);
        let mut walked = if self.has(Quirks::LOOSE_PDPTES) {
            predict(case.state, case.profile)
        } else {
            control_load::predict_with_control_load(semantics, case, predict)
        };
        let may_map_1_gib = case.mode() != PagingMode::Pae && first_is_canonical;
        if self.has(Quirks::A_BEFORE_1_GIB) && may_map_1_gib {
            add_early_accessed(semantics, case, access, &mut walked);
        }
        walked
    }

    /// The walk for the first page, and if it succeeds the fault for the address.
    fn predict_straddling(self, case: &Case, access: &Access) -> Prediction {
        let semantics = QuirkySemantics::of(self.0);
        let first = Access { size: access.bytes_in_first_page(), ..*access };
        let mut walked = predict_case(semantics, case.state, case.profile, case, &first);
        if self.has(Quirks::A_BEFORE_1_GIB) {
            add_early_accessed(semantics, case, &first, &mut walked);
        }

        for way in &mut walked.alternatives {
            if way.outcome.fault().is_none() {
                let mut fault = semantics.non_canonical_fault(access);
                // The second page is the one that is not canonical.
                fault.cr2 = fault.cr2.map(|at| at.wrapping_add(first.size.into()));
                way.outcome = Outcome::Fault(fault);
            }
        }
        walked
    }
}

/// Adds A of a 1 GiB leaf that is set before the walk fails.
fn add_early_accessed(
    semantics: QuirkySemantics,
    case: &Case,
    access: &Access,
    walked: &mut Prediction,
) {
    let second = access.address.wrapping_add(access.bytes_in_first_page().into());
    let pages = [Some(access.address), access.crosses_page().then_some(second)];
    let mmu = AnyMmu::with_semantics(semantics, case.state, case.profile);

    for address in pages.into_iter().flatten() {
        let mut path = Path::default();
        if mmu.walk(case, address, access, &mut path).is_ok() {
            continue;
        }

        let checked_before = case.profile.bits_above_physical() | EntryBits::XD.bits();
        let early_leaf = path.steps.last().filter(|step| {
            let is_reached = match step.error {
                None => true,
                Some(EntryError::NotPresent) => false,
                Some(EntryError::Reserved(bits)) => bits & checked_before == 0,
            };
            is_reached && step.level.number == 3 && step.kind == EntryKind::Leaf
        });
        if let Some(step) = early_leaf {
            for way in &mut walked.alternatives {
                must_set_accessed(way, step.at, step.level, step.entry);
            }
        }
        // After a fault on the first page the second is not walked.
        return;
    }
}

/// The ways of a read-modify-write: its own, except that where its load faults it ends with that fault.
fn stores_if_loaded(load: &Prediction, mut whole: Prediction) -> Prediction {
    let faults = |way: &&Alternative| way.outcome.fault().is_some();

    whole.alternatives.retain(|way| {
        let mut same_choice = load.alternatives.iter().filter(|loaded| loaded.choice == way.choice);
        !same_choice.any(|loaded| faults(&loaded))
    });
    whole.alternatives.extend(load.alternatives.iter().filter(faults).cloned());
    whole
}

/// Allows A to be set in the PDPTEs. All lanes of a batch share them, and any lane may have set it.
fn may_set_accessed_in_pdptes(case: &Case, predicted: &mut Prediction) {
    let pdptes = case.entries.iter().filter(|entry| case.pdpte_at(entry.at).is_some());

    for entry in pdptes {
        for way in &mut predicted.alternatives {
            let update = EntryUpdate {
                at: PhysAddr::new(entry.at),
                level: &Pae::LEVELS[0],
                before: entry.value,
                must_set: 0,
                may_set: EntryBits::A.bits(),
                open_by: Rule::Pdpte3,
            };
            // A sequence may have stored another value.
            match way.updates.iter_mut().find(|known| known.at == update.at) {
                Some(stored) => stored.may_set |= update.may_set,
                None => way.updates.push(update),
            }
        }
    }
}

/// Requires A to be set in an entry.
fn must_set_accessed(way: &mut Alternative, at: PhysAddr, level: &'static Level, before: u64) {
    let accessed = EntryBits::A.bits();

    if let Some(known) = way.updates.iter_mut().find(|update| update.at == at) {
        known.must_set |= accessed;
    } else {
        way.updates.push(EntryUpdate {
            at,
            level,
            before,
            must_set: accessed,
            may_set: 0,
            open_by: Rule::Ad1,
        });
    }
}

fn completes_without_a_trace() -> Prediction {
    let way = Alternative {
        outcome: Outcome::Translated(ArrayVec::new()),
        updates: EntryUpdates::new(),
        choice: None,
    };
    Prediction { alternatives: [way].into_iter().collect(), rules: RuleSet::default() }
}

#[cfg(test)]
mod tests;
