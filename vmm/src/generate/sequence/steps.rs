//! The actions of a sequence, drawn from a Markov chain: an access caches what it uses, an entry or a
//! register changes, what is cached may be invalidated, and another access asks.

use super::SequenceBatch;
use super::mapping::{Mapping, TARGET};
use super::records::fitted;
use crosswalk_case::{AccessStep, Action, Case, TableEntry};
use crosswalk_guest::contents::{self, CODE_OFFSETS, CODE_SIZE, crossing_code};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Capabilities;
use mmu_core::x86::format::EntryBits;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Ring, Segment, VirtAddr,
};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Maximum number of edits. Each multiplies what may be cached.
const MAX_EDITS: usize = 3;

const P: u64 = EntryBits::P.bits();
const RW: u64 = EntryBits::RW.bits();
const US: u64 = EntryBits::US.bits();
const ACCESSED: u64 = EntryBits::A.bits();
const DIRTY: u64 = EntryBits::D.bits();
const GLOBAL: u64 = EntryBits::G.bits();
const XD: u64 = EntryBits::XD.bits();

/// The offset in a 4 KiB page.
pub(super) const PAGE_OFFSET: u64 = 0xfff;
/// Offsets of a page at which sequences load and store: there is no code for fetches.
pub(super) const DATA_OFFSETS: std::ops::Range<u64> = 0x10..0x7f0;

/// A sequence in the making.
pub(super) struct StepWriter<'r, R> {
    pub(super) rng: &'r mut R,
    pub(super) machine: &'r Capabilities,
    /// The control registers after the actions so far.
    pub(super) state: ControlState,
    /// CR4 before all actions: the first ones may be left out.
    pub(super) cr4_at_first: Cr4,
    table_use: TableUse,
    pub(super) mapping: Mapping,
    /// The entries as software left them.
    pub(super) values: Vec<u64>,
    pub(super) actions: Vec<Action>,
    pub(super) edits: usize,
    rings: Rings,
    /// Whether actions may drop everything that is cached.
    drops_everything: bool,
    /// The offset at which most loads and stores are made.
    offset: u64,
    /// Whether fetches may cross into the next page, or else loads and stores. Where one stores, the
    /// other has code.
    pub(super) fetches_cross: bool,
}

impl<'r, R: Rng> StepWriter<'r, R> {
    /// A sequence without actions.
    pub(super) fn new(
        rng: &'r mut R,
        batch: &'r SequenceBatch<'_>,
        mapping: Mapping,
        drops_everything: bool,
    ) -> Self {
        Self {
            machine: batch.machine,
            cr4_at_first: batch.state.cr4,
            state: batch.state,
            table_use: batch.tables.table_use,
            values: mapping.entries.iter().map(|mapped| mapped.entry.value).collect(),
            mapping,
            actions: Vec::new(),
            edits: 0,
            rings: Rings::random(rng),
            drops_everything,
            offset: rng.random_range(DATA_OFFSETS),
            fetches_cross: rng.random_bool(0.5),
            rng,
        }
    }

    /// The sequence.
    pub(super) fn write(mut self) -> Case {
        self.vary_entries();
        self.vary_keys();
        let initial = self.values.clone();
        let state = self.state;

        let rounds = *[1, 1, 1, 2, 2, 3].choose(self.rng).expect("there are some");
        self.access(false);
        for round in 1..=rounds {
            self.change();
            self.access(round == rounds);
        }
        self.case(state, &initial)
    }

    pub(super) fn case(mut self, state: ControlState, initial: &[u64]) -> Case {
        let Some(Action::Access(AccessStep { access, form, value })) = self.actions.pop() else {
            unreachable!("the last action is an access")
        };
        let entries = self.mapping.entries.iter().zip(initial);
        let case = Case {
            profile: self.machine.profile,
            state,
            entries: entries
                .map(|(mapped, value)| TableEntry { value: *value, ..mapped.entry })
                .collect(),
            before: self.actions,
            access,
            form,
            value,
        };
        fitted(case)
    }

    /// Makes some entries unusual.
    pub(super) fn vary_entries(&mut self) {
        for (mapped, value) in self.mapping.entries.iter().zip(&mut self.values) {
            if mapped.is_fixed {
                continue;
            }
            if self.rng.random_bool(0.25) {
                *value |= ACCESSED | if mapped.is_leaf { DIRTY } else { 0 };
            }
            if mapped.is_leaf && self.rng.random_bool(0.4) {
                *value |= GLOBAL;
            }
        }
        if self.rng.random_bool(0.45) {
            let place = self.place_to_edit();
            let bit = self.right();
            self.values[place] ^= bit;
        }
    }

    /// Gives the first leaf a key, and PKRU some rights.
    fn vary_keys(&mut self) {
        if !self.has_keys() || self.rng.random_bool(0.5) {
            return;
        }
        let leaf =
            self.mapping.entries.iter().position(|mapped| mapped.is_leaf && !mapped.is_fixed);
        if let Some(leaf) = leaf {
            self.values[leaf] |= EntryBits::with_key(self.rng.random_range(1..16));
        }
        if self.rng.random_bool(0.3) {
            self.state.pkru = self.rng.random::<u32>() & !3;
        }
    }

    /// Whether PKRU can be used in this sequence.
    fn has_keys(&self) -> bool {
        let can_load = self.rings == Rings::One(Ring::Three) || self.machine.pkru_in_ring_0;
        self.cr4_at_first.contains(Cr4::PKE) && self.state.cr4.contains(Cr4::PKE) && can_load
    }

    /// Whether PKRU may differ from 0 at some point of this sequence.
    pub(super) fn may_use_keys(&self) -> bool {
        self.cr4_at_first.contains(Cr4::PKE) || self.state.cr4.contains(Cr4::PKE)
    }

    /// Whether it may move any value to a control register. 32-bit code has no instruction that observes it.
    pub(super) fn makes_movs(&self) -> bool {
        self.drops_everything && self.code() == Code::Bits64
    }

    pub(super) const fn code(&self) -> Code {
        Code::of(self.table_use)
    }

    pub(super) const fn is_compatible(&self) -> bool {
        self.table_use.compatibility
    }

    /// A bit of an entry that decides about rights, or P.
    fn right(&mut self) -> u64 {
        let has_xd = self.table_use.mode != PagingMode::Bits32
            && self.machine.profile.features.contains(Features::NX)
            && (self.state.efer.contains(Efer::NXE) || self.rng.random_bool(0.1));
        match self.rng.random_range(0..10) {
            0..4 => RW,
            4..6 => US,
            6..8 if has_xd => XD,
            _ => P,
        }
    }

    /// The number of an entry that software may edit: mostly a leaf.
    fn place_to_edit(&mut self) -> usize {
        let wants_leaf = self.rng.random_bool(0.5);
        let entries = self.mapping.entries.iter().enumerate();
        let editable = entries.filter(|(_, mapped)| !mapped.is_fixed);
        let (leaves, others): (Vec<_>, Vec<_>) = editable.partition(|(_, mapped)| mapped.is_leaf);
        let takes_leaf = others.is_empty() || wants_leaf && !leaves.is_empty();
        let wanted = if takes_leaf { leaves } else { others };
        wanted.choose(self.rng).expect("software may edit an entry").0
    }
}

/// What happens between two accesses.
impl<R: Rng> StepWriter<'_, R> {
    fn change(&mut self) {
        match self.rng.random_range(0..20) {
            _ if self.makes_movs() && self.rng.random_bool(0.3) => self.mov(),
            0..13 => self.edit_and_invalidate(),
            13..17 => self.change_register(),
            17..19 => self.invalidate(),
            // The second access may use what the first has cached.
            _ => {}
        }
    }

    fn edit_and_invalidate(&mut self) {
        self.edit();
        if self.rng.random_bool(0.15) {
            self.edit();
        }
        if self.rng.random_bool(0.75) {
            self.invalidate();
        }
    }

    /// Software stores an entry.
    fn edit(&mut self) {
        if self.edits == MAX_EDITS {
            return;
        }

        let place = self.place_to_edit();
        let mapped = &self.mapping.entries[place];
        let TableEntry { at, value: first } = mapped.entry;
        let is_leaf = mapped.is_leaf;
        let old = self.values[place];
        let targets = mapped.elsewhere.iter().copied().chain([first & TARGET]);
        let others: Vec<u64> = targets.filter(|other| *other != old & TARGET).collect();
        let other_size = mapped.other_size.filter(|_| self.machine.live_page_sizes);

        let mut new = match (self.rng.random_range(0..20), other_size) {
            (0..10, Some(large)) if old & TARGET != large => old & !TARGET | large,
            (0..8, _) => match others.choose(self.rng) {
                Some(other) => old & !TARGET | other,
                None => old ^ self.right(),
            },
            (8, _) if is_leaf => old ^ GLOBAL,
            (9, _) if is_leaf && self.has_keys() => {
                old & !EntryBits::with_key(15) | EntryBits::with_key(self.rng.random_range(0..16))
            }
            // Software may store an entry as it was, without the flags that the processor has set.
            (10, _) => old,
            _ => old ^ self.right(),
        };
        let flags = ACCESSED | if is_leaf { DIRTY } else { 0 };
        match self.rng.random_range(0..4) {
            0 => new &= !(ACCESSED | DIRTY),
            1 => new |= flags,
            _ => {}
        }

        self.edits += 1;
        self.values[place] = new;
        self.actions.push(Action::Write(TableEntry { at, value: new }));
    }

    /// Drops something that may be cached.
    fn invalidate(&mut self) {
        if self.has_invpcid() && self.rng.random_bool(0.3) {
            return self.invpcid();
        }
        if self.drops_everything && self.rng.random_bool(0.4) {
            return self.actions.push(Action::ReloadCr3);
        }

        // What crosses into a page depends on it, too.
        let crossing = self.last_access().filter(|step| step.access.crosses_page());
        if let Some(AccessStep { access, .. }) = crossing
            && self.rng.random_bool(0.4)
        {
            return self.actions.push(Action::Invlpg(access.last_byte()));
        }

        self.invalidate_page();
    }

    /// INVLPG of a page, mostly of one that is mapped.
    pub(super) fn invalidate_page(&mut self) {
        let page = *self.mapping.pages.choose(self.rng).expect("there is a page");
        let page = page.get() | self.offset;
        let is_wide = self.code() == Code::Bits64;
        let large = self.mapping.shift.clamp(21, 22);
        let address = match self.rng.random_range(0..20) {
            0..9 => page,
            // The same page, if it is a large one.
            9..14 => page ^ 1 << self.rng.random_range(12..large),
            14..16 => page ^ 1 << self.rng.random_range(large..30),
            16..18 => page ^ 1 << self.rng.random_range(30..if is_wide { 46 } else { 32 }),
            // No canonical address (CANON-3).
            _ if is_wide => page ^ 1 << self.rng.random_range(58..63),
            _ => page,
        };
        self.actions.push(Action::Invlpg(VirtAddr::new(address)));
    }

    /// Changes PKRU or a control register.
    fn change_register(&mut self) {
        if self.has_keys() && self.rng.random_bool(0.6) {
            let denied = self.rng.random::<u32>() & !3;
            let pkru = if self.rng.random_bool(0.3) { 0 } else { denied };
            self.state.pkru = pkru;
            return self.actions.push(Action::Pkru(pkru));
        }
        if !self.drops_everything {
            return self.edit_and_invalidate();
        }
        if self.makes_movs() && self.rng.random_bool(0.4) {
            return self.mov();
        }

        let is_on = !self.state.cr0.contains(Cr0::WP);
        self.state.cr0.set(Cr0::WP, is_on);
        self.actions.push(Action::WriteProtect(is_on));
        if self.rng.random_bool(0.3) {
            self.edit();
        }
    }
}

/// The rings of the accesses. Most sequences keep to one, since a machine may take long to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rings {
    One(Ring),
    /// Either, and this one next.
    Both(Ring),
}

impl Rings {
    fn random(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..20) {
            0..11 => Self::One(Ring::Three),
            11..14 => Self::One(Ring::Zero),
            14..16 => Self::Both(Ring::Three),
            _ => Self::Both(Ring::Zero),
        }
    }

    /// The ring of the next access.
    fn draw(&mut self, random: &mut impl Rng) -> Ring {
        match self {
            Self::One(ring) => *ring,
            Self::Both(next) => {
                let ring = *next;
                if random.random_bool(0.6) {
                    *next = if ring == Ring::Three { Ring::Zero } else { Ring::Three };
                }
                ring
            }
        }
    }
}

/// Accesses.
impl<R: Rng> StepWriter<'_, R> {
    /// Adds an access; the last one of a sequence may store in two pages in any ring.
    pub(super) fn access(&mut self, is_last: bool) {
        let ring = self.rings.draw(self.rng);

        // Often the same access again, so that what the first has cached is of use.
        let again = if matches!(self.rings, Rings::Both(_)) { 0.6 } else { 0.35 };
        let step = match self.last_access() {
            Some(mut step) if self.rng.random_bool(again) && !self.strays_again(&step) => {
                let ring = Self::ring_of(&step, ring);
                step.access.ring = ring;
                step.access.ac = self.random_ac(ring);
                step
            }
            _ => self.random_access(ring, is_last),
        };
        self.actions.push(Action::Access(step));
    }

    fn last_access(&self) -> Option<AccessStep> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Access(step) => Some(*step),
            _ => None,
        })
    }

    fn random_access(&mut self, ring: Ring, is_last: bool) -> AccessStep {
        let copies = self.makes_copies();
        let is_wide = self.code() == Code::Bits64;
        // An emulator may store a part before it faults (K2, K12), which shows at the end only.
        let may_be_emulated = ring == Ring::Zero || self.is_compatible();
        if copies && is_wide && is_last && self.may_store_in_parts() && self.rng.random_bool(0.1) {
            return self.random_last(ring);
        }
        if copies && self.rng.random_bool(0.12) {
            if is_wide && ring == Ring::Three && self.rng.random_bool(0.1) {
                return self.random_wide_compare();
            }
            return self.random_copy(ring, is_last || !may_be_emulated);
        }

        let kind = match self.rng.random_range(0..20) {
            0..8 => AccessKind::Read,
            8..14 => AccessKind::Write,
            14..16 => AccessKind::ReadModifyWrite,
            16..19 => AccessKind::Fetch,
            _ => AccessKind::Clflush,
        };
        let is_second = self.mapping.pages.len() > 1 && self.rng.random_bool(0.3);
        let may_cross = !is_second
            && self.mapping.is_followed
            && self.rng.random_bool(0.2)
            && (is_last || !may_be_emulated || !kind.writes());

        let (form, size) = self.random_instruction(kind);
        let (offset, size) = self.place(kind, size, may_cross);
        let page = self.mapping.pages[usize::from(is_second)].get() & !PAGE_OFFSET;
        let access = Access::new(kind, VirtAddr::new(page | offset), size, ring);
        let is_stack = kind != AccessKind::Fetch && self.rng.random_bool(0.15);
        let segment = if is_stack { Segment::Stack } else { Segment::Data };
        let ac = self.random_ac(ring);
        let value = self.value_to_store(offset);
        let compatibility = self.is_compatible();
        AccessStep { access: Access { segment, ac, compatibility, ..access }, form, value }
    }

    fn random_instruction(&mut self, kind: AccessKind) -> (Form, u16) {
        let widest = if self.code() == Code::Bits64 { 3 } else { 2 };
        let size = 1 << self.rng.random_range(0..=widest);
        match kind {
            AccessKind::Clflush => (Form::Clflush, 1),
            AccessKind::ReadModifyWrite => match self.rng.random_range(0..3) {
                0 => (Form::Exchange, size),
                1 => (Form::LockedExchange, size),
                // Fewer bytes may be equal by chance.
                _ => (Form::FailingCompare, 1 << widest),
            },
            _ => (Case::default_form(kind), size),
        }
    }

    /// The offset in its page and the size of an access.
    fn place(&mut self, kind: AccessKind, size: u16, may_cross: bool) -> (u64, u16) {
        if kind == AccessKind::Fetch {
            if may_cross && self.fetches_cross {
                return crossing_code(self.code());
            }
            let stubs = (CODE_OFFSETS.end - CODE_OFFSETS.start) / 8;
            return (CODE_OFFSETS.start + 8 * self.rng.random_range(0..stubs), CODE_SIZE);
        }

        let offset = match self.rng.random_range(0..4) {
            _ if may_cross && !self.fetches_cross && size > 1 => {
                PAGE_OFFSET - self.rng.random_range(0..u64::from(size) - 1)
            }
            0 => self.rng.random_range(DATA_OFFSETS),
            _ => self.offset,
        };
        (offset, size)
    }

    /// EFLAGS.AC, which suspends SMAP in ring 0 (RIGHT-4).
    pub(super) fn random_ac(&mut self, ring: Ring) -> bool {
        let counts = ring == Ring::Zero && self.state.cr4.contains(Cr4::SMAP);
        counts && self.rng.random_bool(0.3)
    }

    /// A value of which no byte is what the first frame has at an offset.
    pub(super) fn value_to_store(&mut self, offset: u64) -> u64 {
        let mut value = [0; 8];
        for (byte, at) in value.iter_mut().zip(self.mapping.frame + offset..) {
            *byte = contents::byte(at).wrapping_add(self.rng.random_range(1..=255));
        }
        u64::from_le_bytes(value)
    }
}
