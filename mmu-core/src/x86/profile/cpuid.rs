//! Reading a profile from CPUID.

use super::{Features, PHYSICAL_ADDRESS_BITS, Pins, Profile, Vendor};
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
        let mut features = Features::empty();
        for (feature, leaf, subleaf, register, bit) in BITS {
            let present =
                cpuid(leaf, subleaf).is_some_and(|registers| registers[register] >> bit & 1 != 0);
            features.set(feature, present);
        }

        // Processors without this leaf have 36 bits, or 32 before PAE (SDM "CPUID").
        let bits = cpuid(0x8000_0008, 0).map_or(36, |registers| registers[EAX] as u8);

        Self {
            vendor: cpuid(0, 0).map_or(Vendor::Unknown, vendor),
            physical_address_bits: bits
                .clamp(*PHYSICAL_ADDRESS_BITS.start(), *PHYSICAL_ADDRESS_BITS.end()),
            features,
            pins: Pins::default(),
        }
    }
}
