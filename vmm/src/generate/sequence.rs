//! Cases that run alone: sequences of a few accesses, and single cases of the kinds that a machine may
//! handle in a way that involves other lanes.
//!
//! A sequence invalidates what it changes wherever a rule asks for it, so that its outcome is
//! determined; but for a leaf that loses P before its D had to be set, which no cache may hide.

use super::{ENDLESS, Stream, arena_of_batch, random, stream_seed};
use crosswalk_case::{AccessStep, Action, Case, TableEntry};
use crosswalk_guest::contents::{self, CODE_OFFSETS};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::x86::format::{EntryBits, levels};
use mmu_core::{Access, AccessKind, Cr0, Cr4, Efer, Features, PagingMode, Ring, VirtAddr};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Single cases of one mode, each to be run alone: a batch has one. The same for the same seed and
/// machine.
#[derive(Clone, Debug)]
pub struct SingleStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
}

impl SingleStream {
    /// Cases for a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine }
    }

    fn case(&self, number: u64) -> Case {
        let stream = stream_seed(self.seed.rotate_left(32), self.mode, number);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        let (mode, arena) = (self.mode, arena_of_batch(number));
        let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
        match number % 8 {
            7 if mode != PagingMode::Unpaged => {
                return fetch_without_nxe(&mut rng, mode, arena, &self.machine);
            }
            6 if mode == PagingMode::Pae => {
                return bad_register(&mut rng, arena, &self.machine);
            }
            0..=5 if is_long_mode => {
                return sequence(&mut rng, mode, arena, &self.machine);
            }
            _ => {}
        }
        let mut case = random::alone(&mut rng, mode, arena, &self.machine);
        if rng.random_bool(0.5) {
            // A PDPTE that is in memory what it is in its register need not be listed, and what a
            // machine does to it there need not be looked at.
            let is_told = |entry: &TableEntry| {
                let register = case.pdpte_at(entry.at).map(|pdpte| case.state.pdptes[pdpte]);
                register != Some(entry.value)
            };
            case.entries = case.entries.iter().copied().filter(is_told).collect();
        }
        case
    }
}

impl Stream for SingleStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        batch
    }

    fn batch(&self, number: u64, _most: usize) -> Batch {
        Batch { arena: arena_of_batch(number), cases: vec![self.case(number)] }
    }
}

/// A fetch by ring 0 that execute-disable has no part in, under SMEP or SMAP (RIGHT-3, RIGHT-4): walkers
/// mix them up.
fn fetch_without_nxe(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let lane = rng.random_range(0..250);
    let mut case = Case::plain_in(mode, arena, lane, Ring::Zero, machine.profile);
    case.state.efer -= Efer::NXE;
    let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
    for (bit, feature) in [(Cr4::SMEP, Features::SMEP), (Cr4::SMAP, Features::SMAP)] {
        let forced = is_long_mode && machine.not_in_cpuid.contains(bit);
        let has_it = machine.profile.features.contains(feature) || forced;
        case.state.cr4.set(bit, has_it && rng.random_bool(0.5));
    }
    if rng.random_bool(0.3) {
        let entry = case.entries.last_mut().expect("a mode with tables");
        entry.value &= !EntryBits::US.bits();
    }
    let page = case.access.address.get() & !0xfff;
    let address = VirtAddr::new(page + CODE_OFFSETS.start);
    case.access = Access::fetch(address, contents::CODE_SIZE, Ring::Zero);
    case.form = Form::Jump;
    case
}

/// A PDPTE with a reserved bit, in memory as in its register (PDPTE-2): not listed, so that what a
/// machine does to it there is not looked at.
fn bad_register(rng: &mut impl Rng, arena: Arena, machine: &Capabilities) -> Case {
    let lane = rng.random_range(0..250);
    let mut case = Case::plain_in(PagingMode::Pae, arena, lane, Ring::Three, machine.profile);
    case.state.pdptes[2] |= 1 << [1, 2, 5, 6, 7, 8][rng.random_range(0..6)];
    case.entries.remove(0);
    if rng.random_bool(0.5) {
        case.access.kind = AccessKind::Write;
        (case.form, case.value) = (Form::Store, rng.random());
    }
    case
}

/// A sequence in the making: a plain mapping of one page.
struct SequenceBuilder<'c, R> {
    rng: &'c mut R,
    machine: &'c Capabilities,
    case: Case,
    ring: Ring,
}

/// A random sequence in a mode with 64-bit code.
fn sequence(rng: &mut impl Rng, mode: PagingMode, arena: Arena, machine: &Capabilities) -> Case {
    let about = rng.random_range(0..8);
    // Slots below 256 of the root: some machines cannot use 256 (K3).
    let lane = rng.random_range(0..250);
    let cpl = if rng.random_bool(0.5) { Ring::Zero } else { Ring::Three };
    let mut case = Case::plain_in(mode, arena, lane, cpl, machine.profile);
    case.state.cr0.set(Cr0::WP, rng.random_bool(0.5));
    let mut draft = SequenceBuilder { rng, machine, case, ring: cpl };
    match about {
        0 => draft.first_read_then_written(),
        1 => draft.two_large_entries(),
        2 => draft.two_parents(),
        3 => draft.write_protect(),
        4 => draft.leaf_lost(),
        5 => draft.keys(),
        6 => draft.read_only_table(),
        _ => draft.edited(),
    }
    draft.case
}

const RW: u64 = EntryBits::RW.bits();
const ACCESSED: u64 = EntryBits::A.bits();
const DIRTY: u64 = EntryBits::D.bits();

impl<R: Rng> SequenceBuilder<'_, R> {
    /// A page is read, and then written: D is to be set, also where only CR0.WP=0 allows it.
    fn first_read_then_written(&mut self) {
        if self.rng.random_bool(0.7) {
            self.in_ring_0();
        }
        self.vary_rights();
        self.before(AccessKind::Read, 0);
        self.last(AccessKind::Write, 0);
    }

    /// Two entries map one large frame, one of them read-only: each has rights of its own.
    fn two_large_entries(&mut self) {
        let leaf = self.case.entries.len() - 2;
        let frame = self.case.entries[leaf + 1].value & !0xfff;
        self.case.entries.truncate(leaf + 1);
        let offset = self.case.access.address.get() & 0xfff;
        let within = (frame & 0x001f_ffff) | offset;
        let address = self.case.access.address.get() & !0x001f_ffff | within;
        self.case.access.address = VirtAddr::new(address);
        let flags = self.case.entries[leaf].value & 0xfff | EntryBits::PS.bits();
        self.case.entries[leaf].value = frame & !0x001f_ffff | flags;
        self.alias(leaf);
    }

    /// Two entries of one level lead to one table, one of them read-only.
    fn two_parents(&mut self) {
        let parent = self.rng.random_range(0..self.case.entries.len() - 1);
        self.alias(parent);
    }

    /// Adds the slot after that of an entry with the same value, one of both read-only, and an access
    /// through each.
    fn alias(&mut self, place: usize) {
        let TableEntry { at, value } = self.case.entries[place];
        let read_only = usize::from(self.rng.random_bool(0.75));
        let mut both = [value, value];
        both[read_only] &= !RW;
        self.case.entries[place].value = both[0];
        self.case.entries.push(TableEntry { at: at + 8, value: both[1] });
        let apart = 1 << levels(self.case.mode())[place].shift;
        let kind = self.data_kind();
        self.before(kind, 0);
        let kind = self.data_kind();
        self.last(kind, apart);
    }

    /// CR0.WP changes between two accesses to a read-only page.
    fn write_protect(&mut self) {
        self.in_ring_0();
        self.vary_rights();
        if self.rng.random_bool(0.7) {
            let kind = self.data_kind();
            self.before(kind, 0);
        }
        let on = !self.case.state.cr0.contains(Cr0::WP);
        self.case.before.push(Action::WriteProtect(on));
        if self.rng.random_bool(0.2) {
            self.case.before.push(Action::ReloadCr3);
        }
        let kind = self.data_kind();
        self.last(kind, 0);
    }

    /// A leaf is cached with D clear and then loses P; a write has to look at it again.
    fn leaf_lost(&mut self) {
        self.before(AccessKind::Read, 0);
        let leaf = self.leaf();
        let kept = if self.rng.random_bool(0.5) { ACCESSED } else { 0 };
        let value = leaf.value & !EntryBits::P.bits() | kept;
        self.case.before.push(Action::Write(TableEntry { value, ..leaf }));
        self.last(AccessKind::Write, 0);
    }

    /// An entry is changed between two accesses, and what may be cached of it is dropped.
    fn edited(&mut self) {
        let kind = self.data_kind();
        self.before(kind, 0);
        let place = self.rng.random_range(0..self.case.entries.len());
        let entry = self.case.entries[place];
        let bits = [RW, EntryBits::P.bits(), EntryBits::US.bits(), EntryBits::XD.bits(), ACCESSED];
        let value = entry.value ^ bits[self.rng.random_range(0..bits.len())];
        let value =
            if self.case.profile.features.contains(Features::NX) { value } else { value << 1 >> 1 };
        self.case.before.push(Action::Write(TableEntry { value, ..entry }));
        self.case.before.push(if self.rng.random_bool(0.5) {
            Action::ReloadCr3
        } else {
            Action::Invlpg(self.case.access.address)
        });
        let kind = self.data_kind();
        self.last(kind, 0);
    }

    /// PKRU changes between two accesses to a page with a key.
    fn keys(&mut self) {
        let loads = self.ring == Ring::Three || self.machine.pkru_in_ring_0;
        if !self.machine.profile.features.contains(Features::PKU) || !loads {
            return self.edited();
        }
        self.case.state.cr4 |= Cr4::PKE;
        let key = self.rng.random_range(1..16_u32);
        let leaf = self.case.entries.len() - 1;
        self.case.entries[leaf].value |= EntryBits::with_key(key);
        let kind = self.data_kind();
        self.before(kind, 0);
        let denied = self.rng.random_range(1..4_u32);
        self.case.before.push(Action::Pkru(denied << (2 * key)));
        let kind = self.data_kind();
        self.last(kind, 0);
    }

    /// The last table can only be read, and nothing is left to be set there.
    fn read_only_table(&mut self) {
        if self.machine.read_only_tables.is_err() {
            return self.two_parents();
        }
        let arena = Arena::ALL.into_iter().find(|arena| arena.table(0) == self.case.state.cr3);
        let table = arena.unwrap_or(Arena::ALL[0]).read_only_table();
        let leaf = self.case.entries.len() - 1;
        self.case.entries[leaf - 1].value = table | self.case.entries[leaf - 1].value & 0xfff;
        self.case.entries[leaf].at = table | self.case.entries[leaf].at & 0xfff;
        self.case.entries[leaf].value |= ACCESSED | DIRTY;
        if self.rng.random_bool(0.3) {
            self.case.entries[leaf].value &= !RW;
        }
        let kind = self.data_kind();
        self.last(kind, 0);
    }

    /// CR0.WP is about ring 0.
    fn in_ring_0(&mut self) {
        self.ring = Ring::Zero;
        self.case.access.ring = Ring::Zero;
    }

    /// Takes R/W from some entry, mostly.
    fn vary_rights(&mut self) {
        if self.rng.random_bool(0.8) {
            let place = self.rng.random_range(0..self.case.entries.len());
            self.case.entries[place].value &= !RW;
        }
    }

    fn leaf(&self) -> TableEntry {
        self.case.entries[self.case.entries.len() - 1]
    }

    fn data_kind(&mut self) -> AccessKind {
        [AccessKind::Read, AccessKind::Write, AccessKind::Write][self.rng.random_range(0..3)]
    }

    /// An access before the last, so far from the page.
    fn before(&mut self, kind: AccessKind, apart: u64) {
        let made = self.made(kind, apart);
        self.case.before.push(Action::Access(made));
    }

    fn last(&mut self, kind: AccessKind, apart: u64) {
        let made = self.made(kind, apart);
        (self.case.access, self.case.form, self.case.value) = (made.access, made.form, made.value);
    }

    fn made(&mut self, kind: AccessKind, apart: u64) -> AccessStep {
        let address = VirtAddr::new(self.case.access.address.get() + apart);
        let access = Access::new(kind, address, self.case.access.size, self.ring);
        let form = if kind == AccessKind::Read { Form::Load } else { Form::Store };
        if kind == AccessKind::Read {
            return AccessStep { access, form, value: 0 };
        }
        // No byte of it is what memory holds there at first.
        let place =
            self.case.entries.iter().rev().find(|entry| entry.value & !0xfff >= 0x4000_0000);
        let frame = place.map_or(0, |entry| entry.value & EntryBits::ADDRESS);
        let held = |at: u64| contents::byte(frame + (address.get() & 0xfff) + at);
        let mut value = [0; 8];
        for (byte, at) in value.iter_mut().zip(0..) {
            *byte = held(at).wrapping_add(self.rng.random_range(1..=255));
        }
        AccessStep { access, form, value: u64::from_le_bytes(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::Walker;
    use crosswalk_machine::batch::arena_of;
    use mmu_core::{Profile, Reference, Rule};

    fn cases() -> impl Iterator<Item = Case> {
        let machine = Capabilities::of_everything(Profile {
            physical_address_bits: 40,
            ..Profile::default()
        });
        let of = move |mode| SingleStream::new(3, mode, machine.clone());
        let streams = PagingMode::ALL.map(of);
        streams.into_iter().flat_map(|stream| (0..400).map(move |number| stream.case(number)))
    }

    #[test]
    fn they_fit_the_layout_and_outlive_their_text_form() {
        let mut sequences = 0;
        for case in cases() {
            assert!(arena_of(&case).is_ok(), "{:?}: {case}", arena_of(&case));
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
            sequences += usize::from(case.is_sequence());
        }
        assert!(sequences > 300, "{sequences}");
    }

    /// TLB-2 leaves nothing open in them.
    #[test]
    fn tlb_2_what_a_sequence_changes_it_invalidates() {
        for case in cases().filter(Case::is_sequence) {
            let mut all = Reference.predict_earlier(&case);
            all.push(Reference.predict(&case));
            let is_stale = |prediction: &mmu_core::Prediction| {
                let rules = prediction.alternatives.iter().filter_map(|way| way.choice);
                rules.into_iter().any(|(rule, _)| rule == Rule::Tlb2)
            };
            assert!(!all.iter().any(is_stale), "{case}");
        }
    }
}
