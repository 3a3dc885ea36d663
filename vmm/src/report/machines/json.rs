//! What this host offers, for scripts. The names of fields are part of the contract.

use super::virtualization::{VirtualizationJson, virtualization};
use crate::report::BootedOffer;
use crate::report::document::Document;
use crate::report::jail::{JailJson, jail};
use crate::report::machine::{MachineJson, machine};
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Deciders, Machine};
use serde::Serialize;
use std::collections::BTreeMap;

/// What this host offers: `machines`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct MachinesDocument<'r> {
    /// Each kind of machine.
    machines: Vec<OfferJson<'r>>,
}

impl Document for MachinesDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A kind of machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OfferJson<'r> {
    /// Its kind, and of several QEMUs its program.
    kind: &'r str,
    /// Whether it works here.
    available: bool,
    /// Why it does not.
    reason: Option<&'r str>,
    /// The machine; null where there is none.
    machine: Option<MachineJson<'r>>,
    /// The jail of its guest.
    jail: Option<JailJson<'r>>,
    /// The jail of walkers that are programs.
    walkers_jail: JailJson<'r>,
    /// The paging modes.
    modes: Vec<ModeOfferJson<'r>>,
    /// Who decides what: by ring, or `outside` memory, and by the kind of outcome.
    provenance: Option<BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>>,
    /// Why implicit supervisor accesses cannot be tested, if they cannot.
    no_implicit_accesses: Option<&'r str>,
    /// Why code in compatibility mode cannot be run, if it cannot.
    no_compatibility_mode: Option<&'r str>,
    /// Guests in its guest; null where nothing was opened.
    virtualization: Option<VirtualizationJson>,
    /// Of an emulator that boots images: its name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    emulator: Option<&'r str>,
    /// The same: the names of its processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<&'r str>,
}

/// A paging mode.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModeOfferJson<'r> {
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// Whether the machine runs it.
    offered: bool,
    /// Why it does not.
    reason: Option<&'r str>,
}

/// What this host offers: each machine, or why not, and the jail of the walkers.
pub fn document<'r>(
    offers: &'r [(&str, Result<&dyn Machine, &str>)],
    booted: &'r [BootedOffer],
    walkers: &'r JailReport,
) -> impl Document {
    let machines = offers.iter().map(|(kind, offer)| offer_json(kind, *offer, walkers));
    let emulators = booted.iter().map(|emulator| {
        let why = emulator.found.as_ref().map_or_else(String::as_str, |_| "");
        let none = offer_json(emulator.kind, Err(why), walkers);
        match &emulator.found {
            Err(_) => none,
            Ok((name, models)) => OfferJson {
                available: true,
                reason: None,
                emulator: Some(name),
                models: models.iter().map(String::as_str).collect(),
                ..none
            },
        }
    });
    MachinesDocument { machines: machines.chain(emulators).collect() }
}

fn offer_json<'r>(
    kind: &'r str,
    offer: Result<&'r dyn Machine, &'r str>,
    walkers: &'r JailReport,
) -> OfferJson<'r> {
    let Ok(opened) = offer else {
        return OfferJson {
            kind,
            available: false,
            reason: offer.err(),
            machine: None,
            jail: None,
            walkers_jail: jail(walkers),
            modes: Vec::new(),
            provenance: None,
            no_implicit_accesses: None,
            no_compatibility_mode: None,
            virtualization: None,
            emulator: None,
            models: Vec::new(),
        };
    };

    let capabilities = opened.capabilities();
    let map = opened.provenance();
    let by_class = |who: &Deciders| {
        let classes = ["translation", "page_fault", "address_fault", "alignment_fault"];
        classes.into_iter().zip(who.iter().map(|who| who.name())).collect()
    };

    OfferJson {
        kind: &opened.identity().kind,
        available: true,
        reason: None,
        machine: Some(machine(opened.identity(), capabilities)),
        jail: Some(jail(opened.jail())),
        walkers_jail: jail(walkers),
        modes: capabilities
            .modes
            .iter()
            .map(|(mode, offered)| ModeOfferJson {
                mode: mode.name(),
                offered: offered.is_ok(),
                reason: offered.as_ref().err().map(String::as_str),
            })
            .collect(),
        provenance: Some(BTreeMap::from([
            ("ring0", by_class(&map.supervisor)),
            ("ring3", by_class(&map.user)),
            ("ring0_compatibility", by_class(&map.compatible_supervisor)),
            ("ring3_compatibility", by_class(&map.compatible_user)),
            ("outside", BTreeMap::from([("any", map.outside.name())])),
        ])),
        no_implicit_accesses: capabilities.implicit_accesses.as_ref().err().map(String::as_str),
        no_compatibility_mode: capabilities.compatibility.as_ref().err().map(String::as_str),
        virtualization: Some(virtualization(capabilities)),
        emulator: None,
        models: Vec::new(),
    }
}
