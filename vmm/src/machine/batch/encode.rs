//! Writing a batch into its arena.

use super::tables::Tables;
use super::{Batch, CR2_AT_START, cannot_run};
use crate::case::Case;
use crate::machine::image::Image;
use crate::machine::memory::GuestMemory;
use crate::machine::{Capabilities, Command, MachineError, Position, own_tables};
use guest::layout::SUPERVISOR_WINDOW;
use guest::mailbox::{Header, Record, Switch};
use guest::stub::{Code, Stub};
use guest::tables;
use mmu_core::{AccessKind, Cr0, PagingMode, Ring, Segment};

/// A batch as it was written: what the host remembers of it, to compare with afterwards.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What was encoded.
    pub batch: Batch,
    /// For each case the reason why it was left out.
    pub left_out: Vec<Option<String>>,
    /// The tables as they are when the accesses are made.
    pub(super) tables: Tables,
    /// PAE's PDPTEs as memory holds them when they are loaded, if that differs (PDPTE-1).
    pdptes_at_load: Option<[u64; 4]>,
    pub(super) user: List,
    pub(super) supervisor: List,
    keep_control: bool,
    pub(super) sees_outside: bool,
}

/// One ring's list of records.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) records: Vec<Record>,
    /// The case of each record; steps between cases have none.
    pub(super) cases: Vec<Option<usize>>,
}

impl List {
    fn push(&mut self, stub: u64, address: u64, value: u64, case: Option<usize>) {
        self.records.push(Record { stub, address, value });
        self.cases.push(case);
    }
}

impl Encoded {
    /// Encodes a batch. Cases that the machine cannot run are left out, with the reason.
    pub fn new(batch: Batch, image: &Image, capabilities: &Capabilities) -> Self {
        let left_out = batch.cases.iter().map(|case| cannot_run(case, capabilities)).collect();
        let state = &batch.cases[0].state;
        let forced = state.cr4 & capabilities.not_in_cpuid;
        let mut encoded = Self {
            left_out,
            tables: Tables::new(state.mode(), batch.arena),
            pdptes_at_load: None,
            user: List::default(),
            supervisor: List::default(),
            keep_control: !forced.is_empty(),
            sees_outside: capabilities.sees_outside,
            batch,
        };
        encoded.place_entries();
        encoded.fill_lists(image);
        encoded
    }

    /// Leaves a case out, because the machine gave up on it.
    pub fn leave_out(&mut self, case: usize, why: String, image: &Image) {
        self.left_out[case] = Some(why);
        self.fill_lists(image);
    }

    /// The case whose record is at a position.
    pub fn case_at(&self, position: Position) -> Option<usize> {
        let list = match position.ring {
            Ring::Three => &self.user,
            Ring::Zero => &self.supervisor,
        };
        list.cases.get(position.record).copied().flatten()
    }

    /// Adds the case that the guest was at to an error, or all that it may have been at.
    pub fn blame(&self, error: MachineError) -> MachineError {
        match error {
            MachineError::GuestFailed { what, at, .. } => {
                let case = at.and_then(|position| self.case_at(position));
                let cases = match case {
                    Some(case) => vec![self.batch.cases[case].clone()],
                    None => self.batch.cases.clone(),
                };
                MachineError::GuestFailed { what, at, cases }
            }
            other => other,
        }
    }

    /// Writes everything into the arena and says how to run it.
    ///
    /// # Panics
    /// When the guest's own tables have not been built.
    pub fn write(&self, memory: &GuestMemory) -> Command {
        let Batch { arena, cases } = &self.batch;
        let (arena, state, mode) = (*arena, cases[0].state, self.tables.mode);
        let after_load = self.pdptes();
        let mut at_load = self.tables.clone();
        for link in own_tables::links(memory, mode, arena) {
            let slot = at_load.slot_at(link.at).expect("own slots lie in the arena's tables");
            at_load.set(slot, link.value);
        }
        for (address, pdpte) in
            self.pdpte_addresses().zip(self.pdptes_at_load.unwrap_or(after_load))
        {
            let slot = at_load.slot_at(address).expect("the root lies in the arena");
            at_load.set(slot, pdpte);
        }
        for (index, table) in at_load.contents().iter().enumerate() {
            memory.write_value(arena.table_image(index), table);
        }
        memory.write_value(arena.user_records(), self.user.records.as_slice());
        memory.write_value(arena.supervisor_records(), self.supervisor.records.as_slice());
        let header = Header {
            cr0: state.cr0.bits(),
            cr2: CR2_AT_START,
            cr3: state.cr3,
            cr4: state.cr4.bits(),
            efer: state.efer.bits(),
            keep_control: self.keep_control.into(),
            user_records: arena.user_records(),
            supervisor_records: arena.supervisor_records() + window(state.cr0),
            switch: switch_to(mode) as u64,
            tables: tables::count(mode) as u64,
            loads_pkrs: state.cr4.contains(mmu_core::Cr4::PKS).into(),
            pkrs: state.pkrs.into(),
            load_fault: 0,
            edits_pdptes: self.pdptes_at_load.is_some().into(),
            pdptes: after_load,
            enters_process: 0,
        };
        memory.write_value(arena.base(), &header);
        Command { arena, control: self.keep_control.then_some(state) }
    }

    fn place_entries(&mut self) {
        for (index, case) in self.batch.cases.iter().enumerate() {
            for entry in &case.entries {
                let Some(slot) = self.tables.slot_at(entry.at) else { continue };
                self.tables.claim(slot, index);
                self.tables.set(slot, entry.value);
            }
        }
        // A PDPTE that no case lists is in memory what it is in its register.
        let in_registers = self.batch.cases[0].state.pdptes;
        for (address, pdpte) in self.pdpte_addresses().zip(in_registers) {
            if let Some(slot) = self.tables.slot_at(address)
                && self.tables.owner(slot).is_none()
            {
                self.tables.set(slot, pdpte);
            }
        }
        let edited = self.tables.mode == PagingMode::Pae && in_registers != self.pdptes();
        self.pdptes_at_load = edited.then_some(in_registers);
    }

    /// Where PAE's four PDPTEs lie; in other modes there are none.
    fn pdpte_addresses(&self) -> impl Iterator<Item = u64> + use<> {
        let root = self.batch.cases[0].state.cr3 & 0xffff_ffe0;
        let count = if self.tables.mode == PagingMode::Pae { 4 } else { 0 };
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

    /// Writes both lists, with the steps between cases that change EFLAGS.AC and PKRU.
    fn fill_lists(&mut self, image: &Image) {
        self.user = self.list(Ring::Three, image);
        self.supervisor = self.list(Ring::Zero, image);
    }

    fn list(&self, ring: Ring, image: &Image) -> List {
        const RFLAGS_AC: u64 = 1 << 18;
        let code = Code::of(self.tables.mode);
        let window = match ring {
            Ring::Three => 0,
            Ring::Zero => window(self.batch.cases[0].state.cr0),
        };
        // 32-bit code segments have the window as their base.
        let window_of_code = if code == Code::Bits64 { window } else { 0 };
        let at = |stub| image.stub(stub, code).expect("cannot_run asks first") + window_of_code;
        let flags = |ac: bool| 0x2 | if ac { RFLAGS_AC } else { 0 };
        let mut list = List::default();
        let (mut ac, mut pkru) = (false, 0);
        for (index, case) in self.batch.cases.iter().enumerate() {
            if case.access.ring != ring || self.left_out[index].is_some() {
                continue;
            }
            if case.state.pkru != pkru {
                pkru = case.state.pkru;
                let step = if pkru == 0 { Stub::ClearPkru } else { Stub::SetPkru };
                list.push(at(step), pkru.into(), 0, None);
            }
            if case.state.ac != ac {
                ac = case.state.ac;
                list.push(at(Stub::SetFlags), flags(ac), 0, None);
            }
            let mut address = case.access.address.get();
            let mut value = case.value;
            if code == Code::Bits32 {
                value &= 0xffff_ffff;
                if case.access.kind == AccessKind::Fetch {
                    address = address.wrapping_sub(window) & 0xffff_ffff;
                }
            }
            list.push(at(stub_of(case, pkru != 0)), address, value, Some(index));
        }
        if pkru != 0 {
            list.push(at(Stub::ClearPkru), 0, 0, None);
        }
        if ac {
            list.push(at(Stub::SetFlags), flags(false), 0, None);
        }
        let end = if ring == Ring::Three { Stub::UserEnd } else { Stub::SupervisorEnd };
        list.push(at(end), 0, 0, None);
        list
    }
}

/// The stub that makes a case's access.
pub(super) fn stub_of(case: &Case, keyed: bool) -> Stub {
    Stub::Access {
        form: case.form,
        stack: case.access.segment == Segment::Stack,
        log_size: (case.access.size.clamp(1, 8) as u8).ilog2() as u8,
        keyed,
    }
}

/// How far above its user addresses ring 0 finds the guest's memory.
fn window(cr0: Cr0) -> u64 {
    if cr0.contains(Cr0::PG) { SUPERVISOR_WINDOW } else { 0 }
}

const fn switch_to(mode: PagingMode) -> Switch {
    match mode {
        PagingMode::FourLevel => Switch::Stay,
        PagingMode::FiveLevel => Switch::FiveLevel,
        _ => Switch::Legacy,
    }
}
