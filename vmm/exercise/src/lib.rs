//! Exercises about virtual memory as a textbook has them, without end.
//!
//! An [`Exercise`] is what a student is given ([`Fact`]s and [`Table`]s) and [`Question`]s, each with its answer, the way to
//! it, and what the typical wrong answers have in common. A [`sheet`](mod@sheet) is a list of them for a seed.
//!
//! No answer is stored. `mmu-core` walks the tables that are printed, caches what its TLB caches, lets its clock take
//! frames and its fork copy pages; `crosswalk-geometry` does the arithmetic. Wrong answers come from the same: a walker that
//! makes a student's slip is the reference with one decision overridden.
//!
//! ```
//! use crosswalk_exercise::{Difficulty, Marking, Topic, sheet};
//!
//! let exercise = sheet(7, &[Topic::Translate], Some(Difficulty::Basic), 1).remove(0);
//! let question = &exercise.questions[0];
//! assert_eq!(question.mark(&question.form.write(&question.answer)), Marking::Right);
//! assert!(matches!(question.mark("0x0"), Marking::Wrong(_)));
//! assert!(matches!(question.mark("I do not know"), Marking::Unclear(_)));
//! ```
#![forbid(unsafe_code)]

mod answer;
mod chance;
mod exercise;
pub mod sheet;
mod slip;
mod tables;
mod topic;
mod topics;
mod toy;
mod wording;

pub use answer::{End, Form, Unclear, Value};
pub use exercise::{Exercise, Fact, Marking, Question, Table};
pub use sheet::sheet;
pub use topic::{Difficulty, Topic};
