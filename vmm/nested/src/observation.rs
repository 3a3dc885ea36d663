//! What a machine did with a case.

use crosswalk_case::observation::Provenance;
use crosswalk_machine::GuestFailure;
use std::fmt;

/// How L2 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenEnd {
    /// It came to the CPUID behind the access.
    Completed {
        /// RAX.
        rax: u64,
        /// RCX, in which fetched code leaves its constant.
        rcx: u64,
    },
    /// An exception in L2.
    Fault {
        /// The vector.
        vector: u8,
        /// The error code.
        error_code: u32,
        /// CR2; meaningful for #PF alone.
        cr2: u64,
    },
    /// A nested page fault.
    Npf {
        /// EXITINFO1: the error code.
        info1: u64,
        /// EXITINFO2: the guest-physical address.
        info2: u64,
    },
    /// An EPT violation.
    EptViolation {
        /// The exit qualification.
        qualification: u64,
        /// The guest-physical address.
        guest_physical: u64,
        /// The guest linear address.
        linear: u64,
    },
    /// An EPT misconfiguration.
    EptMisconfiguration {
        /// The guest-physical address.
        guest_physical: u64,
        /// The exit qualification.
        qualification: u64,
    },
    /// The processor refused to enter L2.
    NotEntered {
        /// The exit code or reason, or the number of the error.
        code: u64,
    },
    /// Anything else.
    Other {
        /// The exit code or reason.
        code: u64,
    },
    /// The hypervisor never ran again.
    Lost(Loss),
}

/// How a machine ended a case, and with it the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The guest hangs or loops.
    Hang,
    /// The processor was reset.
    Reset,
    /// The guest went on, and not as the hypervisor does.
    Astray,
}

impl From<&GuestFailure> for Loss {
    fn from(failure: &GuestFailure) -> Self {
        match failure {
            GuestFailure::Hang => Self::Hang,
            GuestFailure::TripleFault | GuestFailure::MachineOff => Self::Reset,
            _ => Self::Astray,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hang => "it hangs or loops",
            Self::Reset => "the processor was reset",
            Self::Astray => "it does what it never does",
        })
    }
}

/// A table entry after the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryAfter {
    /// Its host-physical address.
    pub at: u64,
    /// Its value before.
    pub before: u64,
    /// Its value after.
    pub after: u64,
}

/// Everything that was observed of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedObservation {
    /// How L2 ended.
    pub end: SeenEnd,
    /// RIP at the end.
    pub rip: u64,
    /// The entries of both dimensions that changed, and words of tables that are no entry of the case.
    pub changed: Vec<EntryAfter>,
    /// The bytes of data frames that changed: address and new value.
    pub stored: Vec<(u64, u8)>,
    /// Who decided.
    pub provenance: Provenance,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NestedAttempt {
    /// It ran.
    Observed(NestedObservation),
    /// The machine cannot run it, for this reason.
    Unsupported(String),
}

impl fmt::Display for SeenEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Completed { .. } => f.write_str("the access completed"),
            Self::Fault { vector, error_code, cr2 } => {
                let name = crosswalk_case::observation::name_of_fault(vector, error_code);
                if vector == 14 {
                    write!(f, "{name} in the guest, CR2={cr2:#x}")
                } else {
                    write!(f, "{name} in the guest")
                }
            }
            Self::Npf { info1, info2 } => {
                write!(f, "nested page fault, EXITINFO1={info1:#x}, EXITINFO2={info2:#x}")
            }
            Self::EptViolation { qualification, guest_physical, linear } => write!(
                f,
                "EPT violation, qualification={qualification:#x}, \
                 guest-physical={guest_physical:#x}, linear={linear:#x}"
            ),
            Self::EptMisconfiguration { guest_physical, qualification } => write!(
                f,
                "EPT misconfiguration, qualification={qualification:#x}, \
                 guest-physical={guest_physical:#x}"
            ),
            Self::NotEntered { code } => write!(f, "the guest was not entered ({code:#x})"),
            Self::Other { code } => write!(f, "exit {code:#x}"),
            Self::Lost(how) => write!(f, "the hypervisor is lost: {how}"),
        }
    }
}
