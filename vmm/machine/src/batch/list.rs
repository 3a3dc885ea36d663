//! The lists of records that the guest runs: one for each ring, or one in which sequences change the
//! ring.

use super::owner::{Owner, Part};
use super::registers::{LOW_HALF, unloadable_cr3};
use super::stubs::{is_keyed, store_of_entry, stub_of, supervisor_window};
use crate::image::Image;
use crosswalk_case::{AccessStep, Action, Case, Invpcid, Operands};
use crosswalk_guest::contents::ACCESS_BYTE;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::mailbox::AccessRecord;
use crosswalk_guest::selector::{USER_CODE, USER_DATA};
use crosswalk_guest::stub::{Code, Form, Privileged, Stub};
use mmu_core::x86::control::Mov;
use mmu_core::{AccessKind, ControlState, Cr4, Features, Ring, Segment};
use std::mem::offset_of;

/// RFLAGS without any flag: the bit that is always 1.
const PLAIN_RFLAGS: u64 = 0x2;

/// A list of records.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// The number of its first record in the arena.
    pub(super) first: usize,
    pub(super) records: Vec<AccessRecord>,
    /// What each record shows; `None` for steps between accesses.
    pub(super) owners: Vec<Option<Owner>>,
}

impl List {
    /// What the record with this number in the arena shows.
    pub(super) fn owner_of(&self, record: usize) -> Option<Owner> {
        let index = record.checked_sub(self.first)?;
        self.owners.get(index).copied().flatten()
    }
}

/// Writes a list.
pub(super) struct ListWriter<'i> {
    image: &'i Image,
    code: Code,
    arena: Arena,
    /// Whether the list changes the ring. Otherwise it has what the cases do in its ring.
    switches: bool,
    /// The ring of the code after the records so far.
    ring: Ring,
    list: List,
    /// Whether ring 0 has STAC and CLAC.
    has_stac: bool,
    /// EFLAGS.AC after the records so far.
    ac: bool,
    /// The PKRU of keyed accesses after the records so far.
    pkru: u32,
    /// The control registers of the batch, and those after the records so far.
    at_start: ControlState,
    now: ControlState,
    /// The MOVs of the current case: whatever was expected of them, they may have changed their registers.
    moved: Vec<Mov>,
}

impl<'i> ListWriter<'i> {
    /// Writes the list of one ring.
    pub(super) fn of_ring(
        image: &'i Image,
        code: Code,
        at_start: ControlState,
        arena: Arena,
        ring: Ring,
    ) -> Self {
        let first = if ring == Ring::Three { 0 } else { Arena::FIRST_SUPERVISOR_RECORD };
        let list = List { first, records: Vec::new(), owners: Vec::new() };
        Self {
            image,
            code,
            arena,
            switches: false,
            ring,
            list,
            has_stac: false,
            ac: false,
            pkru: 0,
            at_start,
            now: at_start,
            moved: Vec::new(),
        }
    }

    /// Writes the one list of sequences. It starts in ring 3.
    pub(super) fn in_order(
        image: &'i Image,
        code: Code,
        at_start: ControlState,
        arena: Arena,
    ) -> Self {
        Self { switches: true, ..Self::of_ring(image, code, at_start, arena, Ring::Three) }
    }

    /// Adds what the case with this index does.
    pub(super) fn add(&mut self, index: usize, case: &Case) {
        if let Some(mov) = unloadable_cr3(case) {
            if case.access.ring == self.ring {
                self.mov_in_place(index, mov);
            }
            return;
        }

        let has_smap =
            case.profile.features.contains(Features::SMAP) && self.at_start.cr4.contains(Cr4::SMAP);
        self.has_stac = self.switches && self.code == Code::Bits64 && has_smap;
        let mut state = case.state;
        for (number, action) in case.script().enumerate() {
            let before = state;
            action.change(&mut state, case.profile, case);
            let rest = case.before.get(number + 1..).unwrap_or_default();

            // A step that is not an access belongs to the next access.
            let next = rest.iter().find_map(|action| match action {
                Action::Access(step) => Some(step.access.ring),
                _ => None,
            });
            let ring = match action {
                Action::Access(step) => step.access.ring,
                _ => next.unwrap_or(case.access.ring),
            };

            if self.switches {
                self.enter(ring);
            }
            if ring == self.ring {
                let part = if number == case.before.len() { Part::Last } else { Part::Earlier };
                self.act(action, (&before, &state), Place { case: index, part });
            }
        }
        self.restore();
    }

    /// Ends the list, with EFLAGS.AC and PKRU as they were at its start.
    pub(super) fn end(mut self) -> List {
        self.set_pkru(0);
        self.set_flags(false);

        if self.switches {
            self.enter(Ring::Zero);
        }
        let end = if self.ring == Ring::Three { Stub::UserEnd } else { Stub::SupervisorEnd };
        self.push(end, 0, 0, None);

        let room = if self.switches || self.ring == Ring::Zero {
            Arena::RECORDS
        } else {
            Arena::FIRST_SUPERVISOR_RECORD
        };
        assert!(self.list.first + self.list.records.len() <= room, "the cases fit their list");
        self.list
    }

    /// Continues in a ring.
    fn enter(&mut self, ring: Ring) {
        match (self.ring, ring) {
            (Ring::Three, Ring::Zero) => {
                self.push(Stub::EnterSupervisor, 0, 0, None);
                // An interrupt gate leaves AC as it is (SDM "Flag Usage By Exception- or
                // Interrupt-Handler Procedure").
                self.ring = Ring::Zero;
            }
            (Ring::Zero, Ring::Three) => self.return_to_user(),
            _ => return,
        }
        if self.code == Code::Bits64 {
            self.pkru = 0;
        }
    }

    /// Returns to ring 3, which then has plain flags.
    fn return_to_user(&mut self) {
        match self.code {
            Code::Bits64 => self.execute_iret(),
            Code::Bits32 => self.push(Stub::EnterUser, 0, 0, None),
        }
        self.ring = Ring::Three;
        self.ac = false;
    }

    /// Executes IRETQ, and then a stub that takes two words and sets the registers of the list.
    fn execute_iret(&mut self) {
        let entry = self.image.stub(Stub::ClearPkru, self.code).expect("64-bit code has it");
        self.push(Stub::EnterUser, entry, USER_CODE.into(), None);

        let rest_of_frame = self.list.first + self.list.records.len();
        let rsp = self.arena.record(rest_of_frame) + offset_of!(AccessRecord, address) as u64;
        let record = AccessRecord { stub: PLAIN_RFLAGS, address: rsp, value: USER_DATA.into() };
        self.push_record(record, None);
    }

    /// Adds an action, by which the registers most likely change like this.
    fn act(
        &mut self,
        action: Action,
        (before, state): (&ControlState, &ControlState),
        place: Place,
    ) {
        // As the case has them, if the list of the other ring changes them.
        self.load_registers(before);
        if let Some(mov) = action.mov(before) {
            if self.code == Code::Bits32 {
                self.change_32(mov);
                self.now = *state;
                return;
            }
            let part = Part::Privileged { has_register: true };
            self.observed_change(change_by(mov), mov.value(), Some(Place { part, ..place }));
            self.moved.push(mov);
            self.now = *state;
            return;
        }

        match action {
            Action::Access(step) => self.access(step, state, place),
            // Page tables are in the guest's own memory.
            Action::Write(entry) => {
                let store = store_of_entry(state.mode(), self.code);
                self.push(store, entry.at + self.window(), entry.value, None);
            }
            Action::Invlpg(address) if action.is_privileged() => {
                let part = Part::Privileged { has_register: false };
                let place = Place { part, ..place };
                self.observed_change(Privileged::ObservedInvlpg, address.get(), Some(place));
            }
            Action::Invpcid(Invpcid { kind, descriptor: [address, value] }) => {
                let part = Part::Privileged { has_register: false };
                self.observed_change(Privileged::Invpcid, kind, Some(Place { part, ..place }));
                if let Some(second) = self.list.records.last_mut() {
                    *second = AccessRecord { address, value, ..*second };
                }
            }
            Action::Invlpg(address) => {
                let invlpg = Stub::Privileged(Privileged::Invlpg, self.ring);
                self.push(invlpg, address.get(), 0, None);
            }
            // PKRU is loaded around each access. The others have been added.
            Action::Pkru(_) | Action::Mov(_) | Action::ReloadCr3 | Action::WriteProtect(_) => {}
        }
    }

    /// Adds the MOV that takes the place of a case's access. Its register is not looked at.
    fn mov_in_place(&mut self, case: usize, mov: Mov) {
        let place = Place { case, part: Part::Last };
        self.observed_change(change_by(mov), mov.value(), Some(place));
        if let Some(second) = self.list.owners.last_mut() {
            *second = None;
        }
        self.moved.push(mov);
        self.restore();
    }

    /// Restores the registers that the MOVs of a case may have changed, also where they should have faulted.
    fn restore(&mut self) {
        let start = self.at_start;
        for mov in std::mem::take(&mut self.moved) {
            self.now = with_register(self.now, mov.with_value(!mov.register_in(&start)));
        }
        self.load_registers(&start);
    }

    /// Loads the control registers that are others after the records so far.
    fn load_registers(&mut self, wanted: &ControlState) {
        let all = [
            Mov::Efer(wanted.efer),
            Mov::Cr0(wanted.cr0),
            Mov::Cr4(wanted.cr4),
            Mov::Cr3(wanted.cr3),
        ];
        let now = self.now;
        for mov in all.into_iter().filter(|mov| mov.register_in(&now) != mov.value()) {
            match self.code {
                Code::Bits64 => self.observed_change(change_by(mov), mov.value(), None),
                Code::Bits32 => self.change_32(mov),
            }
        }
        self.now = *wanted;
    }

    /// Adds a change in 32-bit code, which is not observed. Admission lets it load CR3 with what it has, and
    /// CR0.
    fn change_32(&mut self, mov: Mov) {
        let (change, operand) = match mov {
            Mov::Cr0(value) => (Privileged::SetCr0, value.bits()),
            Mov::Cr3(_) | Mov::Cr4(_) | Mov::Efer(_) => (Privileged::ReloadCr3, 0),
        };
        self.push(Stub::Privileged(change, self.ring), operand, 0, None);
    }

    /// Adds a change that may fault, with the contents of the record's address field, and its second record.
    fn observed_change(&mut self, change: Privileged, operand: u64, place: Option<Place>) {
        let stub = Stub::Privileged(change, self.ring);
        let symbol = self.image.access_of(stub, self.code).unwrap_or(0);
        // It is made in ring 0 in either case.
        let instruction = symbol + supervisor_window(self.at_start.cr0);
        let code_base = self.code_base();
        let owner = place.map(|Place { case, part }| Owner {
            case,
            part,
            ring: self.ring,
            code_base,
            instruction,
            form: None,
            stack: false,
            operands: None,
        });

        self.push(stub, operand, 0, owner);
        let second = owner.map(|owner| Owner { part: Part::Register, ..owner });
        self.push_record(AccessRecord::default(), second);
    }

    /// Adds an access, and before it the steps that change EFLAGS.AC and PKRU.
    fn access(&mut self, step: AccessStep, state: &ControlState, place: Place) {
        self.set_pkru(state.pkru);
        self.set_flags(step.access.ac);

        let mut address = step.access.address.get();
        let mut value = step.value;
        if self.code == Code::Bits32 {
            value &= LOW_HALF;
            if step.access.kind == AccessKind::Fetch {
                // A jump adds the base of the code segment, which is the window.
                address = address.wrapping_sub(self.window()) & LOW_HALF;
            }
        }
        if step.form == Form::SegmentLoad {
            // The stub takes the address of the descriptor.
            address = address.wrapping_sub(ACCESS_BYTE);
        }
        let stub = stub_of(&step, is_keyed(self.pkru, self.code));
        let instruction = self.image.access_of(stub, self.code).map_or(0, |at| at + self.window());
        let Place { case, part } = place;
        let code_base = self.code_base();
        let owner = Owner {
            case,
            part,
            ring: self.ring,
            code_base,
            instruction,
            form: Some(step.form),
            stack: step.access.segment == Segment::Stack,
            operands: step.operands(),
        };
        let Some(Operands { rsi, rdi, rcx }) = owner.operands else {
            return self.push(stub, address, value, Some(owner));
        };

        let [rdi, rsi] = [rdi, rsi].map(|address| match self.code {
            Code::Bits64 => address,
            Code::Bits32 => address & LOW_HALF,
        });
        self.push(Stub::LoadOperands, rdi, rcx, None);
        self.push(stub, rsi, 0, Some(owner));
        let part = Part::Operands { of_last: part == Part::Last };
        self.push(Stub::StoreOperands, 0, 0, Some(Owner { part, ..owner }));
    }

    fn set_pkru(&mut self, pkru: u32) {
        if self.pkru != pkru {
            self.pkru = pkru;
            let step = match self.code {
                Code::Bits32 => Stub::WritePkru,
                Code::Bits64 if pkru == 0 => Stub::ClearPkru,
                Code::Bits64 => Stub::SetPkru,
            };
            self.push(step, pkru.into(), 0, None);
        }
    }

    /// Changes EFLAGS.AC: in ring 0 of a sequence as a kernel does, if there is SMAP.
    fn set_flags(&mut self, ac: bool) {
        const RFLAGS_AC: u64 = 1 << 18;

        if self.ac == ac {
            return;
        }
        self.ac = ac;
        if self.has_stac && self.ring == Ring::Zero {
            self.push(if ac { Stub::Stac } else { Stub::Clac }, 0, 0, None);
        } else {
            self.push(Stub::SetFlags, PLAIN_RFLAGS | if ac { RFLAGS_AC } else { 0 }, 0, None);
        }
    }

    fn push(&mut self, stub: Stub, address: u64, value: u64, owner: Option<Owner>) {
        let user_address = self.image.stub(stub, self.code).expect("admission checks the stubs");
        let offset_in_segment = user_address + self.window() - self.code_base();
        self.push_record(AccessRecord { stub: offset_in_segment, address, value }, owner);
    }

    fn push_record(&mut self, record: AccessRecord, owner: Option<Owner>) {
        self.list.records.push(record);
        self.list.owners.push(owner);
    }

    /// The distance from user addresses to those at which the ring finds the guest's memory.
    fn window(&self) -> u64 {
        // The code stays where it is while CR0 changes.
        if self.ring == Ring::Three { 0 } else { supervisor_window(self.at_start.cr0) }
    }

    /// The base of the ring's code segment.
    fn code_base(&self) -> u64 {
        if self.code == Code::Bits64 { 0 } else { self.window() }
    }
}

/// A part of the observation of a case, by its index in the batch.
#[derive(Clone, Copy)]
struct Place {
    case: usize,
    part: Part,
}

/// The change that makes a MOV.
const fn change_by(mov: Mov) -> Privileged {
    match mov {
        Mov::Cr0(_) => Privileged::MovCr0,
        Mov::Cr3(_) => Privileged::MovCr3,
        Mov::Cr4(_) => Privileged::MovCr4,
        Mov::Efer(_) => Privileged::WrmsrEfer,
    }
}

/// A state in which a register holds what is moved to it.
fn with_register(mut state: ControlState, mov: Mov) -> ControlState {
    match mov {
        Mov::Cr0(value) => state.cr0 = value,
        Mov::Cr3(value) => state.cr3 = value,
        Mov::Cr4(value) => state.cr4 = value,
        Mov::Efer(value) => state.efer = value,
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::CALL_TARGET;
    use mmu_core::Profile;

    /// `call [rsi]` has two bytes.
    #[test]
    fn a_call_returns_to_its_target() {
        let image = Image::built_in().unwrap();
        let call = Stub::Access { form: Form::Call, stack: true, log_size: 3, keyed: false };
        assert_eq!(image.access_of(call, Code::Bits64).map(|at| at + 2), Some(CALL_TARGET));
    }

    /// A write of ring 0, then a read of ring 3. IRET pops RIP, CS, RFLAGS, RSP and SS: selectors 0x23 and
    /// 0x1b, and two words of the second record are left for `ClearPkru`.
    #[test]
    fn one_list_changes_the_ring_and_ends_in_ring_0() {
        const WINDOW: u64 = 0x4000_0000;
        let image = Image::built_in().unwrap();
        let [arena, _] = Arena::ALL;
        let mut case = Case::plain(arena, 3, Ring::Three, Profile::default());
        let AccessStep { access, value, .. } = case.access_step();
        let access = mmu_core::Access { kind: AccessKind::Write, ring: Ring::Zero, ..access };
        case.before = vec![Action::Access(AccessStep { access, form: Form::Store, value })];

        let mut writer = ListWriter::in_order(&image, Code::Bits64, case.state, arena);
        writer.add(5, &case);
        let list = writer.end();

        let at = |stub| image.stub(stub, Code::Bits64).unwrap();
        let access = |form| at(Stub::Access { form, stack: false, log_size: 3, keyed: false });
        let [address, first] = [case.access.address.get(), arena.base() + 0x1000];
        let expected = [
            [at(Stub::EnterSupervisor), 0, 0],
            [access(Form::Store) + WINDOW, address, 0],
            [at(Stub::EnterUser) + WINDOW, at(Stub::ClearPkru), 0x23],
            [2, first + 3 * 24 + 8, 0x1b],
            [access(Form::Load), address, 0],
            [at(Stub::EnterSupervisor), 0, 0],
            [at(Stub::SupervisorEnd) + WINDOW, 0, 0],
        ];
        let found = list.records.iter().map(|record| [record.stub, record.address, record.value]);
        assert_eq!(found.collect::<Vec<_>>(), expected);

        let owner =
            |record| list.owner_of(record).map(|owner| (owner.case, owner.part, owner.ring));
        assert_eq!(owner(1), Some((5, Part::Earlier, Ring::Zero)));
        assert_eq!(owner(4), Some((5, Part::Last, Ring::Three)));
        assert!([0, 2, 3, 5, 6, 7].into_iter().all(|record| owner(record).is_none()));
    }
}
