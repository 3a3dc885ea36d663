//! What the manuals allow in a test.

use crate::test::Litmus;
use mmu_core::litmus::{Event, LitmusChoices, LitmusError, LitmusReference, LitmusSemantics};
use std::collections::{BTreeMap, BTreeSet};

/// Number of states beyond which a test is too large. Those of the catalogue have some hundreds.
const MAX_STATES: usize = 50_000;

/// Every outcome of a test that is allowed.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// The outcomes in words.
    pub outcomes: BTreeMap<String, JudgedOutcome>,
    /// Number of states that the model went through.
    pub states: usize,
}

/// An outcome that is allowed.
#[derive(Clone, Debug, Default)]
pub struct JudgedOutcome {
    /// The sets of choices by which a processor comes to it: one empty set if it takes none.
    pub choices: Vec<LitmusChoices>,
    /// A shortest execution, by the first of them.
    pub execution: Vec<Event>,
}

impl Litmus {
    /// What the manuals allow.
    ///
    /// # Errors
    /// If something leads to memory that the test does not have, or the test is too large.
    pub fn judge(&self) -> Result<Judgement, LitmusError> {
        self.judge_as(LitmusReference)
    }

    /// What a machine shows that decides as `semantics` does.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn judge_as<S: LitmusSemantics>(&self, semantics: S) -> Result<Judgement, LitmusError> {
        let explored = self.model.explore_on(semantics, MAX_STATES)?;
        let mut judgement = Judgement { states: explored.states, ..Judgement::default() };
        for (outcome, ways) in explored.outcomes {
            let judged = judgement.outcomes.entry(self.observation.written(&outcome)).or_default();
            for way in ways {
                judged.add(way.choices, way.execution);
            }
        }
        Ok(judgement)
    }
}

impl JudgedOutcome {
    /// Adds a way to the outcome, if it needs other choices than those that are known, or fewer, or as many and
    /// is shorter.
    fn add(&mut self, choices: LitmusChoices, execution: Vec<Event>) {
        let is_first = self.choices.first().is_none_or(|first| {
            (choices.bits().count_ones(), execution.len())
                < (first.bits().count_ones(), self.execution.len())
        });
        if self.choices.iter().any(|known| choices.contains(*known)) && !is_first {
            return;
        }

        self.choices.retain(|known| !known.contains(choices));
        if is_first {
            self.choices.insert(0, choices);
            self.execution = execution;
        } else {
            self.choices.push(choices);
        }
    }

    /// Whether every processor may show it, whatever it chooses.
    pub fn takes_no_choice(&self) -> bool {
        self.choices.iter().any(LitmusChoices::is_empty)
    }

    /// The names of the choices of each way.
    pub fn choice_names(&self) -> Vec<Vec<&'static str>> {
        self.choices.iter().map(|choices| choices.names().collect()).collect()
    }
}

impl Judgement {
    /// The outcomes by the choices that they take: those that take none first.
    pub fn by_choices(&self) -> BTreeMap<BTreeSet<String>, BTreeSet<String>> {
        let mut found: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
        for (outcome, judged) in &self.outcomes {
            for names in judged.choice_names() {
                let names = names.into_iter().map(String::from).collect();
                found.entry(names).or_default().insert(outcome.clone());
            }
        }
        found
    }
}
