//! Litmus tests of page tables: several processors edit them, use them, and invalidate what they have cached.
//!
//! - [`Litmus`] is a test: its text form is read by [`Litmus::from_str`](std::str::FromStr), and
//!   [`catalogue`] has those that come with the program;
//! - [`Judgement`] is what the manuals allow in it: every outcome, with the choices that it takes;
//! - [`diagram`] draws a shortest execution that leads to an outcome.
//!
//! ```
//! use crosswalk_litmus::Litmus;
//!
//! let test: Litmus = "\
//! litmus remap
//! page x = A
//! P0          | P1
//! pte x = B   | wait f = 1
//! invlpg x    | read x
//! f = 1       |
//! allowed: a, b
//! ".parse()?;
//! let judgement = test.judge()?;
//! let outcomes: Vec<_> = judgement.outcomes.keys().map(String::as_str).collect();
//! assert_eq!(outcomes, ["a", "b"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod diagram;
mod judgement;
pub mod mutants;
mod outcome;
mod places;
mod quirked;
pub mod random;
mod run;
pub mod shoot_down;
pub mod shrink;
mod test;
mod text;

pub use judgement::{JudgedOutcome, Judgement};
pub use run::{LitmusMachine, OnKvm, OnQemu, Seen, SeenOutcomes};
pub use test::{Claim, Litmus};
pub use text::LitmusTextError;
