//! Sequences: a few accesses to one page, and what happens to entries and registers between them.
//!
//! A sequence invalidates what it changes wherever a rule requires it, so that its outcome is
//! determined. The exception is a leaf that loses P before its D had to be set: no cache may hide that.

use crosswalk_case::{AccessStep, Action, Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{AREA_SIZE, Arena, DATA_BASE};
use crosswalk_guest::stub::Form;
use crosswalk_machine::Capabilities;
use mmu_core::x86::format::{EntryBits, levels};
use mmu_core::{Access, AccessKind, Cr0, Cr4, Features, PagingMode, Ring, VirtAddr};
use rand::{Rng, RngExt};

/// A random sequence in a mode with 64-bit code.
pub(super) fn sequence(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let subject = rng.random_range(0..11);
    // Slots below 256 of the root: some machines cannot use 256 (K3).
    let lane = rng.random_range(0..250);
    let cpl = if rng.random_bool(0.5) { Ring::Zero } else { Ring::Three };
    let mut case = Case::plain_in(mode, arena, lane, cpl, machine.profile);
    case.state.cr0.set(Cr0::WP, rng.random_bool(0.5));

    let mut builder = SequenceBuilder { rng, machine, case, ring: cpl };
    match subject {
        0 => builder.read_then_write(),
        1 => builder.two_large_entries(),
        2 => builder.two_parents(),
        3 => builder.change_write_protect(),
        4 => builder.lose_leaf(),
        5 => builder.change_keys(),
        6 => builder.read_only_table(),
        7 => builder.invalidate_large_page(),
        8 => builder.reload_cr3(),
        9 => builder.protect_written_page(),
        _ => builder.edit_entry(),
    }
    builder.case
}

/// A sequence in the making: at first a plain mapping of one page.
struct SequenceBuilder<'c, R> {
    rng: &'c mut R,
    machine: &'c Capabilities,
    case: Case,
    /// The ring of all accesses.
    ring: Ring,
}

const RW: u64 = EntryBits::RW.bits();
const ACCESSED: u64 = EntryBits::A.bits();
const DIRTY: u64 = EntryBits::D.bits();

/// The flags below the address in an entry.
const LOW_FLAGS: u64 = 0xfff;
/// The offset in a 4 KiB page.
const PAGE_OFFSET: u64 = 0xfff;
/// The offset in a 2 MiB page.
const LARGE_OFFSET: u64 = 0x001f_ffff;

/// What a sequence is about.
impl<R: Rng> SequenceBuilder<'_, R> {
    /// A page is read and then written: D must be set, even if only CR0.WP=0 allows the write.
    fn read_then_write(&mut self) {
        if self.rng.random_bool(0.7) {
            self.use_ring_0();
        }
        self.vary_rights();
        self.access(AccessKind::Read);
        self.last_access(AccessKind::Write, 0);
    }

    /// Two entries map one large frame, and one of them is read-only: each has its own rights.
    fn two_large_entries(&mut self) {
        self.use_large_page();
        self.alias(self.leaf());
    }

    /// Two entries of one level point to one table, and one of them is read-only.
    fn two_parents(&mut self) {
        let parent = self.rng.random_range(0..self.case.entries.len() - 1);
        self.alias(parent);
    }

    /// Copies an entry to the slot after it, makes one of both read-only, and adds an access through
    /// each.
    fn alias(&mut self, depth: usize) {
        let TableEntry { at, value } = self.case.entries[depth];
        let read_only = usize::from(self.rng.random_bool(0.75));
        let mut values = [value, value];
        values[read_only] &= !RW;
        self.case.entries[depth].value = values[0];
        self.case.entries.push(TableEntry { at: at + 8, value: values[1] });

        let distance = 1 << levels(self.case.mode())[depth].shift;
        self.random_access();
        self.last_random_access(distance);
    }

    /// CR0.WP changes between two accesses to a page that may be read-only.
    fn change_write_protect(&mut self) {
        self.use_ring_0();
        self.vary_rights();
        if self.rng.random_bool(0.7) {
            self.random_access();
        }

        let is_on = self.case.state.cr0.contains(Cr0::WP);
        self.case.before.push(Action::WriteProtect(!is_on));
        if self.rng.random_bool(0.2) {
            self.case.before.push(Action::ReloadCr3);
        }
        self.last_random_access(0);
    }

    /// A read-only page is written while CR0.WP is 0, and then again while it is 1.
    fn protect_written_page(&mut self) {
        self.use_ring_0();
        self.case.state.cr0 -= Cr0::WP;
        let depth = self.rng.random_range(0..self.case.entries.len());
        self.case.entries[depth].value &= !RW;

        self.access(AccessKind::Write);
        self.case.before.push(Action::WriteProtect(true));
        self.last_access(AccessKind::Write, 0);
    }

    /// A leaf is cached with D clear and then loses P: a write has to read the leaf again.
    fn lose_leaf(&mut self) {
        self.access(AccessKind::Read);

        let leaf = self.case.entries[self.leaf()];
        let accessed = if self.rng.random_bool(0.5) { ACCESSED } else { 0 };
        let value = leaf.value & !EntryBits::P.bits() | accessed;
        self.case.before.push(Action::Write(TableEntry { value, ..leaf }));
        self.last_access(AccessKind::Write, 0);
    }

    /// An entry changes between two accesses, and what may be cached of it is dropped.
    fn edit_entry(&mut self) {
        self.random_access();

        let depth = self.rng.random_range(0..self.case.entries.len());
        let entry = self.case.entries[depth];
        let bits = [RW, EntryBits::P.bits(), EntryBits::US.bits(), EntryBits::XD.bits(), ACCESSED];
        let mut value = entry.value ^ bits[self.rng.random_range(0..bits.len())];
        if !self.case.profile.features.contains(Features::NX) {
            value &= !EntryBits::XD.bits();
        }
        self.case.before.push(Action::Write(TableEntry { value, ..entry }));

        let invalidation = if self.rng.random_bool(0.5) {
            Action::ReloadCr3
        } else {
            Action::Invlpg(self.case.access.address)
        };
        self.case.before.push(invalidation);
        self.last_random_access(0);
    }

    /// A large page changes, and INVLPG of another of its addresses drops all of it (TLB-4).
    fn invalidate_large_page(&mut self) {
        self.use_large_page();
        let address = self.case.access.address.get();
        let other = address ^ 1 << self.rng.random_range(12..21);
        self.change_page(AREA_SIZE, Action::Invlpg(VirtAddr::new(other)));
    }

    /// A page changes, and MOV to CR3 drops it: it is not global, or CR4.PGE is 0 (TLB-4).
    fn reload_cr3(&mut self) {
        let has_global_pages = self.machine.profile.features.contains(Features::PGE);
        let is_on = has_global_pages && self.rng.random_bool(0.5);
        self.case.state.cr4.set(Cr4::PGE, is_on);
        let leaf = self.leaf();
        if !is_on {
            self.case.entries[leaf].value |= EntryBits::G.bits();
        }

        self.change_page(PAGE_OFFSET + 1, Action::ReloadCr3);
    }

    /// PKRU changes between two accesses to a page with a protection key.
    fn change_keys(&mut self) {
        let can_load = self.ring == Ring::Three || self.machine.pkru_in_ring_0;
        if !self.machine.profile.features.contains(Features::PKU) || !can_load {
            return self.edit_entry();
        }

        self.case.state.cr4 |= Cr4::PKE;
        let key = self.rng.random_range(1..16_u32);
        let leaf = self.leaf();
        self.case.entries[leaf].value |= EntryBits::with_key(key);
        self.random_access();

        let denied = self.rng.random_range(1..4_u32);
        self.case.before.push(Action::Pkru(denied << (2 * key)));
        self.last_random_access(0);
    }

    /// The last table is in read-only memory, and no flag is left to be set there.
    fn read_only_table(&mut self) {
        if self.machine.read_only_tables.is_err() {
            return self.two_parents();
        }

        let arena = Arena::ALL.into_iter().find(|arena| arena.table(0) == self.case.state.cr3);
        let table = arena.unwrap_or(Arena::ALL[0]).read_only_table();
        let leaf = self.leaf();
        let parent = &mut self.case.entries[leaf - 1];
        parent.value = table | parent.value & LOW_FLAGS;
        let leaf = &mut self.case.entries[leaf];
        leaf.at = table | leaf.at & PAGE_OFFSET;
        leaf.value |= ACCESSED | DIRTY;
        if self.rng.random_bool(0.3) {
            leaf.value &= !RW;
        }
        self.last_random_access(0);
    }
}

/// The steps that sequences are made of.
impl<R: Rng> SequenceBuilder<'_, R> {
    /// Moves all accesses to ring 0, which CR0.WP concerns.
    fn use_ring_0(&mut self) {
        self.ring = Ring::Zero;
        self.case.access.ring = Ring::Zero;
    }

    /// Maps the page by a large one.
    fn use_large_page(&mut self) {
        let leaf = self.leaf() - 1;
        let frame = self.case.entries[leaf + 1].value & !LOW_FLAGS;
        self.case.entries.truncate(leaf + 1);

        let address = self.case.access.address.get();
        let offset = (frame & LARGE_OFFSET) | (address & PAGE_OFFSET);
        self.case.access.address = VirtAddr::new(address & !LARGE_OFFSET | offset);

        let flags = self.case.entries[leaf].value & LOW_FLAGS | EntryBits::PS.bits();
        self.case.entries[leaf].value = frame & !LARGE_OFFSET | flags;
    }

    /// Between two accesses of one kind, moves the page to another place at this distance, or makes it
    /// read-only if they write, and invalidates it. What was cached would serve the second access.
    fn change_page(&mut self, distance: u64, invalidation: Action) {
        let kind = self.random_kind();
        self.access(kind);

        let leaf = self.case.entries[self.leaf()];
        let is_moved = kind == AccessKind::Read || self.rng.random_bool(0.5);
        let value = if is_moved { leaf.value + distance } else { leaf.value & !RW };
        self.case.before.push(Action::Write(TableEntry { value, ..leaf }));
        self.case.before.push(invalidation);
        self.last_access(kind, 0);
    }

    /// Makes some entry read-only, mostly.
    fn vary_rights(&mut self) {
        if self.rng.random_bool(0.8) {
            let depth = self.rng.random_range(0..self.case.entries.len());
            self.case.entries[depth].value &= !RW;
        }
    }

    /// The place of the leaf among the entries.
    fn leaf(&self) -> usize {
        self.case.entries.len() - 1
    }

    /// Adds a read or write before the last access.
    fn random_access(&mut self) {
        let kind = self.random_kind();
        self.access(kind);
    }

    /// Makes the last access a read or write.
    fn last_random_access(&mut self, distance: u64) {
        let kind = self.random_kind();
        self.last_access(kind, distance);
    }

    fn random_kind(&mut self) -> AccessKind {
        [AccessKind::Read, AccessKind::Write, AccessKind::Write][self.rng.random_range(0..3)]
    }

    /// Adds an access before the last one.
    fn access(&mut self, kind: AccessKind) {
        let step = self.step(kind, 0);
        self.case.before.push(Action::Access(step));
    }

    /// Sets the last access, at this distance in bytes from the others.
    fn last_access(&mut self, kind: AccessKind, distance: u64) {
        let step = self.step(kind, distance);
        self.case.access = step.access;
        self.case.form = step.form;
        self.case.value = step.value;
    }

    fn step(&mut self, kind: AccessKind, distance: u64) -> AccessStep {
        let address = VirtAddr::new(self.case.access.address.get() + distance);
        let access = Access::new(kind, address, self.case.access.size, self.ring);
        if kind == AccessKind::Read {
            return AccessStep { access, form: Form::Load, value: 0 };
        }
        AccessStep { access, form: Form::Store, value: self.value_to_store(address) }
    }

    /// A value of which no byte is what memory has at the address at first.
    fn value_to_store(&mut self, address: VirtAddr) -> u64 {
        let mut entries = self.case.entries.iter().rev();
        let leaf = entries.find(|entry| entry.value & !LOW_FLAGS >= DATA_BASE);
        let frame = leaf.map_or(0, |leaf| leaf.value & EntryBits::ADDRESS);
        let first = frame + (address.get() & PAGE_OFFSET);

        let mut value = [0; 8];
        for (byte, at) in value.iter_mut().zip(first..) {
            *byte = contents::byte(at).wrapping_add(self.rng.random_range(1..=255));
        }
        u64::from_le_bytes(value)
    }
}
