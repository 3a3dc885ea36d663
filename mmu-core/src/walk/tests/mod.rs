//! Tests of the rules, with every expected value taken from the manuals by hand.
//!
//! A test maps one page, changes what its rule is about, and checks the whole outcome: vector,
//! error code and CR2, or the physical address, and the updates of A and D.

mod alignment;
mod bits32;
mod choices;
mod compatibility;
mod crossing;
mod entries;
mod faults;
mod five_level;
mod keys;
mod large;
mod lass;
mod linear;
mod masking;
mod modes;
mod pae;
mod pdptes;
mod present_entries;
mod rights;
mod shadow_stacks;
mod translate;
mod updates;

use crate::access::{Access, AccessKind, Ring, Segment};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::SparseTables;
use crate::outcome::{Alternative, EntryUpdate, Outcome, Prediction};
use crate::walk::AnyMmu;
use crate::x86::fault::Vector;
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use std::vec::Vec;

/// The bits of an entry (SDM "Formats of CR3 and Paging-Structure Entries"), defined again so that
/// the tests notice a wrong constant in the crate.
mod bit {
    pub(super) const P: u64 = 1 << 0;
    pub(super) const RW: u64 = 1 << 1;
    pub(super) const US: u64 = 1 << 2;
    pub(super) const A: u64 = 1 << 5;
    pub(super) const D: u64 = 1 << 6;
    pub(super) const PS: u64 = 1 << 7;
    pub(super) const G: u64 = 1 << 8;
    pub(super) const XD: u64 = 1 << 63;
}

/// The bits of a page fault's error code (SDM "Page-Fault Exceptions").
mod code {
    pub(super) const P: u32 = 1 << 0;
    pub(super) const W: u32 = 1 << 1;
    pub(super) const U: u32 = 1 << 2;
    pub(super) const RSVD: u32 = 1 << 3;
    pub(super) const I: u32 = 1 << 4;
    pub(super) const PK: u32 = 1 << 5;
    pub(super) const SS: u32 = 1 << 6;
}

/// The mapped page: entry 1 of the PML4, 2 of the PDPT, 3 of the directory, 4 of the table.
const PAGE: u64 = 0x80_8060_4000;
/// A byte in it.
const BYTE: u64 = 0x80_8060_4234;
/// The start of its frame: 5 GiB, which is aligned for pages of every size.
const FRAME: u64 = 0x1_4000_0000;

/// The addresses of the entries on its path.
const PML4E: u64 = 0x10_008;
const PDPTE: u64 = 0x11_010;
const PDE: u64 = 0x12_018;
const PTE: u64 = 0x13_020;
/// The address of the next page's PTE.
const NEXT_PTE: u64 = 0x13_028;

/// The same page under entry 5 of a PML5, whose other tables are the same.
const BYTE_5: u64 = 0x5_0080_8060_4234;
/// The address of the PML5E.
const PML5E: u64 = 0xf_028;

/// A control state in a mode, with write protection and NXE on and the rest off.
pub(super) fn state_of(mode: PagingMode, cr3: u64) -> ControlState {
    let mut state = ControlState::four_level(cr3);
    match mode {
        PagingMode::Unpaged => state.cr0 -= Cr0::PG,
        PagingMode::Bits32 => state.cr4 -= Cr4::PAE,
        PagingMode::FiveLevel => state.cr4 |= Cr4::LA57,
        PagingMode::Pae | PagingMode::FourLevel | PagingMode::Linear => {}
    }

    if matches!(mode, PagingMode::Unpaged | PagingMode::Bits32 | PagingMode::Pae) {
        state.efer -= Efer::LME | Efer::LMA;
    }

    state
}

/// Page tables, registers and a processor.
#[derive(Clone)]
struct TestMachine {
    state: ControlState,
    profile: Profile,
    entries: Vec<(u64, u64)>,
}

impl TestMachine {
    /// An Intel processor with 48 physical address bits in long mode without further features
    /// turned on, and these entries.
    fn with_entries(entries: &[(u64, u64)]) -> Self {
        let profile = Profile {
            vendor: Vendor::Intel,
            physical_address_bits: 48,
            features: Features::all(),
            ..Profile::default()
        };

        let state = ControlState::four_level(0x10_000);
        Self { state, profile, entries: entries.to_vec() }
    }

    /// A 4 KiB page: present, writable, user and executable at every level.
    fn page_4k() -> Self {
        let leaf = (PTE, FRAME | 7);
        Self::with_entries(&[(PML4E, 0x11_007), (PDPTE, 0x12_007), (PDE, 0x13_007), leaf])
    }

    /// The same for a 2 MiB page.
    fn page_2m() -> Self {
        Self::with_entries(&[(PML4E, 0x11_007), (PDPTE, 0x12_007), (PDE, FRAME | 0x87)])
    }

    /// The same for a 1 GiB page.
    fn page_1g() -> Self {
        Self::with_entries(&[(PML4E, 0x11_007), (PDPTE, FRAME | 0x87)])
    }

    /// The same processor in another mode.
    fn in_mode(mode: PagingMode, cr3: u64, entries: &[(u64, u64)]) -> Self {
        Self { state: state_of(mode, cr3), ..Self::with_entries(entries) }
    }

    /// The same page with 5-level paging: at `BYTE_5`.
    fn five_levels(self) -> Self {
        let Self { profile, entries, .. } = self;
        let state = state_of(PagingMode::FiveLevel, 0xf_000);

        Self { state, profile, entries }.set(PML5E, 0x10_007)
    }

    /// Sets bits of the entry at an address. An entry that does not exist yet starts as zero.
    fn set(mut self, at: u64, bits: u64) -> Self {
        match self.entries.iter_mut().find(|(address, _)| *address == at) {
            Some((_, value)) => *value |= bits,
            None => self.entries.push((at, bits)),
        }

        self
    }

    /// Clears bits of the entry at an address.
    fn clear(mut self, at: u64, bits: u64) -> Self {
        for (_, value) in self.entries.iter_mut().filter(|(address, _)| *address == at) {
            *value &= !bits;
        }

        self
    }

    fn vendor(mut self, vendor: Vendor) -> Self {
        self.profile.vendor = vendor;
        self
    }

    fn physical_address_bits(mut self, bits: u8) -> Self {
        self.profile.physical_address_bits = bits;
        self
    }

    fn cr3(mut self, cr3: u64) -> Self {
        self.state.cr3 = cr3;
        self
    }

    fn cr4(mut self, bits: Cr4) -> Self {
        self.state.cr4 |= bits;
        self
    }

    fn without_nxe(mut self) -> Self {
        self.state.efer -= Efer::NXE;
        self
    }

    fn without(mut self, features: Features) -> Self {
        self.profile.features -= features;
        self
    }

    fn without_wp(mut self) -> Self {
        self.state.cr0 -= Cr0::WP;
        self
    }

    fn does(&self, access: Access) -> CheckedPrediction {
        let memory = SparseTables::new(&self.entries);
        let mmu = AnyMmu::new(self.state, self.profile);
        CheckedPrediction(mmu.predict(&memory, &access).unwrap())
    }

    fn reads(&self, address: u64, ring: Ring) -> CheckedPrediction {
        self.does(access(AccessKind::Read, address, ring))
    }

    fn writes(&self, address: u64, ring: Ring) -> CheckedPrediction {
        self.does(access(AccessKind::Write, address, ring))
    }

    fn fetches(&self, address: u64, ring: Ring) -> CheckedPrediction {
        self.does(access(AccessKind::Fetch, address, ring))
    }
}

/// An access of 8 bytes.
fn access(kind: AccessKind, address: u64, ring: Ring) -> Access {
    Access::new(kind, VirtAddr::new(address), 8, ring)
}

/// The same access through the stack segment.
fn on_stack(access: Access) -> Access {
    Access { segment: Segment::Stack, ..access }
}

/// The same access with EFLAGS.AC=1.
fn with_ac(access: Access) -> Access {
    Access { ac: true, ..access }
}

/// A prediction with assertions.
struct CheckedPrediction(Prediction);

#[track_caller]
fn assert_fault(outcome: &Outcome, code: u32, cr2: u64) {
    let fault = outcome.fault().unwrap_or_else(|| panic!("not a fault: {outcome:?}"));
    assert_eq!(fault.vector, Vector::PageFault);
    assert_eq!(fault.error_code, code, "the error code of {fault}");
    assert_eq!(fault.cr2.map(VirtAddr::get), Some(cr2), "CR2 of {fault}");
}

impl CheckedPrediction {
    #[track_caller]
    fn only_outcome(&self) -> &Outcome {
        let [only] = self.0.alternatives.as_slice() else {
            panic!("not exactly one alternative: {:#?}", self.0.alternatives)
        };
        &only.outcome
    }

    /// The only outcome is that the access reaches these spans, each an address and a length.
    #[track_caller]
    fn reaches_spans(&self, expected: &[(u64, u16)]) -> &Self {
        let Outcome::Translated(spans) = self.only_outcome() else {
            panic!("faults: {:?}", self.only_outcome())
        };
        let spans: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
        assert_eq!(spans, expected);

        self
    }

    /// The only outcome is that the access reaches the 8 bytes at this physical address.
    #[track_caller]
    fn reaches(&self, address: u64) -> &Self {
        self.reaches_spans(&[(address, 8)])
    }

    /// The only outcome is this page fault.
    #[track_caller]
    fn faults(&self, code: u32, cr2: u64) -> &Self {
        assert_fault(self.only_outcome(), code, cr2);
        self
    }

    /// The only outcome is this exception, with error code 0 and without CR2.
    #[track_caller]
    fn raises(&self, vector: Vector) -> &Self {
        let fault = self.only_outcome().fault().expect("a fault");
        assert_eq!((fault.vector, fault.error_code, fault.cr2), (vector, 0, None));
        self
    }

    /// The outcomes are these page faults in this order, each an error code and CR2.
    #[track_caller]
    fn faults_in_one_of(&self, expected: &[(u32, u64)]) -> &Self {
        assert_eq!(self.0.alternatives.len(), expected.len(), "{:#?}", self.0.alternatives);

        for (alternative, (code, cr2)) in self.0.alternatives.iter().zip(expected) {
            assert_fault(&alternative.outcome, *code, *cr2);
        }

        self
    }

    /// There are two outcomes: the first reaches this address, the second is this page fault.
    #[track_caller]
    fn reaches_or_faults(&self, address: u64, code: u32, cr2: u64) -> &Self {
        let [reached, faulted] = self.0.alternatives.as_slice() else {
            panic!("not two alternatives: {:#?}", self.0.alternatives)
        };
        assert_eq!(reached.outcome.physical_address().map(PhysAddr::get), Some(address));
        assert_fault(&faulted.outcome, code, cr2);

        self
    }

    /// There are two outcomes: the first reaches these spans, the second is this exception, with
    /// error code 0, without CR2, and without a trace in any entry.
    #[track_caller]
    fn reaches_spans_or_raises(&self, expected: &[(u64, u16)], vector: Vector) -> &Self {
        let [wrapped, refused] = self.0.alternatives.as_slice() else {
            panic!("not two alternatives: {:#?}", self.0.alternatives)
        };

        let Outcome::Translated(spans) = &wrapped.outcome else {
            panic!("faults: {:?}", wrapped.outcome)
        };
        let spans: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
        assert_eq!(spans, expected);

        let fault = refused.outcome.fault().expect("a fault");
        assert_eq!((fault.vector, fault.error_code, fault.cr2), (vector, 0, None));
        assert!(refused.updates.is_empty());
        self
    }

    /// These rules distinguish the alternatives, in their order.
    #[track_caller]
    fn chosen_by(&self, expected: &[Option<Rule>]) -> &Self {
        let rule_of = |alternative: &Alternative| alternative.choice.map(|(rule, _)| rule);
        let rules: Vec<_> = self.0.alternatives.iter().map(rule_of).collect();
        assert_eq!(rules, expected);
        self
    }

    /// Each alternative updates exactly these entries: an address, the bits that are set, and those
    /// that may be.
    #[track_caller]
    fn updates(&self, expected: &[(u64, u64, u64)]) -> &Self {
        for alternative in &self.0.alternatives {
            let updates = alternative.updates.iter();
            let updates: Vec<_> = updates.map(|u| (u.at.get(), u.must_set, u.may_set)).collect();
            assert_eq!(updates, expected);
        }

        self
    }

    /// The update of one entry by the likeliest alternative.
    #[track_caller]
    fn update_of(&self, at: u64) -> &EntryUpdate {
        let updates = &self.0.alternatives[0].updates;
        updates.iter().find(|update| update.at.get() == at).expect("an update of the entry")
    }

    /// The rule is among those that decided.
    #[track_caller]
    fn by(&self, rule: Rule) -> &Self {
        assert!(self.0.rules.contains(rule), "{rule} is not in {:?}", self.rules());
        self
    }

    /// The rule is not among those that decided.
    #[track_caller]
    fn not_by(&self, rule: Rule) -> &Self {
        assert!(!self.0.rules.contains(rule), "{rule} is in {:?}", self.rules());
        self
    }

    fn rules(&self) -> Vec<Rule> {
        self.0.rules.iter().collect()
    }
}
