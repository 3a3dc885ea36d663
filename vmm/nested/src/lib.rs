//! Nested paging: the accesses of a guest in a guest, through its own tables and those of the hypervisor (NPT, EPT).
//!
//! - [`NestedCase`] is what is tried; its text form is JSON;
//! - [`generate`]: where cases come from;
//! - [`requirements`]: whether a machine can run a case;
//! - [`batch`]: how a machine runs them, many at once;
//! - [`observation`]: what it did;
//! - [`walker`]: who predicts; [`mutants`] are walkers with one mistake each, [`mutation`] is their score;
//! - [`verdict`]: a prediction compared with what was seen, field by field;
//! - [`known`]: what machines are known to do wrong, as data;
//! - [`campaign`]: a run on one or several machines, which share the batches of a [`schedule`];
//! - [`tally`]: what it counted, and its findings;
//! - [`compare`]: the same cases on several machines, and who differs from whom.
#![forbid(unsafe_code)]

pub mod batch;
pub mod campaign;
mod case;
pub mod compare;
mod entry;
pub mod generate;
pub mod known;
pub mod mutants;
pub mod mutation;
pub mod observation;
mod places;
mod quirks;
pub mod requirements;
pub mod schedule;
mod shrink;
pub mod stubs;
pub mod tally;
mod text;
pub mod verdict;
pub mod walker;

pub use batch::run_alone;
pub use case::{CaseMemory, NestedCase, Step};
pub use shrink::examine;
pub use text::NestedCaseError;
