//! The protocol between host and guest: the layout of guest memory, the structures through which a
//! batch of cases passes, and the contents of the data frames.
//!
//! The binary `image` of this package is the program that runs in the guest. One batch runs like
//! this:
//!
//! 1. The host writes the batch into an [arena](layout::Arena): the new contents of its page tables
//!    and one [record](mailbox::AccessRecord) per access. It then puts the arena's address into the
//!    [control page](mailbox::Control).
//! 2. The guest, in ring 3, writes the page tables itself. It loads the control registers and CR3
//!    in ring 0, then makes the accesses: first the ring-3 list, then the ring-0 list. Sequences are one
//!    list, which starts in ring 3 and changes the ring as often as they do.
//! 3. Each record receives either the fault of its access or the value read. After that the
//!    guest rings the doorbell, and the host inspects the records, tables and data frames.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod contents;
pub mod high;
pub mod layout;
pub mod mailbox;
pub mod nested;
pub mod selector;
pub mod stub;
pub mod system;
pub mod table_windows;
pub mod tables;
pub mod tape;
pub mod vmx_msrs;
