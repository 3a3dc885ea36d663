//! The processor of a case as CPUID describes it to the vCPU.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use mmu_core::{Features, Profile, Vendor};

/// The features that CPUID describes.
pub(super) fn features(cpuid: &CpuId) -> Features {
    let registers = |leaf: u32, subleaf: u32| {
        let mut entries = cpuid.as_slice().iter();
        let entry = entries.find(|entry| (entry.function, entry.index) == (leaf, subleaf))?;
        Some([entry.eax, entry.ebx, entry.ecx, entry.edx])
    };
    Profile::from_cpuid(registers).features
}

/// Changes CPUID to describe a processor, with those of its features that KVM supports.
pub(super) fn describe(cpuid: &mut CpuId, profile: &Profile, supported: Features) {
    for entry in cpuid.as_mut_slice() {
        set_vendor_and_width(entry, profile);
        set_features(entry, profile.features & supported);
    }
}

/// Writes the vendor's name and MAXPHYADDR, where this leaf has them. An unknown vendor keeps the
/// host's name.
fn set_vendor_and_width(entry: &mut kvm_cpuid_entry2, profile: &Profile) {
    let name = match profile.vendor {
        Vendor::Intel => Some(b"GenuineIntel"),
        Vendor::Amd => Some(b"AuthenticAMD"),
        Vendor::Unknown => None,
    };

    match (entry.function, name) {
        (0 | 0x8000_0000, Some(name)) => {
            let word = |at: usize| {
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            entry.ebx = word(0);
            entry.edx = word(4);
            entry.ecx = word(8);
        }
        (0x8000_0008, _) => {
            entry.eax = entry.eax & !0xff | u32::from(profile.physical_address_bits);
        }
        _ => {}
    }
}

/// Sets or clears the bit of each feature that this leaf reports.
fn set_features(entry: &mut kvm_cpuid_entry2, features: Features) {
    for feature in Features::all().iter() {
        let Some(bit) = feature.cpuid_bit() else { continue };
        if (bit.leaf, bit.subleaf) != (entry.function, entry.index) {
            continue;
        }

        let register = match bit.register {
            "EAX" => &mut entry.eax,
            "EBX" => &mut entry.ebx,
            "ECX" => &mut entry.ecx,
            _ => &mut entry.edx,
        };
        let is_set = u32::from(features.contains(feature));
        *register = *register & !(1 << bit.bit) | is_set << bit.bit;
    }
}
