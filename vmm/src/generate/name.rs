//! The name of a case: which generator made it, for which paging mode, from which seed, and its index.

use super::Stream;
use super::exhaustive::ExhaustiveStream;
use super::guided::GuidedStream;
use super::random::RandomStream;
use super::sequence::SingleStream;
use crosswalk_case::Case;
use crosswalk_machine::Capabilities;
use mmu_core::PagingMode;
use std::fmt;
use std::str::FromStr;

/// What makes cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generator {
    /// Random cases from a seed.
    Random(u64),
    /// Every combination.
    Exhaustive,
    /// Random cases from a seed, chosen by how rare they are.
    Guided(u64),
    /// Cases that run alone, sequences most of them, from a seed.
    Single(u64),
}

impl Generator {
    /// The cases of a mode on a machine.
    pub fn stream(self, mode: PagingMode, machine: &Capabilities) -> Box<dyn Stream> {
        match self {
            Self::Random(seed) => Box::new(RandomStream::new(seed, mode, machine.clone())),
            Self::Exhaustive => Box::new(ExhaustiveStream::new(mode, machine.clone())),
            Self::Guided(seed) => Box::new(GuidedStream::new(seed, mode, machine.clone())),
            Self::Single(seed) => Box::new(SingleStream::new(seed, mode, machine.clone())),
        }
    }

    /// `random`, `exhaustive`, `guided` or `single`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random(_) => "random",
            Self::Exhaustive => "exhaustive",
            Self::Guided(_) => "guided",
            Self::Single(_) => "single",
        }
    }

    /// The seed, if it has one.
    pub const fn seed(self) -> Option<u64> {
        match self {
            Self::Random(seed) | Self::Guided(seed) | Self::Single(seed) => Some(seed),
            Self::Exhaustive => None,
        }
    }
}

/// The name of a case. It means the same case on every machine with the same capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseName {
    /// What made it.
    pub generator: Generator,
    /// The paging mode.
    pub mode: PagingMode,
    /// Its place in the stream of the generator and the mode.
    pub index: u64,
}

impl CaseName {
    /// Whether a text is meant as a name, right or wrong: not a case, and hardly a file.
    pub fn is_meant(text: &str) -> bool {
        ["random:", "exhaustive:", "guided:", "single:"].iter().any(|start| text.starts_with(start))
    }

    /// The case itself, on a machine; `None` when the stream has no such index.
    pub fn case(&self, machine: &Capabilities) -> Option<Case> {
        let stream = self.generator.stream(self.mode, machine);
        let (batch, lane) = stream.locate(self.index)?;
        stream.batch(batch, lane + 1).cases.into_iter().nth(lane)
    }

    /// A number of its own for every name, spread over all 64 bits: their sum tells sets of names
    /// apart.
    pub fn digest(&self) -> u64 {
        let scramble = |value: u64| {
            let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^ (value >> 31)
        };
        let generator = match self.generator {
            Generator::Random(_) => 1,
            Generator::Exhaustive => 2,
            Generator::Guided(_) => 3,
            Generator::Single(_) => 4,
        };
        let stream = scramble(generator * 8 + self.mode as u64);
        let seeded = scramble(stream ^ self.generator.seed().unwrap_or(0));
        scramble(seeded.wrapping_add(self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generator, mode, index } = self;
        match generator.seed() {
            Some(seed) => write!(f, "{}:{mode}:{seed}:{index}", generator.name()),
            None => write!(f, "{}:{mode}:{index}", generator.name()),
        }
    }
}

impl FromStr for CaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |what: &str| {
            format!(
                "{what}: expected random:MODE:SEED:INDEX, guided:MODE:SEED:INDEX, \
                 single:MODE:SEED:INDEX or exhaustive:MODE:INDEX, found {text:?}"
            )
        };
        let number = |digits: &str| digits.parse().map_err(|_| problem("not a number"));
        let parts: Vec<_> = text.split(':').collect();
        let (generator, mode, index) = match parts[..] {
            ["random", mode, seed, index] => (Generator::Random(number(seed)?), mode, index),
            ["guided", mode, seed, index] => (Generator::Guided(number(seed)?), mode, index),
            ["single", mode, seed, index] => (Generator::Single(number(seed)?), mode, index),
            ["exhaustive", mode, index] => (Generator::Exhaustive, mode, index),
            _ => return Err(problem("not the name of a case")),
        };
        let mode = PagingMode::ALL
            .into_iter()
            .find(|known| known.name() == mode)
            .ok_or_else(|| problem("no such paging mode"))?;
        Ok(Self { generator, mode, index: number(index)? })
    }
}
