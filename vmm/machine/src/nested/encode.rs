//! Writing a nested batch into its arena.

use super::vmcb::Vmcb;
use super::vmcs;
use super::{Lane, NestedBatch, Root};
use crate::memory::GuestMemory;
use crate::virtualization::{Virtualization, Vmx};
use crate::{BatchCommand, Capabilities, guest_tables};
use crosswalk_guest::layout::SUPERVISOR_WINDOW;
use crosswalk_guest::mailbox::{AccessRecord, Header, MAX_TABLES, Switch};
use crosswalk_guest::nested::{LANES, LOADS_PKRS, LOADS_PKRU, NestedRecord, TABLES, Virtualizer};
use crosswalk_guest::table_windows::TablePlace;
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr4, Efer, PagingMode};

/// What VMX of a machine offers, if that is known.
const fn vmx_of(capabilities: &Capabilities) -> Option<Vmx> {
    match capabilities.virtualization {
        Ok(Virtualization::Vmx(vmx)) => Some(vmx),
        _ => None,
    }
}

/// So many records have the size of a number of [`AccessRecord`]s.
const RECORDS_AT_ONCE: usize = 3;
const _: () = assert!(
    (RECORDS_AT_ONCE * size_of::<NestedRecord>()).is_multiple_of(size_of::<AccessRecord>())
);

impl NestedBatch {
    /// Writes the batch into its arena, and returns the command to run it.
    ///
    /// # Panics
    /// If it has no lane, or more lanes or tables than there is room for; if the lanes differ in the kind of
    /// their root, or the machine has not what they need; if L1 has no such paging mode.
    pub fn write(&self, memory: &GuestMemory, capabilities: &Capabilities) -> BatchCommand {
        let arena = self.arena;
        assert!((1..=LANES).contains(&self.lanes.len()), "there is room for {LANES} lanes");
        assert!(self.tables.len() <= TABLES, "there is room for {TABLES} tables");
        let is_possible = match self.virtualizer() {
            Virtualizer::Vmx => self.host.mode().is_long_mode(),
            _ => self.host.mode() != PagingMode::Unpaged,
        };
        assert!(is_possible, "L1 cannot be in {}", self.host.mode());

        for (index, table) in self.tables.iter().enumerate() {
            memory.write_value(arena.nested_table_image(index), table);
        }
        memory.write_value(arena.nested_code_image(), &self.code);

        for (number, lane) in self.lanes.iter().enumerate() {
            assert!(lane.root.virtualizer() == self.virtualizer(), "lanes of one kind");
            match lane.root {
                Root::Npt { ncr3 } => {
                    let block = Vmcb::new(lane, ncr3, arena.permission_maps());
                    memory.write_value(arena.control_block(number), &block);
                }
                Root::Ept { .. } => {
                    let fields = vmcs::fields(lane, vmx_of(capabilities));
                    memory.write_value(arena.control_block(number), fields.as_slice());
                }
            }
        }
        let records = self.records();
        memory.write_value(arena.nested_record(0), records.as_slice());
        memory.write_value(arena.base(), &self.header(memory));

        // The records of a list of accesses that have the place of these.
        let list = 0..size_of_val(records.as_slice()) / size_of::<AccessRecord>();
        BatchCommand {
            arena,
            control: None,
            fills_read_only: false,
            lists: Vec::from([list]),
            elsewhere: Vec::new(),
        }
    }

    /// What runs the lanes.
    pub(super) fn virtualizer(&self) -> Virtualizer {
        self.lanes.first().map_or(Virtualizer::None, |lane| lane.root.virtualizer())
    }

    /// The records, with the end of the list. Their number is such that they have the size of records of accesses.
    fn records(&self) -> Vec<NestedRecord> {
        let mut records: Vec<_> = self.records_of_lanes().collect();
        let with_end = records.len() + 1;
        records.resize(with_end.next_multiple_of(RECORDS_AT_ONCE), NestedRecord::default());
        records
    }

    pub(super) fn records_of_lanes(&self) -> impl Iterator<Item = NestedRecord> {
        self.lanes.iter().enumerate().map(|(number, lane)| self.record(number, lane))
    }

    fn record(&self, number: usize, lane: &Lane) -> NestedRecord {
        let block = self.arena.control_block(number);
        let keys = [(Cr4::PKE, LOADS_PKRU), (Cr4::PKS, LOADS_PKRS)];
        let loads = keys.iter().filter(|(bit, _)| lane.state.cr4.contains(*bit));

        NestedRecord {
            block: match self.virtualizer() {
                Virtualizer::Vmx => block + SUPERVISOR_WINDOW,
                _ => block,
            },
            back: lane.back,
            rax: match self.virtualizer() {
                Virtualizer::Vmx => lane.rax,
                _ => 0,
            },
            pkru: lane.state.pkru,
            pkrs: lane.state.pkrs,
            loads: loads.fold(0, |loads, (_, load)| loads | load),
            ..NestedRecord::default()
        }
    }

    /// The header, after the host's own tables have been written.
    fn header(&self, memory: &GuestMemory) -> Header {
        let arena = self.arena;
        let mode = self.host.mode();
        let tables = self.write_own_tables(memory);
        let mut table_places = [0; MAX_TABLES];
        for (word, index) in table_places.iter_mut().zip(0..tables) {
            *word = TablePlace::low(index).word();
        }

        let svme = match self.virtualizer() {
            Virtualizer::Svm => Efer::SVME,
            _ => Efer::empty(),
        };
        // Ring 0 in 32-bit code finds the records by their user addresses, in a segment that begins in the window.
        let window = if mode.is_long_mode() { SUPERVISOR_WINDOW } else { 0 };
        Header {
            cr0: self.host.cr0.bits(),
            cr3: arena.table(0),
            cr4: (self.host.cr4 | Cr4::OSFXSR | Cr4::OSXMMEXCPT).bits(),
            efer: (self.host.efer | svme).bits(),
            switch: match mode {
                PagingMode::FourLevel => Switch::Stay,
                PagingMode::FiveLevel => Switch::FiveLevel,
                _ => Switch::Legacy,
            } as u64,
            tables: tables as u64,
            table_places,
            loads_pkrs: self.host.cr4.contains(Cr4::PKS).into(),
            virtualizer: self.virtualizer() as u64,
            nested_records: arena.nested_record(0) + window,
            nested_lanes: self.lanes.len() as u64,
            nested_tables: self.tables.len() as u64,
            nested_back: self.lanes.first().map_or(0, |lane| lane.back),
            ..Header::default()
        }
    }

    /// Writes the tables that map the guest itself, in L1's paging mode. Returns their number.
    fn write_own_tables(&self, memory: &GuestMemory) -> usize {
        let mode = self.host.mode();
        let table_use = TableUse::of(mode);
        let own = tables::own_slots(table_use).iter().map(|(table, _)| table + 1).max();
        let count = own.expect("L1 has paging");

        let mut images = vec![[0_u8; 0x1000]; count];
        let mut put = |table: usize, offset: usize, value: u64| {
            let bytes = tables::entry_bytes(mode) as usize;
            images[table][offset..offset + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        };
        let places: Vec<_> = (0..count).map(TablePlace::low).collect();
        for link in guest_tables::links(table_use, self.arena, &places) {
            let table = self.arena.table_at(link.at).expect("links are in the arena's tables");
            put(table, (link.at & 0xfff) as usize, link.value);
        }
        if mode == PagingMode::Pae {
            for table in 1..count {
                let pdpte = self.arena.table(table) | EntryBits::P.bits();
                put(0, 8 * (table - 1), pdpte);
            }
        }

        for (index, image) in images.iter().enumerate() {
            memory.write(self.arena.table_image(index), image);
        }
        count
    }
}
