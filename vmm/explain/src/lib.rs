//! A case of address translation, explained: its walk as data for scripts, as parts that a page can show, as a
//! picture, and in the words that all of them share.
//!
//! - [`explained`] is the walk of a case with everything that a walker predicts, as `crosswalk explain --json` says it;
//! - [`steps`] is what happens in a sequence, and what may be cached after each action;
//! - [`View`] is all that a page shows of a case: that, the walk in parts ([`picture`]), and drawn as SVG;
//! - [`address`] splits a linear address; [`words`] describes entries, rights, accesses and outcomes.
//!
//! It needs neither a machine nor an operating system, so a browser runs it, too.
#![forbid(unsafe_code)]

pub mod address;
mod document;
pub mod picture;
pub mod steps;
mod svg;
mod view;
pub mod words;

pub use document::{ExplainedCase, SequenceStepJson, explained};
pub use view::View;
