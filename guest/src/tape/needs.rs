//! What a batch needs of a machine. The guest skips a batch for which the machine lacks something, so that one
//! image does for many machines.

use crate::mailbox::Header;
use crate::nested::Virtualizer;
use crate::vmx_msrs;
use mmu_core::{Cr4, Efer};

/// The place of a feature in CPUID, laid out for the assembly of the 32-bit player.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Need {
    /// The leaf; its subleaf is 0.
    pub leaf: u32,
    /// The index of the register: EAX, EBX, ECX, EDX.
    pub register: u32,
    /// The number of the bit.
    pub bit: u32,
}

/// What a batch may need. Bit `i` of a mask stands for the `i`-th.
pub const NEEDS: [Need; 17] = [
    Need { leaf: 1, register: EDX, bit: 6 },            // PAE
    Need { leaf: 0x8000_0001, register: EDX, bit: 29 }, // Long mode
    Need { leaf: 7, register: ECX, bit: 16 },           // LA57
    Need { leaf: 0x8000_0001, register: EDX, bit: 20 }, // NX
    Need { leaf: 1, register: EDX, bit: 13 },           // PGE
    Need { leaf: 7, register: EBX, bit: 7 },            // SMEP
    Need { leaf: 7, register: EBX, bit: 20 },           // SMAP
    Need { leaf: 7, register: ECX, bit: 3 },            // PKU
    Need { leaf: 7, register: ECX, bit: 31 },           // PKS
    Need { leaf: 1, register: ECX, bit: 17 },           // PCID
    Need { leaf: 1, register: EDX, bit: 3 },            // PSE
    Need { leaf: 1, register: EDX, bit: 19 },           // CLFLUSH
    Need { leaf: 7, register: EBX, bit: 10 },           // INVPCID
    Need { leaf: 0x8000_0001, register: ECX, bit: 2 },  // SVM
    Need { leaf: 0x8000_000a, register: EDX, bit: 0 },  // Nested paging
    Need { leaf: 1, register: ECX, bit: 5 },            // VMX
    Need { leaf: 7, register: ECX, bit: 7 },            // CET_SS
];

const EBX: u32 = 1;
const ECX: u32 = 2;
const EDX: u32 = 3;

/// The names of what is needed, in the order of [`NEEDS`].
pub const NAMES: [&str; NEEDS.len()] = [
    "PAE",
    "long mode",
    "LA57",
    "NX",
    "PGE",
    "SMEP",
    "SMAP",
    "PKU",
    "PKS",
    "PCID",
    "PSE",
    "CLFLUSH",
    "INVPCID",
    "SVM",
    "nested paging",
    "VMX",
    "CET_SS",
];

/// The need of a batch that executes CLFLUSH.
pub const CLFLUSH: u32 = 1 << 11;
/// The need of a batch that executes INVPCID.
pub const INVPCID: u32 = 1 << 12;

/// The need of a nested batch of VMX: EPT and unrestricted guests, about which CPUID says nothing.
pub const EPT: u32 = 1 << 17;

/// What only nested batches need.
pub const NESTED: u32 = 1 << 13 | EPT;

/// In a mask of what a machine lacks: the machine has so many address bits that bits that are meant to be reserved
/// are not.
pub const TOO_WIDE: u32 = 1 << 31;

/// The bits of CR4 that need one of [`NEEDS`], with its index.
const IN_CR4: [(Cr4, u32); 10] = [
    (Cr4::PAE, 0),
    (Cr4::LA57, 2),
    (Cr4::PGE, 4),
    (Cr4::SMEP, 5),
    (Cr4::SMAP, 6),
    (Cr4::PKE, 7),
    (Cr4::PKS, 8),
    (Cr4::PCIDE, 9),
    (Cr4::PSE, 10),
    (Cr4::CET, 16),
];

/// What the batch with this header needs to be entered.
///
/// ```
/// use crosswalk_guest::mailbox::Header;
/// use crosswalk_guest::tape::needs::needs_of;
/// assert_eq!(needs_of(&Header::default()), 0);
/// let nx_and_long_mode = Header { efer: 0xd00, cr4: 0x20, ..Header::default() };
/// assert_eq!(needs_of(&nx_and_long_mode), 0b1011);
/// ```
pub fn needs_of(header: &Header) -> u32 {
    let (cr4, efer) = (Cr4::from_bits_retain(header.cr4), Efer::from_bits_retain(header.efer));
    let of_cr4 = IN_CR4.iter().filter(|(bit, _)| cr4.contains(*bit));
    let long_mode = u32::from(efer.contains(Efer::LME)) << 1;
    let nx = u32::from(efer.contains(Efer::NXE)) << 3;
    // The hypervisor begins in long mode, whatever its own mode is.
    let virtualizer = match header.virtualizer {
        virtualizer if virtualizer == Virtualizer::Svm as u64 => 1 << 1 | 1 << 13 | 1 << 14,
        virtualizer if virtualizer == Virtualizer::Vmx as u64 => 1 << 1 | 1 << 15 | EPT,
        _ => 0,
    };
    of_cr4.fold(long_mode | nx | virtualizer, |needs, (_, index)| needs | 1 << index)
}

/// [`EPT`], if a processor has it by its capability MSRs of VMX.
pub const fn has_ept(vmx_msrs: &[u64; vmx_msrs::VMX_MSRS]) -> u32 {
    const ALLOWED: u64 = (1 << 1 | 1 << 7) << 32;
    if vmx_msrs[vmx_msrs::SECONDARY] & ALLOWED == ALLOWED { EPT } else { 0 }
}

/// Which of [`NEEDS`] a processor has, by its CPUID: the registers of a leaf, or `None` if there is no such leaf.
pub fn has(cpuid: impl Fn(u32) -> Option<[u32; 4]>) -> u32 {
    let is_there = |need: &Need| {
        let registers = cpuid(need.leaf).unwrap_or_default();
        registers[need.register as usize] >> need.bit & 1 != 0
    };
    let bits = NEEDS.iter().enumerate().map(|(index, need)| u32::from(is_there(need)) << index);
    bits.sum()
}
