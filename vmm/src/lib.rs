//! crosswalk cross-checks address translation: a guest runs on real page tables, the host walks the
//! same tables in software, and every outcome is compared.
//!
//! From the ground up:
//!
//! - a [`case`] is what is tried, an [`observation`] is what a machine did with it;
//! - two pillars stand on these: [`walker`]s predict, [`machine`]s act;
//! - they meet in the [`verdict`];
//! - [`tally`] counts verdicts, [`coverage`] says why a rule was not met, [`finding`] groups divergences,
//!   names and shrinks them;
//! - [`generate`] makes cases, [`campaign`] drives a run, [`journal`] keeps how far it came,
//!   [`mixture`] runs some of every kind, [`mutation`] holds that against every mutant;
//! - a [`candidate`] is somebody else's walker, a [`corpus`] what machines did elsewhere, [`replay`] judges
//!   it, [`conformance`] shows which rules candidates get right;
//! - [`report`] shows all that;
//! - [`geometry`] stands alone: the textbook's arithmetic of page tables;
//! - [`scenario`] stands alone, too: processes on the virtual memory system of `mmu-core`;
//! - [`cli`] is the command line.

pub mod campaign;
pub mod cli;
pub mod conformance;
pub mod corpus;
pub mod finding;
pub mod generate;
pub mod geometry;
pub mod mutation;
pub mod report;
pub mod scenario;
pub mod verdict;
pub mod walker;
