//! Whether the guest of a machine can run guests of its own, and with what.
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

use crosswalk_guest::vmx_msrs::{self, VMX_MSRS};

/// With what the guest of a machine can run guests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtualization {
    /// AMD's SVM.
    Svm {
        /// Whether CPUID reports nested paging: 8000000Ah EDX\[0\].
        nested_paging: bool,
        /// Number of address-space identifiers: 8000000Ah EBX.
        asids: u32,
    },
    /// Intel's VMX, with EPT.
    Vmx(Vmx),
}

/// What the capability MSRs of VMX say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmx([u64; VMX_MSRS]);

/// Controls of a VMCS, as bits: those that must be 1, and those that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedControls {
    /// Those that must be 1.
    pub required: u32,
    /// Those that may be 1.
    pub allowed: u32,
}

// CPUID.
const HAS_SVM: u32 = 1 << 2;
const HAS_NESTED_PAGING: u32 = 1 << 0;
const HAS_VMX: u32 = 1 << 5;

// IA32_FEATURE_CONTROL.
const LOCKED: u64 = 1 << 0;
const VMX_OUTSIDE_SMX: u64 = 1 << 2;

/// Secondary processor-based controls.
pub(crate) const ENABLE_EPT: u32 = 1 << 1;
pub(crate) const UNRESTRICTED_GUEST: u32 = 1 << 7;
pub(crate) const MODE_BASED_EXECUTE: u32 = 1 << 22;
/// A control of exits, and one of entries.
pub(crate) const LOAD_HOST_EFER: u32 = 1 << 21;
pub(crate) const LOAD_GUEST_EFER: u32 = 1 << 15;

impl Virtualization {
    /// What a CPUID, given by leaf and subleaf, and the capability MSRs of VMX say. These are 0 where CPUID reports
    /// no VMX.
    ///
    /// # Errors
    /// Why the guest cannot run guests of its own, as a sentence.
    pub fn detect(
        leaf: impl Fn(u32, u32) -> Option<[u32; 4]>,
        vmx_msrs: &[u64; VMX_MSRS],
    ) -> Result<Self, String> {
        let [_, _, ecx, _] = leaf(0x8000_0001, 0).unwrap_or_default();
        if ecx & HAS_SVM != 0 {
            let [_, asids, _, features] = leaf(0x8000_000a, 0).unwrap_or_default();
            return Ok(Self::Svm { nested_paging: features & HAS_NESTED_PAGING != 0, asids });
        }

        let [_, _, ecx, _] = leaf(1, 0).unwrap_or_default();
        if ecx & HAS_VMX != 0 {
            return Vmx::new(*vmx_msrs).map(Self::Vmx);
        }
        Err("CPUID reports neither SVM (80000001h ECX[2]) nor VMX (1 ECX[5])".into())
    }
}

impl Vmx {
    /// Takes the MSRs as the guest reports them.
    fn new(msrs: [u64; VMX_MSRS]) -> Result<Self, String> {
        let vmx = Self(msrs);
        let control = vmx.msr(vmx_msrs::FEATURE_CONTROL);
        if control & LOCKED != 0 && control & VMX_OUTSIDE_SMX == 0 {
            return Err("IA32_FEATURE_CONTROL is locked without VMX".into());
        }
        if vmx.secondary().allowed & ENABLE_EPT == 0 {
            return Err("IA32_VMX_PROCBASED_CTLS2 says that there is no EPT".into());
        }
        let loads_efer = [(vmx.entry(), LOAD_GUEST_EFER), (vmx.exit(), LOAD_HOST_EFER)];
        if loads_efer.iter().any(|(controls, load)| controls.allowed & load == 0) {
            return Err("VMX does not load EFER at entries and exits".into());
        }
        Ok(vmx)
    }

    /// `IA32_VMX_EPT_VPID_CAP`.
    pub fn ept_capabilities(&self) -> u64 {
        self.msr(vmx_msrs::EPT_VPID)
    }

    /// Whether a guest may be without paging, or in real mode.
    pub fn has_unrestricted_guests(&self) -> bool {
        self.secondary().allowed & UNRESTRICTED_GUEST != 0
    }

    /// Whether execute permission can depend on the ring.
    pub fn has_mode_based_execute(&self) -> bool {
        self.secondary().allowed & MODE_BASED_EXECUTE != 0
    }

    /// The pin-based controls. These and the following are those of the MSRs without TRUE in their names, by which
    /// more bits must be 1.
    pub fn pin_based(&self) -> AllowedControls {
        self.controls(vmx_msrs::PIN_BASED)
    }

    /// The primary processor-based controls.
    pub fn processor_based(&self) -> AllowedControls {
        self.controls(vmx_msrs::PROCESSOR_BASED)
    }

    /// The secondary processor-based controls.
    pub fn secondary(&self) -> AllowedControls {
        self.controls(vmx_msrs::SECONDARY)
    }

    /// The controls of exits.
    pub fn exit(&self) -> AllowedControls {
        self.controls(vmx_msrs::EXIT)
    }

    /// The controls of entries.
    pub fn entry(&self) -> AllowedControls {
        self.controls(vmx_msrs::ENTRY)
    }

    fn controls(&self, index: usize) -> AllowedControls {
        let msr = self.msr(index);
        AllowedControls { required: msr as u32, allowed: (msr >> 32) as u32 }
    }

    fn msr(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpuid(standard: u32, extended: u32, svm: [u32; 4]) -> impl Fn(u32, u32) -> Option<[u32; 4]> {
        move |leaf, _| match leaf {
            1 => Some([0, 0, standard, 0]),
            0x8000_0001 => Some([0, 0, extended, 0]),
            0x8000_000a => Some(svm),
            _ => None,
        }
    }

    #[test]
    fn svm_comes_before_vmx_and_says_whether_paging_is_nested() {
        let detect =
            |features| Virtualization::detect(cpuid(0x20, 4, [1, 16, 0, features]), &[0; 18]);
        assert_eq!(detect(9), Ok(Virtualization::Svm { nested_paging: true, asids: 16 }));
        assert_eq!(detect(8), Ok(Virtualization::Svm { nested_paging: false, asids: 16 }));
    }

    #[test]
    fn a_processor_without_either_says_so() {
        let error = Virtualization::detect(cpuid(!0x20, !4, [0; 4]), &[0; 18]).unwrap_err();
        assert!(error.contains("neither SVM") && error.contains("nor VMX"), "{error}");
    }

    #[test]
    fn vmx_must_be_enabled_and_have_ept() {
        let detect = |msrs: &[u64; 18]| Virtualization::detect(cpuid(0x20, 0, [0; 4]), msrs);
        let mut msrs = [0; 18];
        assert!(detect(&msrs).unwrap_err().contains("no EPT"));

        msrs[11] = 0x82 << 32;
        assert!(detect(&msrs).unwrap_err().contains("EFER"));
        msrs[3] = 1 << (21 + 32);
        msrs[4] = 1 << (15 + 32);
        msrs[12] = 0x0631_4141;
        let Ok(Virtualization::Vmx(vmx)) = detect(&msrs) else { panic!("there is VMX") };
        assert_eq!(vmx.ept_capabilities(), 0x0631_4141);
        assert!(vmx.has_unrestricted_guests());

        msrs[17] = 1;
        assert!(detect(&msrs).unwrap_err().contains("locked"));
        msrs[17] = 5;
        assert!(detect(&msrs).is_ok());
    }
}
