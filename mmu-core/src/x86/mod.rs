//! What is x86's own: the state that paging depends on, the table formats, and the decisions of a
//! walk.
//!
//! - [`state`], [`profile`], [`regime`]: control registers, the processor, and both together;
//! - [`format`](mod@format): one file per table format, behind the trait [`Format`](format::Format);
//! - [`rule`]: the ids of the rules; [`semantics`]: the decisions that follow them;
//! - [`fault`]: exceptions and page-fault error codes;
//! - [`control`]: MOV to control registers, with their checks.

pub mod control;
pub mod fault;
pub mod format;
pub mod profile;
pub mod regime;
pub mod rule;
pub mod semantics;
pub mod state;
