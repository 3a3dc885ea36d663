//! What a run looks like to people ([`text`], [`walk`]) and to scripts ([`json`]); [`geometry`] has
//! both forms of its own.

pub mod geometry;
pub mod json;
pub mod text;
pub mod tree;
pub mod walk;

use crate::machine::{Capabilities, Identity, ModeOffer};
use crate::verdict::ChoiceTaken;
use mmu_core::Ring;

/// What a report says about a run besides its results.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'r> {
    /// The machine.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
    /// The modes asked for, each with the reason why it was not run.
    pub modes: &'r [ModeOffer],
    /// Repeats the run.
    pub seed: u64,
    /// Who predicted.
    pub walker: &'r str,
    /// CPU time of this process and its children.
    pub cpu_seconds: f64,
}

/// The circumstances of a choice, in words.
fn when(choice: &ChoiceTaken) -> String {
    let ring = if choice.ring == Ring::Zero { 0 } else { 3 };
    let level = if choice.level.is_empty() { String::new() } else { format!(", {}", choice.level) };
    format!("ring {ring} {}, {}{level}", choice.access.name(), choice.end.name())
}
