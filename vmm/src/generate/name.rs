//! Names of cases: the generator and its seed, the paging mode, and an index.

use super::exhaustive::ExhaustiveStream;
use super::given::GivenStream;
use super::guided::GuidedStream;
use super::random::RandomStream;
use super::sequence::SequenceStream;
use super::sequence::every::EverySequenceStream;
use super::sequence::guided::GuidedSequenceStream;
use super::single::SingleStream;
use super::{Origin, Stream};
use crosswalk_case::Case;
use crosswalk_machine::Capabilities;
use mmu_core::PagingMode;
use std::fmt;
use std::str::FromStr;

/// A source of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generator {
    /// Random cases from a seed.
    Random(u64),
    /// Every combination.
    Exhaustive,
    /// Random cases from a seed, chosen by how rare they are.
    Guided(u64),
    /// Cases that run alone, from a seed.
    Single(u64),
    /// Sequences of accesses and other actions, from a seed.
    Sequences(u64),
    /// Every sequence of a few actions.
    EverySequence,
    /// Random sequences, guided towards what chance shows least, from a seed.
    GuidedSequences(u64),
    /// A case that the user gave, by a hash of its text. Nothing makes it again.
    Given(u64),
}

impl Generator {
    /// One generator of each kind.
    const KINDS: [Self; 7] = [
        Self::Random(0),
        Self::Exhaustive,
        Self::Guided(0),
        Self::Single(0),
        Self::Sequences(0),
        Self::EverySequence,
        Self::GuidedSequences(0),
    ];

    /// Whether there are cases in a mode. Sequences are about tables.
    pub const fn runs_in(self, mode: PagingMode) -> bool {
        match self {
            Self::Sequences(_) | Self::GuidedSequences(_) => !matches!(mode, PagingMode::Unpaged),
            // Its alphabet is of long mode.
            Self::EverySequence => matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel),
            Self::Random(_)
            | Self::Exhaustive
            | Self::Guided(_)
            | Self::Single(_)
            | Self::Given(_) => true,
        }
    }

    /// The cases of a mode in which it [runs](Self::runs_in), on a machine.
    pub fn stream(self, mode: PagingMode, machine: &Capabilities) -> Box<dyn Stream> {
        match self {
            Self::Random(seed) => Box::new(RandomStream::new(seed, mode, machine.clone())),
            Self::Exhaustive => Box::new(ExhaustiveStream::new(mode, machine.clone())),
            Self::Guided(seed) => Box::new(GuidedStream::new(seed, mode, machine.clone())),
            Self::Single(seed) => Box::new(SingleStream::new(seed, mode, machine.clone())),
            Self::Sequences(seed) => Box::new(SequenceStream::new(seed, mode, machine.clone())),
            Self::GuidedSequences(seed) => {
                Box::new(GuidedSequenceStream::new(seed, mode, machine.clone()))
            }
            Self::Given(_) => Box::new(GivenStream(mode)),
            Self::EverySequence => Box::new(EverySequenceStream::new(mode, machine.clone())),
        }
    }

    /// `random`, `exhaustive`, `guided`, `single`, `sequence`, `every-sequence` or
    /// `guided-sequence`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random(_) => "random",
            Self::Exhaustive => "exhaustive",
            Self::Guided(_) => "guided",
            Self::Single(_) => "single",
            Self::Sequences(_) => "sequence",
            Self::EverySequence => "every-sequence",
            Self::GuidedSequences(_) => "guided-sequence",
            Self::Given(_) => "given",
        }
    }

    /// The seed, if it has one.
    pub const fn seed(self) -> Option<u64> {
        match self {
            Self::Random(seed)
            | Self::Guided(seed)
            | Self::Single(seed)
            | Self::Sequences(seed)
            | Self::GuidedSequences(seed)
            | Self::Given(seed) => Some(seed),
            Self::Exhaustive | Self::EverySequence => None,
        }
    }

    /// The generator of the same kind with another seed, if it has one.
    const fn with_seed(self, seed: u64) -> Self {
        match self {
            Self::Random(_) => Self::Random(seed),
            Self::Exhaustive | Self::EverySequence => self,
            Self::Guided(_) => Self::Guided(seed),
            Self::Single(_) => Self::Single(seed),
            Self::Sequences(_) => Self::Sequences(seed),
            Self::GuidedSequences(_) => Self::GuidedSequences(seed),
            Self::Given(_) => Self::Given(seed),
        }
    }
}

/// The name of a case within a run, a journal or a corpus, which say what the machine is. It means the same case on every
/// machine with the same [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseName {
    /// The source of the case.
    pub generator: Generator,
    /// The paging mode.
    pub mode: PagingMode,
    /// The index in the stream of the generator and the mode.
    pub index: u64,
}

impl CaseName {
    /// Whether a text begins like a name, even a malformed one. A file is hardly called so.
    pub fn is_meant(text: &str) -> bool {
        let first = text.split_once(':').map(|(first, _)| first);
        Generator::KINDS.iter().any(|kind| first == Some(kind.name()))
    }

    /// The case on a machine; `None` if the stream has no such index.
    pub fn case(&self, machine: &Capabilities) -> Option<Case> {
        if !self.generator.runs_in(self.mode) {
            return None;
        }
        let stream = self.generator.stream(self.mode, machine);
        let (batch, lane) = stream.locate(self.index)?;
        stream.batch(batch, lane + 1).cases.into_iter().nth(lane)
    }

    /// A hash of the name, spread over all 64 bits. The sum of the hashes distinguishes sets of names.
    pub fn digest(&self) -> u64 {
        let generator = match self.generator {
            Generator::Random(_) => 1,
            Generator::Exhaustive => 2,
            Generator::Guided(_) => 3,
            Generator::Single(_) => 4,
            Generator::Sequences(_) => 5,
            Generator::EverySequence => 6,
            Generator::GuidedSequences(_) => 7,
            Generator::Given(_) => 8,
        };
        let stream = scramble(generator * 8 + self.mode as u64);
        let seeded = scramble(stream ^ self.generator.seed().unwrap_or(0));
        scramble(seeded.wrapping_add(self.index.wrapping_mul(GOLDEN_GAMMA)))
    }
}

/// The name of a case anywhere: `random:4level:7:12345@amd48.185.3b2`. Without an origin the reader must know the
/// machine.
#[derive(Clone, Debug)]
pub struct FullCaseName {
    /// The name.
    pub name: CaseName,
    /// What decides, besides the name, which case it is.
    pub origin: Option<Origin>,
}

impl FullCaseName {
    /// The case; `machine` makes it if the name has no origin. `None` if the stream has no such index.
    pub fn case(&self, machine: &Capabilities) -> Option<Case> {
        self.name.case(self.origin.as_ref().map_or(machine, Origin::capabilities))
    }
}

impl fmt::Display for FullCaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        self.origin.as_ref().map_or(Ok(()), |origin| write!(f, "@{origin}"))
    }
}

impl FromStr for FullCaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, origin)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, origin: None });
        };
        let origin = origin.parse().map_err(|problem| format!("{text}: {problem}"))?;
        Ok(Self { name: name.parse()?, origin: Some(origin) })
    }
}

/// The increment of `SplitMix64`.
pub(super) const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of `SplitMix64`: a one-to-one scramble of 64 bits.
const fn scramble(value: u64) -> u64 {
    let first = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let second = (first ^ (first >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    second ^ (second >> 31)
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
                 sequence:MODE:SEED:INDEX, guided-sequence:MODE:SEED:INDEX, \
                 single:MODE:SEED:INDEX, exhaustive:MODE:INDEX or every-sequence:MODE:INDEX, found {text:?}"
            )
        };
        let number = |digits: &str| digits.parse().map_err(|_| problem("not a number"));

        let parts: Vec<_> = text.split(':').collect();
        let kind = Generator::KINDS.into_iter().find(|kind| kind.name() == parts[0]);
        let (generator, mode, index) = match (kind, &parts[1..]) {
            (Some(kind), [mode, seed, index]) if kind.seed().is_some() => {
                (kind.with_seed(number(seed)?), mode, index)
            }
            (Some(kind), [mode, index]) if kind.seed().is_none() => (kind, mode, index),
            _ => return Err(problem("not the name of a case")),
        };
        let mode = mode.parse().map_err(|_| problem("no such paging mode"))?;
        Ok(Self { generator, mode, index: number(index)? })
    }
}
