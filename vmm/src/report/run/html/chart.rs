//! Curves over the time of a run, as SVG.
//!
//! They are drawn here and not by a library: those for Rust write colours and sizes of letters into the picture, or
//! need a script in the browser. These follow the page's colours, dark or not, and have a title and a description.

use crate::campaign::Summary;
use crate::campaign::series::{Point, Stretch};
use crate::report::date::rfc_3339;
use crate::report::style::number::with_commas;
use mmu_core::Rule;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The size of a picture.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 200.0;

/// The part of it within the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = HEIGHT - 30.0;

/// A quantity over time.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the picture shows, in words.
    pub(super) description: String,
    /// The text beside the title: the value that counts.
    pub(super) last: String,
    pub(super) y_ticks: Vec<Tick>,
    pub(super) x_ticks: Vec<Tick>,
    /// Whether the curves are those of several shards.
    pub(super) is_sum: bool,
    /// A curve for each stretch, as the path of an SVG.
    pub(super) curves: Vec<String>,
    /// Where the run was resumed, and when that was.
    pub(super) resumed: Vec<Tick>,
    /// The value that cannot be exceeded.
    pub(super) limit: Option<Tick>,
}

/// A place on an axis, with its label.
pub(super) struct Tick {
    pub(super) at: String,
    pub(super) label: String,
}

impl Tick {
    fn new(at: f64, label: String) -> Self {
        Self { at: format!("{at:.1}"), label }
    }
}

/// What is drawn of a stretch: times with values.
type Curve = Vec<(f64, f64)>;

/// The charts of a run; none if it was too short to have a course.
pub(super) fn charts(summary: &Summary) -> Vec<Chart> {
    let stretches: Vec<_> = summary.series.stretches().collect();
    let is_drawn = |stretch: &&Stretch| {
        let ends = stretch.points.first().zip(stretch.points.last());
        ends.is_some_and(|(first, last)| first.seconds < last.seconds)
    };
    if !stretches.iter().any(is_drawn) {
        return Vec::new();
    }

    let of = |value: fn(&Point) -> u64| -> Vec<Curve> {
        let curve = |stretch: &&Stretch| {
            stretch.points.iter().map(|point| (point.seconds, value(point) as f64)).collect()
        };
        stretches.iter().map(curve).collect()
    };
    let chart = |id, title, curves: Vec<Curve>, limit| draw(id, title, &stretches, &curves, limit);
    let seconds = summary.duration.as_secs_f64().max(1e-3);
    let average = with_commas((summary.tally.cases() as f64 / seconds) as u64);
    vec![
        Chart {
            last: format!("{average} on average"),
            ..chart(
                "rate",
                "Cases per second",
                stretches.iter().map(|it| rates(it)).collect(),
                None,
            )
        },
        chart("rules", "Rules that decided", of(|point| point.rules), Some(Rule::ALL.len() as f64)),
        chart("outcomes", "Kinds of outcomes", of(|point| point.outcomes), None),
        chart("found", "Findings met", of(|point| point.findings), None),
    ]
}

/// The rate between each two points, as steps.
fn rates(stretch: &Stretch) -> Curve {
    let pairs = stretch.points.iter().zip(stretch.points.iter().skip(1));
    let steps = pairs.filter_map(|(one, next)| {
        let rate = next.rate_since(one)?;
        Some([(one.seconds, rate), (next.seconds, rate)])
    });
    steps.flatten().collect()
}

fn draw(
    id: &'static str,
    title: &'static str,
    stretches: &[&Stretch],
    curves: &[Curve],
    limit: Option<f64>,
) -> Chart {
    let values = || curves.iter().flatten().map(|(_, value)| *value);
    let end = curves.iter().flatten().map(|(time, _)| *time).fold(0.0, f64::max);
    let highest = values().chain(limit).fold(0.0, f64::max);

    let step = nice_step(highest.max(1.0), 1.0);
    let top = (highest / step).ceil().max(1.0) * step;
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let x = |time: f64| LEFT + time / end.max(1e-3) * (RIGHT - LEFT);

    let last = curves.iter().filter_map(|curve| curve.last()).map(|(_, value)| *value);
    let last = last.fold(0.0, f64::max);
    let shards: BTreeSet<_> = stretches.iter().map(|stretch| stretch.shard).collect();
    let is_sum = shards.len() > 1;
    // The shards of a sum ran beside each other: none resumes another.
    let later = if is_sum { &[] } else { stretches.get(1..).unwrap_or_default() };

    Chart {
        id,
        title,
        is_sum,
        description: describe(curves, end, last, shards.len()),
        last: if is_sum {
            format!("of {} shards", shards.len())
        } else {
            format!("{} at the end", number(last))
        },
        y_ticks: ticks(step, top).map(|at| Tick::new(y(at), number(at))).collect(),
        x_ticks: time_ticks(end).into_iter().map(|(at, label)| Tick::new(x(at), label)).collect(),
        curves: curves
            .iter()
            .map(|curve| path(curve.iter().map(|(time, value)| (x(*time), y(*value)))))
            .collect(),
        resumed: later.iter().filter_map(|stretch| resumed(stretch, x)).collect(),
        limit: limit.map(|limit| Tick::new(y(limit), format!("all {}", number(limit)))),
    }
}

fn describe(curves: &[Curve], end: f64, last: f64, shards: usize) -> String {
    let values = || curves.iter().flatten().map(|(_, value)| *value);
    let (lowest, highest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let whose = match shards {
        1 => String::new(),
        shards => format!(" Each of {shards} shards has a curve."),
    };
    format!(
        "Over {end:.1} s between {} and {}, {} at the end.{whose}",
        number(lowest.min(highest)),
        number(highest),
        number(last)
    )
}

/// Where a stretch begins, and when.
fn resumed(stretch: &Stretch, x: impl Fn(f64) -> f64) -> Option<Tick> {
    let first = stretch.points.first()?;
    Some(Tick::new(x(first.seconds), format!("resumed {}", rfc_3339(stretch.started))))
}

/// A path through points. What does not move is left out.
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1} {y:.1}");
    }
    path
}

/// From 0 to the top.
fn ticks(step: f64, top: f64) -> impl Iterator<Item = f64> {
    let count = (top / step).round() as u32;
    (0..=count).map(move |number| f64::from(number) * step)
}

/// The times on the axis, in the unit that suits the last.
fn time_ticks(end: f64) -> Vec<(f64, String)> {
    let (unit, name) = match end {
        0.0..120.0 => (1.0, "s"),
        120.0..7200.0 => (60.0, "min"),
        7200.0..172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };

    let end = end / unit;
    let step = nice_step(end.max(1e-3), 0.0);
    let label = |time: f64| {
        let digits = if step < 1.0 { (-step.log10()).ceil() as usize } else { 0 };
        format!("{time:.digits$} {name}")
    };
    ticks(step, (end / step).floor() * step).map(|time| (time * unit, label(time))).collect()
}

/// The step of 1, 2 or 5 times a power of ten that divides a range into two to five parts; at least `least`.
fn nice_step(range: f64, least: f64) -> f64 {
    let power = 10_f64.powf((range / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| range / step <= 5.0).unwrap_or(range);
    step.max(least)
}

/// A value without a fraction.
fn number(value: f64) -> String {
    with_commas(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_two_to_five_round_steps() {
        for (range, step) in
            [(1.0, 0.2), (9.0, 2.0), (10.0, 2.0), (55.0, 20.0), (118_992.0, 50_000.0)]
        {
            assert!(
                (nice_step(range, 0.0) - step).abs() < 1e-9,
                "{range}: {}",
                nice_step(range, 0.0)
            );
        }
        assert!((nice_step(1.0, 1.0) - 1.0).abs() < 1e-9);

        let labels = |end| time_ticks(end).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(0.9), ["0.0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s"]);
        assert_eq!(labels(10.0), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        assert_eq!(labels(3600.0 * 10.0), ["0 h", "2 h", "4 h", "6 h", "8 h", "10 h"]);
        assert_eq!(labels(86_400.0 * 2.0).last().map(String::as_str), Some("2.0 d"));
    }

    #[test]
    fn the_rate_is_that_between_two_points() {
        let point = |seconds, cases| Point { seconds, cases, ..Point::default() };
        let points = vec![point(1.0, 100), point(1.5, 350), point(1.5, 350), point(3.5, 450)];
        let stretch = Stretch { shard: 0, started: 0, points };

        assert_eq!(rates(&stretch), [(1.0, 500.0), (1.5, 500.0), (1.5, 50.0), (3.5, 50.0)]);
    }
}
