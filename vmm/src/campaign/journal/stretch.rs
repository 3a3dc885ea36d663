//! The stretches of a run as lines of the journal.

use super::bounds::{check_count, check_seconds};
use crate::campaign::series::{Point, Series, Stretch};

/// Adds a stretch that a journal has to those before it, if a run can have gone like this.
pub(super) fn add(series: &mut Series, stretch: Stretch) -> Result<(), String> {
    let Stretch { shard, started, points } = &stretch;
    check_count(*shard)?;
    check_count(*started)?;
    for Point { seconds, cpu_seconds, cases, rules, outcomes, findings, unknown } in points {
        check_seconds(*seconds)?;
        check_seconds(*cpu_seconds)?;
        for count in [cases, rules, outcomes, findings, unknown] {
            check_count(*count)?;
        }
    }

    let is_in_order =
        |one: &Point, next: &Point| one.seconds <= next.seconds && one.cases <= next.cases;
    if !points.is_sorted_by(is_in_order) {
        return Err("expected the points of a stretch in the order of time".into());
    }
    if !series.add(stretch) {
        let (stretches, points) = (Series::MAX_STRETCHES, Series::MAX_POINTS);
        return Err(format!("expected at most {points} points in {stretches} stretches"));
    }
    Ok(())
}
