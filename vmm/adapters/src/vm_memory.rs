//! crosswalk's own `VirtualMemory` over vm-memory, which every user of rust-vmm's crates has: the
//! access as the guest would make it, with fault, CR2, and A and D.

use crate::frames::OUTSIDE;
use crate::memory::{changed, erase, high_frames, write};
use crate::pages::Said;
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Translated};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_memory::{VirtualMemory, Why};
use mmu_core::memory::SparseTables;
use mmu_core::x86::control::LoadError;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae, Unpaged};
use mmu_core::{Fault, Outcome, PagingMode, VirtAddr};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// The version of vm-memory.
pub const VERSION: &str = "0.18.0";

/// The candidate.
#[derive(Clone, Debug)]
pub struct VmMemory {
    /// The low memory, all zeros between cases.
    low: GuestMemoryMmap,
}

impl VmMemory {
    /// A candidate with memory of its own.
    ///
    /// # Errors
    /// When the host has no such memory.
    pub fn new() -> Result<Self, String> {
        let range = (GuestAddress(0), LOW_MEMORY_END as usize);
        let low = GuestMemoryMmap::from_ranges(&[range]).map_err(|error| error.to_string())?;
        Ok(Self { low })
    }

    fn say(&self, case: &Case) -> Said {
        if case.is_sequence() {
            return Err("it is asked for single accesses only".into());
        }
        if let Some(fault) = fault_at_load(case) {
            return Ok(faulted(&fault, Vec::new()));
        }
        let mut memory = self.low.clone();
        for frame in high_frames(case) {
            let region = MmapRegion::new(0x1000).map_err(|error| error.to_string())?;
            let region = GuestRegionMmap::new(region, GuestAddress(frame))
                .ok_or_else(|| format!("there can be no memory at {frame:#x}"))?;
            memory = memory.insert_region(Arc::new(region)).map_err(|error| error.to_string())?;
        }
        write(&memory, case, |at| at)?;
        let outcome = match case.mode() {
            PagingMode::Unpaged | PagingMode::Linear => translate::<Unpaged>(&memory, case),
            PagingMode::Bits32 => translate::<Bits32>(&memory, case),
            PagingMode::Pae => translate::<Pae>(&memory, case),
            PagingMode::FourLevel => translate::<FourLevel>(&memory, case),
            PagingMode::FiveLevel => translate::<FiveLevel>(&memory, case),
        };
        let entries = changed(&memory, case)?;
        erase(&memory, case, |at| at)?;
        match outcome {
            Ok(Outcome::Translated(spans)) => Ok(Answer::Translated(Translated {
                address: spans[0].address.get(),
                second: spans.get(1).map(|span| span.address.get()),
                entries: Some(entries),
                ..Translated::default()
            })),
            Ok(Outcome::Fault(fault)) => Ok(faulted(&fault, entries)),
            Err(Why::Outside(_)) => Err(OUTSIDE.into()),
            Err(why) => Err(why.to_string()),
        }
    }
}

impl Candidate for VmMemory {
    fn answer(&mut self, case: &Case) -> Answer {
        self.say(case).unwrap_or_else(Answer::Silent)
    }
}

fn translate<F: Format>(memory: &GuestMemoryMmap, case: &Case) -> Result<Outcome, Why> {
    VirtualMemory::<F, _>::new(memory, case.state, case.profile).translate(&case.access)
}

/// The fault of MOV to CR3, which loads PAE's PDPTEs; the access is not made then.
fn fault_at_load(case: &Case) -> Option<Fault> {
    if case.mode() != PagingMode::Pae {
        return None;
    }
    let pdpt = case.state.cr3 & 0xffff_ffe0;
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
    use crate::testing::{is_right, leaf, plain, silence, with_tables_everywhere, write};

    #[test]
    fn it_answers_in_every_mode_and_in_full() {
        let mut candidate = VmMemory::new().expect("there is memory");
        for mode in PagingMode::ALL {
            let case = write(mode);
            assert!(is_right(&mut candidate, &case), "{mode}");
            for entry in 0..case.entries.len() {
                let mut absent = case.clone();
                absent.entries[entry].value &= !1;
                if let Some(pdpte) = case.pdpte_at(case.entries[entry].at) {
                    absent.state.pdptes[pdpte] &= !1;
                }
                assert!(is_right(&mut candidate, &absent), "{mode}, entry {entry}");
            }
        }
    }

    #[test]
    fn a_fault_comes_with_its_code_and_a_write_with_a_and_d() {
        let mut candidate = VmMemory::new().expect("there is memory");
        let mut case = write(PagingMode::FourLevel);
        let Answer::Translated(said) = candidate.answer(&case) else { panic!("it is mapped") };
        // A is bit 5, D bit 6, of the leaf only.
        let changed: Vec<u64> =
            said.entries.iter().flatten().map(|entry| entry.value & 0xfff).collect();
        assert_eq!(changed, [0x27, 0x27, 0x27, 0x67]);
        leaf(&mut case, 1, 0x4000_0005);
        let Answer::Fault(said) = candidate.answer(&case) else { panic!("it is read-only") };
        let address = case.access.address.get();
        assert_eq!((said.vector, said.error_code, said.cr2), (Some(14), Some(7), Some(address)));
    }

    #[test]
    fn a_bad_pdpte_faults_as_it_is_loaded() {
        let mut candidate = VmMemory::new().expect("there is memory");
        let mut case = plain(PagingMode::Pae);
        case.state.pdptes[2] |= 1 << 8;
        case.entries[0].value = case.state.pdptes[2];
        case.profile.vendor = mmu_core::Vendor::Intel;
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn tables_may_lie_anywhere() {
        let mut candidate = VmMemory::new().expect("there is memory");
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            for mut case in with_tables_everywhere(mode) {
                case.profile.physical_address_bits = 52;
                assert_eq!(silence(&mut candidate, &case), OUTSIDE);
            }
            assert!(is_right(&mut candidate, &plain(mode)));
        }
    }

    #[test]
    fn entries_may_lie_high() {
        let mut candidate = VmMemory::new().expect("there is memory");
        let mut case = write(PagingMode::FourLevel);
        case.entries[2].value = 0x12_3456_7007;
        case.entries[3].at = 0x12_3456_7000 + (case.entries[3].at & 0xfff);
        assert!(is_right(&mut candidate, &case));
    }
}
