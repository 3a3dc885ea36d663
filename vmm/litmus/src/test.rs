//! A litmus test with its names.

use crate::outcome::Observation;
use mmu_core::litmus::LitmusTest;
use std::collections::BTreeSet;

/// A litmus test: what the processors do, in names and for the model, and what its author claims about it.
#[derive(Clone, Debug)]
pub struct Litmus {
    /// Its name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// The actions of each processor as they were written.
    pub columns: Vec<Vec<String>>,
    /// The actions of each processor's handler as they were written.
    pub handlers: Vec<Vec<String>>,
    /// The memory when the test begins, in names, a line each.
    pub setting: Vec<String>,
    /// What the author claims.
    pub claims: Vec<Claim>,
    /// The test for the model.
    pub model: LitmusTest,
    /// Which results are part of an outcome, and how they are written.
    pub(crate) observation: Observation,
}

/// A claim about a test: these outcomes, and no others, are allowed with these choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The names of the choices that they take, as in
    /// [`LitmusChoices::names`](mmu_core::litmus::LitmusChoices::names).
    pub choices: BTreeSet<String>,
    /// The outcomes.
    pub outcomes: BTreeSet<String>,
}
