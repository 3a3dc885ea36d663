//! crosswalk's own `VirtualMemory` over vm-memory, which users of rust-vmm's crates have: the access
//! as the guest would perform it, with fault, CR2, and A and D.

use crate::frames::{FRAME_SIZE, OUTSIDE};
use crate::memory::{changed, erase, high_frames, write};
use crate::pages::Reply;
use crate::registers::root_table;
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Translated};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents::ACCESS_BYTE;
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_guest::stub::Form;
use crosswalk_memory::VirtualMemory;
use mmu_core::memory::SparseTables;
use mmu_core::x86::control::LoadError;
use mmu_core::{Access, AccessError, AccessKind, Fault, PagingMode, VirtAddr};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// The version of vm-memory.
pub const VERSION: &str = "0.18.0";

/// The candidate.
#[derive(Clone, Debug)]
pub struct VmMemory {
    /// The low memory, which is all zeros between cases.
    low: GuestMemoryMmap,
}

impl VmMemory {
    /// A candidate with memory of its own.
    ///
    /// # Errors
    /// When the memory cannot be mapped.
    pub fn new() -> Result<Self, String> {
        let range = (GuestAddress(0), LOW_MEMORY_END as usize);
        let low = GuestMemoryMmap::from_ranges(&[range]).map_err(|error| error.to_string())?;
        Ok(Self { low })
    }

    fn try_answer(&self, case: &Case) -> Reply {
        if case.is_sequence() {
            return Err("it is asked for single accesses only".into());
        }
        if let Some(fault) = fault_at_load(case) {
            return Ok(faulted(&fault, Vec::new()));
        }

        let memory = self.memory_for(case)?;
        write(&memory, case, |at| at)?;
        let mut guest = VirtualMemory::new(&memory, case.state, case.profile);
        let read = descriptor_read(case).map_or(Ok(()), |read| guest.translate(&read).map(drop));
        let translated = read.and_then(|()| guest.translate(&case.access));
        let entries = changed(&memory, case)?;
        erase(&memory, case, |at| at)?;

        match translated {
            Ok(translation) => Ok(Answer::Translated(Translated {
                address: translation.address().get(),
                second: translation.spans().nth(1).map(|span| span.address.get()),
                entries: Some(entries),
                ..Translated::default()
            })),
            Err(AccessError::Fault(fault)) => Ok(faulted(&fault, entries)),
            Err(AccessError::Memory(_)) => Err(OUTSIDE.into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The low memory, and the high frames of a case.
    fn memory_for(&self, case: &Case) -> Result<GuestMemoryMmap, String> {
        let mut memory = self.low.clone();
        for frame in high_frames(case) {
            let pages = MmapRegion::new(FRAME_SIZE as usize).map_err(|error| error.to_string())?;
            let region = GuestRegionMmap::new(pages, GuestAddress(frame))
                .ok_or_else(|| format!("there can be no memory at {frame:#x}"))?;
            memory = memory.insert_region(Arc::new(region)).map_err(|error| error.to_string())?;
        }
        Ok(memory)
    }
}

impl Candidate for VmMemory {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

/// The access before that of a case: the load of a segment reads the descriptor, and then sets its accessed
/// bit (SDM "Segment Descriptors").
fn descriptor_read(case: &Case) -> Option<Access> {
    let address = VirtAddr::new(case.access.address.get().wrapping_sub(ACCESS_BYTE));
    let read = Access { kind: AccessKind::Read, address, size: 8, ..case.access };
    (case.form == Form::SegmentLoad).then_some(read)
}

/// The fault of the MOV to CR3 that loads PAE's PDPTEs; the access never runs then (PDPTE-2).
fn fault_at_load(case: &Case) -> Option<Fault> {
    if case.mode() != PagingMode::Pae {
        return None;
    }

    let pdpt = root_table(&case.state);
    let pdptes: Vec<(u64, u64)> = (pdpt..).step_by(8).zip(case.state.pdptes).collect();
    let load = case.state.load_cr3(case.state.cr3, case.profile, &SparseTables::new(&pdptes));
    match load {
        Err(LoadError::Fault(fault)) => Some(fault),
        _ => None,
    }
}

fn faulted(fault: &Fault, entries: Vec<TableEntry>) -> Answer {
    Answer::Fault(Faulted {
        vector: Some(fault.vector as u8),
        error_code: Some(fault.error_code),
        cr2: fault.cr2.map(VirtAddr::get),
        entries: Some(entries),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, plain, set_entry,
        with_each_entry_absent, write, write_through_a_high_table,
    };

    fn candidate() -> VmMemory {
        VmMemory::new().expect("memory can be mapped")
    }

    #[test]
    fn it_answers_in_every_mode_and_in_full() {
        let mut candidate = candidate();
        for mode in PagingMode::ALL {
            let case = write(mode);
            assert_right(&mut candidate, &case);
            for absent in with_each_entry_absent(&case) {
                assert_right(&mut candidate, &absent);
            }
        }
    }

    #[test]
    fn a_write_reports_a_and_d_and_a_fault_its_error_code() {
        let mut candidate = candidate();
        let mut case = write(PagingMode::FourLevel);
        let Answer::Translated(translated) = candidate.answer(&case) else {
            panic!("the page is mapped")
        };
        // A is bit 5; D, of the leaf only, is bit 6.
        let changed: Vec<u64> =
            translated.entries.iter().flatten().map(|entry| entry.value & 0xfff).collect();
        assert_eq!(changed, [0x27, 0x27, 0x27, 0x67]);

        set_entry(&mut case, 1, 0x4000_0005);
        let Answer::Fault(fault) = candidate.answer(&case) else { panic!("the page is read-only") };
        assert_eq!(fault.vector, Some(14));
        assert_eq!(fault.error_code, Some(7));
        assert_eq!(fault.cr2, Some(case.access.address.get()));
    }

    #[test]
    fn a_bad_pdpte_faults_when_it_is_loaded() {
        let mut case = plain(PagingMode::Pae);
        case.state.pdptes[2] |= 1 << 8;
        case.entries[0].value = case.state.pdptes[2];
        case.profile.vendor = mmu_core::Vendor::Intel;
        assert_right(&mut candidate(), &case);
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let mut candidate = candidate();
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            assert_notices_tables_outside_memory(&mut candidate, mode, |_| ());
        }
    }

    #[test]
    fn tables_at_high_addresses_are_read() {
        assert_right(&mut candidate(), &write_through_a_high_table());
    }
}
