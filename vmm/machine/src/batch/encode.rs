//! Writing a batch into its arena.

use super::tables::{ArenaTables, TableWords};
use super::{Batch, CR2_AT_START, cannot_run};
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::{BatchCommand, Capabilities, MachineError, Position, guest_tables};
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::layout::SUPERVISOR_WINDOW;
use crosswalk_guest::mailbox::{AccessRecord, Header, Switch};
use crosswalk_guest::stub::{Code, Form, Privileged, Stub};
use crosswalk_guest::tables;
use mmu_core::{AccessKind, ControlState, Cr0, PagingMode, Ring, Segment};

/// A batch as it was written: what the host remembers of it, to compare with afterwards.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What was encoded.
    pub batch: Batch,
    /// For each case the reason why it was left out.
    pub left_out: Vec<Option<String>>,
    /// The tables as they are when the accesses are made.
    pub(super) tables: ArenaTables,
    /// The table that the guest can only read, if a case has entries there.
    pub(super) read_only: Option<TableWords>,
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
    pub(super) records: Vec<AccessRecord>,
    /// Whose access each record makes; steps between accesses are nobody's.
    pub(super) owners: Vec<Option<Owner>>,
}

/// Whose access a record makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// The case.
    pub(super) case: usize,
    /// Whether it is the case's last access.
    pub(super) is_last: bool,
}

impl List {
    fn push(&mut self, stub: u64, address: u64, value: u64, owner: Option<Owner>) {
        self.records.push(AccessRecord { stub, address, value });
        self.owners.push(owner);
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
            tables: ArenaTables::new(state.mode(), batch.arena),
            read_only: None,
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
        Some(list.owners.get(position.record).copied().flatten()?.case)
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
    pub fn write(&self, memory: &GuestMemory) -> BatchCommand {
        let Batch { arena, cases } = &self.batch;
        let (arena, state, mode) = (*arena, cases[0].state, self.tables.mode);
        let after_load = self.pdptes();
        let mut at_load = self.tables.clone();
        for link in guest_tables::links(memory, mode, arena) {
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
        if let Some(words) = &self.read_only {
            memory.write_value(arena.read_only_table(), words);
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
        let control = self.keep_control.then_some(state);
        BatchCommand { arena, control, fills_read_only: self.read_only.is_some() }
    }

    fn place_entries(&mut self) {
        for (index, case) in self.batch.cases.iter().enumerate() {
            for entry in &case.entries {
                if self.batch.arena.is_read_only(entry.at) {
                    let words = self.read_only.get_or_insert([0; 512]);
                    words[(entry.at & 0xfff) as usize / 8] = entry.value;
                }
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
        let cr0 = self.batch.cases[0].state.cr0;
        let mut writer = ListWriter::new(image, Code::of(self.tables.mode), ring, cr0);
        for (index, case) in self.batch.cases.iter().enumerate() {
            if self.left_out[index].is_none() {
                writer.add(index, case);
            }
        }
        writer.end()
    }
}

/// Writes one ring's list.
struct ListWriter<'i> {
    image: &'i Image,
    code: Code,
    ring: Ring,
    /// How far above its user addresses the ring finds the guest's memory.
    window: u64,
    list: List,
    ac: bool,
    pkru: u32,
}

impl<'i> ListWriter<'i> {
    fn new(image: &'i Image, code: Code, ring: Ring, cr0: Cr0) -> Self {
        let window = if ring == Ring::Three { 0 } else { window(cr0) };
        Self { image, code, ring, window, list: List::default(), ac: false, pkru: 0 }
    }

    fn push(&mut self, stub: Stub, address: u64, value: u64, owner: Option<Owner>) {
        // 32-bit code segments have the window as their base.
        let window_of_code = if self.code == Code::Bits64 { self.window } else { 0 };
        let at = self.image.stub(stub, self.code).expect("cannot_run asks first") + window_of_code;
        self.list.push(at, address, value, owner);
    }

    /// Adds what a case does in this ring.
    fn add(&mut self, index: usize, case: &Case) {
        let mut state = case.state;
        let mut rest = case.before.as_slice();
        for action in case.script() {
            action.change(&mut state);
            rest = rest.split_first().map_or(rest, |(_, rest)| rest);
            // What is no access belongs to the access that comes next.
            let next = rest.iter().find_map(|action| match action {
                Action::Access(made) => Some(made.access.ring),
                _ => None,
            });
            let ring = match action {
                Action::Access(made) => made.access.ring,
                _ => next.unwrap_or(case.access.ring),
            };
            if ring == self.ring {
                let is_last = action == Action::Access(case.access_step()) && rest.is_empty();
                self.act(action, &state, Owner { case: index, is_last });
            }
        }
    }

    fn act(&mut self, action: Action, state: &ControlState, owner: Owner) {
        let change = |change| Stub::Privileged(change, self.ring);
        match action {
            Action::Access(made) => self.access(made, state, owner),
            Action::Write(entry) => {
                // Page tables lie where the guest has its own memory.
                let store =
                    Stub::Access { form: Form::Store, stack: false, log_size: 3, keyed: false };
                self.push(store, entry.at + self.window, entry.value, None);
            }
            Action::Invlpg(address) => {
                self.push(change(Privileged::Invlpg), address.get(), 0, None);
            }
            Action::ReloadCr3 => self.push(change(Privileged::ReloadCr3), 0, 0, None),
            Action::WriteProtect(_) => {
                self.push(change(Privileged::SetCr0), state.cr0.bits(), 0, None);
            }
            // Loaded around each access.
            Action::Pkru(_) => {}
        }
    }

    /// Adds an access, and before it the steps that change EFLAGS.AC and PKRU.
    fn access(&mut self, made: AccessStep, state: &ControlState, owner: Owner) {
        if state.pkru != self.pkru {
            self.set_pkru(state.pkru);
        }
        if state.ac != self.ac {
            self.set_flags(state.ac);
        }
        let AccessStep { access, mut value, .. } = made;
        let mut address = access.address.get();
        if self.code == Code::Bits32 {
            value &= 0xffff_ffff;
            if access.kind == AccessKind::Fetch {
                address = address.wrapping_sub(self.window) & 0xffff_ffff;
            }
        }
        self.push(stub_of(&made, self.pkru != 0), address, value, Some(owner));
    }

    fn set_pkru(&mut self, pkru: u32) {
        self.pkru = pkru;
        let step = if pkru == 0 { Stub::ClearPkru } else { Stub::SetPkru };
        self.push(step, pkru.into(), 0, None);
    }

    fn set_flags(&mut self, ac: bool) {
        const RFLAGS_AC: u64 = 1 << 18;
        self.ac = ac;
        self.push(Stub::SetFlags, 0x2 | if ac { RFLAGS_AC } else { 0 }, 0, None);
    }

    fn end(mut self) -> List {
        if self.pkru != 0 {
            self.set_pkru(0);
        }
        if self.ac {
            self.set_flags(false);
        }
        let end = if self.ring == Ring::Three { Stub::UserEnd } else { Stub::SupervisorEnd };
        self.push(end, 0, 0, None);
        self.list
    }
}

/// The stub that makes an access.
pub(super) fn stub_of(made: &AccessStep, keyed: bool) -> Stub {
    Stub::Access {
        form: made.form,
        stack: made.access.segment == Segment::Stack,
        log_size: (made.access.size.clamp(1, 8) as u8).ilog2() as u8,
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
