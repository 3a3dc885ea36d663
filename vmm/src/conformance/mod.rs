//! Conformance: which rules the walkers that people use get right, judged by what machines did.
//!
//! A case is about a rule when a mutant or an omission of the rule predicts other outcomes. A walker
//! gets the rule right there if its answer is allowed, and would not be allowed without the rule. It
//! gets the rule wrong if its answer is allowed only without the rule. An answer that is allowed
//! either way says nothing about the rule.
//!
//! A walker that knows nothing of a rule is right wherever the rule happens to ask for what it does
//! anyway. So a rule counts as right only with right answers on the side where it bites ([`Side`]).

mod attribution;
mod column;
pub mod machines;
pub mod mark;
mod marks;
pub mod nested;
pub mod process;
pub mod score;
mod side;
mod subjects;
mod table;
#[cfg(test)]
mod tests;
mod walker_candidate;

pub use attribution::{Aspect, rows};
pub use column::Column;
pub use marks::{Cell, Mistake, RuleMarks};
pub use side::{RightSides, Side};
pub use subjects::{AdapterListing, AdaptersError, Subject, adapters, beside_this_program};
pub use table::Table;
