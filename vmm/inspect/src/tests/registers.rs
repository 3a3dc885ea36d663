//! The control state: read, derived, given, or of the kernel's own tables.

use super::{open, pages, raw, scan};
use crate::test_images::{
    SmallMemory, cpu_32, cpu_64, elf, elf_with_notes, lime, note, small_guest,
};
use crate::{CpuNote, Limits, StateOptions};
use mmu_core::{ControlState, Cr4, Efer, PagingMode};

const VMCOREINFO: &[u8] = b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=ffffffff81001000\n\
    NUMBER(phys_base)=-16777216\nNUMBER(pgtable_l5_enabled)=0\n";

fn state_of(contents: &[u8], options: &StateOptions) -> (ControlState, Vec<String>) {
    let derived = open(contents).unwrap().control_state(options).unwrap();
    (derived.state, derived.derived)
}

#[test]
fn long_mode_is_derived_from_cs_or_from_the_header() {
    let default = StateOptions::default();
    let (state, derived) = state_of(&elf(true, &[cpu_64(0x1000)], &[]), &default);
    assert_eq!((state.mode(), state.cr3), (PagingMode::FourLevel, 0x1000));
    assert_eq!(
        derived,
        [
            "EFER.LMA is 1, since CS is a 64-bit segment",
            "EFER.NXE is taken to be 1: the dump does not have EFER"
        ]
    );

    // A program of 32 bits on a kernel of 64.
    let compatibility = CpuNote { cs_flags: 0x00cf_fb00, ..cpu_64(0x1000) };
    let (state, derived) = state_of(&elf(true, &[compatibility], &[]), &default);
    assert_eq!(state.mode(), PagingMode::FourLevel);
    assert_eq!(derived[0], "EFER.LMA is 1, since the dump is of a 64-bit processor");

    let five = CpuNote { cr4: cpu_64(0).cr4 | Cr4::LA57.bits(), ..cpu_64(0) };
    let (state, _) = state_of(&elf(true, &[five], &[]), &default);
    assert_eq!(state.mode(), PagingMode::FiveLevel);

    let (state, derived) = state_of(&elf(false, &[cpu_32(0)], &[]), &default);
    assert_eq!((state.mode(), derived.len()), (PagingMode::Bits32, 0));
}

#[test]
fn the_pdptes_of_pae_paging_are_read_from_memory() {
    let pae = CpuNote { cr4: 0x20, ..cpu_32(0x20) };
    let mut memory = SmallMemory::new(0x1000);
    memory.entry(0x20, 0x2001).entry(0x38, 0x3001);
    let (state, derived) =
        state_of(&elf(false, &[pae], &[(0, &memory.0)]), &StateOptions::default());
    assert_eq!(state.pdptes, [0x2001, 0, 0, 0x3001]);
    assert!(derived[0].starts_with("EFER.LMA is 0"), "{derived:?}");
    assert!(derived[2].starts_with("the PDPTEs are those in memory"), "{derived:?}");

    let error = open(&elf(false, &[pae], &[])).unwrap();
    let error = error.control_state(&StateOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("the PDPTEs at 0x20 cannot be read: the image has no memory"),
        "{error}"
    );
}

#[test]
fn options_have_the_last_word() {
    let contents = elf(true, &[cpu_64(0x1000)], &[]);
    let options = StateOptions { cr3: Some(0x7000), efer: Some(0x500), ..StateOptions::default() };
    let (state, derived) = state_of(&contents, &options);
    assert_eq!((state.cr3, state.efer), (0x7000, Efer::LME | Efer::LMA));
    assert_eq!(derived, [""; 0]);
}

#[test]
fn a_cpu_that_does_not_exist_is_an_error() {
    let image = open(&elf(true, &[cpu_64(0), cpu_64(0)], &[])).unwrap();
    let error = image.control_state(&StateOptions { cpu: 2, ..StateOptions::default() });
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("the registers of 2 CPUs, counted from 0, and not those of CPU 2"),
        "{error}"
    );
}

/// The root of the text is that of the small guest: 0x1001000 - 0x1000000.
#[test]
fn the_kernels_tables_are_found_by_vmcoreinfo() {
    let mut memory = small_guest().0;
    let note = note(b"VMCOREINFO\0\0", 11, VMCOREINFO);
    let in_note = elf_with_notes(true, &note, &[(0, &memory)]);
    memory[0xf000..0xf000 + VMCOREINFO.len()].copy_from_slice(VMCOREINFO);
    let in_page = memory.clone();
    memory[0xf000..0xf100].fill(0);
    memory[0xf018..0xf018 + VMCOREINFO.len()].copy_from_slice(VMCOREINFO);
    let behind_header = memory;

    for contents in [in_note, lime(&[(0, &in_page)]), lime(&[(0, &behind_header)])] {
        let (state, derived) = state_of(&contents, &StateOptions::default());
        assert_eq!((state.mode(), state.cr3), (PagingMode::FourLevel, 0x1000));
        assert!(derived[0].starts_with("CR3 is init_top_pgt - "), "{derived:?}");

        let found = scan(&open(&contents).unwrap(), &StateOptions::default(), Limits::default());
        assert_eq!(pages(&found).len(), 13);
    }
}

#[test]
fn without_any_hint_the_user_is_asked_for_the_root() {
    let error = raw(&[0; 0x3000]).control_state(&StateOptions::default()).unwrap_err();
    assert!(error.to_string().contains("say where the root table is (--cr3)"), "{error}");
}
