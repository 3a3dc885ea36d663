//! What is run, as the first line of a journal has it: enough to tell whether another run is the
//! same, and to report on it without the machine.

use super::tally::interned;
use crate::case::FullProfile;
use crate::generate::{Generator, Shard};
use crate::machine::{Capabilities, Identity, ModeOffer};
use mmu_core::{Cr4, PagingMode};
use serde::{Deserialize, Serialize};

/// The form of a journal; another program may write another.
const FORMAT: u32 = 1;

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLine {
    format: u32,
    /// The version of the program: another may make other cases.
    version: String,
    /// `random`, `exhaustive` or `guided`.
    pub generator: String,
    /// The seed.
    pub seed: u64,
    /// The modes asked for, each with the reason why it is not run.
    pub modes: Vec<(String, Option<String>)>,
    /// How many combinations all modes have, where they are enumerated.
    pub combinations: Option<u64>,
    /// The limit of the whole run.
    pub cases: Option<u64>,
    /// Who predicts.
    pub walker: String,
    /// The file of known findings, or `none`; nothing for the one of the machine.
    pub known: Option<String>,
    /// Which parts of the run.
    pub shard: ShardLine,
    /// The machine.
    pub machine: MachineLine,
}

/// Which parts of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardLine {
    /// How many parts the run has.
    pub count: u64,
    /// Which of them these are.
    pub parts: Vec<u64>,
}

/// A machine, as far as cases and reports depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct MachineLine {
    kind: String,
    flavour: String,
    beneath: String,
    /// The processor's name. Nodes of a cluster may differ in it.
    pub cpu: String,
    /// The kernel; nodes may differ in it.
    pub host_kernel: String,
    emulator: Option<String>,
    profile: FullProfile,
    not_in_cpuid: Vec<String>,
    modes: Vec<(String, Option<String>)>,
    no_implicit_accesses: Option<String>,
    pkru_without_pku: bool,
    pkru_in_ring_0: bool,
    high_memory: bool,
    no_read_only_tables: Option<String>,
    vmx: bool,
    sees_outside: bool,
}

impl RunLine {
    /// The line of a run.
    #[expect(clippy::too_many_arguments, reason = "everything that a run depends on")]
    pub fn new(
        generator: Generator,
        seed: u64,
        modes: &[ModeOffer],
        cases: Option<u64>,
        walker: String,
        known: Option<String>,
        shard: Shard,
        machine: (&Identity, &Capabilities),
    ) -> Self {
        let offered = modes.iter().filter(|(_, offer)| offer.is_ok());
        let combinations = (generator == Generator::Exhaustive)
            .then(|| offered.map(|(mode, _)| generator.stream(*mode, machine.1).cases()).sum());
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            generator: generator.name().into(),
            seed,
            modes: offers(modes),
            combinations,
            cases,
            walker,
            known,
            shard: ShardLine { count: shard.count, parts: vec![shard.index] },
            machine: MachineLine::new(machine.0, machine.1),
        }
    }

    /// In what another run differs, besides the shard: the first thing, as it is here and there.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let differ = |name: &str, here: &dyn std::fmt::Debug, there: &dyn std::fmt::Debug| {
            let (here, there) = (format!("{here:?}"), format!("{there:?}"));
            (here != there).then(|| format!("expected {name} {here}, found {there}"))
        };
        let (mut machine, mut others) = (self.machine.clone(), other.machine.clone());
        for machine in [&mut machine, &mut others] {
            machine.cpu.clear();
            machine.host_kernel.clear();
        }
        [
            differ("format", &self.format, &other.format),
            differ("version", &self.version, &other.version),
            differ("generator", &self.generator, &other.generator),
            differ("seed", &self.seed, &other.seed),
            differ("modes", &self.modes, &other.modes),
            differ("cases", &self.cases, &other.cases),
            differ("walker", &self.walker, &other.walker),
            differ("known findings", &self.known, &other.known),
            differ("shards", &self.shard.count, &other.shard.count),
            differ("machine", &machine, &others),
        ]
        .into_iter()
        .flatten()
        .next()
    }

    /// The modes asked for, each with the reason why it was not run.
    ///
    /// # Errors
    /// When there is no such mode.
    pub fn read_modes(&self) -> Result<Vec<ModeOffer>, String> {
        read_offers(&self.modes)
    }
}

impl ShardLine {
    /// The parts that are not there.
    pub fn missing(&self) -> Vec<u64> {
        (0..self.count).filter(|part| !self.parts.contains(part)).collect()
    }
}

impl MachineLine {
    fn new(identity: &Identity, capabilities: &Capabilities) -> Self {
        let names = capabilities.not_in_cpuid.iter_names();
        Self {
            kind: identity.kind.into(),
            flavour: identity.flavour.into(),
            beneath: identity.beneath.clone(),
            cpu: identity.cpu.clone(),
            host_kernel: identity.host_kernel.clone(),
            emulator: identity.version.clone(),
            profile: FullProfile::from(&capabilities.profile),
            not_in_cpuid: names.map(|(name, _)| name.to_lowercase()).collect(),
            modes: offers(&capabilities.modes),
            no_implicit_accesses: capabilities.implicit_accesses.clone().err(),
            pkru_without_pku: capabilities.pkru_without_pku,
            pkru_in_ring_0: capabilities.pkru_in_ring_0,
            high_memory: capabilities.high_memory,
            no_read_only_tables: capabilities.read_only_tables.clone().err(),
            vmx: capabilities.vmx,
            sees_outside: capabilities.sees_outside,
        }
    }

    /// The machine.
    ///
    /// # Errors
    /// When it names something that does not exist.
    pub fn read(&self) -> Result<(Identity, Capabilities), String> {
        let identity = Identity {
            kind: interned(self.kind.clone()),
            flavour: interned(self.flavour.clone()),
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
            pkru_without_pku: self.pkru_without_pku,
            pkru_in_ring_0: self.pkru_in_ring_0,
            high_memory: self.high_memory,
            read_only_tables: self.no_read_only_tables.clone().map_or(Ok(()), Err),
            vmx: self.vmx,
            sees_outside: self.sees_outside,
        };
        Ok((identity, capabilities))
    }
}

fn offers(modes: &[ModeOffer]) -> Vec<(String, Option<String>)> {
    modes.iter().map(|(mode, offer)| (mode.name().into(), offer.clone().err())).collect()
}

fn read_offers(modes: &[(String, Option<String>)]) -> Result<Vec<ModeOffer>, String> {
    let read = |(name, why): &(String, Option<String>)| {
        let mode = PagingMode::ALL.into_iter().find(|mode| mode.name() == name);
        let mode = mode.ok_or_else(|| format!("there is no paging mode {name:?}"))?;
        Ok((mode, why.clone().map_or(Ok(()), Err)))
    };
    modes.iter().map(read).collect()
}
