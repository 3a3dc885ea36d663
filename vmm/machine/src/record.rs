//! A machine as a line of a journal or corpus describes it.

use crate::{Capabilities, Identity, LeftOut, ModeOffer};
use crosswalk_case::FullProfile;
use mmu_core::{Cr4, PagingMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The properties of a machine on which cases and reports depend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct MachineLine {
    /// `kvm`, `qemu`, `bochs`, `v86` or `image`.
    kind: String,
    /// How it translates.
    flavour: String,
    /// What lies beneath it.
    beneath: String,
    /// The name of the processor. Nodes of a cluster may differ in it.
    pub cpu: String,
    /// The kernel release. Nodes of a cluster may differ in it.
    pub host_kernel: String,
    /// Of an emulator, its name and version.
    emulator: Option<String>,
    /// The processor that the guest sees.
    profile: FullProfile,
    /// Bits of CR4 that the machine obeys although its CPUID lacks them.
    not_in_cpuid: Vec<String>,
    /// Each paging mode, with the reason if the machine does not run it.
    modes: Vec<(String, Option<String>)>,
    /// Why implicit supervisor accesses cannot be tested, if they cannot.
    no_implicit_accesses: Option<String>,
    /// Machines of older files made no such accesses.
    #[serde(default = "not_tried")]
    no_compatibility_mode: Option<String>,
    /// Whether PKRU can be set without PKU.
    pkru_without_pku: bool,
    /// Whether ring 0 can set PKRU.
    pkru_in_ring_0: bool,
    /// Whether there is memory at high physical addresses.
    high_memory: bool,
    /// Why page tables cannot be in read-only memory, if they cannot.
    no_read_only_tables: Option<String>,
    /// Older files do not say; they have no sequences that need it.
    #[serde(default)]
    live_page_sizes: bool,
    /// Older files do not say; they move no reserved bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_reserved_movs: Option<String>,
    /// Older files do not say; nor do they have the pin of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_saved_rf: Option<String>,
    /// Whether the processor has VMX.
    vmx: bool,
    /// Whether accesses outside memory are seen.
    sees_outside: bool,
    /// Only of images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

impl MachineLine {
    /// The line that describes a machine.
    pub fn new(identity: &Identity, capabilities: &Capabilities) -> Self {
        let names = capabilities.not_in_cpuid.iter_names();

        Self {
            kind: identity.kind.clone(),
            flavour: identity.flavour.clone(),
            beneath: identity.beneath.clone(),
            cpu: identity.cpu.clone(),
            host_kernel: identity.host_kernel.clone(),
            emulator: identity.version.clone(),
            profile: FullProfile::from(&capabilities.profile),
            not_in_cpuid: names.map(|(name, _)| name.to_lowercase()).collect(),
            modes: offers(&capabilities.modes),
            no_implicit_accesses: capabilities.implicit_accesses.clone().err(),
            no_compatibility_mode: capabilities.compatibility.clone().err(),
            pkru_without_pku: capabilities.pkru_without_pku,
            pkru_in_ring_0: capabilities.pkru_in_ring_0,
            high_memory: capabilities.high_memory,
            no_read_only_tables: capabilities.read_only_tables.clone().err(),
            live_page_sizes: capabilities.live_page_sizes,
            no_reserved_movs: capabilities.reserved_movs.clone().err(),
            no_saved_rf: capabilities.saved_rf.clone().err(),
            vmx: capabilities.vmx,
            sees_outside: capabilities.sees_outside,
            left_out: capabilities.left_out.names(),
        }
    }

    /// The first property in which another machine differs, as `expected ..., found ...`. The processor's name and the
    /// kernel may differ: the nodes of a cluster do.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let [here, there] = [self, other].map(|line| {
            let properties =
                Self { cpu: String::new(), host_kernel: String::new(), ..line.clone() };
            serde_json::to_value(properties).unwrap_or_default()
        });
        difference("machine", &here, &there)
    }

    /// A short description of the machine:
    /// `qemu tcg, beneath it kvm; QEMU 7.2.22, Linux 6.18.44; MAXPHYADDR 40`.
    pub fn describe(&self) -> String {
        let Self { kind, flavour, beneath, cpu, host_kernel, emulator, profile, .. } = self;
        let processor = emulator.as_ref().unwrap_or(cpu);
        let bits = profile.max_physical_address;

        format!(
            "{kind} {flavour}, beneath it {beneath}; {processor}, Linux {host_kernel}; \
             MAXPHYADDR {bits}"
        )
    }

    /// The machine that the line describes.
    ///
    /// # Errors
    /// If the line names something that does not exist.
    pub fn read(&self) -> Result<(Identity, Capabilities), String> {
        let identity = Identity {
            kind: self.kind.clone(),
            flavour: self.flavour.clone(),
            beneath: self.beneath.clone(),
            cpu: self.cpu.clone(),
            host_kernel: self.host_kernel.clone(),
            version: self.emulator.clone(),
        };

        let profile = self.profile.clone().read().map_err(|error| format!("machine.{error}"))?;
        let mut not_in_cpuid = Cr4::empty();
        for name in &self.not_in_cpuid {
            not_in_cpuid |= Cr4::from_name(&name.to_uppercase())
                .ok_or_else(|| format!("machine.not_in_cpuid: there is no {name:?}"))?;
        }

        let capabilities = Capabilities {
            profile,
            not_in_cpuid,
            modes: read_offers(&self.modes)?,
            implicit_accesses: self.no_implicit_accesses.clone().map_or(Ok(()), Err),
            compatibility: self.no_compatibility_mode.clone().map_or(Ok(()), Err),
            any_local_table: false, // A corpus generates no cases.
            live_page_sizes: self.live_page_sizes,
            pkru_without_pku: self.pkru_without_pku,
            pkru_in_ring_0: self.pkru_in_ring_0,
            high_memory: self.high_memory,
            read_only_tables: self.no_read_only_tables.clone().map_or(Ok(()), Err),
            reserved_movs: self.no_reserved_movs.clone().map_or(Ok(()), Err),
            saved_rf: self.no_saved_rf.clone().map_or(Ok(()), Err),
            vmx: self.vmx,
            nested_modes: Vec::new(),
            virtualization: Err(
                "files do not say whether the guest can run guests of its own".into()
            ),
            sees_outside: self.sees_outside,
            left_out: LeftOut::empty(), // The same.
        };

        Ok((identity, capabilities))
    }
}

/// The first member in which two values differ.
fn difference(place: &str, here: &Value, there: &Value) -> Option<String> {
    if let (Value::Object(one), Value::Object(other)) = (here, there) {
        let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
        let member = |name: &String| {
            let [here, there] = [one, other].map(|value| value.get(name).unwrap_or(&Value::Null));
            difference(&format!("{place}.{name}"), here, there)
        };
        return names.into_iter().find_map(member);
    }

    let in_words = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let differ = || format!("expected {place} {}, found {}", in_words(here), in_words(there));
    (here != there).then(differ)
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the field")]
fn not_tried() -> Option<String> {
    Some("no case was tried in compatibility mode".into())
}

/// Offers as they are written: the name of each mode, with the reason if it is not offered.
pub fn offers(modes: &[ModeOffer]) -> Vec<(String, Option<String>)> {
    modes.iter().map(|(mode, offer)| (mode.name().into(), offer.clone().err())).collect()
}

/// Reads what [`offers`] wrote.
///
/// # Errors
/// If a paging mode does not exist.
pub fn read_offers(modes: &[(String, Option<String>)]) -> Result<Vec<ModeOffer>, String> {
    let read = |(name, why): &(String, Option<String>)| {
        let mode: PagingMode =
            name.parse().map_err(|_| format!("there is no paging mode {name:?}"))?;
        Ok((mode, why.clone().map_or(Ok(()), Err)))
    };

    modes.iter().map(read).collect()
}
