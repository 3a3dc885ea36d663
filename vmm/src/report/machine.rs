//! A machine, in the JSON of every report that names one.

use crate::report::features_not_run;
use crosswalk_machine::{Capabilities, Identity};
use serde::Serialize;

/// A machine. The names of fields are part of the contract.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct MachineJson<'r> {
    /// `kvm`, `qemu`, `bochs`, `v86`, `corpus`, or `image`.
    kind: &'r str,
    /// How it translates, such as `vmx-ept` or `tcg`; of a corpus, all of its machines.
    flavour: &'r str,
    /// What it means that the flavour is unknown, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_flavour: Option<&'static str>,
    /// What lies beneath it: `bare`, `tcg`, or the name of a hypervisor.
    beneath: &'r str,
    /// The name of the processor.
    cpu: &'r str,
    /// MAXPHYADDR, in bits.
    max_physical_address: u8,
    /// The release of the host's Linux.
    host_kernel: &'r str,
    /// Of an emulator, its name and version.
    version: Option<&'r str>,
    /// The vendor of the processor that the guest sees: `intel`, `amd` or `unknown`.
    vendor: String,
    /// Its features.
    features: Vec<String>,
    /// Features that the machine obeys although its CPUID lacks them.
    not_in_cpuid: Vec<String>,
    /// Features that a run does not exercise.
    features_not_run: Vec<NotRunJson>,
}

/// A feature that a run does not exercise.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NotRunJson {
    /// The feature.
    feature: String,
    /// Why not.
    reason: String,
}

/// A machine as JSON.
pub(in crate::report) fn machine<'r>(
    identity: &'r Identity,
    capabilities: &Capabilities,
) -> MachineJson<'r> {
    let profile = capabilities.profile;
    let features = profile.features.iter_names();
    let not_in_cpuid = capabilities.not_in_cpuid.iter_names();
    let features_not_run = features_not_run(capabilities).into_iter();

    MachineJson {
        kind: &identity.kind,
        flavour: &identity.flavour,
        unknown_flavour: identity.unknown_flavour(),
        beneath: &identity.beneath,
        cpu: &identity.cpu,
        max_physical_address: profile.physical_address_bits,
        host_kernel: &identity.host_kernel,
        version: identity.version.as_deref(),
        vendor: format!("{:?}", profile.vendor).to_lowercase(),
        features: features.map(|(name, _)| name.to_lowercase()).collect(),
        not_in_cpuid: not_in_cpuid.map(|(name, _)| name.to_lowercase()).collect(),
        features_not_run: features_not_run
            .map(|(feature, reason)| NotRunJson { feature: feature.to_lowercase(), reason })
            .collect(),
    }
}
