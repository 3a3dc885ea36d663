//! TLB-2 and TLB-4 over changes of the registers: several roots and PCIDs, and bits of CR4 and EFER. Each
//! line of SDM "Operations that Invalidate TLBs and Paging-Structure Caches" and of APM "TLB Management" once
//! where an old translation is still allowed, and once where it is not.

use super::{
    Access,
    AccessKind::{Fetch, Read},
    BYTE, ControlState, Cr4, FourLevel, NEIGHBOUR, PDE, PTE, PhysAddr, Profile, Ring, Vec, Vendor,
    VirtAddr,
    stale::{EditedTables, edit, ends_of, predictions_in, profile, tables, user},
};
use crate::cache::{EditError, History, Invalidation, RegisterWrite};
use crate::memory::{Bytes, TableMemoryMut};
use crate::walk::Mmu;
use crate::x86::format::Bits32;
use crate::x86::profile::Features;
use crate::x86::state::Efer;

/// The root of `tables`, under which the page is at 0x5000, and another, under which it is at 0x7000.
const ROOT: u64 = 0x10_000;
const OTHER_ROOT: u64 = 0x15_000;
const NO_FLUSH: u64 = 1 << 63;

const NEW: Result<u64, u32> = Ok(0x7234);
const OLD: Result<u64, u32> = Ok(0x5234);

/// A processor that runs on page tables with two roots.
struct Registers {
    tables: EditedTables,
    state: ControlState,
    profile: Profile,
}

impl Registers {
    /// With this leaf under the first root, which is current.
    fn new(vendor: Vendor, cr4: Cr4, leaf: u64) -> Self {
        let mut tables = tables();
        for (at, entry) in
            [(OTHER_ROOT + 8, 0x16_027), (0x16_010, 0x17_027), (0x17_018, 0x14_027), (PTE, leaf)]
        {
            edit(&mut tables, at, entry);
            tables.forget_all();
        }

        let mut state = ControlState::four_level(ROOT);
        state.cr4 |= cr4;
        Self { tables, state, profile: profile(vendor) }
    }

    fn write(&mut self, write: RegisterWrite, new: ControlState) {
        let vendor = self.profile.vendor;
        self.tables.write_register(write, &self.state, &new, vendor).unwrap();
        self.state = new;
    }

    fn mov_to_cr3(&mut self, value: u64) -> &mut Self {
        let new = ControlState { cr3: value & !NO_FLUSH, ..self.state };
        self.write(RegisterWrite::Cr3(value), new);
        self
    }

    /// Changes CR4 or EFER.
    fn change(&mut self, change: impl Fn(&mut ControlState)) -> &mut Self {
        let mut new = self.state;
        change(&mut new);
        self.write(RegisterWrite::Other, new);
        self
    }

    fn invpcid(&mut self, kind: u64, pcid: u64, address: u64) -> &mut Self {
        let what =
            Invalidation::invpcid::<FourLevel>(&self.state, &self.profile, kind, [pcid, address]);
        self.tables.invalidate(what.unwrap());
        self
    }

    fn invlpg(&mut self, address: u64) -> &mut Self {
        self.tables.invlpg::<FourLevel>(&self.state, &self.profile, VirtAddr::new(address));
        self
    }

    fn edit(&mut self, at: u64, entry: u64) -> &mut Self {
        edit(&mut self.tables, at, entry);
        self
    }

    #[track_caller]
    fn reads(&self, expected: &[Result<u64, u32>]) {
        let read = user(Read, BYTE);
        let all = predictions_in(self.state, self.profile, &self.tables, &read);
        assert_eq!(ends_of(&all), expected);
    }
}

const VENDORS: [Vendor; 3] = Vendor::ALL;
const LOCAL: u64 = 0x5027;
const GLOBAL: u64 = 0x5127;

/// The leaf was cached in PCID 1, and then moved. PCID 2 is current.
fn in_pcid_2(leaf: u64) -> Registers {
    let mut registers = Registers::new(Vendor::Intel, Cr4::PCIDE | Cr4::PGE, leaf);
    registers.mov_to_cr3(ROOT | 1).edit(PTE, 0x7027).mov_to_cr3(ROOT | 2 | NO_FLUSH);
    registers
}

#[test]
fn tlb_4_without_pcids_another_root_keeps_global_translations_only() {
    for vendor in VENDORS {
        Registers::new(vendor, Cr4::PGE, LOCAL).mov_to_cr3(OTHER_ROOT).reads(&[NEW]);
        Registers::new(vendor, Cr4::PGE, GLOBAL).mov_to_cr3(OTHER_ROOT).reads(&[NEW, OLD]);
        Registers::new(vendor, Cr4::empty(), GLOBAL).mov_to_cr3(OTHER_ROOT).reads(&[NEW]);

        // A global translation can have been cached as long as its root was current.
        let mut registers = Registers::new(vendor, Cr4::PGE, GLOBAL);
        registers.mov_to_cr3(OTHER_ROOT).edit(PTE, 0x9127).reads(&[NEW, OLD]);
        registers.invlpg(BYTE).reads(&[NEW]);
    }
}

#[test]
fn mode_9_with_bit_63_the_translations_of_another_root_stay() {
    for vendor in VENDORS {
        let mut registers = Registers::new(vendor, Cr4::PCIDE, LOCAL);
        registers.mov_to_cr3(OTHER_ROOT | NO_FLUSH).reads(&[NEW, OLD]);

        // Upper entries of the first root lead to what memory has now.
        registers.edit(PTE, 0x9027).reads(&[NEW, Ok(0x9234), OLD]);
        // INVLPG of another address drops them, but not what is in the TLB as a whole.
        registers.invlpg(NEIGHBOUR).reads(&[NEW, Ok(0x9234), OLD]);
        registers.edit(PTE, 0xa027).reads(&[NEW, Ok(0x9234), OLD]);

        let mut registers = Registers::new(vendor, Cr4::PCIDE, LOCAL);
        registers.mov_to_cr3(OTHER_ROOT).reads(&[NEW]);
    }
}

#[test]
fn tlb_4_mov_to_cr3_touches_the_new_pcid_only() {
    // PCID 2 has nothing of PCID 1.
    in_pcid_2(LOCAL).reads(&[NEW]);
    in_pcid_2(LOCAL).mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(&[NEW, OLD]);
    in_pcid_2(LOCAL).mov_to_cr3(ROOT | 1).reads(&[NEW]);
    // Without bit 63, another PCID is flushed, and then back.
    in_pcid_2(LOCAL).mov_to_cr3(ROOT | 3).mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(&[NEW, OLD]);

    // A global translation is for any.
    in_pcid_2(GLOBAL).reads(&[NEW, OLD]);
    in_pcid_2(GLOBAL).mov_to_cr3(ROOT | 3).reads(&[NEW, OLD]);
}

#[test]
fn tlb_4_invpcid_0_drops_an_address_of_a_pcid() {
    let back = |registers: &mut Registers, expected: &[Result<u64, u32>]| {
        registers.mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(expected);
    };
    back(in_pcid_2(LOCAL).invpcid(0, 1, BYTE), &[NEW]);
    back(in_pcid_2(LOCAL).invpcid(0, 2, BYTE), &[NEW, OLD]);
    back(in_pcid_2(LOCAL).invpcid(0, 1, NEIGHBOUR), &[NEW, OLD]);
    back(in_pcid_2(GLOBAL).invpcid(0, 1, BYTE), &[NEW, OLD]);
}

#[test]
fn tlb_4_invpcid_1_drops_a_pcid() {
    let back = |registers: &mut Registers, expected: &[Result<u64, u32>]| {
        registers.mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(expected);
    };
    back(in_pcid_2(LOCAL).invpcid(1, 1, 0), &[NEW]);
    back(in_pcid_2(LOCAL).invpcid(1, 2, 0), &[NEW, OLD]);
    back(in_pcid_2(GLOBAL).invpcid(1, 1, 0), &[NEW, OLD]);
}

#[test]
fn tlb_4_invpcid_2_drops_everything_and_3_all_but_global_translations() {
    for (kind, leaf, ends) in
        [(2, LOCAL, &[NEW][..]), (2, GLOBAL, &[NEW]), (3, LOCAL, &[NEW]), (3, GLOBAL, &[NEW, OLD])]
    {
        in_pcid_2(leaf).invpcid(kind, 0, 0).mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(ends);
    }
}

#[test]
fn tlb_4_invlpg_drops_global_translations_of_any_pcid_and_others_of_its_own() {
    in_pcid_2(LOCAL).invlpg(BYTE).mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(&[NEW, OLD]);
    in_pcid_2(GLOBAL).invlpg(BYTE).mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(&[NEW]);
    in_pcid_2(LOCAL).mov_to_cr3(ROOT | 1 | NO_FLUSH).invlpg(BYTE).reads(&[NEW]);
}

/// SDM: entries "that are associated with the current PCID".
#[test]
fn tlb_3_a_page_fault_drops_what_its_pcid_has() {
    let mut registers = in_pcid_2(LOCAL);
    registers.tables.page_fault(&registers.state, VirtAddr::new(BYTE));
    registers.mov_to_cr3(ROOT | 1 | NO_FLUSH).reads(&[NEW, OLD]);
    registers.tables.page_fault(&registers.state, VirtAddr::new(BYTE));
    registers.reads(&[NEW]);
}

/// The leaf is cached and then moved, before bits of CR4 change.
fn moved(vendor: Vendor, cr4: Cr4, leaf: u64) -> Registers {
    let mut registers = Registers::new(vendor, cr4, leaf);
    registers.edit(PTE, 0x7027);
    registers
}

#[test]
fn tlb_4_pge_and_pcide_drop_everything() {
    for vendor in VENDORS {
        moved(vendor, Cr4::PGE, GLOBAL).reads(&[NEW, OLD]);
        moved(vendor, Cr4::PGE, GLOBAL).change(|state| state.cr4 -= Cr4::PGE).reads(&[NEW]);
        moved(vendor, Cr4::empty(), LOCAL).change(|state| state.cr4 |= Cr4::PGE).reads(&[NEW]);

        moved(vendor, Cr4::PCIDE, LOCAL).change(|state| state.cr4 -= Cr4::PCIDE).reads(&[NEW]);
        let mut sets = moved(vendor, Cr4::empty(), LOCAL);
        sets.change(|state| state.cr4 |= Cr4::PCIDE).reads(&[NEW, OLD]);
    }
}

#[test]
fn tlb_4_smep_from_0_to_1_drops_the_current_pcid_on_intel_only() {
    let smep = |registers: &mut Registers, expected: &[Result<u64, u32>]| {
        registers.change(|state| state.cr4 |= Cr4::SMEP).reads(expected);
    };
    smep(&mut moved(Vendor::Intel, Cr4::empty(), LOCAL), &[NEW]);
    smep(&mut moved(Vendor::Amd, Cr4::empty(), LOCAL), &[NEW, OLD]);
    smep(&mut moved(Vendor::Unknown, Cr4::empty(), LOCAL), &[NEW, OLD]);

    for vendor in VENDORS {
        let mut clears = moved(vendor, Cr4::SMEP, LOCAL);
        clears.change(|state| state.cr4 -= Cr4::SMEP).reads(&[NEW, OLD]);
    }
}

#[test]
fn tlb_4_pke_from_0_to_1_drops_everything_on_amd_only() {
    let pke = |vendor, expected: &[Result<u64, u32>]| {
        moved(vendor, Cr4::empty(), LOCAL).change(|state| state.cr4 |= Cr4::PKE).reads(expected);
    };
    pke(Vendor::Intel, &[NEW, OLD]);
    pke(Vendor::Amd, &[NEW]);

    let mut clears = moved(Vendor::Amd, Cr4::PKE, LOCAL);
    clears.change(|state| state.cr4 -= Cr4::PKE).reads(&[NEW, OLD]);
}

/// Bits on which no cached fact depends, and of which no manual says that they invalidate.
#[test]
fn tlb_4_wp_and_smap_drop_nothing() {
    for vendor in VENDORS {
        let mut registers = moved(vendor, Cr4::empty(), LOCAL);
        registers.change(|state| state.cr4 |= Cr4::SMAP).reads(&[NEW, OLD]);
        registers.change(|state| state.cr0.toggle(crate::Cr0::WP)).reads(&[NEW, OLD]);
    }
}

/// Neither manual says that NXE invalidates. What was cached with NXE=1 may still deny a fetch after XD has
/// become a reserved bit: P, U and I/D against P, U, RSVD.
#[test]
fn tlb_2_an_entry_cached_with_nxe_may_be_used_without() {
    let ends = |registers: &Registers, kind| {
        let access = user(kind, BYTE);
        ends_of(&predictions_in(registers.state, registers.profile, &registers.tables, &access))
    };
    let mut registers = Registers::new(Vendor::Intel, Cr4::empty(), 1 << 63 | LOCAL);
    assert_eq!(ends(&registers, Read), [OLD]);
    registers.change(|state| state.efer -= Efer::NXE);
    assert_eq!(ends(&registers, Read), [Err(0xd), OLD]);
    assert_eq!(ends(&registers, Fetch)[0], Err(0xd));
    registers.invlpg(BYTE);
    assert_eq!(ends(&registers, Read), [Err(0xd)]);

    // Nothing with XD is cached while it is reserved (TLB-1).
    let mut sets = Registers::new(Vendor::Intel, Cr4::empty(), 1 << 63 | LOCAL);
    sets.state.efer -= Efer::NXE;
    sets.change(|state| state.efer |= Efer::NXE);
    assert_eq!(ends(&sets, Read), [OLD]);
    // P, U and I/D.
    assert_eq!(ends(&sets, Fetch), [Err(0x15)]);
}

/// APM "TLB Management" lists CR4.PSE; the SDM does not. With PSE=0 the PDE points to a table (MODE-4).
#[test]
fn tlb_4_pse_drops_everything_on_amd_only() {
    let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x3000]);
    // PDE 0, with PS: a page of 4 MiB at 0, or a table there, whose PTE 1 leads to 0x2000.
    memory.write_entry(PhysAddr::new(0), 4, 0x00a7).unwrap();
    memory.write_entry(PhysAddr::new(4), 4, 0x2027).unwrap();
    let read = Access::new(Read, VirtAddr::new(0x1234), 1, Ring::Three);

    for (vendor, expected) in [
        (Vendor::Intel, &[0x2234, 0x1234][..]),
        (Vendor::Amd, &[0x2234]),
        (Vendor::Unknown, &[0x2234, 0x1234]),
    ] {
        let mut with = ControlState::bits32(0);
        with.cr4 |= Cr4::PSE;
        let without = ControlState { cr4: with.cr4 - Cr4::PSE, ..with };
        let mut tables = History::<_, 4>::new(memory);
        tables.write_register(RegisterWrite::Other, &with, &without, vendor).unwrap();

        let profile = Profile { vendor, features: Features::all(), ..Profile::default() };
        let mmu = Mmu::<Bits32>::new(without, profile);
        let predicted = mmu.predict_after_edits(&tables, &read).unwrap();
        let reached =
            predicted.alternatives.iter().filter_map(|way| way.outcome.physical_address());
        assert_eq!(reached.map(PhysAddr::get).collect::<Vec<_>>(), expected, "{vendor:?}");
    }
}

/// What was cached by way of another root's upper entries.
#[test]
fn tlb_2_upper_entries_of_a_pcid_serve_whatever_root_is_current() {
    let mut registers = Registers::new(Vendor::Intel, Cr4::PCIDE, LOCAL);
    registers.mov_to_cr3(OTHER_ROOT | NO_FLUSH).edit(PDE, 0).reads(&[NEW, Err(4), OLD]);

    // AMD repeats the walk before it reports a fault.
    let mut registers = Registers::new(Vendor::Amd, Cr4::PCIDE, LOCAL);
    registers.mov_to_cr3(OTHER_ROOT | NO_FLUSH).edit(PDE, 0).reads(&[NEW, OLD]);
}

#[test]
fn register_changes_that_do_not_fit_in_the_history_are_refused() {
    let mut registers = Registers::new(Vendor::Intel, Cr4::PCIDE, LOCAL);
    for number in 0..6 {
        registers.mov_to_cr3(ROOT | (number + 1) | NO_FLUSH);
    }
    let old = registers.state;
    let new = ControlState { cr3: ROOT, ..old };
    let write = RegisterWrite::Cr3(ROOT | NO_FLUSH);
    let full = Err(EditError::Full);
    assert_eq!(registers.tables.write_register(write, &old, &new, Vendor::Intel), full);

    registers.tables.invalidate(Invalidation::Everything);
    assert_eq!(registers.tables.write_register(write, &old, &new, Vendor::Intel), Ok(()));
}
