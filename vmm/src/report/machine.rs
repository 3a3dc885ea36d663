//! A machine, in the JSON of every report that names one.

use crate::report::features_not_run;
use crosswalk_machine::{Capabilities, Identity};
use serde::Serialize;

/// A machine. The names of fields are part of the contract.
#[derive(Serialize)]
pub(in crate::report) struct MachineJson<'r> {
    kind: &'r str,
    flavour: &'r str,
    /// What it means that the flavour is unknown, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_flavour: Option<&'static str>,
    beneath: &'r str,
    cpu: &'r str,
    max_physical_address: u8,
    host_kernel: &'r str,
    version: Option<&'r str>,
    vendor: String,
    features: Vec<String>,
    not_in_cpuid: Vec<String>,
    features_not_run: Vec<NotRunJson>,
}

/// A feature that a run does not exercise.
#[derive(Serialize)]
pub(in crate::report) struct NotRunJson {
    feature: String,
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
