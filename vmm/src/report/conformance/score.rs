//! The score of one walker that is a program, for people and for scripts.

use crate::conformance::score::{CandidateScore, Mistakes};
use crate::report::style::number::{cases, with_commas};
use crate::report::style::table::line;
use crosswalk_case::Case;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The score as JSON.
#[derive(Serialize)]
pub(in crate::report) struct CandidateScoreJson<'r> {
    right: u64,
    wrong: u64,
    does_not_say: u64,
    failed: u64,
    not_marked: u64,
    not_asked: u64,
    not_asked_in_time: u64,
    mistakes: Vec<MistakeJson<'r>>,
    failures: Vec<MistakeJson<'r>>,
    silences: &'r BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct MistakeJson<'r> {
    what: String,
    count: u64,
    smallest_case: &'r Case,
    expected: &'r str,
    answered: &'r str,
}

/// The score for scripts.
pub(in crate::report) fn json(score: &CandidateScore) -> CandidateScoreJson<'_> {
    let failures = score.failures.iter();

    CandidateScoreJson {
        right: score.right,
        wrong: score.wrong,
        does_not_say: score.silent,
        failed: score.failed,
        not_marked: score.not_marked,
        not_asked: score.not_asked,
        not_asked_in_time: score.not_asked_in_time,
        mistakes: mistakes(score).map(|(what, mistakes)| entry(what, mistakes)).collect(),
        failures: failures.map(|(what, mistakes)| entry(what.clone(), mistakes)).collect(),
        silences: &score.silences,
    }
}

fn entry(what: String, mistakes: &Mistakes) -> MistakeJson<'_> {
    let Mistakes { count, case, expected, answered } = mistakes;
    MistakeJson { what, count: *count, smallest_case: case, expected, answered }
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
