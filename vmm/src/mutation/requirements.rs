//! Whether a machine meets the requirements of a mutant, according to its CPUID and its probes.

use crate::walker::Need;
use crosswalk_machine::Capabilities;
use mmu_core::{Cr4, Features, Vendor};

/// The requirements that a machine does not meet, in words; `None` if it meets all of them.
pub(super) fn unmet(needs: &[Need], machine: &Capabilities) -> Option<String> {
    let unmet: Vec<String> = needs.iter().filter_map(|need| why_unmet(*need, machine)).collect();
    (!unmet.is_empty()).then(|| unmet.join("; "))
}

/// Why a machine does not meet a requirement; `None` if it does.
fn why_unmet(need: Need, machine: &Capabilities) -> Option<String> {
    let profile = &machine.profile;
    let bits = profile.physical_address_bits;
    let width = || format!("MAXPHYADDR is {bits} (CPUID 80000008h EAX[7:0])");

    match need {
        Need::Mode(mode) => {
            let (_, offer) = machine.modes.iter().find(|(offered, _)| *offered == mode)?;
            offer.as_ref().err().map(|why| format!("no {mode} paging: {why}"))
        }
        Need::Feature(feature) => {
            let has_feature = profile.features.contains(feature) || is_obeyed(feature, machine);
            (!has_feature).then(|| bit_is(feature, 0))
        }
        Need::Reported(feature) => {
            (!profile.features.contains(feature)).then(|| bit_is(feature, 0))
        }
        Need::Lacks(feature) => profile.features.contains(feature).then(|| bit_is(feature, 1)),
        Need::Amd => {
            let vendor = profile.vendor;
            let reserves_global =
                vendor == Vendor::Amd || profile.pins.global_in_pml4e_is_reserved == Some(true);
            (!reserves_global)
                .then(|| format!("vendor {vendor:?}: G in a PML4E is ignored (CODE-7)"))
        }
        Need::BitsAbove(limit) => (bits <= limit).then(width),
        Need::BitsBelow(limit) => (bits >= limit).then(width),
        Need::HighMemory => {
            (!machine.high_memory).then(|| "there is no memory at high addresses".into())
        }
        Need::Implicit => machine.implicit_accesses.clone().err(),
        Need::Compatibility => machine.compatibility.clone().err(),
        Need::AnyLocalTable => (!machine.any_local_table)
            .then(|| "LLDT may refuse a base that is not canonical".into()),
        Need::ReadOnlyTables => machine.read_only_tables.clone().err(),
        Need::ReservedMovs => machine.reserved_movs.clone().err(),
        Need::Vmx => (!machine.vmx).then(|| "CPUID 1 ECX[5] is 0: no VMX".into()),
        Need::LoadsPkru if !profile.features.contains(Features::PKU) => {
            Some(bit_is(Features::PKU, 0))
        }
        Need::LoadsPkru => {
            (!machine.pkru_in_ring_0).then(|| "PKRU cannot be loaded in ring 0 here".into())
        }
        Need::RepeatsWalks => (profile.vendor != Vendor::Amd)
            .then(|| format!("vendor {:?}: one spurious fault is allowed (TLB-2)", profile.vendor)),
        Need::PdptesInRegisters => {
            let walked = profile.pins.pdptes_are_walked;
            let are_kept = walked.map_or(profile.vendor == Vendor::Intel, |walked| !walked);
            (!are_kept).then(|| "PDPTEs may be read during the walk (PDPTE-4)".into())
        }
        Need::OneOf(needs) => {
            let all_unmet: Option<Vec<String>> =
                needs.iter().map(|need| why_unmet(*need, machine)).collect();
            all_unmet.map(|reasons| reasons.join("; "))
        }
    }
}

/// Whether the machine obeys the feature's bit of CR4 although its CPUID does not report the feature.
fn is_obeyed(feature: Features, machine: &Capabilities) -> bool {
    let name = feature.iter_names().next().map(|(name, _)| name);
    name.and_then(Cr4::from_name).is_some_and(|bit| machine.not_in_cpuid.contains(bit))
}

/// `CPUID 7 ECX[3] is 0: no PKU`.
fn bit_is(feature: Features, value: u8) -> String {
    let names = feature.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ");

    match feature.cpuid_bit() {
        Some(bit) if value == 0 => format!("{bit} is 0: no {names}"),
        Some(bit) => format!("{bit} is {value}: {names}"),
        None => format!("{names} is {value}"),
    }
}
