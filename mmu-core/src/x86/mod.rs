//! Everything specific to x86: the state that paging depends on, the table formats, and the
//! decisions of a walk.
//!
//! - [`state`], [`profile`], [`regime`]: the control registers, the processor, and both together;
//! - [`format`](mod@format): one file per table format, behind the trait
//!   [`Format`](format::Format);
//! - [`rule`], [`semantics`]: the ids of the rules, and the decisions that follow them;
//! - [`fault`]: exceptions and page-fault error codes;
//! - [`control`]: MOV to the control registers, with its checks.

pub mod control;
pub mod fault;
pub mod format;
pub mod profile;
pub mod regime;
pub mod rule;
pub mod semantics;
pub mod state;
