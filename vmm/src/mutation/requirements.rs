//! Whether a machine has what it takes to show a mistake, as its CPUID and its probes tell.

use crate::walker::Need;
use crosswalk_machine::{Capabilities, Machine};
use mmu_core::{Cr4, Features, Vendor};

/// What a machine lacks of these needs.
pub(super) fn why_not(needs: &[Need], machine: &dyn Machine) -> Option<String> {
    let lacking: Vec<String> =
        needs.iter().filter_map(|need| lacks(*need, machine.capabilities())).collect();
    (!lacking.is_empty()).then(|| lacking.join("; "))
}

/// What is missing, if it is.
fn lacks(need: Need, machine: &Capabilities) -> Option<String> {
    let (profile, bits) = (&machine.profile, machine.profile.physical_address_bits);
    let width = || format!("MAXPHYADDR is {bits} (CPUID 80000008h EAX[7:0])");
    match need {
        Need::Mode(mode) => {
            let (_, offer) = machine.modes.iter().find(|(offered, _)| *offered == mode)?;
            offer.as_ref().err().map(|why| format!("no {mode} paging: {why}"))
        }
        Need::Feature(feature) => {
            let mut names = feature.iter_names();
            let bit = names.next().and_then(|(name, _)| Cr4::from_name(name));
            let obeyed = bit.is_some_and(|bit| machine.not_in_cpuid.contains(bit));
            (!profile.features.contains(feature) && !obeyed).then(|| bit_is(feature, 0))
        }
        Need::Lacks(feature) => profile.features.contains(feature).then(|| bit_is(feature, 1)),
        Need::Amd => {
            let reserves = profile.vendor == Vendor::Amd
                || profile.pins.global_in_pml4e_is_reserved == Some(true);
            let vendor = profile.vendor;
            (!reserves).then(|| format!("vendor {vendor:?}: G in a PML4E is ignored (CODE-7)"))
        }
        Need::BitsAbove(most) => (bits <= most).then(width),
        Need::BitsBelow(least) => (bits >= least).then(width),
        Need::HighMemory => {
            (!machine.high_memory).then(|| "there is no memory at high addresses".into())
        }
        Need::Implicit => machine.implicit_accesses.clone().err(),
        Need::ReadOnlyTables => machine.read_only_tables.clone().err(),
        Need::Vmx => (!machine.vmx).then(|| "CPUID 1 ECX[5] is 0: there is no VMX".into()),
        Need::LoadsPkru if !profile.features.contains(Features::PKU) => {
            Some(bit_is(Features::PKU, 0))
        }
        Need::LoadsPkru => {
            (!machine.pkru_in_ring_0).then(|| "PKRU cannot be loaded in ring 0 here".into())
        }
        Need::OneOf(needs) => {
            let lacking: Option<Vec<String>> =
                needs.iter().map(|need| lacks(*need, machine)).collect();
            lacking.map(|lacking| lacking.join("; "))
        }
    }
}

/// `CPUID 7 ECX[3] is 0: PKU`.
fn bit_is(feature: Features, value: u8) -> String {
    let names: Vec<_> = feature.iter_names().map(|(name, _)| name).collect();
    let names = names.join(" ");
    match feature.cpuid_bit() {
        Some(bit) => format!("{bit} is {value}: {}{names}", if value == 0 { "no " } else { "" }),
        None => format!("{names} is {value}"),
    }
}
