//! What several subcommands share.

use super::{Failure, print};
use crate::campaign;
use crate::finding::known::{self, Known};
use crate::report::{self, RunFacts};
use crate::walker::Choice;
use crosswalk_machine::{Identity, Machine, ModeOffer};
use mmu_core::PagingMode;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long a run takes when nothing is said.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(10);

pub(super) fn parse_mode(text: &str) -> Result<PagingMode, String> {
    PagingMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
        let names: Vec<_> = PagingMode::ALL.iter().map(|mode| mode.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let problem = || "expected a number and a unit, such as 30s, 5m or 1h".to_owned();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(problem)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(problem()),
    };
    let number: f64 = number.parse().map_err(|_| problem())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(problem)
}

/// Prints a report and writes it into a directory, if there is one; the exit code tells the result.
pub(super) fn show(
    facts: &RunFacts<'_>,
    summary: &campaign::Summary,
    json: bool,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let document = report::run::json::document(facts, summary);
    if let Some(directory) = directory {
        let page = report::run::html::page(facts, summary);
        for (name, text) in [("report.json", &document), ("index.html", &page)] {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| {
                Failure::Input(format!("{}: cannot be written: {error}", path.display()))
            })?;
        }
    }
    print(&if json { document } else { report::run::text::summary(facts, summary) });
    let is_wrong = facts.candidate.is_some_and(|score| !score.is_clean());
    Ok(ExitCode::from(u8::from(summary.has_unknown_divergence() || is_wrong)))
}

/// The known findings, and whether they are forgiven. With `none`, and for walkers that are wrong
/// on purpose, they only lend their names.
pub(super) fn known_findings(
    asked: Option<&str>,
    walker: Choice,
    machine: &Identity,
) -> Result<(Vec<Known>, bool), Failure> {
    let input = |error: known::KnownError| Failure::Input(error.to_string());
    match asked {
        Some(path) if path != "none" => {
            Ok((known::from_file(Path::new(path)).map_err(input)?, walker.is_reference()))
        }
        asked => {
            let forgives = asked.is_none() && walker.is_reference();
            Ok((known::shipped(&machine.flavour, &machine.beneath).map_err(input)?, forgives))
        }
    }
}

/// Every mode asked for with the reason why it is not run, if it is not.
pub(super) fn modes(
    asked: &[PagingMode],
    machine: &dyn Machine,
) -> Result<Vec<ModeOffer>, Failure> {
    let asked = |mode: &PagingMode| asked.is_empty() || asked.contains(mode);
    let modes: Vec<_> =
        machine.capabilities().modes.iter().filter(|(mode, _)| asked(mode)).cloned().collect();
    if modes.iter().any(|(_, offered)| offered.is_ok()) {
        return Ok(modes);
    }
    let reasons: Vec<_> = modes
        .iter()
        .map(|(mode, offered)| {
            format!("{mode}: {}", offered.as_ref().err().map_or("", String::as_str))
        })
        .collect();
    Err(Failure::Machine(format!("none of these modes can be run here: {}", reasons.join("; "))))
}

/// CPU time of this process and its children so far, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let seconds = |usage: Usage| {
        let times = [usage.user_time(), usage.system_time()];
        times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum::<f64>()
    };
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(seconds)
        .sum()
}
