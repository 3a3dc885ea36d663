//! The rules that a corpus claims to cover.

use super::Recorded;
use crate::walker::MUTANTS;
use mmu_core::Rule;
use std::collections::BTreeSet;

/// What the cases of a corpus claim to show.
#[derive(Default)]
pub(super) struct Claims {
    rules: BTreeSet<Rule>,
    mutants: BTreeSet<&'static str>,
}

impl Claims {
    pub(super) fn add(&mut self, recorded: &Recorded) {
        let has = |ids: &[String], id: &str| ids.iter().any(|one| one == id);

        let rules = Rule::ALL.iter().filter(|rule| has(&recorded.rules, rule.id()));
        self.rules.extend(rules);

        let mutants = MUTANTS.iter().filter(|mutant| has(&recorded.catches, mutant.id));
        self.mutants.extend(mutants.map(|mutant| mutant.id));
    }

    /// The rules that decide a case, and all of whose mutants are caught.
    pub(super) fn covered(&self) -> Vec<Rule> {
        let are_mutants_caught = |rule: Rule| {
            let mut mutants = MUTANTS.iter().filter(|mutant| mutant.rule == Some(rule));
            mutants.all(|mutant| self.mutants.contains(mutant.id))
        };

        self.rules.iter().copied().filter(|rule| are_mutants_caught(*rule)).collect()
    }
}
