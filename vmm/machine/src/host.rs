//! What this host is: the KVM module and its settings, the hypervisor beneath it, the processor.

use std::arch::x86_64::{__cpuid, CpuidResult};
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
    /// Any other KVM.
    Unknown,
}

impl Flavour {
    /// Detects the flavour from the loaded modules and their parameters.
    pub fn detect() -> Self {
        let loaded = |module: &str| Path::new("/sys/module").join(module).exists();
        let enabled = |parameter: &str| {
            std::fs::read_to_string(Path::new("/sys/module").join(parameter))
                .is_ok_and(|text| matches!(text.trim(), "Y" | "1"))
        };

        if loaded("kvm_pvm") {
            Self::Pvm
        } else if loaded("kvm_intel") {
            if enabled("kvm_intel/parameters/ept") { Self::VmxEpt } else { Self::VmxShadow }
        } else if loaded("kvm_amd") {
            if enabled("kvm_amd/parameters/npt") { Self::SvmNpt } else { Self::SvmShadow }
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

    /// Whether the processor itself walks the guest's page tables.
    pub const fn processor_walks(self) -> bool {
        matches!(self, Self::VmxEpt | Self::SvmNpt)
    }
}

/// What is beneath this host: `bare`, or the hypervisor that CPUID 40000000h names.
pub fn beneath() -> String {
    const HYPERVISOR_PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        return "bare".into();
    }

    let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0x4000_0000);
    match text_of(&[ebx, ecx, edx]).as_str() {
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
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The text that CPUID registers hold, in memory order.
pub(super) fn text_of(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).into()
}
