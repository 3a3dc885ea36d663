//! What host and guest agree on: where everything lies in the guest's memory, how a batch of cases
//! is handed over, and what the data frames contain.
//!
//! The binary of this package is the image that runs in the guest. One batch goes like this:
//!
//! 1. The host writes a batch into an [arena](layout::Arena) (the new contents of its page tables,
//!    and one [record](mailbox::Record) per case) and names it in the [control
//!    page](mailbox::Control).
//! 2. The guest, in ring 3, writes the page tables itself, loads the control registers and CR3 in
//!    ring 0, and makes the accesses: first the ring-3 list, then the ring-0 list.
//! 3. A fault is recorded in the record of its case, and so is what was read. At the end of both
//!    lists the guest rings the doorbell, and the host looks at everything.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod contents;
pub mod high;
pub mod layout;
pub mod mailbox;
pub mod stub;
pub mod system;
pub mod tables;
