//! The capability MSRs of VMX, which the guest reports in the control page
//! ([`Control::vmx_msrs`](crate::mailbox::Control::vmx_msrs)).

/// Number of words in the report: the MSRs from [`FIRST`] on, and `IA32_FEATURE_CONTROL` at the end.
pub const VMX_MSRS: usize = 18;
/// The first MSR.
pub const FIRST: u32 = 0x480;
/// `IA32_FEATURE_CONTROL`.
pub const FEATURE_CONTROL_MSR: u32 = 0x3a;

/// The index of `IA32_VMX_BASIC`.
pub const BASIC: usize = 0;
/// The index of `IA32_VMX_PINBASED_CTLS`.
pub const PIN_BASED: usize = 1;
/// The index of `IA32_VMX_PROCBASED_CTLS`.
pub const PROCESSOR_BASED: usize = 2;
/// The index of `IA32_VMX_EXIT_CTLS`.
pub const EXIT: usize = 3;
/// The index of `IA32_VMX_ENTRY_CTLS`.
pub const ENTRY: usize = 4;
/// The index of `IA32_VMX_CR0_FIXED0`. Those of CR0's fixed ones and of CR4 follow.
pub const CR0_FIXED: usize = 6;
/// The index of `IA32_VMX_PROCBASED_CTLS2`.
pub const SECONDARY: usize = 11;
/// The index of `IA32_VMX_EPT_VPID_CAP`.
pub const EPT_VPID: usize = 12;
/// The index of `IA32_FEATURE_CONTROL`.
pub const FEATURE_CONTROL: usize = VMX_MSRS - 1;
