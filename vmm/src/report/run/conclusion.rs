//! How a run ended, in one word: its exit code, the first and the last line of its text, and the colour of its
//! page follow from it.

use super::super::RunFacts;
use crate::campaign::Summary;
use crate::campaign::journal::CaseSource;
use crate::conformance::score::CandidateScore;
use crate::finding::known::Kind;
use crate::report::conformance::score;
use crate::report::document::{Ending, VerdictWord};
use crate::report::style::number::{cases, numbered};
use crate::report::style::ranges::ranges;
use mmu_core::PagingMode;

/// How a run ended, from the best to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conclusion {
    /// No case of the run falls to this shard.
    NothingToDo,
    /// Everything that was asked for was compared, and agrees, known findings aside.
    Agree,
    /// What was compared agrees, but a part of what was asked for was not compared.
    Incomplete,
    /// The machine or the walker is wrong, or cases were not run for a reason that is not known.
    Diverge,
    /// Nothing was compared.
    NothingCompared,
}

impl Conclusion {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NothingToDo, Self::Agree, Self::Incomplete, Self::Diverge, Self::NothingCompared];

    /// The conclusion of a run.
    pub fn of(facts: &RunFacts<'_>, summary: &Summary) -> Self {
        let is_silent = facts.candidate.is_some_and(CandidateScore::compared_nothing);

        // That nothing was compared until Ctrl-C says nothing.
        let is_idle = summary.compared_nothing() || is_silent;
        if is_empty_shard(facts, summary) {
            Self::NothingToDo
        } else if is_idle && facts.complete {
            Self::NothingCompared
        } else if is_machine_or_walker_wrong(facts, summary) {
            Self::Diverge
        } else if missing(facts, summary).is_some() {
            Self::Incomplete
        } else {
            Self::Agree
        }
    }

    /// Its name in tables, as documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingToDo => "done",
            Self::Agree => "agree",
            Self::Incomplete => "incomplete",
            Self::Diverge => "diverge",
            Self::NothingCompared => "nothing-compared",
        }
    }

    /// How a command ends with it.
    pub fn ending(self, allow_incomplete: bool) -> Ending {
        match self {
            Self::NothingToDo => VerdictWord::Done.into(),
            Self::Agree => VerdictWord::Agree.into(),
            Self::Incomplete if allow_incomplete => Ending::ALLOWED_INCOMPLETE,
            Self::Incomplete => VerdictWord::Incomplete.into(),
            Self::Diverge => VerdictWord::Diverge.into(),
            Self::NothingCompared => VerdictWord::NothingCompared.into(),
        }
    }

    /// The conclusion as a line: its badge, and the result in a sentence.
    pub fn line(self, facts: &RunFacts<'_>, summary: &Summary) -> String {
        let sentence = sentence(facts, summary);
        let is_told = matches!(self, Self::Incomplete | Self::NothingCompared);
        match missing(facts, summary).filter(|_| is_told) {
            None => format!("{}  {sentence}", self.badge()),
            Some(missing) => {
                format!("{}  {}: {missing}.", self.badge(), sentence.trim_end_matches('.'))
            }
        }
    }

    /// The word in capitals with which its line begins.
    pub const fn badge(self) -> &'static str {
        match self {
            Self::NothingToDo => "NOTHING TO DO",
            Self::Agree => "AGREE",
            Self::Incomplete => "INCOMPLETE",
            Self::Diverge => "DIVERGE",
            Self::NothingCompared => "NOTHING COMPARED",
        }
    }
}

/// Whether a mutant is caught, or a program is wrong, or a machine does what nobody knew.
fn is_machine_or_walker_wrong(facts: &RunFacts<'_>, summary: &Summary) -> bool {
    match (facts.candidate, facts.run.walker.is_reference()) {
        (None, true) if refused_cases(facts, summary) > 0 => summary.has_unknown_divergence(),
        (Some(score), _) => !score.is_clean() || summary.has_unknown_finding(),
        (None, true) => summary.has_unknown_finding(),
        // What the machine itself does differently from the manuals is no finding about a mutant.
        (None, false) => is_caught(summary),
    }
}

fn is_caught(summary: &Summary) -> bool {
    summary.findings.iter().any(|finding| finding.catches_walker)
}

/// Whether it is one of so many shards of a run that no case was left for it.
fn is_empty_shard(facts: &RunFacts<'_>, summary: &Summary) -> bool {
    facts.complete && summary.tally.cases() == 0 && !facts.run.shard.missing().is_empty()
}

/// What was asked for and is missing, as the end of a sentence: `shards 2 to 63 of 64 are missing`.
pub(super) fn missing(facts: &RunFacts<'_>, summary: &Summary) -> Option<String> {
    if !facts.complete {
        return Some(unfinished(facts));
    }
    if !facts.run.modes_by_name {
        return None;
    }

    let refused = refused_cases(facts, summary);
    let refused = (refused > 0).then(|| format!("{} could not be run", cases(refused)));
    let is_whole = facts.run.shard.missing().is_empty();
    let not_run = facts.modes.iter().filter_map(|(mode, offer)| match offer {
        Err(why) => Some(format!("{mode} was not run ({why})")),
        Ok(()) if is_whole && !has_cases(*mode, summary) => Some(format!("{mode} had no case")),
        Ok(()) => None,
    });
    let not_run: Vec<_> = not_run.chain(refused).collect();
    (!not_run.is_empty()).then(|| not_run.join(", "))
}

/// Whether a case of a mode was tried.
pub(super) fn has_cases(mode: PagingMode, summary: &Summary) -> bool {
    summary.tally.modes.get(&mode).is_some_and(|counts| counts.cases > 0)
}

/// The number of cases that the user gave and the machine could not be given. A generator makes none.
fn refused_cases(facts: &RunFacts<'_>, summary: &Summary) -> u64 {
    if facts.run.generator != CaseSource::Given {
        return 0;
    }
    let refused = summary.findings.iter().filter(|finding| finding.kind == Kind::Unsupported);
    refused.map(|finding| finding.count).sum()
}

/// Why a run did not come to its end.
fn unfinished(facts: &RunFacts<'_>) -> String {
    if facts.identity.kind == "image" {
        return "the log ends before its last batch".into();
    }

    let missing = facts.run.shard.missing();
    // Where machines ran, it was one shard that did; the others are none of its business.
    if missing.is_empty() || facts.jobs.is_some() {
        return "the run was stopped before its end".into();
    }
    let count = numbered(missing.len() as u64, "shard");
    let verb = if missing.len() == 1 { "is" } else { "are" };
    format!("{count} of {} {verb} missing: {}", facts.run.shard.count, ranges(&missing))
}

/// The result in a sentence.
pub(super) fn sentence(facts: &RunFacts<'_>, summary: &Summary) -> String {
    if is_empty_shard(facts, summary) {
        return "No case of the run falls to this shard.".into();
    }
    if summary.compared_nothing() {
        return nothing_compared(summary.tally.cases());
    }
    if let Some(score) = facts.candidate {
        return score::verdict(&facts.run.walker.to_string(), score);
    }

    let walker = &facts.run.walker;
    match (walker.is_reference(), summary.has_unknown_finding()) {
        (true, false) if !facts.sources.is_empty() => {
            "The recorded machines and the model agree, known findings aside.".into()
        }
        (true, false) => "The machine and the model agree, known findings aside.".into(),
        (true, true) if summary.has_unknown_divergence() => {
            "The machine and the model disagree: see the findings that are not known.".into()
        }
        (true, true) if facts.run.generator == CaseSource::Given => {
            "The machine and the model agree in what was run, known findings aside.".into()
        }
        (true, true) => {
            "The machine did not run every case, for reasons that are not known: see the findings."
                .into()
        }
        (false, _) if is_caught(summary) => {
            format!("{walker} is caught: the machine proves it wrong.")
        }
        (false, _) => {
            format!("{walker} is not caught: no case here distinguishes it from the reference.")
        }
    }
}

/// The result of a run in which no case could be judged.
fn nothing_compared(count: u64) -> String {
    match count {
        0 => "Nothing was compared: there was no case.".into(),
        count => format!("Nothing was compared: of {} none could be run.", cases(count)),
    }
}
