//! Every sequence of two to four actions over a page and its neighbour, from a small alphabet.
//!
//! - `words`: the alphabet, and the sequences of it by their number.
//!
//! They come in sections, one for each length and control state, and in each section every sequence comes
//! with each of a few mappings. So the cases of a batch share their control state, and short sequences
//! come first.

mod words;

use super::UNUSABLE_SLOT;
use super::mapping::{Mapping, SequenceTables, TARGET};
use crate::generate::placement::FreeSlots;
use crate::generate::state::not_in_cpuid;
use crate::generate::{Stream, stream_seed};
use crosswalk_case::{AccessStep, Action, Case, TableEntry, plain_state};
use crosswalk_guest::contents::{self, CODE_OFFSETS, CODE_SIZE};
use crosswalk_guest::layout::{Arena, MAX_SEQUENCES, lane_of_sequence};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, ControlState, Cr0, Cr4, Efer, Features, PagingMode, VirtAddr};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use words::{Change, Letter, Page, Place, Words};

/// The numbers of actions of a sequence, the last access included.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=4;

/// The offset in its page at which sequences load and store.
const OFFSET: u64 = 0x108;

/// Every short sequence in one mode with 64-bit code.
#[derive(Clone, Debug)]
pub struct EverySequenceStream {
    mode: PagingMode,
    machine: Capabilities,
    words: Words,
    /// What is added to a plain CR4 in each control state.
    states: Vec<Cr4>,
}

/// How the two pages are mapped at first.
#[derive(Clone, Copy, Debug)]
struct PageKind {
    /// Whether they are large: of 2 MiB.
    is_large: bool,
    /// The flags of their leaves besides P.
    flags: EntryBits,
}

/// The mappings with which each sequence comes.
const PAGE_KINDS: [PageKind; 8] = {
    const fn kind(is_large: bool, flags: EntryBits) -> PageKind {
        PageKind { is_large, flags }
    }
    const USER: EntryBits = EntryBits::RW.union(EntryBits::US);
    [
        kind(false, USER),
        kind(true, USER),
        kind(false, USER.union(EntryBits::G)),
        kind(true, USER.union(EntryBits::G)),
        kind(false, EntryBits::US),
        kind(true, EntryBits::US),
        kind(false, EntryBits::RW),
        kind(true, EntryBits::RW),
    ]
};

/// The sequences of one length under one control state.
struct Section {
    length: usize,
    state: Cr4,
    cases: u64,
}

impl EverySequenceStream {
    /// Sequences for a machine with these capabilities.
    pub fn new(mode: PagingMode, machine: Capabilities) -> Self {
        let states = states(mode, &machine);
        let has_keys = machine.profile.features.contains(Features::PKU) && machine.pkru_in_ring_0;
        let has_xd = machine.profile.features.contains(Features::NX);
        Self { mode, words: Words::new(has_xd, has_keys), states, machine }
    }

    fn sections(&self) -> impl Iterator<Item = Section> {
        LENGTHS.flat_map(move |length| {
            let cases = self.words.count(length) * PAGE_KINDS.len() as u64;
            self.states.iter().map(move |state| Section { length, state: *state, cases })
        })
    }

    /// The section that a batch belongs to, and the number of its first case in it.
    fn section_of(&self, batch: u64) -> (Section, u64) {
        let mut in_section = batch;
        for section in self.sections() {
            let batches = batches_of(&section);
            if in_section < batches {
                return (section, in_section * MAX_SEQUENCES as u64);
            }
            in_section -= batches;
        }
        panic!("the stream has no batch {batch}")
    }

    fn state(&self, section: &Section, arena: Arena) -> ControlState {
        let mut state = plain_state(self.mode, arena, self.machine.profile);
        state.cr0 |= Cr0::WP;
        state.cr4 |= section.state;
        state.efer.set(Efer::NXE, self.machine.profile.features.contains(Features::NX));
        state
    }
}

/// The control states that a machine offers: with and without global pages, and with and without SMEP and
/// SMAP. Keys are in use wherever there are some.
fn states(mode: PagingMode, machine: &Capabilities) -> Vec<Cr4> {
    let features = machine.profile.features;
    let not_in_cpuid = not_in_cpuid(mode, machine);
    let has = |bit, feature| features.contains(feature) || not_in_cpuid.contains(bit);

    let mut keys = Cr4::empty();
    keys.set(Cr4::PKE, features.contains(Features::PKU) && machine.pkru_in_ring_0);
    let mut protection = Cr4::empty();
    protection.set(Cr4::SMEP, has(Cr4::SMEP, Features::SMEP));
    protection.set(Cr4::SMAP, has(Cr4::SMAP, Features::SMAP));

    let mut states = vec![keys];
    for added in [Cr4::PGE, protection, Cr4::PGE | protection] {
        // If the machine itself sets CR4, the guest cannot flush global translations.
        let is_global = added.contains(Cr4::PGE);
        let can_flush = features.contains(Features::PGE) && !added.intersects(not_in_cpuid);
        let state = keys | added;
        if (!is_global || can_flush) && !states.contains(&state) {
            states.push(state);
        }
    }
    states
}

/// The number of batches of a section.
fn batches_of(section: &Section) -> u64 {
    section.cases.div_ceil(MAX_SEQUENCES as u64)
}

impl Stream for EverySequenceStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        self.sections().map(|section| batches_of(&section)).sum()
    }

    fn cases_before(&self, batch: u64) -> u64 {
        let mut in_section = batch;
        let mut cases = 0;
        for section in self.sections() {
            let batches = batches_of(&section);
            if in_section < batches {
                return cases + in_section * MAX_SEQUENCES as u64;
            }
            in_section -= batches;
            cases += section.cases;
        }
        cases
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let arena = Arena::for_batch(number);
        let (section, first) = self.section_of(number);
        let state = self.state(&section, arena);
        let count = (section.cases - first).min(most.min(MAX_SEQUENCES) as u64);

        // The slots are spread at random, in every batch in another way.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(0, self.mode, number));
        let table_use = TableUse::of(self.mode);
        let tables = SequenceTables::new(&state, table_use, arena, &self.machine);
        let mut slots = FreeSlots::new(table_use);
        let _ = slots.take_in(0, UNUSABLE_SLOT);

        let kinds = PAGE_KINDS.len() as u64;
        let case = |lane: u64| {
            let index = first + lane;
            let kind = PAGE_KINDS[(index % kinds) as usize];
            let lane = lane_of_sequence(lane as usize);
            let mapping =
                Mapping::of_neighbours(&mut rng, &tables, lane, kind.is_large, &mut slots);

            let word = self.words.word(section.length, index / kinds);
            Spelling::new(state, mapping, kind, self.machine.profile).spell(&word)
        };
        Batch { arena, cases: (0..count).map(case).collect() }
    }
}

/// A sequence in the making.
struct Spelling {
    case: Case,
    mapping: Mapping,
    /// The entries as software left them.
    values: Vec<u64>,
    /// CR0.WP and PKRU.
    is_protected: bool,
    pkru: u32,
}

/// Denies data accesses by key 1, which the leaves have.
const DENY_KEY_1: u32 = 0b1100;

impl Spelling {
    fn new(
        state: ControlState,
        mapping: Mapping,
        kind: PageKind,
        profile: mmu_core::Profile,
    ) -> Self {
        let plain = EntryBits::RW | EntryBits::US;
        let key = if state.cr4.contains(Cr4::PKE) { EntryBits::with_key(1) } else { 0 };
        let values: Vec<u64> = mapping
            .entries
            .iter()
            .map(|mapped| {
                let value = mapped.entry.value;
                let flags = kind.flags.bits() | key;
                if mapped.is_leaf { value & !plain.bits() | flags } else { value }
            })
            .collect();
        let entries = mapping.entries.iter().zip(&values);
        let entries =
            entries.map(|(mapped, value)| TableEntry { value: *value, ..mapped.entry }).collect();

        let read = Access::read(mapping.pages[0], 8, mmu_core::Ring::Three);
        let form = Case::default_form(AccessKind::Read);
        let case =
            Case { profile, state, entries, before: Vec::new(), access: read, form, value: 0 };
        Self { case, mapping, values, is_protected: true, pkru: 0 }
    }

    /// The sequence of a word, whose last letter is an access.
    fn spell(mut self, word: &[Letter]) -> Case {
        for letter in word {
            let action = self.action(*letter);
            self.case.before.push(action);
        }

        if let Some(Action::Access(AccessStep { access, form, value })) = self.case.before.pop() {
            self.case.access = access;
            self.case.form = form;
            self.case.value = value;
        }
        self.case
    }

    fn action(&mut self, letter: Letter) -> Action {
        match letter {
            Letter::Access { kind, ring, page } => self.access(kind, ring, page),
            Letter::Store(place, change) => self.store(place, change),
            Letter::Invlpg(page) => Action::Invlpg(VirtAddr::new(self.page(page) | OFFSET)),
            Letter::InvlpgOtherOffset => {
                // Of a large page, an address in another 4 KiB.
                let distance = if self.mapping.shift > 12 { 0x1000 } else { 0x800 };
                Action::Invlpg(VirtAddr::new(self.page(Page::Own) ^ distance))
            }
            Letter::InvlpgNonCanonical => {
                Action::Invlpg(VirtAddr::new(self.page(Page::Own) ^ 1 << 62))
            }
            Letter::ReloadCr3 => Action::ReloadCr3,
            Letter::ToggleWp => {
                self.is_protected = !self.is_protected;
                Action::WriteProtect(self.is_protected)
            }
            Letter::ToggleKey => {
                self.pkru ^= DENY_KEY_1;
                Action::Pkru(self.pkru)
            }
        }
    }

    /// The linear address of a page.
    fn page(&self, page: Page) -> u64 {
        let pages = &self.mapping.pages;
        match page {
            Page::Own => pages[0].get() & !0xfff,
            Page::Neighbour => pages[1].get() & !0xfff,
        }
    }

    fn access(&self, kind: AccessKind, ring: mmu_core::Ring, page: Page) -> Action {
        let (offset, size) = match kind {
            AccessKind::Fetch => (CODE_OFFSETS.start, CODE_SIZE),
            _ => (OFFSET, 8),
        };
        let address = VirtAddr::new(self.page(page) | offset);
        let access = Access::new(kind, address, size, ring);

        // No byte is what the frame has there at first, or what an earlier action stores.
        let mut value = [0; 8];
        let later = 1 + self.case.before.len() as u8;
        for (byte, at) in value.iter_mut().zip(self.mapping.frame + offset..) {
            *byte = contents::byte(at).wrapping_add(later);
        }
        let value = u64::from_le_bytes(value);
        Action::Access(AccessStep { access, form: Case::default_form(kind), value })
    }

    fn store(&mut self, place: Place, change: Change) -> Action {
        let entries = &self.mapping.entries;
        let leaf = entries.iter().position(|mapped| mapped.is_leaf).unwrap_or(0);
        let place = match place {
            Place::Leaf => leaf,
            Place::Parent => leaf.saturating_sub(1),
            Place::Root => 0,
        };

        let old = self.values[place];
        let first = entries[place].entry.value & TARGET;
        let elsewhere = entries[place].elsewhere.first().copied().unwrap_or(first);
        let new = match change {
            Change::Flip(bits) => old ^ bits.bits(),
            // The processor's A and D are lost.
            Change::Again => old,
            Change::Move if old & TARGET == first => old & !TARGET | elsewhere,
            Change::Move => old & !TARGET | first,
        };
        self.values[place] = new;
        Action::Write(TableEntry { at: entries[place].entry.at, value: new })
    }
}

#[cfg(test)]
mod tests;
