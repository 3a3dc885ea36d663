//! What this host is: the KVM module and its settings, the hypervisor beneath it, the processor.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use std::arch::x86_64::{__cpuid, CpuidResult};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How the host's KVM translates for its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Intel VMX with extended page tables.
    VmxEpt,
    /// Intel VMX with shadow page tables.
    VmxShadow,
    /// AMD SVM with nested page tables.
    SvmNpt,
    /// AMD SVM with shadow page tables.
    SvmShadow,
    /// The pagetable virtual machine, which needs no hardware support: ring 0 is emulated, and ring
    /// 3 runs on shadow page tables.
    Pvm,
    /// Any other KVM, or one about which /sys tells nothing.
    Unknown,
}

impl Flavour {
    /// Detects the flavour from the loaded modules and their parameters.
    pub fn detect() -> Self {
        Self::detect_in(Path::new("/sys/module"))
    }

    fn detect_in(modules: &Path) -> Self {
        let is_loaded = |module: &str| modules.join(module).exists();
        let is_enabled = |parameter: &str| {
            let text = file_beginning(&modules.join(parameter))?;
            match text.trim() {
                "Y" | "1" => Some(true),
                "N" | "0" => Some(false),
                _ => None,
            }
        };

        if is_loaded("kvm_pvm") {
            Self::Pvm
        } else if is_loaded("kvm_intel") {
            match is_enabled("kvm_intel/parameters/ept") {
                Some(true) => Self::VmxEpt,
                Some(false) => Self::VmxShadow,
                None => Self::Unknown,
            }
        } else if is_loaded("kvm_amd") {
            match is_enabled("kvm_amd/parameters/npt") {
                Some(true) => Self::SvmNpt,
                Some(false) => Self::SvmShadow,
                None => Self::Unknown,
            }
        } else {
            Self::Unknown
        }
    }

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VmxEpt => "vmx-ept",
            Self::VmxShadow => "vmx-shadow",
            Self::SvmNpt => "svm-npt",
            Self::SvmShadow => "svm-shadow",
            Self::Pvm => "pvm",
            Self::Unknown => "unknown",
        }
    }

    /// What makes this KVM enforce a MAXPHYADDR below the processor's.
    pub(crate) const fn how_to_narrow(self) -> &'static str {
        match self {
            Self::VmxEpt => {
                "load kvm_intel with allow_smaller_maxphyaddr=1, or with ept=0 for shadow page tables"
            }
            Self::SvmNpt => "load kvm_amd with npt=0, for shadow page tables",
            _ => "use --machine qemu, which has any",
        }
    }

    /// Whether the processor itself walks the guest's page tables.
    pub const fn processor_walks(self) -> bool {
        matches!(self, Self::VmxEpt | Self::SvmNpt)
    }
}

/// What is beneath this host: the hypervisor that CPUID 40000000h names, or `bare`. Bochs names none there; its BIOS
/// does.
pub fn beneath() -> String {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        let vendor = file_beginning(Path::new("/sys/class/dmi/id/bios_vendor"));
        return name_of_machine(vendor.as_deref().unwrap_or_default()).into();
    }

    let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0x4000_0000);
    name_of_hypervisor(&text_of(&[ebx, ecx, edx]))
}

/// The name of an emulator that says in CPUID that it is none, by the vendor of its BIOS; `bare` for all others.
fn name_of_machine(bios_vendor: &str) -> &'static str {
    if bios_vendor.contains("Bochs") { "bochs" } else { "bare" }
}

/// The name of the hypervisor with a signature in CPUID.
pub(super) fn name_of_hypervisor(signature: &str) -> String {
    match signature {
        "KVMKVMKVM" => "kvm".into(),
        "TCGTCGTCGTCG" => "tcg".into(),
        "Microsoft Hv" => "hyper-v".into(),
        "VMwareVMware" => "vmware".into(),
        "XenVMMXenVMM" => "xen".into(),
        other => format!("a hypervisor that calls itself {other:?}"),
    }
}

/// The processor's brand string.
pub fn cpu_name() -> String {
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return "unknown".into();
    }

    let words: Vec<u32> = (0x8000_0002..=0x8000_0004)
        .flat_map(|leaf| {
            let CpuidResult { eax, ebx, ecx, edx } = __cpuid(leaf);
            [eax, ebx, ecx, edx]
        })
        .collect();
    text_of(&words)
}

/// The kernel release of this host.
pub fn kernel() -> String {
    file_beginning(Path::new("/proc/sys/kernel/osrelease"))
        .map_or_else(|| "unknown".into(), |text| text.trim().into())
}

/// The beginning of a file of a line or less; `None` if it cannot be read. What is mounted in a
/// container may be another file than the kernel's.
fn file_beginning(path: &Path) -> Option<String> {
    const MAX_BYTES: u64 = 256;

    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The text that CPUID registers hold, in memory order.
pub(super) fn text_of(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUID of Bochs 2.7 says that no hypervisor is there.
    #[test]
    fn bochs_is_known_by_its_bios() {
        assert_eq!(name_of_machine("The Bochs Project"), "bochs");
        assert_eq!(name_of_machine("American Megatrends Inc."), "bare");
    }
    use std::fs;

    /// The flavour if these modules are loaded, each with a parameter.
    fn flavour_of(modules: &[(&str, &str, &[u8])]) -> Flavour {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        for (module, parameter, value) in modules {
            let parameters = directory.path().join(module).join("parameters");
            fs::create_dir_all(&parameters).expect("the directory can be created");
            fs::write(parameters.join(parameter), value).expect("the file can be written");
        }
        Flavour::detect_in(directory.path())
    }

    #[test]
    fn a_flavour_is_a_module_and_its_parameter() {
        for (module, parameter, value, expected) in [
            ("kvm_pvm", "any", "", Flavour::Pvm),
            ("kvm_intel", "ept", "Y\n", Flavour::VmxEpt),
            ("kvm_intel", "ept", "N\n", Flavour::VmxShadow),
            ("kvm_amd", "npt", "1\n", Flavour::SvmNpt),
            ("kvm_amd", "npt", "0\n", Flavour::SvmShadow),
        ] {
            let found = flavour_of(&[(module, parameter, value.as_bytes())]);
            assert_eq!(found, expected, "{module} {value:?}");
        }
    }

    /// A container may hide /sys, or parts of it. Then nothing is assumed.
    #[test]
    fn what_sys_does_not_tell_is_unknown() {
        assert_eq!(flavour_of(&[]), Flavour::Unknown);
        assert_eq!(Flavour::detect_in(Path::new("/no/such/directory")), Flavour::Unknown);

        for (module, parameter, value) in [
            ("kvm_intel", "another", &b"Y"[..]),
            ("kvm_amd", "another", b"1"),
            ("kvm_intel", "ept", b""),
            ("kvm_amd", "npt", b"maybe"),
            ("kvm_amd", "npt", &[0xff; 4096]),
        ] {
            let found = flavour_of(&[(module, parameter, value)]);
            assert_eq!(found, Flavour::Unknown, "{module} {value:?}");
        }
    }
}
