//! Helpers for the end-to-end tests: running the program, reading its reports, and cases whose
//! expected outcome is written by hand.
//!
//! A test that needs something of the host starts with [`require_kvm!`], [`require_qemu!`] or
//! [`require_program!`]. Where that is missing, it prints that it is skipped and passes;
//! `CROSSWALK_REQUIRE=kvm,qemu` makes such a skip a failure.
#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "helpers of tests panic when a test must fail")]
#![allow(clippy::return_self_not_must_use, reason = "an assertion may be all that a test wants")]

pub mod answers;
pub mod boot;
pub mod browser;
pub mod case_json;
pub mod faults;
pub mod hand_made;
pub mod hostile;
pub mod live_guest;
pub mod memory_image;
pub mod nested;
pub mod program;
pub mod report;
pub mod requirement;
pub mod single;

pub use program::{ProgramOutput, Sandbox, guest_image, program, repository, run, run_with_dev};
pub use report::{count, finding, four_level, mode};
pub use requirement::skip;
