//! The protocol of the virtual memory system: what the host requests, and what the guest's kernel
//! responds, while it runs processes on [`mmu_core::space`] instead of batches.
//!
//! 1. The host writes a [`Request`] to [`layout::REQUEST`] and puts that address into the [control
//!    page](crate::mailbox::Control).
//! 2. The guest's kernel, on page tables of its own, [executes](execute) the request. For
//!    [`Request::Run`] it enters processes and serves their faults.
//! 3. It writes a [`Response`], the [events](history) of the request, and its [accounting] of
//!    frames and slots.
//!
//! Both sides use everything here except the code that enters processes: the host executes the same
//! requests on the software MMU.

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
