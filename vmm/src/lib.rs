//! crosswalk cross-checks x86 address translation: a guest accesses memory through real page tables,
//! the host walks the same tables in software, and every outcome is compared.
//!
//! A [case](crosswalk_case::Case) is what is tried, a [machine](crosswalk_machine::Machine) runs it, and a
//! [walker](crosswalk_walker::Walker) predicts it.
//! The modules of this crate build on each other in this order; none uses a later one:
//!
//! - [`file`](mod@file): files that stay whole whatever happens to the program;
//! - [`verdict`]: compares a prediction with what was observed;
//! - [`finding`]: groups divergences by their cause, names them, and shrinks their cases;
//! - [`generate`]: makes cases;
//! - [`image`]: what an image that boots by itself carries, and the head of its log;
//! - [`campaign`]: runs cases on a machine and counts verdicts, with a journal to resume from;
//! - [`corpus`]: records what machines do, and replays it where there is no machine;
//! - [`mutation`]: judges all mutants by one run of a machine;
//! - [`conformance`]: shows which rules the walkers of other projects get right;
//! - [`report`]: presents all results as text, JSON and HTML;
//! - [`cli`]: the command line.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod cli;
pub mod conformance;
pub mod corpus;
pub mod file;
pub mod finding;
pub mod generate;
pub mod image;
pub mod mutation;
pub mod report;
pub mod verdict;

pub use crosswalk_geometry as geometry;
pub use crosswalk_scenario as scenario;
pub use crosswalk_walker as walker;
