//! The batches of a run, or of one shard of it, in their order.
//!
//! In each *round* every second level has two batches, one for each arena, and round `k` belongs to shard `k mod N`. So
//! every shard has all second levels.

use crate::generate::{CaseBatch, Stream};

/// The batches that machines take, one after the other.
#[derive(Clone, Debug)]
pub struct Schedule {
    stream: Stream,
    shard: u64,
    shards: u64,
    /// The most cases, all shards together.
    cases: Option<u64>,
    /// The next batch of the whole run.
    next: u64,
    /// The number of cases of all batches before it.
    before: u64,
}

/// One batch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number in the stream.
    pub number: u64,
    /// The number of cases: those of the last batch may be fewer than it has.
    pub cases: u64,
}

impl Schedule {
    /// The batches of a stream, at most this number of cases; those of one of so many shards.
    pub const fn new(stream: Stream, (shard, shards): (u64, u64), cases: Option<u64>) -> Self {
        Self { stream, shard, shards, cases, next: 0, before: 0 }
    }

    /// Where the cases come from.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The next two batches, which have different arenas: one if the run ends between them, none at its end.
    pub fn next_pair(&mut self) -> Vec<Turn> {
        let batches_of_round = 2 * self.stream.second_levels();
        loop {
            let round = self.next / batches_of_round;
            let pair: Vec<Turn> = (0..2).map_while(|_| self.next_of_run()).collect();
            if pair.is_empty() || round % self.shards == self.shard {
                return pair;
            }
        }
    }

    /// The cases of the next batches: `most` of them, or one more, or those that are left.
    pub fn take(&mut self, most: usize) -> Vec<CaseBatch> {
        let mut batches = Vec::new();
        while batches.len() < most {
            let pair = self.next_pair();
            if pair.is_empty() {
                break;
            }
            let cases = |turn: &Turn| self.stream.first_of_batch(turn.number, turn.cases);
            batches.extend(pair.iter().map(cases));
        }
        batches
    }

    /// The next batch, whatever shard it belongs to.
    fn next_of_run(&mut self) -> Option<Turn> {
        let left = self.cases.map_or(u64::MAX, |cases| cases - self.before);
        let number = self.next;
        if left == 0 || self.stream.batches().is_some_and(|batches| number >= batches) {
            return None;
        }
        let cases = self.stream.cases_of(number).min(left);
        self.next += 1;
        self.before += cases;
        Some(Turn { number, cases })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, machine_with_npt};
    use std::collections::BTreeSet;

    fn turns(shard: (u64, u64), cases: Option<u64>) -> Vec<Turn> {
        let stream = Stream::new(Generator::Random, 7, &machine_with_npt()).unwrap();
        let mut schedule = Schedule::new(stream, shard, cases);
        let pairs =
            std::iter::from_fn(|| Some(schedule.next_pair()).filter(|pair| !pair.is_empty()));
        pairs.flatten().collect()
    }

    #[test]
    fn a_run_has_so_many_cases_and_every_batch_once() {
        let stream = Stream::new(Generator::Random, 7, &machine_with_npt()).unwrap();
        let all = turns((0, 1), Some(1001));
        assert_eq!(all.iter().map(|turn| turn.cases).sum::<u64>(), 1001);
        for (number, turn) in (0..).zip(&all) {
            assert_eq!(turn.number, number);
            let whole = stream.batch(number).cases.len() as u64;
            let is_last = number + 1 == all.len() as u64;
            assert!(turn.cases == whole || (is_last && turn.cases < whole), "{turn:?} of {whole}");
        }
    }

    #[test]
    fn shards_part_a_run_and_each_has_every_second_level() {
        let all = turns((0, 1), Some(20_000));
        for shards in [2, 3, 4, 7] {
            let mut joined = Vec::new();
            for shard in 0..shards {
                let part = turns((shard, shards), Some(20_000));
                let seconds: BTreeSet<u64> = part.iter().map(|turn| turn.number % 4).collect();
                assert_eq!(seconds.len(), 4, "shard {shard} of {shards}");
                joined.extend(part);
            }
            joined.sort_unstable_by_key(|turn| turn.number);
            assert_eq!(joined, all, "{shards} shards");
        }
    }

    #[test]
    fn a_shard_may_have_nothing() {
        assert_eq!(turns((9, 10), Some(10)), []);
    }
}
