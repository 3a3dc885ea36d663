//! The order of a run: which batch of which stream comes when, and to which shard it belongs.
//!
//! Two neighbouring batches, one for each arena, make a pair. The streams take turns, pair by pair;
//! pair `k` of each stream belongs to shard `k mod N`. So every shard has all modes, and both arenas
//! to work on.

use super::{CaseName, Generator, Stream};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;
use std::fmt;
use std::str::FromStr;

/// One of `count` parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl Shard {
    /// The whole run.
    pub const WHOLE: Self = Self { index: 0, count: 1 };
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        numbers.filter(|shard| shard.index < shard.count && shard.count <= 1 << 20).ok_or_else(
            || "expected I/N with I from 0 to N-1, such as 0/64 for the first of 64".to_owned(),
        )
    }
}

/// What a run does, in order.
pub struct Schedule {
    generator: Generator,
    streams: Vec<Box<dyn Stream>>,
    shard: Shard,
    /// So many cases of the whole run, all shards together.
    cases: Option<u64>,
}

/// One batch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the order of the shard, where some places are empty.
    pub number: u64,
    /// Which stream.
    stream: usize,
    /// Which batch of it.
    batch: u64,
    /// How many cases of it, as far as the limit leaves any.
    most: usize,
    /// The name of the first case; the others follow by index.
    pub first: CaseName,
}

impl Schedule {
    /// A shard of the run of a generator in some modes; `cases` limits the run, all shards together.
    ///
    /// # Panics
    /// When there is no mode.
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

    /// The first turn from this place on that has cases.
    pub fn turn(&self, from: u64) -> Option<Turn> {
        (from..self.end())
            .map_while(|number| (!self.is_over(number)).then(|| self.at(number)))
            .find_map(|turn| turn)
    }

    /// The cases of a turn.
    pub fn batch(&self, turn: &Turn) -> Batch {
        self.streams[turn.stream].batch(turn.batch, turn.most)
    }

    /// How many cases this shard has, give or take a few batches; `None` if there is no end.
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

    /// How many cases the streams have, all shards together and without a limit.
    pub fn combinations(&self) -> u64 {
        self.streams.iter().map(|stream| stream.cases()).sum()
    }

    /// Which modes, in their order.
    pub fn modes(&self) -> Vec<PagingMode> {
        self.streams.iter().map(|stream| stream.mode()).collect()
    }

    /// The number after the last turn.
    fn end(&self) -> u64 {
        let pairs = self.streams.iter().map(|stream| stream.batches().div_ceil(2)).max();
        let Shard { index, count } = self.shard;
        pairs.unwrap_or(0).saturating_sub(index).div_ceil(count) * self.turns_of_a_round()
    }

    const fn turns_of_a_round(&self) -> u64 {
        2 * self.streams.len() as u64
    }

    /// Whether the limit is reached before the round of a place.
    fn is_over(&self, number: u64) -> bool {
        let pair = self.pair(number);
        self.cases.is_some_and(|cases| self.cases_before(pair, 0, 2 * pair) >= cases)
    }

    const fn pair(&self, number: u64) -> u64 {
        number / self.turns_of_a_round() * self.shard.count + self.shard.index
    }

    /// The batch at a place, if it has cases.
    fn at(&self, number: u64) -> Option<Turn> {
        let (pair, place) = (self.pair(number), number % self.turns_of_a_round());
        let stream = (place / 2) as usize;
        let batch = 2 * pair + place % 2;
        let its = &self.streams[stream];
        if batch >= its.batches() {
            return None;
        }
        let most = match self.cases {
            None => u64::MAX,
            Some(cases) => cases.saturating_sub(self.cases_before(pair, stream, batch)),
        };
        let first = CaseName {
            generator: self.generator,
            mode: its.mode(),
            index: its.cases_before(batch),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (most > 0).then_some(Turn { number, stream, batch, most, first })
    }

    /// How many cases of the whole run come before a batch of a stream in pair `pair`.
    fn cases_before(&self, pair: u64, stream: usize, batch: u64) -> u64 {
        let before = |(other, its): (usize, &dyn Stream)| {
            let batch = match other {
                _ if other < stream => 2 * pair + 2,
                _ if other == stream => batch,
                _ => 2 * pair,
            };
            its.cases_before(batch.min(its.batches()))
        };
        let streams = self.streams.iter().map(|stream| &**stream);
        streams.enumerate().map(before).sum()
    }
}
