//! What a machine offers.

use crate::virtualization::Virtualization;
use bitflags::bitflags;
use mmu_core::x86::profile::ControlFeatures;
use mmu_core::{Cr4, PagingMode, Profile};

/// A paging mode, and the reason if a machine does not offer it.
pub type ModeOffer = (PagingMode, Result<(), String>);

/// What a machine offers.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Capabilities {
    /// The processor that the guest sees, from its CPUID.
    pub profile: Profile,
    /// Control bits that the machine accepts and obeys although its CPUID lacks the feature.
    pub not_in_cpuid: Cr4,
    /// The paging modes that were probed, each with the reason if it is not offered.
    pub modes: Vec<ModeOffer>,
    /// Whether a descriptor read at CPL 3 uses the guest's own descriptor table, or how it fails.
    pub implicit_accesses: Result<(), String>,
    /// Whether code in compatibility mode runs, or how it fails.
    pub compatibility: Result<(), String>,
    /// Whether LLDT takes a base that is not canonical, so that a descriptor there can be read.
    pub any_local_table: bool,
    /// Whether ring 3 can load PKRU although CPUID lacks PKU.
    pub pkru_without_pku: bool,
    /// Whether ring 0 can load PKRU as well.
    pub pkru_in_ring_0: bool,
    /// Whether the data memory appears again at high addresses ([`crosswalk_guest::high`]).
    pub high_memory: bool,
    /// Whether page tables can be in memory that the guest can only read, or why they cannot.
    pub read_only_tables: Result<(), String>,
    /// Whether the guest survives a MOV to CR3 or CR4 of a reserved bit, which is #GP, or how it fails.
    pub reserved_movs: Result<(), String>,
    /// Whether a fault saves RFLAGS with RF=1, as processors do, or that it does not.
    pub saved_rf: Result<(), String>,
    /// Whether the guest could run guests of its own under EPT: CPUID 1 ECX\[5\].
    pub vmx: bool,
    /// With what the guest can run guests of its own, or why it cannot.
    pub virtualization: Result<Virtualization, String>,
    /// The paging modes of a guest that runs guests of its own, each with the reason if they do not run. Empty if
    /// they were not probed, as of images.
    pub nested_modes: Vec<ModeOffer>,
    /// Whether the page size of a live mapping may change without an invalidation. A processor that walks
    /// the guest's tables itself may raise a machine check (TLB-5).
    pub live_page_sizes: bool,
    /// Whether accesses to addresses without memory leave the machine, so that the host sees them.
    pub sees_outside: bool,
    /// The kinds of cases that are not to be tried.
    pub left_out: LeftOut,
}

bitflags! {
    /// Kinds of cases that can be left out.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LeftOut: u16 {
        /// Fetches.
        const FETCH = 1 << 0;
        /// Fetches of ring 0.
        const RING0_FETCH = 1 << 1;
        /// Implicit accesses to descriptors.
        const IMPLICIT = 1 << 2;
        /// Accesses in compatibility mode.
        const COMPATIBILITY = 1 << 3;
        /// Cases with bits of CR3 that are not part of an address, such as PWT and PCD.
        const CR3_BITS = 1 << 4;
        /// CLFLUSH, which old processors do not have.
        const CLFLUSH = 1 << 7;
        /// Cases that may lead to an address without memory.
        const OUTSIDE = 1 << 5;
        /// Page tables above 4 GiB.
        const HIGH_TABLES = 1 << 6;
        /// MOVs that set bits of CR4 which the batch does not have: not every processor knows them.
        const CR4_BITS = 1 << 8;
        /// PAE with CR4.PSE=0, where large pages do not depend on it (MODE-3).
        const PAE_WITHOUT_PSE = 1 << 9;
        /// Large pages where the guest's own memory is, which only their reserved bits keep from being used.
        const OWN_MEMORY = 1 << 10;
        /// PKRU that denies writes by key 0 while CR0.WP=1: the guest's own pages have that key, and an emulator
        /// may take them for user pages (RIGHT-5).
        const READ_ONLY_KEY_0 = 1 << 11;
    }
}

impl LeftOut {
    /// The kinds that no image has.
    pub const ALWAYS: Self = Self::OUTSIDE.union(Self::HIGH_TABLES).union(Self::CR4_BITS);

    /// The kinds that a user may leave out of an image.
    pub const BY_USERS: Self = Self::ALWAYS.complement();

    /// The names of the kinds: `fetch`, `ring0-fetch`, ...
    pub fn names(self) -> Vec<String> {
        self.iter_names().map(|(name, _)| written(name)).collect()
    }

    /// The kind with a name.
    ///
    /// # Errors
    /// If there is none that users may leave out: the names of those.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let mut known = Self::BY_USERS.iter_names();
        let kind = known.find(|(known, _)| written(known) == name).map(|(_, kind)| kind);
        kind.ok_or_else(|| {
            format!("expected one of {}, found {name:?}", Self::BY_USERS.names().join(", "))
        })
    }
}

fn written(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

impl Capabilities {
    /// A machine that offers everything except VMX, for tests of case generators, which need a
    /// machine to generate for but not one that runs.
    pub fn of_everything(profile: Profile) -> Self {
        Self {
            any_local_table: true,
            virtualization: Ok(Virtualization::Svm { nested_paging: true, asids: 16 }),
            pkru_without_pku: true,
            pkru_in_ring_0: true,
            read_only_tables: Ok(()),
            live_page_sizes: true,
            sees_outside: true,
            ..Self::unprobed(profile)
        }
    }

    /// Notes whether faults save RF=1; `None` if they differ. It becomes a pin of the profile.
    pub(crate) fn note_saved_rf(&mut self, saved: Option<bool>) {
        self.profile.pins.faults_save_rf = saved;
        if saved == Some(false) {
            self.saved_rf = Err("a fault saves RFLAGS with RF=0".into());
        }
    }

    /// What is known before any probe: only what CPUID reports.
    pub(crate) fn unprobed(profile: Profile) -> Self {
        Self {
            profile,
            not_in_cpuid: Cr4::empty(),
            modes: Vec::new(),
            implicit_accesses: Ok(()),
            compatibility: Ok(()),
            any_local_table: false,
            pkru_without_pku: false,
            pkru_in_ring_0: false,
            high_memory: true,
            read_only_tables: Err("this machine has no read-only memory for tables".into()),
            reserved_movs: Ok(()),
            saved_rf: Ok(()),
            vmx: false,
            nested_modes: Vec::new(),
            virtualization: Err(
                "it is not known whether the guest can run guests of its own".into()
            ),
            live_page_sizes: false,
            sees_outside: false,
            left_out: LeftOut::empty(),
        }
    }
}

/// The processor of a machine's cases, from a CPUID that is given by leaf and subleaf. No case loads a
/// bit that needs one of the [`ControlFeatures`], and not every machine reports their leaves.
pub(crate) fn profile_of(cpuid: impl Fn(u32, u32) -> Option<[u32; 4]>) -> Profile {
    Profile { control_features: ControlFeatures::all(), ..Profile::from_cpuid(cpuid) }
}

/// Whether a CPUID, given by leaf and subleaf, reports VMX.
pub(crate) fn has_vmx(leaf: impl Fn(u32, u32) -> Option<[u32; 4]>) -> bool {
    leaf(1, 0).is_some_and(|[_, _, ecx, _]| ecx >> 5 & 1 != 0)
}
