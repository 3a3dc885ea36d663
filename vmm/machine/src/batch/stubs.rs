//! Which stub makes an access, and where the guest finds its own code and memory.

use crosswalk_case::AccessStep;
use crosswalk_guest::layout::SUPERVISOR_WINDOW;
use crosswalk_guest::stub::{Code, Form, Stub};
use crosswalk_guest::tables;
use mmu_core::{Cr0, PagingMode, Ring, Segment};

/// Whether a list of this code keeps the frames of a ring, if ring 0 is to keep them.
pub(super) fn keeps_frames(code: Code, ring: Ring, in_ring_0: bool) -> bool {
    code == Code::Bits64 && (ring == Ring::Three || in_ring_0)
}

/// Whether the stub of an access loads PKRU around it. 32-bit code loads it before.
pub(super) fn is_keyed(pkru: u32, code: Code) -> bool {
    pkru != 0 && code == Code::Bits64
}

/// The stub that makes an access.
pub(super) fn stub_of(step: &AccessStep, keyed: bool) -> Stub {
    let widest = if step.form == Form::FailingCompare { 16 } else { 8 };
    Stub::Access {
        form: step.form,
        stack: step.access.segment == Segment::Stack,
        log_size: step.access.size.clamp(1, widest).ilog2() as u8,
        keyed,
    }
}

/// The stub that stores an entry of a mode.
pub(super) const fn store_of_entry(mode: PagingMode, code: Code) -> Stub {
    let log_size = tables::entry_bytes(mode).ilog2() as u8;
    match code {
        Code::Bits32 if log_size == 3 => Stub::StoreEntry,
        _ => Stub::Access { form: Form::Store, stack: false, log_size, keyed: false },
    }
}

/// The distance from user addresses to those at which ring 0 finds the guest's memory.
pub(super) fn supervisor_window(cr0: Cr0) -> u64 {
    if cr0.contains(Cr0::PG) { SUPERVISOR_WINDOW } else { 0 }
}
