//! The error code of a page fault, bit by bit.

use super::field::{FieldKind, Layout, Word};
use mmu_core::x86::fault::PageFaultCode;
use mmu_core::{Fault, Vector};

/// Each flag: its name in the manuals, and what it means when it is 0 and when it is 1.
const FLAGS: [(PageFaultCode, &str, [&str; 2]); 7] = [
    (PageFaultCode::SS, "SS", ["not a shadow-stack access", "a shadow-stack access"]),
    (PageFaultCode::PK, "PK", ["no protection key denied it", "a protection key denied it"]),
    (PageFaultCode::I, "I/D", ["not a fetch, or not reported as one", "a fetch"]),
    (PageFaultCode::RSVD, "RSVD", ["no reserved bit was set", "a reserved bit was set"]),
    (PageFaultCode::U, "U/S", ["a supervisor access", "a user access"]),
    (PageFaultCode::W, "W/R", ["not a write", "a write"]),
    (PageFaultCode::P, "P", ["an entry was not present", "every entry that was read was present"]),
];

/// The error code as fields; of a page fault alone.
pub(super) fn word(fault: &Fault) -> Option<Word> {
    if fault.vector != Vector::PageFault {
        return None;
    }
    let mut layout = Layout::new(7, "");
    for (flag, name, _) in FLAGS {
        layout.set(flag.bits().into(), name, FieldKind::Flag);
    }
    Some(layout.word("error code", fault.error_code.into(), 0, |field, value| {
        let flag = FLAGS.iter().find(|(_, name, _)| *name == field);
        flag.map_or("", |(.., meanings)| meanings[usize::from(value != 0)]).into()
    }))
}
