//! Tests of nested translation, with every expected value taken from the manuals by hand.
//!
//! A test maps one page in both dimensions, changes what its rule is about, and checks the end of an
//! access and the updates of both dimensions' entries.

mod crossing;
mod decisions;
mod ept;
mod ept_flags;
mod guests;
mod npt;
mod npt_host;
mod references;

use crate::access::{Access, Ring};
use crate::address::VirtAddr;
use crate::memory::SparseTables;
use crate::nested::{
    Dimension, Ept, EptCapabilities, NestedEnd, NestedExit, NestedMmu, NestedPrediction,
    SecondLevel,
};
use crate::x86::profile::{Profile, Vendor};
use crate::x86::state::ControlState;
use std::string::{String, ToString};
use std::vec::Vec;

/// The bits of entries of NPT and of guests (APM "Page-Translation Table Entry Fields").
mod bit {
    pub(super) const P: u64 = 1 << 0;
    pub(super) const RW: u64 = 1 << 1;
    pub(super) const US: u64 = 1 << 2;
    pub(super) const A: u64 = 1 << 5;
    pub(super) const D: u64 = 1 << 6;
    pub(super) const PS: u64 = 1 << 7;
    pub(super) const G: u64 = 1 << 8;
    pub(super) const NX: u64 = 1 << 63;
}

/// The bits of entries of EPT (SDM "Extended Page-Table Mechanism (EPT)").
mod ept_bit {
    pub(super) const R: u64 = 1 << 0;
    pub(super) const W: u64 = 1 << 1;
    pub(super) const X: u64 = 1 << 2;
    pub(super) const WB: u64 = 6 << 3;
    pub(super) const PAGE: u64 = 1 << 7;
    pub(super) const A: u64 = 1 << 8;
    pub(super) const D: u64 = 1 << 9;
    pub(super) const XU: u64 = 1 << 10;
}

/// The guest's page: entry 1 of the PML4, 2 of the PDPT, 3 of the directory, 4 of the table.
const LINEAR: u64 = 0x80_8060_4234;
/// The same in 32 bits: entry 1 of the first level of PAE, 2 of the directory, 3 of the table.
const LINEAR_32: u64 = 0x4040_3234;

/// The guest's tables and its page, by guest-physical address. The second level maps each frame of the
/// guest to the one `UP` further up.
const GUEST_ROOT: u64 = 0x10_000;
const GUEST_PAGE: u64 = 0x14_000;
/// The guest's entries, by guest-physical address.
const PML4E: u64 = 0x10_008;
const PTE: u64 = 0x13_020;
/// How far up the second level maps the guest's frames.
const UP: u64 = 0x40_000;

/// The root of the second level.
const SECOND_ROOT: u64 = 0x90_000;
/// Its upper entries, those of guest-physical address 0.
const SECOND_PML4E: u64 = 0x90_000;
const SECOND_PDPTE: u64 = 0x91_000;
const SECOND_PDE: u64 = 0x92_000;

/// The second level's last entry for a guest-physical address.
const fn second_pte(guest_physical: u64) -> u64 {
    0x93_000 + (guest_physical >> 12) * 8
}

/// A guest, a second level, a processor, and memory.
#[derive(Clone)]
struct World {
    guest: ControlState,
    second: SecondLevel,
    profile: Profile,
    entries: Vec<(u64, u64)>,
}

impl World {
    /// A 4-level guest on an AMD processor, below 4-level NPT.
    fn npt() -> Self {
        let user = bit::P | bit::RW | bit::US;
        let second = SecondLevel::Npt(ControlState::four_level(SECOND_ROOT));
        Self::new(second, Vendor::Amd, user, user)
    }

    /// A 4-level guest on an Intel processor, below 4-level EPT with A and D in use. It reports no advanced
    /// information.
    fn ept() -> Self {
        let all = ept_bit::R | ept_bit::W | ept_bit::X;
        let mut ept = Ept::four_level(SECOND_ROOT);
        ept.capabilities -= EptCapabilities::ADVANCED_EXIT_INFORMATION;
        Self::new(SecondLevel::Ept(ept), Vendor::Intel, all, all | ept_bit::WB)
    }

    fn new(second: SecondLevel, vendor: Vendor, table: u64, leaf: u64) -> Self {
        let guest = bit::P | bit::RW | bit::US;
        let mut entries = vec![
            (SECOND_PML4E, 0x91_000 | table),
            (SECOND_PDPTE, 0x92_000 | table),
            (SECOND_PDE, 0x93_000 | table),
            (0x10_008 + UP, 0x11_000 | guest),
            (0x11_010 + UP, 0x12_000 | guest),
            (0x12_018 + UP, 0x13_000 | guest),
            (0x13_020 + UP, GUEST_PAGE | guest),
        ];
        entries.extend((0x10..0x16).map(|frame| {
            let guest_physical = frame << 12;
            (second_pte(guest_physical), (guest_physical + UP) | leaf)
        }));

        let profile = Profile { vendor, ..Profile::default() };
        Self { guest: ControlState::four_level(GUEST_ROOT), second, profile, entries }
    }

    fn host(&mut self) -> &mut ControlState {
        match &mut self.second {
            SecondLevel::Npt(host) => host,
            SecondLevel::Ept(_) => panic!("the second level is EPT"),
        }
    }

    fn ept_mut(&mut self) -> &mut Ept {
        match &mut self.second {
            SecondLevel::Ept(ept) => ept,
            SecondLevel::Npt(_) => panic!("the second level is NPT"),
        }
    }

    /// The entry at a host-physical address.
    fn entry(&mut self, at: u64) -> &mut u64 {
        if let Some(number) = self.entries.iter().position(|(address, _)| *address == at) {
            return &mut self.entries[number].1;
        }
        self.entries.push((at, 0));
        &mut self.entries.last_mut().expect("an entry").1
    }

    /// The guest's entry at a guest-physical address.
    fn guest_entry(&mut self, at: u64) -> &mut u64 {
        self.entry(at + UP)
    }

    fn mmu(&self) -> NestedMmu {
        NestedMmu::new(self.guest, self.second, self.profile)
    }

    fn predict(&self, access: Access) -> NestedPrediction {
        self.mmu().predict(&SparseTables::new(&self.entries), &access).expect("a size")
    }

    /// The one end of an access, in words.
    fn end(&self, access: Access) -> String {
        let ends = self.ends(access);
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends[0].clone()
    }

    /// All ends of an access, in words, the likeliest first.
    fn ends(&self, access: Access) -> Vec<String> {
        let prediction = self.predict(access);
        prediction.alternatives.iter().map(|alternative| alternative.end.to_string()).collect()
    }

    /// The likeliest EXITINFO1 of an access, or exit qualification.
    fn exit(&self, access: Access) -> u64 {
        let prediction = self.predict(access);
        match prediction.alternatives[0].end {
            NestedEnd::Exit(NestedExit::NestedPageFault { info1, .. }) => info1,
            NestedEnd::Exit(NestedExit::EptViolation { qualification, .. }) => qualification,
            ref end => panic!("{end}"),
        }
    }

    /// What the likeliest alternative does to the entry at a host-physical address: the bits that must be
    /// set afterwards, and those that may.
    fn update(&self, access: Access, dimension: Dimension, at: u64) -> (u64, u64) {
        let prediction = self.predict(access);
        let updates = &prediction.alternatives[0].updates;
        let update =
            updates.iter().find(|update| update.dimension == dimension && update.at.get() == at);
        update.map_or((0, 0), |update| (update.must_set, update.may_set))
    }
}

fn read() -> Access {
    Access::read(VirtAddr::new(LINEAR), 4, Ring::Three)
}

fn write() -> Access {
    Access::write(VirtAddr::new(LINEAR), 4, Ring::Three)
}

fn fetch() -> Access {
    Access::fetch(VirtAddr::new(LINEAR), 4, Ring::Three)
}
