//! Auditing the software side. After every fault the accounting is compared with the tables, and
//! frames that should be empty and translations that the TLB holds are checked. A problem is recorded
//! with its cause, where it arises and not where it shows.

use super::model::Model;
use crosswalk_guest::system::Residence;
use mmu_core::memory::TableMemory;
use mmu_core::space::{Decision, Event, Minor, PAGE_BYTES, SpaceId};
use mmu_core::x86::format::Format;
use mmu_core::{PhysAddr, VirtAddr};

impl<F: Format> Model<F> {
    /// Compares accounting, tables and TLB, and checks the frames that were filled with zeros.
    pub(super) fn audit(&mut self) {
        self.most_table_bytes = self.most_table_bytes.max(self.table_bytes());

        let new: Vec<_> = self.computer.history.0[self.audited..].to_vec();
        self.audited = self.computer.history.0.len();
        for event in new {
            if let Event::Fault { space, fault, decision, frame: Some(frame) } = event
                && decision == Decision::Minor(Minor::ZeroFill)
                && let Some(page) = fault.cr2
            {
                self.check_zeros(space, page, frame);
            }
        }

        // With the kernel in its space, a process has tables that do not belong to the system.
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

    /// Checks that a frame that was given out as zeros holds zeros.
    fn check_zeros(&mut self, space: SpaceId, page: VirtAddr, frame: PhysAddr) {
        let mut offsets = (0..PAGE_BYTES).step_by(8);
        let left = offsets.find(|offset| self.computer.read_entry(frame + *offset, 8) != Ok(0));

        if let Some(offset) = left {
            let name = self.name_of(space).unwrap_or('?');
            self.problem(format!(
                "frame {frame}, given to {name} for {page}, still holds at offset {offset:#x} what \
                 another process left: the wipe is missing"
            ));
        }
    }
}
