//! The protocol of the virtual memory system: what the host orders, and what the guest's kernel
//! answers, while it runs processes on [`mmu_core::space`] instead of batches.
//!
//! 1. The host writes an [`Request`] to its [`place`], and names it in the
//!    [control page](crate::mailbox::Control).
//! 2. The guest's kernel, on tables of its own, [carries it out](carry_out); for [`Request::ProgramRun`] it
//!    enters processes and serves their faults.
//! 3. It answers with an [`Response`], the [events](history) of the order, and its [books].
//!
//! Everything here but the entering of processes is used by both sides: the host runs the same
//! orders on the software MMU.

pub mod accounting;
pub mod codec;
pub mod history;
pub mod layout;

pub mod program;
mod request;
mod response;
mod serve;
mod supervisor;

pub use request::{MAX_RUNS, ProgramRun, Request};
pub use response::{Completion, Ending, MAX_MISMATCHES, Response, ScriptMismatch};
pub use serve::execute;
pub use supervisor::{Residence, link_kernel, regions};
