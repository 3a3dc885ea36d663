//! The order of a run: when each batch of each stream runs, and in which shard.
//!
//! Two neighbouring batches, one for each arena, are a pair. The streams take turns, pair by pair, and
//! pair `k` of each stream belongs to shard `k mod N`. So every shard has all modes and both arenas.

use super::{CaseName, Generator, Stream};
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;
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

/// The batches of a shard, in order.
pub struct Schedule {
    generator: Generator,
    streams: Vec<Box<dyn Stream>>,
    shard: Shard,
    /// Maximum number of cases of the whole run, all shards together.
    cases: Option<u64>,
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
    /// A shard of the run of a generator in some modes; `cases` limits the run, all shards together.
    ///
    /// # Panics
    /// If there is no mode.
    pub fn new(
        generator: Generator,
        modes: &[PagingMode],
        machine: &Capabilities,
        shard: Shard,
        cases: Option<u64>,
    ) -> Self {
        assert!(!modes.is_empty(), "there is a mode to run");
        let streams = modes.iter().map(|mode| generator.stream(*mode, machine)).collect();
        Self { generator, streams, shard, cases }
    }

    /// The first turn at this place or after it that has cases.
    pub fn turn(&self, from: u64) -> Option<Turn> {
        (from..self.end())
            .take_while(|number| !self.is_over(*number))
            .find_map(|number| self.at(number))
    }

    /// The cases of a turn.
    pub fn batch(&self, turn: &Turn) -> Batch {
        self.streams[turn.stream].batch(turn.batch, turn.most)
    }

    /// The number of cases of this shard, give or take a few batches; `None` if it is endless.
    pub fn about_cases(&self) -> Option<u64> {
        let all = match (self.cases, self.generator) {
            (None, Generator::Random(_) | Generator::Guided(_) | Generator::Single(_)) => {
                return None;
            }
            (None, Generator::Exhaustive) => self.combinations(),
            (Some(cases), _) => cases.min(self.combinations()),
        };
        Some(all / self.shard.count)
    }

    /// The number of cases of the streams, all shards together and without a limit.
    pub fn combinations(&self) -> u64 {
        self.streams.iter().map(|stream| stream.cases()).sum()
    }

    /// The modes, in their order.
    pub fn modes(&self) -> Vec<PagingMode> {
        self.streams.iter().map(|stream| stream.mode()).collect()
    }

    /// The number after the last turn.
    fn end(&self) -> u64 {
        let pairs = self.streams.iter().map(|stream| stream.batches().div_ceil(2)).max();
        let Shard { index, count } = self.shard;
        pairs.unwrap_or(0).saturating_sub(index).div_ceil(count) * self.turns_of_a_round()
    }

    /// One pair of each stream.
    const fn turns_of_a_round(&self) -> u64 {
        2 * self.streams.len() as u64
    }

    /// Whether the limit is reached before the round that a place belongs to.
    fn is_over(&self, number: u64) -> bool {
        let pair = self.pair(number);
        self.cases.is_some_and(|cases| self.cases_before(pair, 0, 2 * pair) >= cases)
    }

    /// The number of the pair that a place belongs to.
    const fn pair(&self, number: u64) -> u64 {
        number / self.turns_of_a_round() * self.shard.count + self.shard.index
    }

    /// The batch at a place, if it has cases.
    fn at(&self, number: u64) -> Option<Turn> {
        let pair = self.pair(number);
        let place = number % self.turns_of_a_round();
        let index = (place / 2) as usize;
        let batch = 2 * pair + place % 2;
        let stream = &self.streams[index];
        if batch >= stream.batches() {
            return None;
        }

        let left = match self.cases {
            None => u64::MAX,
            Some(cases) => cases.saturating_sub(self.cases_before(pair, index, batch)),
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let first = CaseName {
            generator: self.generator,
            mode: stream.mode(),
            index: stream.cases_before(batch),
        };
        (most > 0).then_some(Turn { number, stream: index, batch, most, first })
    }

    /// The number of cases of the whole run before a batch in pair `pair` of the stream with this
    /// index.
    fn cases_before(&self, pair: u64, index: usize, batch: u64) -> u64 {
        let before = |(other, stream): (usize, &dyn Stream)| {
            let batches = match other.cmp(&index) {
                Ordering::Less => 2 * pair + 2,
                Ordering::Equal => batch,
                Ordering::Greater => 2 * pair,
            };
            stream.cases_before(batches.min(stream.batches()))
        };
        let streams = self.streams.iter().map(|stream| &**stream);
        streams.enumerate().map(before).sum()
    }
}
