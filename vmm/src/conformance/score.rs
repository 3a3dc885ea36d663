//! The score of a program over many cases, with the simplest case of each kind of mistake.

use super::mark::{Mark, mark};
use super::process::{CommandCandidate, NoAnswer};
use crate::verdict::{End, Verdict};
use crosswalk_case::Case;
use crosswalk_case::is_obeyed;
use crosswalk_case::protocol::Answer;
use crosswalk_case::size_of_case;
use mmu_core::{AccessKind, Alternative, PagingMode, Prediction};
use std::collections::BTreeMap;

/// The result of asking a program about many cases.
#[derive(Clone, Debug, Default)]
pub struct CandidateScore {
    /// Number of answers that are allowed.
    pub right: u64,
    /// Number of answers that are not allowed.
    pub wrong: u64,
    /// Number of answers that leave out what matters.
    pub silent: u64,
    /// Number of cases without an answer: the program died, was late, or its line is not an answer.
    pub failed: u64,
    /// Number of cases without a mark: the machine itself differs from the manuals, or could not run
    /// the case.
    pub not_marked: u64,
    /// Number of cases about which it was not asked any more, because it failed all the time.
    pub not_asked: u64,
    /// Number of cases about which it was not asked, because the time of the run was up.
    pub not_asked_in_time: u64,
    /// The mistakes, grouped by what they have in common.
    pub mistakes: BTreeMap<MistakeKey, Mistakes>,
    /// The reasons for leaving something out, with their number.
    pub silences: BTreeMap<String, u64>,
    /// The failures, grouped by their words.
    pub failures: BTreeMap<String, Mistakes>,
}

/// What the mistakes of a group have in common: the mode, the kind of access, and its expected end.
pub type MistakeKey = (PagingMode, AccessKind, End);

/// A group of mistakes or failures.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// Number of cases.
    pub count: u64,
    /// The simplest case.
    pub case: Case,
    /// The likeliest outcome that is allowed there, in words.
    pub expected: String,
    /// The program's answer, in words.
    pub answered: String,
}

/// Maximum number of groups of reasons, and of failures. A program may say something else each time.
const MAX_GROUPS: usize = 100;

/// The group of everything beyond that.
const OTHERS: &str = "something else";

impl CandidateScore {
    /// Whether the program made no mistake and always had an answer.
    pub const fn is_clean(&self) -> bool {
        self.wrong == 0 && self.failed == 0 && self.not_asked == 0
    }

    /// Whether no answer of the program was marked, and none was missing.
    pub const fn compared_nothing(&self) -> bool {
        self.right == 0 && self.is_clean()
    }

    /// Asks a program about a case. `prediction` is the reference's, `verdict` that of the machine
    /// by the reference: only cases on which the machine agrees are marked, and only those whose
    /// instructions make one access each, for which an answer has room.
    pub fn ask(
        &mut self,
        candidate: &mut CommandCandidate,
        case: &Case,
        prediction: &Prediction,
        verdict: &Verdict,
    ) {
        if !matches!(verdict, Verdict::Agree { .. }) || case.has_source() {
            self.not_marked += 1;
            return;
        }
        if candidate.is_given_up() {
            self.not_asked += 1;
            return;
        }

        match candidate.ask(case) {
            Ok(answer) => self.add(case, &prediction.alternatives, &answer),
            Err(failure) => self.add_failure(case, &failure),
        }
    }

    fn add(&mut self, case: &Case, allowed: &[Alternative], answer: &Answer) {
        match mark(case, allowed, answer) {
            Mark::Right => self.right += 1,
            Mark::Silent(why) => {
                self.silent += 1;
                let group = group_of(&self.silences, &why);
                *self.silences.entry(group).or_default() += 1;
            }
            Mark::Wrong { expected, answered } => {
                self.wrong += 1;
                let likeliest = allowed.first();
                let end = likeliest.map_or(End::Completed, |likeliest| End::of(&likeliest.outcome));
                let key = (case.mode(), case.access.kind, end);
                count(&mut self.mistakes, key, case, &expected, &answered);
            }
        }
    }

    fn add_failure(&mut self, case: &Case, failure: &NoAnswer) {
        self.failed += 1;
        let words = match failure {
            NoAnswer::Bad { problem, .. } => format!("a line that is not an answer: {problem}"),
            other => other.to_string(),
        };
        let group = group_of(&self.failures, &words);
        count(&mut self.failures, group, case, "an answer", &failure.to_string());
    }
}

/// The group for a program's words. They may end up on a terminal, which must not obey them.
fn group_of<T>(groups: &BTreeMap<String, T>, words: &str) -> String {
    let words = words.replace(is_obeyed, "\u{fffd}");
    let is_new = !groups.contains_key(&words);

    if is_new && groups.len() >= MAX_GROUPS { OTHERS.into() } else { words }
}

/// Counts a case, and keeps the simplest of its group.
fn count<K: Ord>(
    groups: &mut BTreeMap<K, Mistakes>,
    key: K,
    case: &Case,
    expected: &str,
    answered: &str,
) {
    let new = || Mistakes {
        count: 0,
        case: case.clone(),
        expected: expected.to_owned(),
        answered: answered.to_owned(),
    };

    let group = groups.entry(key).or_insert_with(new);
    if size_of_case(case) < size_of_case(&group.case) {
        *group = Mistakes { count: group.count, ..new() };
    }
    group.count += 1;
}
