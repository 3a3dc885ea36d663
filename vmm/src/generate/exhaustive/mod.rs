//! Every combination: for each size of page every entry of the path in all its meaningful bits, and
//! each two entries in their main bits, crossed with every kind of access in both rings and with the
//! control bits that the machine has. All else is plain.

mod bits;
mod digits;
mod space;

use super::case_builder::make_observable;
use super::placement::TableSlot;
use super::{Stream, arena_of_batch};
use crosswalk_case::{Case, TableEntry, plain_state};
use crosswalk_guest::contents::{CODE_OFFSETS, CODE_SIZE, DESCRIPTOR_OFFSETS};
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::walk::encode_in_mode;
use mmu_core::x86::format::{EntryBits, EntryKind, levels};
use mmu_core::{Access, AccessKind, ControlState, PagingMode, PhysAddr, Ring, Segment, VirtAddr};
use space::{Subspace, Sweep, Way, parts, ways};

/// Every combination in one mode that a machine has.
#[derive(Clone, Debug)]
pub struct ExhaustiveStream {
    mode: PagingMode,
    machine: Capabilities,
    ways: Vec<Way>,
    parts: Vec<Sweep>,
    /// For each lane its slot at each depth.
    places: Vec<Vec<TableSlot>>,
}

impl ExhaustiveStream {
    /// For a machine with these capabilities.
    pub fn new(mode: PagingMode, machine: Capabilities) -> Self {
        let (ways, parts) = (ways(mode, &machine), parts(mode, &machine));
        let places = (0..levels(mode).len()).map(|depth| places(mode, depth)).collect();
        Self { mode, machine, ways, parts, places }
    }

    fn batches_of(part: &Sweep) -> u64 {
        part.states() * part.of_a_state().div_ceil(MAX_LANES as u64)
    }

    fn case(
        &self,
        state: ControlState,
        arena: Arena,
        lane: usize,
        path: &[TableSlot],
        (section, digits): (&Subspace, &[usize]),
    ) -> Case {
        let (form, ring, ac) = self.ways[digits[0]];
        let state = ControlState { ac, ..state };
        let frames = arena.data_frames(lane);
        let (mut entries, base) = self.mapping(arena, frames, path, section.leaf);
        let mut digits = digits[1..].iter();
        for (depth, varied) in &section.varied {
            for (digit, value) in varied.iter().zip(&mut digits) {
                entries[*depth].value ^= digit.values[*value];
            }
        }
        // What lanes share is as the registers have it.
        if self.mode == PagingMode::Pae {
            entries[0].value = state.pdptes[path[0].index as usize];
        }
        let address = VirtAddr::new(base | offset(form));
        let access = access(form, ring, address, Code::of(self.mode));
        let value = 0x0123_4567_89ab_cdef_u64.rotate_left(lane as u32);
        let profile = self.machine.profile;
        let before = Vec::new();
        make_observable(Case { profile, state, entries, before, access, form, value }, frames)
    }

    /// A plain mapping of a lane's frames, and where they begin.
    fn mapping(
        &self,
        arena: Arena,
        frames: u64,
        path: &[TableSlot],
        leaf: usize,
    ) -> (Vec<TableEntry>, u64) {
        if path.is_empty() {
            return (Vec::new(), frames);
        }
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;
        let mut entries = Vec::with_capacity(leaf + 1);
        let mut address = 0;
        for (depth, (slot, level)) in path.iter().zip(levels(self.mode)).take(leaf + 1).enumerate()
        {
            let size = 1 << level.shift;
            let (kind, target) = if depth < leaf {
                (EntryKind::Table, arena.table(path[depth + 1].table))
            } else {
                address |= frames & (size - 1);
                (EntryKind::Leaf, frames & !(size - 1))
            };
            let value = encode_in_mode(self.mode, level, kind, PhysAddr::new(target), plain);
            let at = arena.table(slot.table) + slot.index * tables::entry_bytes(self.mode);
            entries.push(TableEntry { at, value });
            address |= slot.index << level.shift;
        }
        let address = VirtAddr::new(address);
        let address = match self.mode {
            PagingMode::FourLevel => address.sign_extended(48),
            PagingMode::FiveLevel => address.sign_extended(57),
            _ => address,
        };
        (entries, address.get())
    }

    /// The slots of a lane, root first.
    fn path(&self, lane: usize, below_pdpte_2: bool) -> Vec<TableSlot> {
        let mut path: Vec<TableSlot> = self.places.iter().map(|places| places[lane]).collect();
        if self.mode == PagingMode::Pae {
            if below_pdpte_2 {
                path[1] = TableSlot { table: 3, index: lane as u64 };
            }
            path[0] = TableSlot { table: 0, index: path[1].table as u64 - 1 };
        }
        path
    }
}

impl Stream for ExhaustiveStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        self.parts.iter().map(Self::batches_of).sum()
    }

    fn cases_before(&self, mut batch: u64) -> u64 {
        let mut cases = 0;
        for part in &self.parts {
            let (of_a_state, batches) = (part.of_a_state(), Self::batches_of(part));
            if batch < batches {
                let a_state = of_a_state.div_ceil(MAX_LANES as u64);
                let within = (batch % a_state) * MAX_LANES as u64;
                return cases + batch / a_state * of_a_state + within;
            }
            batch -= batches;
            cases += part.states() * of_a_state;
        }
        cases
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let arena = arena_of_batch(number);
        let mut batch = number;
        let mut parts = self.parts.iter();
        let part = loop {
            let part = parts.next().expect("the stream has this batch");
            if batch < Self::batches_of(part) {
                break part;
            }
            batch -= Self::batches_of(part);
        };
        let of_a_state = part.of_a_state();
        let a_state = of_a_state.div_ceil(MAX_LANES as u64);
        let plain = plain_state(self.mode, arena, self.machine.profile);
        let state = part.state(batch / a_state, plain, &self.machine);
        let first = batch % a_state * MAX_LANES as u64;
        let lanes = (of_a_state - first).min(most.min(MAX_LANES) as u64);
        let below_pdpte_2 = part.varies_a_pdpte();
        let case = |lane: u64| {
            let (section, digits) = part.combination(first + lane);
            let lane = lane as usize;
            let path = self.path(lane, below_pdpte_2);
            self.case(state, arena, lane, &path, (section, &digits))
        };
        Batch { arena, cases: (0..lanes).map(case).collect() }
    }
}

/// A slot for each lane at a depth, far from each other and in another order at each depth, so that
/// a walker which uses another level's index reads somebody else's entry.
fn places(mode: PagingMode, depth: usize) -> Vec<TableSlot> {
    // No number of free slots is a multiple of these.
    const STRIDES: [usize; 5] = [101, 211, 307, 401, 503];
    let tables = tables::of_levels(mode)[depth].clone();
    if tables::is_shared(mode, tables.start) {
        return vec![TableSlot { table: 0, index: 0 }; MAX_LANES];
    }
    let slots = tables
        .flat_map(|table| (0..tables::slots(mode)).map(move |index| (table, index)))
        .filter(|(table, index)| !tables::is_own(mode, *table, *index));
    let free: Vec<TableSlot> =
        slots.map(|(table, index)| TableSlot { table, index: index as u64 }).collect();
    (0..MAX_LANES).map(|lane| free[(lane * STRIDES[depth] + depth) % free.len()]).collect()
}

/// Where in a frame there is something for the instruction.
const fn offset(form: Form) -> u64 {
    match form {
        Form::Jump => CODE_OFFSETS.start,
        Form::SegmentLimit => DESCRIPTOR_OFFSETS.start,
        _ => 0x108,
    }
}

fn access(form: Form, ring: Ring, address: VirtAddr, code: Code) -> Access {
    let kind = match form {
        Form::Load | Form::SegmentLimit => AccessKind::Read,
        Form::Store => AccessKind::Write,
        Form::Exchange | Form::LockedExchange | Form::FailingCompare => AccessKind::ReadModifyWrite,
        Form::Clflush => AccessKind::Clflush,
        Form::Jump => AccessKind::Fetch,
    };
    let size = match (form, code) {
        (Form::Clflush, _) => 1,
        (Form::Jump, _) => CODE_SIZE,
        (_, Code::Bits64) => 8,
        (_, Code::Bits32) => 4,
    };
    let (segment, implicit) = (Segment::Data, form == Form::SegmentLimit);
    Access { kind, address, size, ring, segment, implicit, shadow_stack: false }
}

#[cfg(test)]
mod tests;
