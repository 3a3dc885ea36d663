//! What a nested batch left.

use std::fmt;

/// What a nested batch left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedRun {
    /// What became of each lane.
    pub lanes: Vec<LaneRun>,
    /// The contents of the nested tables.
    pub tables: Vec<[u64; 512]>,
    /// Every byte of data memory and of the code page that changed, with its new value, by address. They have been
    /// restored.
    pub stored: Vec<(u64, u8)>,
}

/// What became of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRun {
    /// How it ended.
    pub exit: LaneExit,
    /// RIP at the exit.
    pub rip: u64,
    /// RAX at the exit.
    pub rax: u64,
    /// RCX at the exit, which was 0; in a batch of 32-bit code its lower half.
    pub rcx: u64,
    /// CR2 at the exit, which was 0.
    pub cr2: u64,
}

/// How a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneExit {
    /// A `#VMEXIT` of SVM.
    Svm {
        /// EXITCODE.
        code: u64,
        /// EXITINFO1.
        info1: u64,
        /// EXITINFO2.
        info2: u64,
    },
    /// A VM exit of VMX, or a failed entry, which the reason says. Fields that this kind of exit does not define hold
    /// what an earlier one has left.
    Vmx {
        /// The exit reason.
        reason: u32,
        /// The exit qualification.
        qualification: u64,
        /// The guest-physical address.
        guest_physical: u64,
        /// The guest-linear address.
        guest_linear: u64,
        /// The interruption information.
        interruption: u32,
        /// Its error code.
        interruption_error: u32,
    },
    /// VMX did not enter L2 (`VMfail`).
    VmxFailed {
        /// The VM-instruction error.
        error: u32,
    },
    /// It did not run.
    NotRun,
}

impl fmt::Display for LaneExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svm { code, info1, info2 } => {
                write!(f, "exit {code:#x} with EXITINFO1={info1:#x} and EXITINFO2={info2:#x}")
            }
            Self::Vmx { reason, qualification, .. } => {
                write!(f, "exit {reason:#x} with the qualification {qualification:#x}")
            }
            Self::VmxFailed { error } => write!(f, "VM-instruction error {error}"),
            Self::NotRun => f.write_str("nothing: it did not run"),
        }
    }
}
