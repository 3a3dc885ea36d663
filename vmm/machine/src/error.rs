//! Why a machine cannot be used, or can no longer be used.

use crate::elf::ImageError;
use crate::run::Position;
use crosswalk_case::Case;
use std::io;

/// Why a machine cannot be used, or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// This host does not have it.
    #[error("{0}")]
    Unavailable(String),
    /// The emulator refuses what the user asked of its processor.
    #[error("{0}")]
    Refused(String),
    /// The guest died or misbehaved.
    #[error("the guest {failure}")]
    GuestFailed {
        /// What happened.
        failure: GuestFailure,
        /// The record that the guest was at, if it can be determined.
        at: Option<Position>,
        /// The case that the guest was at, or its whole batch if that cannot be determined.
        cases: Vec<Case>,
    },
    /// A system call or another interface of the host failed.
    #[error("{doing}: {source}")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// The error that the host reported.
        source: io::Error,
    },
    /// The run was interrupted ([`Interrupter`](crate::Interrupter)).
    #[error("the run was interrupted")]
    Interrupted,
    /// A log cannot be read any further.
    #[error("line {line}: {problem}")]
    Log {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not a guest image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl MachineError {
    /// The failure of a guest at a place in its lists. The cases are added later
    /// ([`Encoded::blame`](crate::batch::Encoded::blame)).
    pub fn guest(failure: GuestFailure, at: Option<Position>) -> Self {
        Self::GuestFailed { failure, at, cases: Vec::new() }
    }

    /// Wraps an error of guest memory, which is part of the host's.
    pub(crate) fn host_memory(error: vm_memory::GuestMemoryError) -> Self {
        Self::Host { doing: "reading guest memory", source: io::Error::other(error) }
    }

    /// Wraps an error of the host: `.map_err(MachineError::host("opening the file"))`.
    pub(crate) fn host<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Host { doing, source: error.into() }
    }
}

/// How a guest died or misbehaved. The text continues a sentence that starts with "the guest".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFailure {
    /// It did not complete its command before the deadline, or an access does not end.
    #[error("did not come back: it hangs or loops")]
    Hang,
    /// The processor was reset.
    #[error("triple-faulted")]
    TripleFault,
    /// The machine was reset or turned off, and does not say which or why.
    #[error("reset the machine or turned it off: it may have triple-faulted")]
    MachineOff,
    /// It took an exception that no case can cause.
    #[error("took exception {vector}, which no case causes")]
    Exception {
        /// The vector, as the guest reports it.
        vector: u64,
    },
    /// It reported an exception that does not exist.
    #[error("wrote nonsense into the mailbox: it reports an exception as {0:#x}")]
    NoException(u64),
    /// The reference walk gives wrong results in the guest.
    #[error("failed its self-test: its reference walk is right in {right} of 5 modes")]
    SelfTest {
        /// Number of modes in which the walk is right, as the guest reports it.
        right: u64,
    },
    /// KVM cannot emulate an instruction outside the lists of a batch.
    #[error("ran an instruction that KVM cannot emulate")]
    NotEmulated,
    /// The vCPU stopped for a reason that no guest of ours causes.
    #[error("stopped in an unexpected way: {0}")]
    UnexpectedExit(String),
    /// It rang the doorbell with a message that does not exist.
    #[error("rang the doorbell with {0:#x}")]
    UnknownMessage(u8),
    /// It accessed an address without memory outside the lists of a batch.
    #[error("accessed {0:#x}, where there is no memory")]
    OutsideMemory(u64),
    /// It made more accesses to addresses without memory than any batch makes.
    #[error("does not stop accessing addresses without memory")]
    EndlessOutside,
    /// It reported a command as completed that the host did not give.
    #[error(
        "wrote nonsense into the mailbox: it reports command {completed} as completed, and \
         {expected} was given"
    )]
    BadCompletion {
        /// The command that the guest reports.
        completed: u64,
        /// The command that the host gave.
        expected: u64,
    },
    /// A record holds neither its stub nor a fault.
    #[error("wrote nonsense into the mailbox: record {record} starts with {word:#x}")]
    BadRecord {
        /// The index of the record.
        record: usize,
        /// Its first word.
        word: u64,
    },
    /// The frame of a fault has a selector that is longer than selectors are.
    #[error("wrote nonsense into the mailbox: a fault of record {record} saved {cs:#x} as CS")]
    BadFrame {
        /// The index of the record.
        record: usize,
        /// The selector.
        cs: u32,
    },
    /// It reported something other than #GP as the fault of loading the control registers.
    #[error("wrote nonsense into the mailbox: it reports the fault of a load as {0:#x}")]
    BadLoadFault(u64),
    /// The machine gave up between the accesses of two cases, so no case can be left out.
    #[error("could not continue between two cases: {0}")]
    BetweenCases(String),
    /// A program has more steps than the memory for scripts can hold.
    #[error("has no room for a program of {steps} steps")]
    ProgramTooLong {
        /// Number of steps.
        steps: usize,
    },
    /// It reported more events than a request can have.
    #[error("reported {0} events of one request")]
    TooManyEvents(u64),
}

impl GuestFailure {
    /// The failure of a guest that reports an exception in
    /// [`Control::panic`](crosswalk_guest::mailbox::Control::panic).
    pub(crate) const fn of_report(panic: u64) -> Self {
        match panic {
            1..=256 => Self::Exception { vector: panic - 1 },
            _ => Self::NoException(panic),
        }
    }
}
