//! Every combination. For each page size, each entry of the path takes all values of its meaningful
//! bits, and each two entries those of their main bits; crossed with every kind of access in both rings
//! and with the control bits that the machine has. Everything else is plain.

mod bits;
mod digits;
mod space;

use super::builder::make_observable;
use super::placement::TableSlot;
use super::{Stream, canonical};
use crosswalk_case::{Case, TableEntry, plain_state};
use crosswalk_guest::contents::{CODE_OFFSETS, CODE_SIZE, DESCRIPTOR_OFFSETS};
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::{self, TableUse};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::x86::format::{self, EntryBits, EntryKind, MAX_LEVELS, levels};
use mmu_core::{Access, ControlState, PagingMode, PhysAddr, Segment, VirtAddr};
use space::{AccessVariant, Subspace, Sweep, accesses, sweeps};

/// Every combination in one mode that a machine has.
#[derive(Clone, Debug)]
pub struct ExhaustiveStream {
    mode: PagingMode,
    machine: Capabilities,
    accesses: Vec<AccessVariant>,
    sweeps: Vec<Sweep>,
    /// At each depth, the slot of each lane.
    slots: Vec<Vec<TableSlot>>,
}

impl ExhaustiveStream {
    /// Cases for a machine with these capabilities.
    pub fn new(mode: PagingMode, machine: Capabilities) -> Self {
        Self {
            mode,
            accesses: accesses(mode, &machine),
            sweeps: sweeps(mode, &machine),
            slots: (0..levels(mode).len()).map(|depth| slots(mode, depth)).collect(),
            machine,
        }
    }

    /// The case of a lane: the combination of a subspace that these digits name.
    fn case(
        &self,
        state: ControlState,
        arena: Arena,
        lane: usize,
        path: &[TableSlot],
        (subspace, digits): (&Subspace, &[usize]),
    ) -> Case {
        let variant = self.accesses[digits[0]];
        let frames = arena.data_frames(lane);
        let (mut entries, base) = self.mapping(arena, frames, path, subspace.leaf);
        vary(&mut entries, subspace, &digits[1..]);
        if self.mode == PagingMode::Pae {
            // The lanes share the PDPTEs, which are in memory as in the registers.
            entries[0].value = state.pdptes[path[0].index as usize];
        }

        let address = VirtAddr::new(base | offset(variant.form));
        let case = Case {
            profile: self.machine.profile,
            state,
            entries,
            before: Vec::new(),
            access: access(variant, address, Code::of(TableUse::of(self.mode))),
            form: variant.form,
            value: 0x0123_4567_89ab_cdef_u64.rotate_left(lane as u32),
        };
        make_observable(case, frames)
    }

    /// A plain mapping of a lane's frames, and the linear address at which they begin.
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
        let path_to_leaf = path.iter().zip(levels(self.mode)).take(leaf + 1);
        let mut entries = Vec::with_capacity(leaf + 1);
        let mut address = 0;
        for (depth, (slot, level)) in path_to_leaf.enumerate() {
            let offset_in_page = (1 << level.shift) - 1;
            let (kind, target) = if depth < leaf {
                (EntryKind::Table, arena.table(path[depth + 1].table))
            } else {
                address |= frames & offset_in_page;
                (EntryKind::Leaf, frames & !offset_in_page)
            };
            address |= slot.index << level.shift;

            let value = format::entry(self.mode, level, kind, PhysAddr::new(target), plain);
            let at = arena.table(slot.table) + slot.index * tables::entry_bytes(self.mode);
            entries.push(TableEntry { at, value });
        }
        (entries, canonical(self.mode, address))
    }

    /// The slots of a lane, root first.
    fn path(&self, lane: usize, below_pdpte_2: bool) -> Vec<TableSlot> {
        let mut path: Vec<TableSlot> = self.slots.iter().map(|slots| slots[lane]).collect();
        if self.mode == PagingMode::Pae {
            if below_pdpte_2 {
                path[1] = TableSlot { table: 3, index: lane as u64 };
            }
            path[0] = TableSlot { table: 0, index: path[1].table as u64 - 1 };
        }
        path
    }

    /// The sweep that a batch belongs to, and the number of the batch in it.
    fn sweep_of(&self, batch: u64) -> (&Sweep, u64) {
        let mut in_sweep = batch;
        for sweep in &self.sweeps {
            if in_sweep < batches_of(sweep) {
                return (sweep, in_sweep);
            }
            in_sweep -= batches_of(sweep);
        }
        panic!("the stream has no batch {batch}")
    }
}

impl Stream for ExhaustiveStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        self.sweeps.iter().map(batches_of).sum()
    }

    fn cases_before(&self, batch: u64) -> u64 {
        let mut in_sweep = batch;
        let mut cases = 0;
        for sweep in &self.sweeps {
            if in_sweep < batches_of(sweep) {
                let states = in_sweep / batches_of_a_state(sweep);
                let of_last_state = in_sweep % batches_of_a_state(sweep) * MAX_LANES as u64;
                return cases + states * sweep.cases_of_a_state() + of_last_state;
            }
            in_sweep -= batches_of(sweep);
            cases += sweep.states() * sweep.cases_of_a_state();
        }
        cases
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let arena = Arena::for_batch(number);
        let (sweep, in_sweep) = self.sweep_of(number);
        let plain = plain_state(self.mode, arena, self.machine.profile);
        let state = sweep.state(in_sweep / batches_of_a_state(sweep), plain, &self.machine);

        let first = in_sweep % batches_of_a_state(sweep) * MAX_LANES as u64;
        let lanes = (sweep.cases_of_a_state() - first).min(most.min(MAX_LANES) as u64);
        let below_pdpte_2 = sweep.varies_a_pdpte();
        let case = |lane: u64| {
            let (subspace, digits) = sweep.combination(first + lane);
            let path = self.path(lane as usize, below_pdpte_2);
            self.case(state, arena, lane as usize, &path, (subspace, &digits))
        };
        Batch { arena, cases: (0..lanes).map(case).collect() }
    }
}

/// The number of batches for each control state of a sweep.
fn batches_of_a_state(sweep: &Sweep) -> u64 {
    sweep.cases_of_a_state().div_ceil(MAX_LANES as u64)
}

fn batches_of(sweep: &Sweep) -> u64 {
    sweep.states() * batches_of_a_state(sweep)
}

/// Flips the bits of entries that these digits of a subspace stand for.
fn vary(entries: &mut [TableEntry], subspace: &Subspace, digits: &[usize]) {
    let mut values = digits.iter();
    for (depth, varied) in &subspace.varied {
        for (digit, value) in varied.iter().zip(&mut values) {
            entries[*depth].value ^= digit.values[*value];
        }
    }
}

/// A slot for each lane at a depth, far from each other and in another order at each depth, so that a
/// walker that uses the index of another level reads the entry of another lane.
fn slots(mode: PagingMode, depth: usize) -> Vec<TableSlot> {
    // No number of free slots is a multiple of these.
    const STRIDES: [usize; MAX_LEVELS] = [101, 211, 307, 401, 503];

    let table_use = TableUse::of(mode);
    let tables = tables::of_levels(table_use)[depth].clone();
    if tables::is_shared(table_use, tables.start) {
        return vec![TableSlot { table: 0, index: 0 }; MAX_LANES];
    }

    let all = tables.flat_map(|table| (0..tables::slots(mode)).map(move |index| (table, index)));
    let free: Vec<TableSlot> = all
        .filter(|(table, index)| !tables::is_own(table_use, *table, *index))
        .map(|(table, index)| TableSlot { table, index: index as u64 })
        .collect();
    (0..MAX_LANES).map(|lane| free[(lane * STRIDES[depth] + depth) % free.len()]).collect()
}

/// An offset in a frame at which there is something for the instruction.
const fn offset(form: Form) -> u64 {
    match form {
        Form::Jump => CODE_OFFSETS.start,
        Form::SegmentLimit => DESCRIPTOR_OFFSETS.start,
        _ => 0x108,
    }
}

fn access(variant: AccessVariant, address: VirtAddr, code: Code) -> Access {
    let size = match (variant.form, code) {
        (Form::Clflush, _) => 1,
        (Form::Jump, _) => CODE_SIZE,
        (_, Code::Bits64) => 8,
        (_, Code::Bits32) => 4,
    };

    Access {
        kind: variant.form.kind(),
        address,
        size,
        ring: variant.ring,
        segment: Segment::Data,
        implicit: variant.form == Form::SegmentLimit,
        shadow_stack: false,
        ac: variant.ac,
        compatibility: false,
    }
}

#[cfg(test)]
mod tests;
