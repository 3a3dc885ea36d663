//! Watching the side in software: after every fault the books are compared with the tables, frames
//! that should be empty are looked at, and so is every translation that the TLB holds. What is wrong
//! is written down with its cause, where it happens and not where it shows.

use super::model::Model;
use crosswalk_guest::system::Residence;
use mmu_core::memory::TableMemory;
use mmu_core::space::{Decision, Event, Minor, PAGE_BYTES, SpaceId};
use mmu_core::x86::format::Format;
use mmu_core::{PhysAddr, VirtAddr};

impl<F: Format> Model<F> {
    /// Compares books, tables and TLB, and looks at the frames that were filled with zeros.
    pub(super) fn watch(&mut self) {
        self.most_table_bytes = self.most_table_bytes.max(self.table_bytes());
        let fresh: Vec<_> = self.computer.history.0[self.looked_at..].to_vec();
        self.looked_at = self.computer.history.0.len();
        for event in fresh {
            if let Event::Fault { space, fault, decision, frame: Some(frame) } = event
                && decision == Decision::Minor(Minor::ZeroFill)
                && let Some(page) = fault.cr2
            {
                self.look_at_zeros(space, page, frame);
            }
        }
        // A kernel in the process has tables there that are none of the system's.
        if self.residence == Residence::Separate
            && let Err(flaw) = self.system.audit(&self.computer)
        {
            self.problem(flaw.to_string());
        }
        // An error means that the space that ran has ended.
        if let Ok(Some(stale)) = self.computer.stale(&self.system) {
            self.problem(stale.to_string());
        }
    }

    /// A frame of zeros holds zeros.
    fn look_at_zeros(&mut self, space: SpaceId, page: VirtAddr, frame: PhysAddr) {
        let mut offsets = (0..PAGE_BYTES).step_by(8);
        let left = offsets.find(|offset| self.computer.read_entry(frame + *offset, 8) != Ok(0));
        if let Some(offset) = left {
            let name = self.name_of(space).unwrap_or('?');
            self.problem(format!(
                "frame {frame}, given to {name} for {page}, still holds at offset {offset:#x} what \
                 somebody else left: the wipe is missing"
            ));
        }
    }
}
