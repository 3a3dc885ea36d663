//! Reading a profile from CPUID.

use super::{ControlFeatures, Features, PHYSICAL_ADDRESS_BITS, Pins, Profile, Vendor};
use core::fmt;

/// The registers that CPUID returns, by index.
const REGISTERS: [&str; 4] = ["EAX", "EBX", "ECX", "EDX"];
const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// Where CPUID reports each feature: leaf, subleaf, register, bit (SDM and APM, "CPUID").
const BITS: [(Features, u32, u32, usize, u32); 14] = [
    (Features::PGE, 1, 0, EDX, 13),
    (Features::PAT, 1, 0, EDX, 16),
    (Features::PSE36, 1, 0, EDX, 17),
    (Features::PCID, 1, 0, ECX, 17),
    (Features::SMEP, 7, 0, EBX, 7),
    (Features::SMAP, 7, 0, EBX, 20),
    (Features::PKU, 7, 0, ECX, 3),
    (Features::LA57, 7, 0, ECX, 16),
    (Features::PKS, 7, 0, ECX, 31),
    (Features::INVPCID, 7, 0, EBX, 10),
    (Features::CET_SS, 7, 0, ECX, 7),
    (Features::LAM, 7, 1, EAX, 26),
    (Features::NX, 0x8000_0001, 0, EDX, 20),
    (Features::PAGE_1GB, 0x8000_0001, 0, EDX, 26),
];

/// Where CPUID reports each feature that only CR4 and EFER show.
const CONTROL_BITS: [(ControlFeatures, u32, u32, usize, u32); 27] = [
    (ControlFeatures::VME, 1, 0, EDX, 1),
    (ControlFeatures::DE, 1, 0, EDX, 2),
    (ControlFeatures::PSE, 1, 0, EDX, 3),
    (ControlFeatures::TSC, 1, 0, EDX, 4),
    (ControlFeatures::PAE, 1, 0, EDX, 6),
    (ControlFeatures::MCE, 1, 0, EDX, 7),
    (ControlFeatures::FXSR, 1, 0, EDX, 24),
    (ControlFeatures::SSE, 1, 0, EDX, 25),
    (ControlFeatures::VMX, 1, 0, ECX, 5),
    (ControlFeatures::SMX, 1, 0, ECX, 6),
    (ControlFeatures::XSAVE, 1, 0, ECX, 26),
    (ControlFeatures::FSGSBASE, 7, 0, EBX, 0),
    (ControlFeatures::UMIP, 7, 0, ECX, 2),
    (ControlFeatures::KEY_LOCKER, 7, 0, ECX, 23),
    (ControlFeatures::UINTR, 7, 0, EDX, 5),
    (ControlFeatures::CET_IBT, 7, 0, EDX, 20),
    (ControlFeatures::LASS, 7, 1, EAX, 6),
    (ControlFeatures::FRED, 7, 1, EAX, 17),
    (ControlFeatures::SVM, 0x8000_0001, 0, ECX, 2),
    (ControlFeatures::TCE, 0x8000_0001, 0, ECX, 17),
    (ControlFeatures::SYSCALL, 0x8000_0001, 0, EDX, 11),
    (ControlFeatures::FFXSR, 0x8000_0001, 0, EDX, 25),
    (ControlFeatures::LONG_MODE, 0x8000_0001, 0, EDX, 29),
    (ControlFeatures::MCOMMIT, 0x8000_0008, 0, EBX, 8),
    (ControlFeatures::INT_WBINVD, 0x8000_0008, 0, EBX, 13),
    (ControlFeatures::UAI, 0x8000_0021, 0, EAX, 7),
    (ControlFeatures::AUTOMATIC_IBRS, 0x8000_0021, 0, EAX, 8),
];

/// The bit by which CPUID 80000008h EBX reports that EFER.LMSLE is reserved.
const LMSLE_IS_UNSUPPORTED: u32 = 20;

/// The vendor strings, in the order of EBX, EDX and ECX of leaf 0.
const VENDORS: [(&[u8; 12], Vendor); 3] = [
    (b"GenuineIntel", Vendor::Intel),
    (b"AuthenticAMD", Vendor::Amd),
    (b"HygonGenuine", Vendor::Amd),
];

/// The place where CPUID reports a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidBit {
    /// The leaf: EAX before the instruction.
    pub leaf: u32,
    /// The subleaf: ECX before the instruction.
    pub subleaf: u32,
    /// The register: `EAX` to `EDX`.
    pub register: &'static str,
    /// The number of the bit.
    pub bit: u32,
}

/// `CPUID 7 EBX[7]`, `CPUID 7.1 EAX[26]`, `CPUID 80000001h EDX[20]`.
impl fmt::Display for CpuidBit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaf, subleaf, register, bit } = self;

        f.write_str("CPUID ")?;
        match leaf {
            0..0x10 => write!(f, "{leaf}")?,
            _ => write!(f, "{leaf:x}h")?,
        }
        if *subleaf != 0 {
            write!(f, ".{subleaf}")?;
        }
        write!(f, " {register}[{bit}]")
    }
}

impl Features {
    /// Where CPUID reports the feature. `None` unless this is exactly one feature.
    ///
    /// ```
    /// use mmu_core::Features;
    /// assert_eq!(Features::SMEP.cpuid_bit().unwrap().to_string(), "CPUID 7 EBX[7]");
    /// assert_eq!(Features::NX.cpuid_bit().unwrap().to_string(), "CPUID 80000001h EDX[20]");
    /// assert_eq!(Features::all().cpuid_bit(), None);
    /// ```
    pub fn cpuid_bit(self) -> Option<CpuidBit> {
        let found = BITS.iter().find(|(feature, ..)| *feature == self);
        found.map(|&(_, leaf, subleaf, register, bit)| CpuidBit {
            leaf,
            subleaf,
            register: REGISTERS[register],
            bit,
        })
    }
}

/// The vendor whose string the registers of leaf 0 spell.
fn vendor(registers: [u32; 4]) -> Vendor {
    let mut string = [0; 12];
    for (part, register) in string.chunks_mut(4).zip([EBX, EDX, ECX]) {
        part.copy_from_slice(&registers[register].to_le_bytes());
    }

    let known = VENDORS.iter().find(|(known, _)| **known == string);
    known.map_or(Vendor::Unknown, |(_, vendor)| *vendor)
}

impl Profile {
    /// The processor that CPUID describes. `cpuid` returns EAX, EBX, ECX and EDX for a leaf and a
    /// subleaf, or `None` if there is no such leaf.
    ///
    /// ```
    /// use mmu_core::{Features, Profile, Vendor};
    /// let profile = Profile::from_cpuid(|leaf, _subleaf| match leaf {
    ///     0 => Some([13, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]), // "GenuineIntel"
    ///     0x8000_0001 => Some([0, 0, 0, 1 << 20]),
    ///     0x8000_0008 => Some([0x3027, 0, 0, 0]),
    ///     _ => None,
    /// });
    /// assert_eq!(profile.vendor, Vendor::Intel);
    /// assert_eq!(profile.physical_address_bits, 39);
    /// assert_eq!(profile.features, Features::NX);
    /// ```
    pub fn from_cpuid(cpuid: impl Fn(u32, u32) -> Option<[u32; 4]>) -> Self {
        let is_set = |leaf, subleaf, register: usize, bit: u32| {
            cpuid(leaf, subleaf).is_some_and(|registers| registers[register] >> bit & 1 != 0)
        };
        let vendor = cpuid(0, 0).map_or(Vendor::Unknown, vendor);

        let mut features = Features::empty();
        for (feature, leaf, subleaf, register, bit) in BITS {
            features.set(feature, is_set(leaf, subleaf, register, bit));
        }
        let mut control_features = ControlFeatures::empty();
        for (feature, leaf, subleaf, register, bit) in CONTROL_BITS {
            control_features.set(feature, is_set(leaf, subleaf, register, bit));
        }
        let has_lmsle = vendor == Vendor::Amd
            && control_features.contains(ControlFeatures::LONG_MODE)
            && !is_set(0x8000_0008, 0, EBX, LMSLE_IS_UNSUPPORTED);
        control_features.set(ControlFeatures::LMSLE, has_lmsle);

        // Processors without this leaf have 36 bits, or 32 before PAE (SDM "CPUID").
        let bits = cpuid(0x8000_0008, 0).map_or(36, |registers| registers[EAX] as u8);

        Self {
            vendor,
            physical_address_bits: bits
                .clamp(*PHYSICAL_ADDRESS_BITS.start(), *PHYSICAL_ADDRESS_BITS.end()),
            features,
            control_features,
            pins: Pins::default(),
        }
    }
}
