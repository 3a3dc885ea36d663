//! The order of a run: when each batch of each stream runs, and in which shard.
//!
//! Two neighbouring batches, one for each arena, are a pair. In each *round* every stream has a number of
//! pairs, mostly one, and round `k` belongs to shard `k mod N`. So every shard has all streams and both
//! arenas.

use super::{CaseName, ENDLESS, Generator, Stream};
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// One of `count` parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of the part, from 0.
    pub index: u64,
    /// The number of parts.
    pub count: u64,
}

impl Shard {
    /// The whole run.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The most parts that a run is divided into.
    pub const MAX_COUNT: u64 = 1 << 20;
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shard = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });

        shard
            .filter(|shard| shard.index < shard.count && shard.count <= Self::MAX_COUNT)
            .ok_or_else(|| {
                "expected I/N with I from 0 to N-1, such as 0/64 for the first of 64".into()
            })
    }
}

/// Whether a run has sequences besides single accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SequenceUse {
    /// Both.
    On,
    /// Single accesses only.
    Off,
    /// Sequences only.
    Only,
}

impl SequenceUse {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Only => "only",
        }
    }

    /// The generators of a run whose single accesses come from this one. Where all combinations are
    /// enumerated, all short sequences are as well.
    pub fn generators(self, single: Generator) -> Vec<Generator> {
        let sequences = match (single, single.seed()) {
            (Generator::Guided(seed), _) => Generator::GuidedSequences(seed),
            (_, Some(seed)) => Generator::Sequences(seed),
            (_, None) => Generator::EverySequence,
        };
        match self {
            Self::Off => vec![single],
            Self::On => vec![single, sequences],
            Self::Only => vec![sequences],
        }
    }
}

/// The batches of a shard, in order.
pub struct Schedule {
    streams: Vec<ScheduledStream>,
    shard: Shard,
    /// Maximum number of cases of the whole run, all shards together.
    cases: Option<u64>,
}

/// A stream that takes turns with others.
struct ScheduledStream {
    generator: Generator,
    stream: Box<dyn Stream>,
    /// Number of pairs of batches in each round.
    pairs: u64,
}

impl ScheduledStream {
    /// The streams of a generator. One that has cases in some of the modes only has more of them there, so
    /// that their number does not depend on how many other modes run.
    fn all(
        generator: Generator,
        modes: &[PagingMode],
        machine: &Capabilities,
    ) -> impl Iterator<Item = Self> {
        let own: Vec<_> = modes.iter().copied().filter(|mode| generator.runs_in(*mode)).collect();
        let pairs = (modes.len() / own.len().max(1)) as u64;
        own.into_iter().map(move |mode| Self {
            generator,
            stream: generator.stream(mode, machine),
            pairs,
        })
    }

    /// The number of cases before a batch, which may be one after the last.
    fn cases_before(&self, batch: u64) -> u64 {
        self.stream.cases_before(batch.min(self.stream.batches()))
    }
}

/// One batch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the order of the shard. Some places are empty.
    pub number: u64,
    /// The index of the stream.
    stream: usize,
    /// The number of the batch in the stream.
    batch: u64,
    /// Maximum number of cases that the limit leaves.
    most: usize,
    /// The name of the first case; the others follow by index.
    pub first: CaseName,
}

impl Turn {
    /// The arena of the batch.
    pub fn arena(&self) -> Arena {
        Arena::for_batch(self.batch)
    }

    /// Whether this batch and another one are a pair, or the same.
    pub const fn is_paired_with(&self, other: &Self) -> bool {
        self.stream == other.stream && self.batch / 2 == other.batch / 2
    }
}

impl Schedule {
    /// A shard of the run of some generators in some modes; `cases` limits the run, all shards together.
    ///
    /// # Panics
    /// If no generator has cases in any of the modes.
    pub fn new(
        generators: &[Generator],
        modes: &[PagingMode],
        machine: &Capabilities,
        shard: Shard,
        cases: Option<u64>,
    ) -> Self {
        let streams = generators
            .iter()
            .flat_map(|generator| ScheduledStream::all(*generator, modes, machine))
            .collect::<Vec<_>>();
        assert!(!streams.is_empty(), "there is a mode to run");
        Self { streams, shard, cases }
    }

    /// The first turn at this place or after it that has cases.
    pub fn turn(&self, from: u64) -> Option<Turn> {
        (from..self.end())
            .take_while(|number| !self.is_over(*number))
            .find_map(|number| self.at(number))
    }

    /// The cases of a turn.
    pub fn batch(&self, turn: &Turn) -> Batch {
        self.streams[turn.stream].stream.batch(turn.batch, turn.most)
    }

    /// The number of cases of this shard, give or take a few batches; `None` if it is endless.
    pub fn about_cases(&self) -> Option<u64> {
        let is_endless = self.streams.iter().any(|one| one.stream.batches() == ENDLESS);
        let all = match self.cases {
            None if is_endless => return None,
            None => self.combinations(),
            Some(cases) => cases.min(self.combinations()),
        };
        Some(all / self.shard.count)
    }

    /// The number of cases of the streams, all shards together and without a limit.
    pub fn combinations(&self) -> u64 {
        self.streams.iter().map(|one| one.stream.cases()).fold(0, u64::saturating_add)
    }

    /// The number after the last turn.
    fn end(&self) -> u64 {
        let rounds = |one: &ScheduledStream| one.stream.batches().div_ceil(2 * one.pairs);
        let rounds = self.streams.iter().map(rounds).max().unwrap_or(0);
        let Shard { index, count } = self.shard;
        rounds.saturating_sub(index).div_ceil(count) * self.turns_of_a_round()
    }

    /// The pairs of all streams.
    fn turns_of_a_round(&self) -> u64 {
        self.streams.iter().map(|one| 2 * one.pairs).sum()
    }

    /// Whether the limit is reached before the round that a place belongs to.
    fn is_over(&self, number: u64) -> bool {
        let round = self.round(number);
        self.cases.is_some_and(|cases| self.cases_before(round, 0, 0) >= cases)
    }

    /// The number of the round that a place belongs to.
    fn round(&self, number: u64) -> u64 {
        number / self.turns_of_a_round() * self.shard.count + self.shard.index
    }

    /// The batch at a place, if it has cases.
    fn at(&self, number: u64) -> Option<Turn> {
        let round = self.round(number);
        let (index, place) = self.stream_at(number % self.turns_of_a_round());
        let ScheduledStream { generator, stream, pairs } = &self.streams[index];
        let batch = 2 * pairs * round + place;
        if batch >= stream.batches() {
            return None;
        }

        let left = match self.cases {
            None => u64::MAX,
            Some(cases) => cases.saturating_sub(self.cases_before(round, index, place)),
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let first = CaseName {
            generator: *generator,
            mode: stream.mode(),
            index: stream.cases_before(batch),
        };
        (most > 0).then_some(Turn { number, stream: index, batch, most, first })
    }

    /// The stream that has a place of a round, and how many places of its own are before it.
    fn stream_at(&self, mut place: u64) -> (usize, u64) {
        for (index, one) in self.streams.iter().enumerate() {
            if place < 2 * one.pairs {
                return (index, place);
            }
            place -= 2 * one.pairs;
        }
        unreachable!("a round has no other places")
    }

    /// The number of cases of the whole run before a place of the stream with this index in a round.
    fn cases_before(&self, round: u64, index: usize, place: u64) -> u64 {
        let before = |(other, one): (usize, &ScheduledStream)| {
            let places = match other.cmp(&index) {
                Ordering::Less => 2 * one.pairs,
                Ordering::Equal => place,
                Ordering::Greater => 0,
            };
            one.cases_before(2 * one.pairs * round + places)
        };
        self.streams.iter().enumerate().map(before).sum()
    }
}
