//! What is run, as the first line of a journal has it: enough to tell whether another run is the
//! same, and to report on it without the machine.

use crate::generate::{Generator, Shard};
use crosswalk_machine::{Capabilities, Identity, MachineLine, ModeOffer, offers, read_offers};
use serde::{Deserialize, Serialize};

/// The form of a journal; another program may write another.
const FORMAT: u32 = 1;

/// What stands in a generator's place where cases were recorded.
const RECORDED: &str = "recorded";

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLine {
    format: u32,
    /// The version of the program: another may make other cases.
    version: String,
    /// `random`, `exhaustive` or `guided`; `recorded` in a replay.
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

    /// The line of a replay: nothing is generated, and there is no seed.
    pub fn replayed(
        modes: &[ModeOffer],
        cases: Option<u64>,
        walker: String,
        known: Option<String>,
        machine: (&Identity, &Capabilities),
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            generator: RECORDED.into(),
            seed: 0,
            modes: offers(modes),
            combinations: None,
            cases,
            walker,
            known,
            shard: ShardLine { count: 1, parts: vec![0] },
            machine: MachineLine::new(machine.0, machine.1),
        }
    }

    /// Whether the cases have a seed.
    pub fn has_seed(&self) -> bool {
        !["exhaustive", RECORDED].contains(&self.generator.as_str())
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
