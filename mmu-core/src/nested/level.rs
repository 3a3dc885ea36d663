//! The second level of tables, as control registers and control fields describe it.

use crate::x86::state::ControlState;
use bitflags::bitflags;

/// The tables that translate guest-physical addresses, and what governs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecondLevel {
    /// AMD's nested paging: the control state of the host at VMRUN, with nCR3 in `cr3`. Its mode is the
    /// format of the tables (NEST-7).
    Npt(ControlState),
    /// Intel's extended page tables.
    Ept(Ept),
}

impl SecondLevel {
    /// Whether it sets A and D in its entries: NPT always, EPT while the EPT pointer says so.
    pub const fn has_flags(&self) -> bool {
        match self {
            Self::Npt(_) => true,
            Self::Ept(ept) => ept.has_flags(),
        }
    }
}

/// What governs a walk of extended page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ept {
    /// The EPT pointer: memory type, walk length, enabling of A and D, and the root table.
    pub eptp: u64,
    /// Whether the control "mode-based execute control for EPT" is 1 (NEST-11).
    pub mode_based_execute: bool,
    /// What the processor can do.
    pub capabilities: EptCapabilities,
}

impl Ept {
    /// Extended page tables with a root table at this address: 4 levels, write-back, A and D in use.
    ///
    /// ```
    /// use mmu_core::nested::Ept;
    /// let ept = Ept::four_level(0x1000);
    /// assert_eq!(ept.eptp, 0x105e);
    /// assert!(ept.has_flags());
    /// ```
    pub const fn four_level(root: u64) -> Self {
        let capabilities = EptCapabilities::all();
        Self { eptp: root | 0x5e, mode_based_execute: false, capabilities }
    }

    /// The same, with accessed and dirty flags in use or not.
    #[must_use]
    pub const fn with_flags(self, enabled: bool) -> Self {
        let flags = (enabled as u64) << 6;
        Self { eptp: self.eptp & !(1 << 6) | flags, ..self }
    }

    /// Whether bit 6 of the EPT pointer enables accessed and dirty flags.
    pub const fn has_flags(&self) -> bool {
        self.eptp >> 6 & 1 == 1
    }

    /// The page-walk length in bits 5:3 of the EPT pointer: 4 or 5. VM entry refuses others; they count
    /// as 4 here.
    pub const fn levels(&self) -> u8 {
        if self.eptp >> 3 & 7 == 4 { 5 } else { 4 }
    }
}

bitflags! {
    /// What a processor can do with extended page tables (SDM "VPID and EPT Capabilities":
    /// `IA32_VMX_EPT_VPID_CAP`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EptCapabilities: u8 {
        /// Entries that allow fetches alone (bit 0).
        const EXECUTE_ONLY = 1 << 0;
        /// A walk of 5 levels (bit 7).
        const FIVE_LEVELS = 1 << 1;
        /// 1 GiB pages (bit 17).
        const PAGE_1GB = 1 << 2;
        /// Accessed and dirty flags (bit 21).
        const FLAGS = 1 << 3;
        /// Bits 9 to 11 of the exit qualification (bit 22, "advanced VM-exit information").
        const ADVANCED_EXIT_INFORMATION = 1 << 4;
        /// Mode-based execute control (bit 22 of the secondary controls' allowed settings).
        const MODE_BASED_EXECUTE = 1 << 5;
    }
}

impl EptCapabilities {
    /// Those of the MSR `IA32_VMX_EPT_VPID_CAP`. It says nothing about mode-based execute control.
    ///
    /// ```
    /// use mmu_core::nested::EptCapabilities;
    /// let of_skylake = EptCapabilities::from_msr(0xf01_0633_4141);
    /// assert!(of_skylake.contains(EptCapabilities::EXECUTE_ONLY | EptCapabilities::PAGE_1GB));
    /// assert!(!of_skylake.contains(EptCapabilities::FIVE_LEVELS));
    /// ```
    pub const fn from_msr(value: u64) -> Self {
        let mut all = Self::empty();
        let mut number = 0;
        let bits = [
            (0, Self::EXECUTE_ONLY),
            (7, Self::FIVE_LEVELS),
            (17, Self::PAGE_1GB),
            (21, Self::FLAGS),
            (22, Self::ADVANCED_EXIT_INFORMATION),
        ];
        while number < bits.len() {
            let (bit, capability) = bits[number];
            if value >> bit & 1 == 1 {
                all = all.union(capability);
            }
            number += 1;
        }
        all
    }
}
