//! What is run, as the first line of a journal describes it: enough to compare two runs, and to report
//! on a run without its machine.

use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::generate::{Generator, SequenceUse, Shard};
use crosswalk_case::Decimal;
use crosswalk_machine::{Capabilities, Identity, MachineLine, ModeOffer, offers, read_offers};
use mmu_core::PagingMode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the journal's format.
pub(super) const FORMAT: u32 = 3;

/// What is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLine {
    format: u32,
    /// The version of the program: another version may generate other cases.
    version: String,
    /// Where the cases come from.
    pub generator: CaseSource,
    /// Whether there are sequences besides single accesses.
    pub sequences: SequenceUse,
    /// The seed of the cases; 0 if they have none.
    pub seed: Decimal,
    /// The requested modes, each with the reason if it is not run.
    pub modes: Vec<(String, Option<String>)>,
    /// Whether these modes were asked for by name, so that one that is not run is missing.
    #[serde(default)]
    pub modes_by_name: bool,
    /// The number of combinations in all modes, if cases are enumerated.
    pub combinations: Option<Decimal>,
    /// The maximum number of cases of the whole run.
    pub cases: Option<u64>,
    /// Who predicts.
    pub walker: Predictor,
    /// Where the known findings come from.
    pub known: KnownSource,
    /// Which parts of the run these are.
    pub shard: ShardLine,
    /// The machine.
    pub machine: MachineLine,
}

/// Where the cases of a run come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseSource {
    /// Random cases.
    Random,
    /// Every combination.
    Exhaustive,
    /// Random cases, guided towards rare ones.
    Guided,
    /// Cases that run alone.
    Single,
    /// Sequences.
    Sequence,
    /// The cases of a corpus: a replay.
    Recorded,
    /// Cases that the user gave.
    Given,
}

impl CaseSource {
    /// The name used in journals and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Exhaustive => "exhaustive",
            Self::Guided => "guided",
            Self::Single => "single",
            Self::Sequence => "sequence",
            Self::Recorded => "recorded",
            Self::Given => "given",
        }
    }
}

impl From<Generator> for CaseSource {
    fn from(generator: Generator) -> Self {
        match generator {
            Generator::Random(_) => Self::Random,
            Generator::Exhaustive | Generator::EverySequence => Self::Exhaustive,
            Generator::Guided(_) | Generator::GuidedSequences(_) => Self::Guided,
            Generator::Single(_) => Self::Single,
            Generator::Given(_) => Self::Given,
            Generator::Sequences(_) => Self::Sequence,
        }
    }
}

/// Which parts of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardLine {
    /// Number of parts of the whole run.
    pub count: u64,
    /// The parts, by their numbers from 0, in ascending order.
    pub parts: Vec<u64>,
}

impl ShardLine {
    /// Whether other parts are not these, as `expected ..., found ...`.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let in_words = |line: &Self| {
            let parts: Vec<_> = line.parts.iter().map(ToString::to_string).collect();
            format!("{} of {}", parts.join(", "), line.count)
        };
        differ("shard", &in_words(self), &in_words(other))
    }

    /// The parts that are not there.
    pub fn missing(&self) -> Vec<u64> {
        (0..self.count).filter(|part| self.parts.binary_search(part).is_err()).collect()
    }

    /// Checks that these are parts of a run, in ascending order.
    fn check(&self) -> Result<(), String> {
        let Self { count, parts } = self;
        let are_parts = parts.is_sorted_by(|a, b| a < b) && parts.iter().all(|part| part < count);

        if (1..=Shard::MAX_COUNT).contains(count) && !parts.is_empty() && are_parts {
            Ok(())
        } else {
            Err(format!("expected parts of at most {} shards, in order", Shard::MAX_COUNT))
        }
    }
}

impl From<Shard> for ShardLine {
    fn from(shard: Shard) -> Self {
        Self { count: shard.count, parts: vec![shard.index] }
    }
}

/// What the user asked of a run or of a replay.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'r> {
    /// The requested modes, each with the reason if it is not run.
    pub modes: &'r [ModeOffer],
    /// Whether the user named these modes.
    pub modes_by_name: bool,
    /// The maximum number of cases of the whole run.
    pub cases: Option<u64>,
    /// Who predicts.
    pub walker: &'r Predictor,
    /// Where the known findings come from.
    pub known: &'r KnownSource,
}

impl RunLine {
    /// The line of a run on a machine. The generator makes the single accesses.
    pub fn generated(
        (generator, sequences): (Generator, SequenceUse),
        shard: Shard,
        options: RunOptions<'_>,
        identity: &Identity,
        capabilities: &Capabilities,
    ) -> Self {
        let combinations = (generator == Generator::Exhaustive).then(|| {
            let offered = options.modes.iter().filter(|(_, offer)| offer.is_ok());
            let of_mode = |mode: PagingMode| {
                let generators = sequences.generators(generator).into_iter();
                let own = generators.filter(move |generator| generator.runs_in(mode));
                own.map(move |generator| generator.stream(mode, capabilities).cases())
            };
            Decimal(offered.flat_map(|(mode, _)| of_mode(*mode)).fold(0, u64::saturating_add))
        });

        Self {
            seed: Decimal(generator.seed().unwrap_or(0)),
            sequences,
            combinations,
            shard: shard.into(),
            ..Self::new(generator.into(), options, identity, capabilities)
        }
    }

    /// The line of a replay. Nothing is generated, so there is no seed.
    pub fn replayed(
        options: RunOptions<'_>,
        identity: &Identity,
        capabilities: &Capabilities,
    ) -> Self {
        Self::new(CaseSource::Recorded, options, identity, capabilities)
    }

    /// The line of a run of cases that the user gave.
    pub fn given(
        options: RunOptions<'_>,
        identity: &Identity,
        capabilities: &Capabilities,
    ) -> Self {
        Self::new(CaseSource::Given, options, identity, capabilities)
    }

    /// A whole run without a seed.
    fn new(
        generator: CaseSource,
        options: RunOptions<'_>,
        identity: &Identity,
        capabilities: &Capabilities,
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            generator,
            sequences: SequenceUse::On,
            seed: Decimal(0),
            modes: offers(options.modes),
            modes_by_name: options.modes_by_name,
            combinations: None,
            cases: options.cases,
            walker: options.walker.clone(),
            known: options.known.clone(),
            shard: Shard::WHOLE.into(),
            machine: MachineLine::new(identity, capabilities),
        }
    }

    /// Checks that this program wrote the line, in this version.
    pub(super) fn check(&self) -> Result<(), String> {
        let version = env!("CARGO_PKG_VERSION");
        if self.version != version {
            let found = &self.version;
            return Err(format!(
                "expected a journal of version {version}, found one of {found}: another version may \
                 generate other cases"
            ));
        }
        self.shard.check()
    }

    /// Whether the cases depend on a seed.
    pub const fn has_seed(&self) -> bool {
        !matches!(self.generator, CaseSource::Exhaustive | CaseSource::Recorded | CaseSource::Given)
    }

    /// The first field in which another run differs, shard aside, as `expected ..., found ...`. The
    /// processor's name and the kernel may differ: the nodes of a cluster do.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let known = |run: &Self| {
            let file = Option::<String>::from(run.known.clone());
            file.unwrap_or_else(|| "those of the machine".into())
        };
        let number =
            |count: Option<u64>| count.map_or("any number".into(), |count| count.to_string());

        None.or_else(|| differ("format", &self.format, &other.format))
            .or_else(|| differ("version", &self.version, &other.version))
            .or_else(|| differ("generator", self.generator.name(), other.generator.name()))
            .or_else(|| differ("sequences", self.sequences.name(), other.sequences.name()))
            .or_else(|| differ("seed", &self.seed.0, &other.seed.0))
            .or_else(|| {
                differ("modes", &modes_in_words(&self.modes), &modes_in_words(&other.modes))
            })
            .or_else(|| differ("cases", &number(self.cases), &number(other.cases)))
            .or_else(|| differ("walker", &self.walker.to_string(), &other.walker.to_string()))
            .or_else(|| differ("known findings", &known(self), &known(other)))
            .or_else(|| differ("shards", &self.shard.count, &other.shard.count))
            .or_else(|| self.machine.difference(&other.machine))
    }

    /// The requested modes, each with the reason if it was not run.
    ///
    /// # Errors
    /// When a mode does not exist.
    pub fn read_modes(&self) -> Result<Vec<ModeOffer>, String> {
        read_offers(&self.modes)
    }
}

/// Modes with the reasons of those that are not run.
fn modes_in_words(modes: &[(String, Option<String>)]) -> String {
    let in_words = |(mode, why): &(String, Option<String>)| match why {
        None => mode.clone(),
        Some(why) => format!("{mode} (not run: {why})"),
    };
    modes.iter().map(in_words).collect::<Vec<_>>().join(", ")
}

fn differ<T>(name: &str, here: &T, there: &T) -> Option<String>
where
    T: PartialEq + fmt::Display + ?Sized,
{
    (here != there).then(|| format!("expected {name} {here}, found {there}"))
}
