//! The profile of a processor: vendor, address width, features, and the choices it is known to
//! make.

mod control_features;
mod cpuid;
mod generations;

pub use control_features::ControlFeatures;
pub use cpuid::CpuidBit;
pub use generations::{GENERATIONS, Generation};

use crate::address::low_bits;
use crate::name::{UnknownName, by_name};
use bitflags::bitflags;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

/// The vendor, whose rules apply where the two manuals differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Vendor {
    /// Intel, and processors that follow the SDM.
    Intel,
    /// AMD (and Hygon), which follow the APM.
    Amd,
    /// Not known: where the manuals differ, both are allowed.
    #[default]
    Unknown,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: [Self; 3] = [Self::Intel, Self::Amd, Self::Unknown];

    /// The name used in cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Unknown => "unknown",
        }
    }
}

/// Reads the name that [`Vendor::name`] returns.
///
/// ```
/// use mmu_core::Vendor;
/// assert_eq!("amd".parse::<Vendor>().unwrap(), Vendor::Amd);
/// let error = "via".parse::<Vendor>().unwrap_err();
/// assert_eq!(error.to_string(), "expected one of intel, amd, unknown");
/// ```
impl FromStr for Vendor {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

bitflags! {
    /// Features that change how an address is translated, each with its CPUID bit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// Execute-disable, CPUID 80000001h EDX\[20\].
        const NX = 1 << 0;
        /// 1 GiB pages, CPUID 80000001h EDX\[26\] (MODE-10).
        const PAGE_1GB = 1 << 1;
        /// Global pages, CPUID 1 EDX\[13\].
        const PGE = 1 << 2;
        /// Supervisor-mode execution prevention, CPUID 7 EBX\[7\].
        const SMEP = 1 << 3;
        /// Supervisor-mode access prevention, CPUID 7 EBX\[20\].
        const SMAP = 1 << 4;
        /// Protection keys for user pages, CPUID 7 ECX\[3\].
        const PKU = 1 << 5;
        /// Protection keys for supervisor pages, CPUID 7 ECX\[31\].
        const PKS = 1 << 6;
        /// 4 MiB pages above 4 GiB, CPUID 1 EDX\[17\] (MODE-5).
        const PSE36 = 1 << 7;
        /// The page attribute table, CPUID 1 EDX\[16\]. Without it the PAT bits are reserved
        /// (MODE-7).
        const PAT = 1 << 8;
        /// 57-bit linear addresses, CPUID 7 ECX\[16\].
        const LA57 = 1 << 9;
        /// Process-context identifiers, CPUID 1 ECX\[17\].
        const PCID = 1 << 10;
        /// Linear-address masking, CPUID 7.1 EAX\[26\] (CANON-4).
        const LAM = 1 << 11;
        /// The INVPCID instruction, CPUID 7 EBX\[10\] (TLB-4).
        const INVPCID = 1 << 12;
        /// Shadow stacks, CPUID 7 ECX\[7\] (RIGHT-7).
        const CET_SS = 1 << 13;
    }
}

/// The widths that physical addresses can have: 32 bits before PAE, and at most 52 (SDM "Paging",
/// "Physical Addresses").
pub const PHYSICAL_ADDRESS_BITS: RangeInclusive<u8> = 32..=52;

/// The error for a width of physical addresses that no processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhysicalWidthError(pub u8);

impl fmt::Display for PhysicalWidthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = PHYSICAL_ADDRESS_BITS.into_inner();
        write!(f, "expected {least} to {most} bits, found {}", self.0)
    }
}

impl core::error::Error for PhysicalWidthError {}

/// A processor, as far as address translation is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The vendor, which decides where the manuals differ (CODE-7, CODE-8).
    pub vendor: Vendor,
    /// MAXPHYADDR: the width of physical addresses in bits, 32 to 52 (CPUID 80000008h EAX\[7:0\]).
    /// [`Profile::check`] and [`Profile::with_physical_address_bits`] refuse other numbers; a walk
    /// takes the nearest of these instead.
    pub physical_address_bits: u8,
    /// The features that the processor has.
    pub features: Features,
    /// The features that it has for CR4 and EFER alone.
    pub control_features: ControlFeatures,
    /// The choices it is known to make, beyond those that its vendor decides.
    pub pins: Pins,
}

/// The choices that a processor is known to make. With `None` the vendor's manual decides; if it
/// leaves the choice open too, every allowed outcome is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Pins {
    /// CODE-7: G in a PML4E or PML5E is reserved.
    pub global_in_pml4e_is_reserved: Option<bool>,
    /// PDPTE-4: PDPTEs are read during the walk rather than held in registers.
    pub pdptes_are_walked: Option<bool>,
    /// PDPTE-2: reserved bits are checked when a PDPTE is loaded even where P is 0.
    pub absent_pdptes_are_checked: Option<bool>,
    /// CODE-8: a fetch is reported with SMEP even while NXE=0.
    pub smep_alone_reports_fetch: Option<bool>,
    /// AD-3: A is set in the PTE of a 4 KiB page whose rights deny the access.
    pub denied_pte_is_accessed: Option<bool>,
    /// CODE-1: a fault saves RFLAGS with RF=1. No walk depends on it.
    pub faults_save_rf: Option<bool>,
}

impl Profile {
    /// The same processor with physical addresses of this width.
    ///
    /// ```
    /// use mmu_core::Profile;
    /// use mmu_core::x86::profile::PhysicalWidthError;
    ///
    /// let profile = Profile::default().with_physical_address_bits(46)?;
    /// assert_eq!(profile.physical_address_mask(), 0x3fff_ffff_ffff);
    ///
    /// let error = profile.with_physical_address_bits(64).unwrap_err();
    /// assert_eq!(error.to_string(), "expected 32 to 52 bits, found 64");
    /// # Ok::<(), PhysicalWidthError>(())
    /// ```
    ///
    /// # Errors
    /// When no processor has physical addresses of this width.
    pub fn with_physical_address_bits(self, bits: u8) -> Result<Self, PhysicalWidthError> {
        let changed = Self { physical_address_bits: bits, ..self };
        changed.check()?;
        Ok(changed)
    }

    /// Checks a profile that comes from outside the program.
    ///
    /// # Errors
    /// When no processor has physical addresses of its width.
    pub fn check(&self) -> Result<(), PhysicalWidthError> {
        let bits = self.physical_address_bits;
        if PHYSICAL_ADDRESS_BITS.contains(&bits) { Ok(()) } else { Err(PhysicalWidthError(bits)) }
    }

    /// The bits that a physical address can have: MAXPHYADDR-1 to 0.
    pub const fn physical_address_mask(&self) -> u64 {
        let (least, most) = (*PHYSICAL_ADDRESS_BITS.start(), *PHYSICAL_ADDRESS_BITS.end());
        low_bits(match self.physical_address_bits {
            bits if bits < least => least,
            bits if bits > most => most,
            bits => bits,
        })
    }

    /// The bits of an entry from MAXPHYADDR to 51, which are reserved (CODE-4).
    ///
    /// ```
    /// let profile = mmu_core::Profile { physical_address_bits: 48, ..Default::default() };
    /// assert_eq!(profile.bits_above_physical(), 0x000f_0000_0000_0000);
    /// ```
    pub const fn bits_above_physical(&self) -> u64 {
        low_bits(*PHYSICAL_ADDRESS_BITS.end()) & !self.physical_address_mask()
    }
}

impl Default for Profile {
    /// A processor of an unknown vendor with every feature and 48 physical address bits.
    fn default() -> Self {
        Self {
            vendor: Vendor::Unknown,
            physical_address_bits: 48,
            features: Features::all(),
            control_features: ControlFeatures::all(),
            pins: Pins::default(),
        }
    }
}

/// The answer of one processor to a question on which processors legally differ (a "choice" in the
/// rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pin {
    No,
    Yes,
    /// Not known: either is allowed.
    Open,
}

impl Pin {
    /// The known answer, or the one of the vendor's manual.
    const fn known_or(known: Option<bool>, by_manual: Self) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => by_manual,
        }
    }
}

impl Profile {
    /// CODE-7: is G in a PML4E reserved? It is ignored according to the SDM ("Formats of CR3 and
    /// Paging-Structure Entries"), and must be zero according to the APM ("Page-Translation Table
    /// Entry Fields").
    pub(crate) const fn global_in_pml4e_is_reserved(self) -> Pin {
        let by_manual = match self.vendor {
            Vendor::Intel => Pin::No,
            Vendor::Amd => Pin::Yes,
            Vendor::Unknown => Pin::Open,
        };
        Pin::known_or(self.pins.global_in_pml4e_is_reserved, by_manual)
    }

    /// PDPTE-4: are PDPTEs read during the walk rather than held in registers? The SDM says no; the
    /// APM leaves it open.
    pub(crate) const fn pdptes_are_walked(self) -> Pin {
        let by_manual = match self.vendor {
            Vendor::Intel => Pin::No,
            Vendor::Amd | Vendor::Unknown => Pin::Open,
        };
        Pin::known_or(self.pins.pdptes_are_walked, by_manual)
    }

    /// PDPTE-2: are reserved bits checked when a PDPTE is loaded even where P is 0? "On some
    /// processors" (SDM "PDPTE Registers"); the APM does not say.
    pub(crate) const fn absent_pdptes_are_checked(self) -> Pin {
        Pin::known_or(self.pins.absent_pdptes_are_checked, Pin::Open)
    }

    /// CODE-8: does a fetch set I/D while SMEP is on and NXE is off? The SDM says yes ("Page-Fault
    /// Exceptions"); the APM defines I/D for NXE with PAE only.
    pub(crate) const fn smep_alone_reports_fetch(self) -> Pin {
        let by_manual = match self.vendor {
            Vendor::Intel => Pin::Yes,
            Vendor::Amd | Vendor::Unknown => Pin::Open,
        };
        Pin::known_or(self.pins.smep_alone_reports_fetch, by_manual)
    }

    /// MODE-1: does a WRMSR of EFER raise #GP if its LMA differs from the current one? The SDM has LMA
    /// read-only (`IA32_EFER`); the APM says yes ("Long Mode Active (LMA) Bit").
    pub(crate) const fn checks_written_lma(self) -> Pin {
        match self.vendor {
            Vendor::Intel => Pin::No,
            Vendor::Amd => Pin::Yes,
            Vendor::Unknown => Pin::Open,
        }
    }

    /// AD-3: is A set in the PTE of a 4 KiB page whose rights deny the access? The manuals leave it
    /// open (SDM and APM "Accessed and Dirty Flags").
    pub(crate) const fn denied_pte_is_accessed(self) -> Pin {
        Pin::known_or(self.pins.denied_pte_is_accessed, Pin::Open)
    }

    /// TLB-2: may a page fault follow from cached entries that differ from those in memory? The SDM
    /// says yes ("Optional Invalidation" calls such a fault spurious); the APM says no ("Use of
    /// Cached Entries When Reporting a Page Fault Exception").
    pub(crate) const fn faults_may_be_stale(self) -> bool {
        !matches!(self.vendor, Vendor::Amd)
    }
}
