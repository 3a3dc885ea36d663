//! What a machine is, and on what it runs.

use crate::host::Flavour;
use crate::version::Version;

/// What a machine is, and on what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `kvm`, `qemu`, `bochs`, `v86`, `image` for one that booted an image, or `corpus` for results that were recorded elsewhere.
    pub kind: String,
    /// How it translates: `pvm`, `svm-npt`, ... ([`Flavour`](crate::host::Flavour)).
    pub flavour: String,
    /// What is beneath this host: `bare`, or the name of the hypervisor that CPUID reports.
    pub beneath: String,
    /// The name of the processor.
    pub cpu: String,
    /// The kernel release of this host.
    pub host_kernel: String,
    /// The name and version of the emulator, if the machine is emulated.
    pub version: Option<String>,
}

impl Identity {
    /// The version that decides about the machine's behaviour: that of the emulator, or else that of the
    /// kernel, whose KVM it is. `None` if it is not told as numbers.
    pub fn deciding_version(&self) -> Option<Version> {
        match &self.version {
            // The name of an emulator comes first: `QEMU 7.2.22`.
            Some(emulator) => Version::at_start_of(emulator.split(' ').next_back()?),
            None => Version::at_start_of(&self.host_kernel),
        }
    }

    /// Whether it booted an image and printed a log, so that nothing can be run on it any more.
    pub fn has_printed_a_log(&self) -> bool {
        matches!(self.kind.as_str(), "image" | "bochs" | "v86")
    }

    /// Of a KVM whose flavour is unknown: what that means for its findings, as a sentence.
    pub fn unknown_flavour(&self) -> Option<&'static str> {
        let is_unknown = self.kind == "kvm" && self.flavour == Flavour::Unknown.name();
        is_unknown.then_some(
            "The flavour of this KVM is unknown, because /sys/module does not tell it: known findings of \
             a flavour cannot be matched, and what is known of this machine appears as unknown. --known \
             names a file of them.",
        )
    }
}
