//! The control state: the registers that decide how an address is translated.

mod possible;

pub use possible::StateError;
pub(crate) use possible::available_cr3;

use crate::name::{UnknownName, by_name};
use bitflags::bitflags;
use core::fmt;
use core::str::FromStr;

bitflags! {
    /// The bits of CR0. Those without a name are reserved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Cr0: u64 {
        /// Protected mode.
        const PE = 1 << 0;
        /// Monitor coprocessor.
        const MP = 1 << 1;
        /// Emulation: there is no x87 unit.
        const EM = 1 << 2;
        /// Task switched.
        const TS = 1 << 3;
        /// Extension type: always 1.
        const ET = 1 << 4;
        /// Numeric error.
        const NE = 1 << 5;
        /// Write protect: R/W binds the supervisor too (RIGHT-2).
        const WP = 1 << 16;
        /// Alignment mask.
        const AM = 1 << 18;
        /// Not write-through. Changing it loads the PDPTEs (PDPTE-1).
        const NW = 1 << 29;
        /// Cache disable. Changing it loads the PDPTEs (PDPTE-1).
        const CD = 1 << 30;
        /// Paging is on.
        const PG = 1 << 31;
        const _ = !0;
    }

    /// The bits of CR4. Those without a name are reserved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Cr4: u64 {
        /// Virtual-8086 mode extensions.
        const VME = 1 << 0;
        /// Protected-mode virtual interrupts.
        const PVI = 1 << 1;
        /// Time stamp disable.
        const TSD = 1 << 2;
        /// Debugging extensions.
        const DE = 1 << 3;
        /// 4 MiB pages in 32-bit paging (MODE-3).
        const PSE = 1 << 4;
        /// Physical-address extension: entries of 64 bits.
        const PAE = 1 << 5;
        /// Machine-check enable.
        const MCE = 1 << 6;
        /// Global pages.
        const PGE = 1 << 7;
        /// Performance-monitoring counters for every ring.
        const PCE = 1 << 8;
        /// FXSAVE and SSE are usable, as compiled guest code requires.
        const OSFXSR = 1 << 9;
        /// SIMD exceptions are handled, as compiled guest code requires.
        const OSXMMEXCPT = 1 << 10;
        /// User-mode instruction prevention.
        const UMIP = 1 << 11;
        /// 57-bit linear addresses.
        const LA57 = 1 << 12;
        /// VMX enable.
        const VMXE = 1 << 13;
        /// SMX enable.
        const SMXE = 1 << 14;
        /// RDFSBASE and its kin for every ring.
        const FSGSBASE = 1 << 16;
        /// Process-context identifiers: CR3\[11:0\] names an address space (MODE-8).
        const PCIDE = 1 << 17;
        /// XSAVE and the extended states.
        const OSXSAVE = 1 << 18;
        /// Key Locker.
        const KL = 1 << 19;
        /// No supervisor fetches from user pages (RIGHT-3).
        const SMEP = 1 << 20;
        /// No supervisor data accesses to user pages (RIGHT-4).
        const SMAP = 1 << 21;
        /// Protection keys for user pages (RIGHT-5).
        const PKE = 1 << 22;
        /// Control-flow enforcement: there are shadow stacks (RIGHT-7).
        const CET = 1 << 23;
        /// Protection keys for supervisor pages (RIGHT-5).
        const PKS = 1 << 24;
        /// User interrupts.
        const UINTR = 1 << 25;
        /// Linear-address space separation.
        const LASS = 1 << 27;
        /// Linear-address masking of supervisor addresses (CANON-4).
        const LAM_SUP = 1 << 28;
        /// Flexible return and event delivery.
        const FRED = 1 << 32;
        const _ = !0;
    }

    /// The bits of EFER. Those without a name are reserved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Efer: u64 {
        /// SYSCALL and SYSRET.
        const SCE = 1 << 0;
        /// Long mode enable: turning paging on activates long mode.
        const LME = 1 << 8;
        /// Long mode active. It decides the paging mode, not CS.L (MODE-1).
        const LMA = 1 << 10;
        /// Execute-disable: XD bits are not reserved (CODE-3).
        const NXE = 1 << 11;
        /// AMD's virtual machines.
        const SVME = 1 << 12;
        /// AMD's segment limits in long mode.
        const LMSLE = 1 << 13;
        /// AMD's fast FXSAVE and FXRSTOR.
        const FFXSR = 1 << 14;
        /// AMD's translation cache extension: INVLPG may keep upper entries (TLB-4).
        const TCE = 1 << 15;
        /// AMD's MCOMMIT.
        const MCOMMIT = 1 << 17;
        /// AMD's interruptible WBINVD.
        const INTWB = 1 << 18;
        /// AMD's upper-address ignore (CANON-4).
        const UAIE = 1 << 20;
        /// AMD's automatic IBRS.
        const AIBRSE = 1 << 21;
        const _ = !0;
    }
}

/// CR3: user addresses are masked to 57 bits (LAM, CANON-4).
pub const CR3_LAM_U57: u64 = 1 << 61;
/// CR3: user addresses are masked to 48 bits (LAM, CANON-4).
pub const CR3_LAM_U48: u64 = 1 << 62;

/// The paging mode that the control state selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PagingMode {
    /// CR0.PG is 0.
    Unpaged,
    /// Two levels of 32-bit entries.
    Bits32,
    /// Three levels of 64-bit entries, 32-bit linear addresses.
    Pae,
    /// Four levels, 48-bit linear addresses.
    FourLevel,
    /// Five levels, 57-bit linear addresses.
    FiveLevel,
    /// The flat table of textbooks. No processor has it.
    Linear,
}

impl PagingMode {
    /// Every mode that processors have, the simplest first.
    pub const ALL: [Self; 5] =
        [Self::Unpaged, Self::Bits32, Self::Pae, Self::FourLevel, Self::FiveLevel];

    /// The name used in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unpaged => "unpaged",
            Self::Bits32 => "32bit",
            Self::Pae => "pae",
            Self::FourLevel => "4level",
            Self::FiveLevel => "5level",
            Self::Linear => "linear",
        }
    }

    /// Whether it is a mode of long mode: 4-level or 5-level paging, with 64-bit linear addresses
    /// that must be canonical.
    pub const fn is_long_mode(self) -> bool {
        matches!(self, Self::FourLevel | Self::FiveLevel)
    }
}

/// Reads the name that [`PagingMode::name`] returns, for the modes that processors have.
///
/// ```
/// use mmu_core::PagingMode;
/// assert_eq!("4level".parse::<PagingMode>().unwrap(), PagingMode::FourLevel);
/// let error = "6level".parse::<PagingMode>().unwrap_err();
/// assert_eq!(error.to_string(), "expected one of unpaged, 32bit, pae, 4level, 5level");
/// ```
impl FromStr for PagingMode {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

impl fmt::Display for PagingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The registers that decide, besides the tables, how an address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlState {
    /// CR0.
    pub cr0: Cr0,
    /// CR3 as a whole: base, PCID and flags.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// EFER.
    pub efer: Efer,
    /// PKRU: two bits per key, access-disable and write-disable, for user pages.
    pub pkru: u32,
    /// `IA32_PKRS`: the same for supervisor pages.
    pub pkrs: u32,
    /// The PDPTE registers of PAE paging, as the last MOV that loads them left them (PDPTE-1).
    pub pdptes: [u64; 4],
}

impl ControlState {
    /// Long mode with 4-level paging, write protection and execute-disable; everything else is off.
    ///
    /// Every mode has a ready-made state: [`Self::unpaged`], [`Self::bits32`], [`Self::pae`], this one,
    /// and [`Self::five_level`]. [`Self::in_mode`] makes one for a processor, and is checked.
    pub fn four_level(cr3: u64) -> Self {
        Self {
            cr0: Cr0::PE | Cr0::ET | Cr0::WP | Cr0::PG,
            cr3,
            cr4: Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT,
            efer: Efer::LME | Efer::LMA | Efer::NXE,
            pkru: 0,
            pkrs: 0,
            pdptes: [0; 4],
        }
    }

    /// The same with 5-level paging.
    pub fn five_level(cr3: u64) -> Self {
        let four_level = Self::four_level(cr3);
        Self { cr4: four_level.cr4 | Cr4::LA57, ..four_level }
    }

    /// Protected mode without paging (MODE-12).
    pub fn unpaged() -> Self {
        let paged = Self::bits32(0);
        Self { cr0: paged.cr0 - Cr0::PG, ..paged }
    }

    /// 32-bit paging with write protection; everything else is off, 4 MiB pages as well.
    pub fn bits32(cr3: u64) -> Self {
        let long_mode = Self::four_level(cr3);
        Self { cr4: long_mode.cr4 - Cr4::PAE, efer: Efer::empty(), ..long_mode }
    }

    /// PAE paging with write protection and execute-disable; everything else is off. `pdptes` are the
    /// four registers, which MOV to CR3 reads from the table at `cr3` (PDPTE-1).
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{ControlState, PagingMode, Profile};
    ///
    /// let table = [(0x1000, 0x2001), (0x1018, 0x3001)];
    /// let before = ControlState::pae(0, [0; 4]);
    /// let state = before.load_cr3(0x1000, Profile::default(), &SparseTables::new(&table))?;
    /// assert_eq!(state, ControlState::pae(0x1000, [0x2001, 0, 0, 0x3001]));
    /// # Ok::<(), mmu_core::x86::control::LoadError>(())
    /// ```
    pub fn pae(cr3: u64, pdptes: [u64; 4]) -> Self {
        Self { efer: Efer::NXE, pdptes, ..Self::four_level(cr3) }
    }

    /// The paging mode (SDM "Paging Modes and Control Bits"; MODE-1, MODE-12).
    ///
    /// ```
    /// use mmu_core::{ControlState, Cr4, PagingMode};
    /// let mut state = ControlState::four_level(0x1000);
    /// assert_eq!(state.mode(), PagingMode::FourLevel);
    /// state.cr4 |= Cr4::LA57;
    /// assert_eq!(state.mode(), PagingMode::FiveLevel);
    /// ```
    pub fn mode(&self) -> PagingMode {
        if !self.cr0.contains(Cr0::PG) {
            PagingMode::Unpaged
        } else if !self.cr4.contains(Cr4::PAE) {
            PagingMode::Bits32
        } else if !self.efer.contains(Efer::LMA) {
            PagingMode::Pae
        } else if self.cr4.contains(Cr4::LA57) {
            PagingMode::FiveLevel
        } else {
            PagingMode::FourLevel
        }
    }
}
