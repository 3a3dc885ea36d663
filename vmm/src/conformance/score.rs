//! The score of a candidate over many cases, with the simplest case of each kind of mistake.

use super::mark::{Mark, mark};
use super::process::{CommandCandidate, NoAnswer};
use crate::verdict::{End, Verdict};
use crosswalk_case::Case;
use crosswalk_case::size_of_case;
use mmu_core::{AccessKind, PagingMode, Prediction};
use std::collections::BTreeMap;

/// What came of asking a candidate.
#[derive(Clone, Debug, Default)]
pub struct CandidateScore {
    /// What it said is allowed.
    pub right: u64,
    /// It said what is not allowed.
    pub wrong: u64,
    /// It did not say what matters.
    pub silent: u64,
    /// It had no answer: it died, was late, or said what is no answer.
    pub failed: u64,
    /// The machine does not do there what the manuals allow, or was not seen: nobody is marked.
    pub not_marked: u64,
    /// Cases that it was not asked, since it failed again and again.
    pub not_asked: u64,
    /// Its mistakes, those that look alike together.
    pub mistakes: BTreeMap<MistakeKey, Mistakes>,
    /// Why it did not say, as often as it gave the reason.
    pub silences: BTreeMap<String, u64>,
    /// Its failures, those with the same words together.
    pub failures: BTreeMap<String, Mistakes>,
    in_a_row: u32,
}

/// What makes two mistakes look alike: the mode, the kind of access, and how it was to end.
pub type MistakeKey = (PagingMode, AccessKind, End);

/// Mistakes that look alike.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// How many.
    pub count: u64,
    /// The simplest case.
    pub case: Case,
    /// What is allowed there, in words.
    pub expected: String,
    /// What it said, in words.
    pub answered: String,
}

/// After so many failures in a row a candidate is not asked again.
const MAX_FAILURES: u32 = 20;

impl CandidateScore {
    /// Whether it made no mistake and never failed.
    pub const fn is_clean(&self) -> bool {
        self.wrong == 0 && self.failed == 0 && self.not_asked == 0
    }

    /// Asks about a case, of which the reference predicts this, and by which a machine was judged so.
    pub fn ask(
        &mut self,
        candidate: &mut CommandCandidate,
        case: &Case,
        prediction: &Prediction,
        verdict: &Verdict,
    ) {
        if !matches!(verdict, Verdict::Agree { .. }) {
            self.not_marked += 1;
            return;
        }
        if self.in_a_row >= MAX_FAILURES {
            self.not_asked += 1;
            return;
        }
        match candidate.ask(case) {
            Ok(answer) => {
                self.in_a_row = 0;
                let ways = &prediction.alternatives;
                self.add(
                    case,
                    ways.first().map(|way| End::of(&way.outcome)),
                    mark(case, ways, &answer),
                );
            }
            Err(failure) => {
                self.in_a_row += 1;
                self.failed += 1;
                self.add_failure(case, &failure);
            }
        }
    }

    fn add(&mut self, case: &Case, end: Option<End>, mark: Mark) {
        match mark {
            Mark::Right => self.right += 1,
            Mark::Silent(why) => {
                self.silent += 1;
                let why = group_of(&self.silences, &why);
                *self.silences.entry(why).or_default() += 1;
            }
            Mark::Wrong { expected, answered } => {
                self.wrong += 1;
                let alike = (case.mode(), case.access.kind, end.unwrap_or(End::Completed));
                count(&mut self.mistakes, alike, case, &expected, &answered);
            }
        }
    }

    fn add_failure(&mut self, case: &Case, failure: &NoAnswer) {
        let kind = match failure {
            NoAnswer::Bad { problem, .. } => format!("a line that is no answer: {problem}"),
            other => other.to_string(),
        };
        let kind = group_of(&self.failures, &kind);
        count(&mut self.failures, kind, case, "an answer", &failure.to_string());
    }
}

/// So many kinds of words are told apart: a program may say something else each time.
const MAX_KINDS: usize = 100;

/// Words of a program as a kind among those known; control characters could obey a terminal.
fn group_of<T>(known: &BTreeMap<String, T>, words: &str) -> String {
    let words = words.replace(char::is_control, "\u{fffd}");
    let is_new = !known.contains_key(&words);
    if is_new && known.len() >= MAX_KINDS { "something else".into() } else { words }
}

fn count<K: Ord>(
    all: &mut BTreeMap<K, Mistakes>,
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
    let known = all.entry(key).or_insert_with(new);
    if size_of_case(case) < size_of_case(&known.case) {
        *known = Mistakes { count: known.count, ..new() };
    }
    known.count += 1;
}
