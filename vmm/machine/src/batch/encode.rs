//! Writing a batch into its arena.

use super::elsewhere::frames_elsewhere;
use super::list::{List, ListWriter};
use super::registers::unloadable_cr3;
use super::requirements::cannot_run;
use super::stubs::supervisor_window;
use super::tables::{ArenaTables, TableWords};
use super::{Batch, CR2_AT_START};
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::{BatchCommand, Capabilities, MachineError, Position, guest_tables};
use crosswalk_case::{Case, TableEntry, shared_entries};
use crosswalk_guest::layout::sequence_of_lane;
use crosswalk_guest::mailbox::{Header, MAX_TABLES, Switch};
use crosswalk_guest::stub::Code;
use mmu_core::x86::format::EntryBits;
use mmu_core::{ControlState, Cr4, PagingMode, Ring};
use std::collections::BTreeSet;

/// A batch as it was written: everything that the host needs to read it back.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The batch that was encoded.
    pub batch: Batch,
    /// For each case, the reason if it was left out.
    pub left_out: Vec<Option<String>>,
    /// The tables as they are when the accesses are made.
    pub(super) tables: ArenaTables,
    /// The table that the guest can only read, if a case has entries there.
    read_only: Option<TableWords>,
    /// PAE's PDPTEs in memory at the time when they are loaded, if they change afterwards
    /// (PDPTE-1).
    pdptes_at_load: Option<[u64; 4]>,
    /// What the guest runs, in this order: the ring-3 list and the ring-0 list, or the one list of
    /// sequences.
    pub(super) lists: Vec<List>,
    /// Whether the machine itself sets the control registers, to values that the guest may not
    /// load.
    keep_control: bool,
    pub(super) sees_outside: bool,
    /// Data frames outside the lanes, which the host fills for a case that runs alone. The cases of a
    /// larger batch keep to their lanes.
    pub(super) elsewhere: BTreeSet<u64>,
}

impl Encoded {
    /// Encodes a batch. Cases that the machine cannot run are left out.
    ///
    /// # Panics
    /// If the batch has no case.
    pub fn new(batch: Batch, image: &Image, capabilities: &Capabilities) -> Self {
        let left_out = batch.cases.iter().map(|case| cannot_run(case, capabilities)).collect();
        let state = batch.cases[0].state;
        let not_in_cpuid = state.cr4 & capabilities.not_in_cpuid;

        let mut encoded = Self {
            left_out,
            tables: ArenaTables::new(batch.cases[0].table_use(), batch.arena, &batch.cases),
            read_only: None,
            pdptes_at_load: None,
            lists: Vec::new(),
            keep_control: !not_in_cpuid.is_empty(),
            sees_outside: capabilities.sees_outside,
            elsewhere: match batch.cases.as_slice() {
                [alone] => frames_elsewhere(alone, batch.arena),
                _ => BTreeSet::new(),
            },
            batch,
        };
        encoded.place_entries();
        encoded.place_own_pages();
        encoded.place_shared();
        encoded.place_pdptes();
        encoded.fill_lists(image);
        encoded
    }

    /// Leaves out a case on which the machine gave up.
    pub fn leave_out(&mut self, case: usize, why: String, image: &Image) {
        self.left_out[case] = Some(why);
        self.fill_lists(image);
    }

    /// The index of the case that has the frames of a lane. A sequence has those of two.
    pub(super) fn case_of_lane(&self, lane: usize) -> usize {
        let shares_lanes = self.batch.cases.len() > 1 && self.are_sequences();
        if shares_lanes { sequence_of_lane(lane) } else { lane }
    }

    /// Whether ring 0 keeps the frames of faults: not where many cases run, each in a moment.
    pub(super) fn keeps_frames(&self) -> bool {
        self.batch.cases.len() == 1 || self.are_sequences()
    }

    /// Whether the batch consists of sequences.
    fn are_sequences(&self) -> bool {
        self.batch.cases[0].is_sequence()
    }

    /// The index of the case whose access is at a position; `None` for steps between accesses.
    pub fn case_at(&self, position: Position) -> Option<usize> {
        let owner = self.lists.iter().find_map(|list| list.owner_of(position.record))?;
        Some(owner.case)
    }

    /// Adds the case that the guest was at to the error of a failed guest, or all cases if that one
    /// is not known.
    pub fn blame(&self, error: MachineError) -> MachineError {
        match error {
            MachineError::GuestFailed { failure, at, .. } => {
                let case = at.and_then(|position| self.case_at(position));
                let cases = match case {
                    Some(case) => vec![self.batch.cases[case].clone()],
                    None => self.batch.cases.clone(),
                };
                MachineError::GuestFailed { failure, at, cases }
            }
            other => other,
        }
    }

    /// Writes the batch into its arena, and returns the command to run it.
    pub fn write(&self, memory: &GuestMemory) -> BatchCommand {
        let arena = self.batch.arena;

        for (index, table) in self.tables_at_load().contents().iter().enumerate() {
            memory.write_value(arena.table_image(index), table);
        }
        if let Some(words) = &self.read_only {
            memory.write_value(arena.read_only_table(), words);
        }
        for frame in &self.elsewhere {
            memory.restore_frame(*frame);
        }
        for list in &self.lists {
            memory.write_value(arena.record(list.first), list.records.as_slice());
        }
        memory.write_value(arena.base(), &self.header());

        BatchCommand {
            arena,
            control: self.keep_control.then_some(*self.state()),
            fills_read_only: self.read_only.is_some(),
            lists: self
                .lists
                .iter()
                .map(|list| list.first..list.first + list.records.len())
                .collect(),
            elsewhere: self.elsewhere.iter().copied().collect(),
        }
    }

    /// The tables as the guest writes them: with the links to its own tables, and with the PDPTEs
    /// that are loaded.
    fn tables_at_load(&self) -> ArenaTables {
        let mut tables = self.tables.clone();

        for link in guest_tables::links(tables.table_use, self.batch.arena, self.tables.places()) {
            let slot = tables.slot_at(link.at).expect("own slots are in the arena's tables");
            // A case may bring the table of linear page 0.
            if tables.owner(slot).is_none() {
                tables.set(slot, link.value);
            }
        }

        let pdptes = self.pdptes_at_load.unwrap_or_else(|| self.pdptes());
        for (address, pdpte) in self.pdpte_addresses().zip(pdptes) {
            let slot = tables.slot_at(address).expect("the root is in the arena");
            tables.set(slot, pdpte);
        }

        tables
    }

    fn header(&self) -> Header {
        let Batch { arena, .. } = self.batch;
        let table_use = self.tables.table_use;
        let state = self.state();
        let mut table_places = [0; MAX_TABLES];
        for (word, place) in table_places.iter_mut().zip(self.tables.places()) {
            *word = place.word();
        }

        Header {
            cr0: state.cr0.bits(),
            cr2: CR2_AT_START,
            cr3: self.cr3(),
            cr4: state.cr4.bits(),
            efer: state.efer.bits(),
            keep_control: self.keep_control.into(),
            user_records: arena.user_records(),
            supervisor_records: arena.supervisor_records() + supervisor_window(state.cr0),
            switch: switch_to(table_use.mode) as u64,
            tables: self.tables.places().len() as u64,
            loads_pkrs: state.cr4.contains(Cr4::PKS).into(),
            pkrs: state.pkrs.into(),
            load_fault: 0,
            edits_pdptes: self.pdptes_at_load.is_some().into(),
            pdptes: self.pdptes(),
            compatibility: table_use.compatibility.into(),
            enters_process: 0,
            table_places,
            keeps_frames: self.keeps_frames().into(),
            ..Header::default()
        }
    }

    /// The CR3 with which the batch runs: that of all cases, or the root alone if it cannot be loaded.
    fn cr3(&self) -> u64 {
        match unloadable_cr3(&self.batch.cases[0]) {
            Some(_) => self.batch.arena.table(0),
            None => self.state().cr3,
        }
    }

    /// The control state that all cases share.
    pub(super) fn state(&self) -> &ControlState {
        &self.batch.cases[0].state
    }

    /// The paging mode that all cases share.
    const fn mode(&self) -> PagingMode {
        self.tables.table_use.mode
    }

    /// Puts the entries of all cases into the tables.
    fn place_entries(&mut self) {
        for (index, case) in self.batch.cases.iter().enumerate() {
            for entry in &case.entries {
                if self.batch.arena.is_read_only(entry.at) {
                    let words = self.read_only.get_or_insert([0; 512]);
                    words[(entry.at & 0xfff) as usize / 8] = entry.value;
                }

                if let Some(slot) = self.tables.slot_at(entry.at) {
                    self.tables.claim(slot, index);
                    self.tables.set(slot, entry.value);
                }
            }
        }
    }

    /// Maps the guest itself in the table of linear page 0, if a case brings this table.
    fn place_own_pages(&mut self) {
        let table_use = self.tables.table_use;
        let first = guest_tables::first_entry(table_use, self.batch.arena);
        let entries = self.batch.cases.iter().flat_map(|case| &case.entries);
        let brought = entries.copied().find(|entry| Some(entry.at) == first);
        let Some(TableEntry { value, .. }) = brought else { return };

        let table = value & EntryBits::ADDRESS;
        for (offset, value) in guest_tables::own_pages(table_use) {
            let slot = self.tables.slot_at(table + offset).expect("admission checks the table");
            self.tables.set(slot, value);
        }
    }

    /// Puts the entries that all lanes share in compatibility mode into the tables where no case lists
    /// them.
    fn place_shared(&mut self) {
        let arena = self.batch.arena;
        if !self.tables.table_use.compatibility {
            return;
        }

        for TableEntry { at, value } in shared_entries(self.tables.table_use, arena) {
            if let Some(slot) = self.tables.slot_at(at)
                && self.tables.owner(slot).is_none()
            {
                self.tables.set(slot, value);
            }
        }
    }

    /// Puts PAE's PDPTEs that no case lists into the tables, as they are in their registers. If
    /// others differ from their registers, they change after they have been loaded (PDPTE-1).
    fn place_pdptes(&mut self) {
        let in_registers = self.state().pdptes;

        for (address, pdpte) in self.pdpte_addresses().zip(in_registers) {
            if let Some(slot) = self.tables.slot_at(address)
                && self.tables.owner(slot).is_none()
            {
                self.tables.set(slot, pdpte);
            }
        }

        let differ = self.mode() == PagingMode::Pae && in_registers != self.pdptes();
        self.pdptes_at_load = differ.then_some(in_registers);
    }

    /// The addresses of PAE's four PDPTEs; none in other modes.
    fn pdpte_addresses(&self) -> impl Iterator<Item = u64> + use<> {
        let root = self.state().cr3 & 0xffff_ffe0;
        let count = if self.mode() == PagingMode::Pae { 4 } else { 0 };
        (0..count).map(move |i| root + 8 * i)
    }

    /// PAE's PDPTEs in memory when the accesses are made.
    fn pdptes(&self) -> [u64; 4] {
        let mut pdptes = [0; 4];
        for (pdpte, address) in pdptes.iter_mut().zip(self.pdpte_addresses()) {
            *pdpte = self.tables.slot_at(address).map_or(0, |slot| self.tables.get(slot));
        }
        pdptes
    }

    /// Writes the lists, without the cases that are left out.
    fn fill_lists(&mut self, image: &Image) {
        let code = Code::of(self.tables.table_use);
        let at_start = ControlState { cr3: self.cr3(), ..*self.state() };
        let arena = self.batch.arena;

        let writers = if self.are_sequences() {
            vec![ListWriter::in_order(image, code, at_start, arena)]
        } else {
            let of_ring = |ring| ListWriter::of_ring(image, code, at_start, arena, ring);
            [Ring::Three, Ring::Zero].map(of_ring).into()
        };
        let list = |mut writer: ListWriter<'_>| {
            for (index, case) in self.cases_that_run() {
                writer.add(index, case);
            }
            writer.end()
        };
        self.lists = writers.into_iter().map(list).collect();
    }

    fn cases_that_run(&self) -> impl Iterator<Item = (usize, &Case)> {
        let cases = self.batch.cases.iter().enumerate();
        cases.filter(|(index, _)| self.left_out[*index].is_none())
    }
}

/// How the guest switches to a mode.
const fn switch_to(mode: PagingMode) -> Switch {
    match mode {
        PagingMode::FourLevel => Switch::Stay,
        PagingMode::FiveLevel => Switch::FiveLevel,
        _ => Switch::Legacy,
    }
}
