//! How a run went, over time. A run of days has no more points than one of minutes: where there are too many, those
//! go that are nearest to their neighbours.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use serde::{Deserialize, Serialize};

/// The stretches of a run, in order. Where a run was stopped and resumed, another one begins. In a sum of shards
/// each shard has its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    stretches: Vec<Stretch>,
}

/// A part of a run during which one process ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// The shard, from 0.
    pub shard: u64,
    /// When it started, in seconds since 1970-01-01 in UTC.
    pub started: u64,
    /// How far the run had come then and later, in the order of time.
    pub points: Vec<Point>,
}

/// How far a run, or its shard, had come at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "PointTuple", into = "PointTuple")]
pub struct Point {
    /// The time since the first batch, in seconds, without the time between stretches.
    pub seconds: f64,
    /// CPU time in seconds, including child processes.
    pub cpu_seconds: f64,
    /// Number of cases.
    pub cases: u64,
    /// Number of rules that have decided a case.
    pub rules: u64,
    /// Number of ways in which accesses have ended, in all modes.
    pub outcomes: u64,
    /// Number of findings that were met. At the end those with one cause become one.
    pub findings: u64,
    /// Number of those that are not known.
    pub unknown: u64,
}

impl Point {
    /// Cases per second since an earlier point; `None` if no time went by.
    pub fn rate_since(&self, earlier: &Self) -> Option<f64> {
        let cases = self.cases.saturating_sub(earlier.cases) as f64;
        let seconds = self.seconds - earlier.seconds;
        (seconds > 0.0).then(|| cases / seconds)
    }
}

/// A point in a journal, which has many.
type PointTuple = (f64, f64, u64, u64, u64, u64, u64);

impl From<PointTuple> for Point {
    fn from((seconds, cpu_seconds, cases, rules, outcomes, findings, unknown): PointTuple) -> Self {
        Self { seconds, cpu_seconds, cases, rules, outcomes, findings, unknown }
    }
}

impl From<Point> for PointTuple {
    fn from(point: Point) -> Self {
        let Point { seconds, cpu_seconds, cases, rules, outcomes, findings, unknown } = point;
        (seconds, cpu_seconds, cases, rules, outcomes, findings, unknown)
    }
}

impl Series {
    /// Maximum number of points in all stretches.
    pub const MAX_POINTS: usize = 400;

    /// Maximum number of stretches.
    pub const MAX_STRETCHES: usize = 100;

    /// The stretches, none of which is empty.
    pub fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(|stretch| !stretch.points.is_empty())
    }

    /// Begins a stretch. If there are too many, the first two become one.
    pub fn begin(&mut self, shard: u64, started: u64) {
        self.stretches.push(Stretch { shard, started, points: Vec::new() });

        if self.stretches.len() > Self::MAX_STRETCHES {
            let second = self.stretches.remove(1);
            if let Some(first) = self.stretches.first_mut() {
                first.points.extend(second.points);
            }
        }
    }

    /// Adds a point to the last stretch. One that is just after another, or just before the next, gives way: a rate over
    /// a moment says nothing.
    pub fn record(&mut self, point: Point) {
        const MOMENT: f64 = 0.2;

        /// Milliseconds are enough.
        fn rounded(seconds: f64) -> f64 {
            (seconds * 1000.0).round() / 1000.0
        }

        if let Some(last) = self.stretches.last_mut() {
            if let [.., before, after] = &last.points[..]
                && (after.seconds - before.seconds).min(point.seconds - after.seconds) < MOMENT
            {
                last.points.pop();
            }
            last.points.push(Point {
                seconds: rounded(point.seconds),
                cpu_seconds: rounded(point.cpu_seconds),
                ..point
            });
        }
        self.thin_out();
    }

    /// Adds a stretch that was written before. Returns whether there is room for it.
    pub(super) fn add(&mut self, stretch: Stretch) -> bool {
        let points = self.points().saturating_add(stretch.points.len());
        let has_room = points <= Self::MAX_POINTS && self.stretches.len() < Self::MAX_STRETCHES;
        if has_room {
            self.stretches.push(stretch);
        }
        has_room
    }

    /// Number of points in all stretches.
    fn points(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.points.len()).sum()
    }

    /// Adds the stretches of another shard. Those beyond the [most](Self::MAX_STRETCHES) that there can be are left
    /// out.
    pub fn append(&mut self, other: Self) {
        let room = Self::MAX_STRETCHES.saturating_sub(self.stretches.len());
        self.stretches.extend(other.stretches.into_iter().take(room));
        self.thin_out();
    }

    /// Leaves out points until there are few enough. The first and the last of a stretch stay.
    fn thin_out(&mut self) {
        for _ in Self::MAX_POINTS..self.points() {
            let gaps = self.stretches.iter().enumerate().flat_map(|(stretch, it)| {
                let neighbours = it.points.iter().zip(it.points.iter().skip(2));
                (1..).zip(neighbours).map(move |(point, (before, after))| {
                    (after.seconds - before.seconds, stretch, point)
                })
            });
            let Some((_, stretch, point)) =
                gaps.min_by(|(one, ..), (other, ..)| one.total_cmp(other))
            else {
                return;
            };
            if let Some(stretch) = self.stretches.get_mut(stretch) {
                stretch.points.remove(point);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that writes its journal every half second.
    fn run(series: &mut Series, half_seconds: std::ops::Range<u32>) {
        for half in half_seconds {
            let seconds = f64::from(half) / 2.0;
            series.record(Point { seconds, cases: u64::from(half) * 100, ..Point::default() });
        }
    }

    fn points(series: &Series) -> Vec<Point> {
        series.stretches().flat_map(|stretch| stretch.points.clone()).collect()
    }

    #[test]
    fn a_long_run_has_few_points_all_over_its_time() {
        let mut series = Series::default();
        series.begin(0, 0);
        run(&mut series, 0..20_000);

        let points = points(&series);
        assert_eq!(points.len(), 400);
        assert_eq!((points[0].seconds, points[399].seconds), (0.0, 9999.5));
        // Evenly they would be 25 seconds apart.
        let apart = points.windows(2).map(|pair| pair[1].seconds - pair[0].seconds);
        assert!(apart.clone().all(|apart| apart <= 75.0), "{:?}", apart.collect::<Vec<_>>());
    }

    #[test]
    fn a_short_run_keeps_every_point() {
        let mut series = Series::default();
        series.begin(0, 0);
        run(&mut series, 0..400);

        let seconds: Vec<_> = points(&series).iter().map(|point| point.seconds).collect();
        let all: Vec<_> = (0..400).map(|half| f64::from(half) / 2.0).collect();
        assert_eq!(seconds, all);
    }

    #[test]
    fn points_of_a_moment_are_one() {
        let mut series = Series::default();
        series.begin(0, 0);
        for seconds in [0.0, 0.1, 0.6, 1.2, 1.3, 1.8, 1.85] {
            series.record(Point { seconds, ..Point::default() });
        }

        let seconds: Vec<_> = points(&series).iter().map(|point| point.seconds).collect();
        assert_eq!(seconds, [0.0, 0.6, 1.3, 1.85]);
    }

    #[test]
    fn each_stretch_keeps_its_ends() {
        let mut series = Series::default();
        for (started, halves) in [(1000, 0..10), (5000, 10..2000), (9000, 2000..2001)] {
            series.begin(0, started);
            run(&mut series, halves);
        }

        let ends = series.stretches().map(|stretch| {
            let of = |point: Option<&Point>| point.expect("a point").seconds;
            (stretch.started, of(stretch.points.first()), of(stretch.points.last()))
        });
        let expected = [(1000, 0.0, 4.5), (5000, 5.0, 999.5), (9000, 1000.0, 1000.0)];
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_run_that_is_resumed_a_thousand_times_has_few_stretches() {
        let mut series = Series::default();
        for started in 0..1000 {
            series.begin(0, u64::from(started));
            run(&mut series, started..started + 1);
        }

        let started: Vec<_> = series.stretches().map(|stretch| stretch.started).collect();
        assert_eq!(started, [0].into_iter().chain(901..1000).collect::<Vec<_>>());
        assert!(points(&series).len() <= 400);
    }

    #[test]
    fn a_sum_has_the_stretches_of_each_shard_within_the_bounds() {
        let shard = |shard: u64| {
            let mut series = Series::default();
            series.begin(shard, 0);
            run(&mut series, 0..400);
            series
        };

        let mut sum = Series::default();
        for index in 0..150 {
            sum.append(shard(index));
        }
        let shards: Vec<_> = sum.stretches().map(|stretch| stretch.shard).collect();
        assert_eq!(shards, (0..100).collect::<Vec<_>>());
        assert_eq!(points(&sum).len(), 400);
    }
}
