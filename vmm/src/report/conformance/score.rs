//! The score of one walker that is a program, for people and for scripts.

use crate::conformance::score::{CandidateScore, Mistakes};
use crate::report::style::count::Count;
use crate::report::style::number::{cases, with_commas};
use crate::report::style::table::line;
use crosswalk_case::Case;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The score as JSON.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct CandidateScoreJson<'r> {
    /// The number of right answers.
    right: Count,
    /// The number of wrong ones.
    wrong: Count,
    /// How often it did not say.
    does_not_say: Count,
    /// How often it had no answer.
    failed: Count,
    /// How many answers could not be marked, since the machine differs from the manuals itself or was not seen.
    not_marked: Count,
    /// How often it was not asked, after too many failures.
    not_asked: Count,
    /// How often it was not asked, since the time was up.
    not_asked_in_time: Count,
    /// Wrong answers, by kind.
    mistakes: Vec<MistakeJson<'r>>,
    /// Missing answers, by reason.
    failures: Vec<MistakeJson<'r>>,
    /// The number of cases by the reason for which it did not say.
    silences: BTreeMap<&'r str, Count>,
}

/// Cases that a walker gets wrong in the same way.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MistakeJson<'r> {
    /// What they are, in words.
    what: String,
    /// How many they are.
    count: Count,
    /// The smallest case that shows it: an object as in the line protocol of walkers.
    smallest_case: &'r Case,
    /// What was expected, in words.
    expected: &'r str,
    /// What the walker answered, in words.
    answered: &'r str,
}

/// The score for scripts.
pub(in crate::report) fn json(score: &CandidateScore) -> CandidateScoreJson<'_> {
    let failures = score.failures.iter();

    CandidateScoreJson {
        right: score.right.into(),
        wrong: score.wrong.into(),
        does_not_say: score.silent.into(),
        failed: score.failed.into(),
        not_marked: score.not_marked.into(),
        not_asked: score.not_asked.into(),
        not_asked_in_time: score.not_asked_in_time.into(),
        mistakes: mistakes(score).map(|(what, mistakes)| entry(what, mistakes)).collect(),
        failures: failures.map(|(what, mistakes)| entry(what.clone(), mistakes)).collect(),
        silences: score.silences.iter().map(|(why, count)| (&**why, (*count).into())).collect(),
    }
}

fn entry(what: String, mistakes: &Mistakes) -> MistakeJson<'_> {
    let Mistakes { count, case, expected, answered } = mistakes;
    MistakeJson { what, count: (*count).into(), smallest_case: case, expected, answered }
}

/// The kinds of mistakes in words.
pub(in crate::report) fn mistakes(
    score: &CandidateScore,
) -> impl Iterator<Item = (String, &Mistakes)> {
    score.mistakes.iter().map(|((mode, access, end), mistakes)| {
        (format!("{mode} {}, expected {}", access.name(), end.name()), mistakes)
    })
}

/// How many answers are what.
pub(in crate::report) fn counts(score: &CandidateScore) -> [(u64, &'static str); 7] {
    let CandidateScore {
        right,
        wrong,
        silent,
        failed,
        not_marked,
        not_asked,
        not_asked_in_time,
        ..
    } = score;
    [
        (*right, "right"),
        (*wrong, "wrong"),
        (*silent, "not said"),
        (*failed, "without an answer"),
        (*not_asked, "not asked after too many of those"),
        (*not_asked_in_time, "not asked: the time was up"),
        (
            *not_marked,
            "not marked: the machine differs from the manuals itself, was not seen, or an instruction makes several accesses",
        ),
    ]
}

/// The maximum number of kinds of mistakes, and of reasons for silence, that are described.
const MAX_DESCRIBED: usize = 8;

/// The score in 80 columns.
pub(in crate::report) fn describe(text: &mut String, walker: &str, score: &CandidateScore) {
    let words: Vec<_> = counts(score)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", with_commas(count)))
        .collect();
    line(text, &format!("{walker}: {}", words.join(", ")));

    let mut silences: Vec<_> = score.silences.iter().collect();
    silences.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (why, count) in silences.into_iter().take(MAX_DESCRIBED) {
        line(text, &format!("  {} not said: {why}", with_commas(*count)));
    }
    text.push('\n');

    let failures =
        score.failures.iter().map(|(what, mistakes)| (format!("failed: {what}"), mistakes));
    for (what, mistakes) in failures.chain(mistakes(score)).take(MAX_DESCRIBED) {
        let Mistakes { count, case, expected, answered } = mistakes;
        line(text, &format!("{}: {what}", cases(*count)));
        line(text, &format!("  expected {expected}"));
        line(text, &format!("  answered {answered}"));
        // One line, however long: people copy it into a shell.
        let _ = writeln!(text, "  crosswalk explain '{case}'\n");
    }

    let more = (score.failures.len() + score.mistakes.len()).saturating_sub(MAX_DESCRIBED);
    if more > 0 {
        line(text, &format!("{more} more kinds; --json has them all.\n"));
    }
}

/// The result in a sentence.
pub(in crate::report) fn verdict(walker: &str, score: &CandidateScore) -> String {
    if score.compared_nothing() {
        format!("Nothing was compared: {walker} gave no answer that could be marked.")
    } else if score.is_clean() {
        format!("{walker} says nothing wrong.")
    } else {
        let CandidateScore { wrong, failed, not_asked, .. } = score;
        let wrong = cases(*wrong);
        match failed + not_asked {
            0 => format!("{walker} is wrong in {wrong}."),
            unanswered => {
                let unanswered = with_commas(unanswered);
                format!("{walker} is wrong in {wrong}, and has no answer in {unanswered}.")
            }
        }
    }
}
