//! What a machine is, and on what it runs.

/// What a machine is, and on what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `kvm`, `qemu`, or `corpus` for results that were recorded elsewhere.
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
