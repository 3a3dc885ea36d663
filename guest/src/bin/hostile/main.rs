//! An image that misbehaves, for the tests of the host. It knows many ways to do so. Each is a
//! *behaviour*: an entry point, labelled `hostile_NAME`. A test chooses one by writing the address of
//! its label into the header of the image.
//!
//! - `attacks.s`: what code in ring 0 can do to a machine. Some of them then run the genuine guest.
//! - `protocol.s`: guests that are nothing but a few words in the mailbox.
//! - `lies`: the genuine guest, whose results are changed before it reports them.
//!
//! So the genuine guest is in here as well. `tests/hostile/` has the right result of every behaviour.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
#[path = "../../image/assembly.rs"]
mod assembly;
#[cfg(bare_metal)]
#[path = "../../image/descriptors.rs"]
mod descriptors;
#[cfg(bare_metal)]
#[path = "../../image/environment.rs"]
mod environment;
#[cfg(bare_metal)]
#[path = "../../image/kernel.rs"]
mod kernel;
#[cfg(bare_metal)]
#[path = "../../image/memory.rs"]
mod memory;
#[cfg(bare_metal)]
#[path = "../../image/nested.rs"]
mod nested;
#[cfg(bare_metal)]
#[path = "../../image/player/mod.rs"]
mod player;
#[cfg(bare_metal)]
#[path = "../../image/process.rs"]
mod process;
#[cfg(bare_metal)]
#[path = "../../image/process_page.rs"]
mod process_page;
#[cfg(bare_metal)]
#[path = "../../image/scheduler.rs"]
mod scheduler;
#[cfg(bare_metal)]
#[path = "../../image/self_test.rs"]
mod self_test;
#[cfg(bare_metal)]
#[path = "../../image/system.rs"]
mod system;

#[cfg(bare_metal)]
mod lies;
#[cfg(bare_metal)]
mod results;

#[cfg(bare_metal)]
mod behaviours {
    use core::mem::offset_of;
    use crosswalk_guest::layout::{Arena, CONTROL, IMAGE_BASE, OWN_TABLES, SUPERVISOR_WINDOW};
    use crosswalk_guest::mailbox::{COMMANDS_AHEAD, Control, DOORBELL_PORT, Doorbell};
    use crosswalk_guest::stub::{Code, ImageHeader, Stub};

    /// The stubs of 64-bit accesses are the first of all.
    const ACCESS_STUBS: usize = match Stub::SetFlags.index(Code::Bits64) {
        Some(index) => index,
        None => 0,
    };
    /// No machine takes as many commands to be known.
    const PROBES: u64 = 60;

    core::arch::global_asm!(
        include_str!("attacks.s"),
        include_str!("protocol.s"),
        CONTROL = const CONTROL + SUPERVISOR_WINDOW,
        COMMAND = const offset_of!(Control, command),
        PLACES = const offset_of!(Control, places),
        LAST_PLACE = const COMMANDS_AHEAD - 1,
        COMPLETED = const offset_of!(Control, completed),
        PANIC = const offset_of!(Control, panic),
        MODES_WALKED = const offset_of!(Control, modes_walked),
        WINDOW = const SUPERVISOR_WINDOW,
        OWN_TABLES = const OWN_TABLES + SUPERVISOR_WINDOW,
        USER_RECORDS = const Arena::ALL[0].user_records() - Arena::ALL[0].base(),
        STUBS = const IMAGE_BASE + offset_of!(ImageHeader, stubs) as u64,
        ACCESS_STUBS = const ACCESS_STUBS,
        PROBES = const PROBES,
        DOORBELL_PORT = const DOORBELL_PORT,
        DONE = const Doorbell::Completed as u8,
        EXCEPTION = const Doorbell::Panic as u8,
    );
}

#[cfg(not(bare_metal))]
fn main() {}
