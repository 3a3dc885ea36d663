//! Conformance: which rules the walkers that people use get right, by what machines did.
//!
//! A case is about a rule when a mutant or an omission of the rule predicts otherwise. A walker gets
//! the rule right there if its answer is allowed, and would not be if the rule were left out; it gets
//! it wrong if its answer is allowed only then. What is allowed either way says nothing of the rule.

mod attribution;
pub mod mark;
pub mod process;
pub mod reference;
pub mod score;
mod subjects;
mod table;

pub use attribution::{KnownMistake, rows};
pub use subjects::{AdapterListing, AdaptersError, Subject, adapters, beside_this_program};
pub use table::{Cell, Column, Mistake, Table};
