//! The lists of records that the guest runs, one for each ring.

use crate::image::Image;
use crosswalk_case::observation::SavedRip;
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::contents::ACCESS_BYTE;
use crosswalk_guest::layout::SUPERVISOR_WINDOW;
use crosswalk_guest::mailbox::AccessRecord;
use crosswalk_guest::stub::{Code, Form, Privileged, Stub};
use crosswalk_guest::tables;
use mmu_core::{AccessKind, ControlState, Cr0, PagingMode, Ring, Segment};

/// The bits of a word that 32-bit code sees.
const LOW_HALF: u64 = 0xffff_ffff;

/// One ring's list of records.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    /// The address of its code segment's base.
    code_base: u64,
    pub(super) records: Vec<AccessRecord>,
    /// The access that each record makes; `None` for steps between accesses.
    pub(super) owners: Vec<Option<Owner>>,
}

/// An access of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// The index of the case in its batch.
    pub(super) case: usize,
    /// Whether it is the last access of the case.
    pub(super) is_last: bool,
    /// The linear address of the instruction that makes it.
    pub(super) instruction: u64,
}

impl List {
    /// The RIP that the fault of an access saved, by the offset in its code segment.
    pub(super) fn saved_rip(&self, owner: &Owner, offset: u64) -> SavedRip {
        let mut address = offset.wrapping_add(self.code_base);
        if self.code_base != 0 {
            address &= LOW_HALF;
        }

        let from_instruction = address.wrapping_sub(owner.instruction) as i64;
        match i8::try_from(from_instruction) {
            Ok(bytes) => SavedRip::FromInstruction(bytes),
            Err(_) => SavedRip::Address(address),
        }
    }
}

/// Writes the list of one ring.
pub(super) struct ListWriter<'i> {
    image: &'i Image,
    code: Code,
    ring: Ring,
    /// The distance from user addresses to those at which the ring finds the guest's memory.
    window: u64,
    list: List,
    /// EFLAGS.AC after the records so far.
    ac: bool,
    /// The PKRU of keyed accesses after the records so far.
    pkru: u32,
    /// CR0 at the start of the list, and after the records so far.
    cr0_at_start: Cr0,
    cr0: Cr0,
}

impl<'i> ListWriter<'i> {
    pub(super) fn new(image: &'i Image, code: Code, ring: Ring, cr0: Cr0) -> Self {
        let window = if ring == Ring::Three { 0 } else { supervisor_window(cr0) };
        let code_base = if code == Code::Bits64 { 0 } else { window };
        let list = List { code_base, ..List::default() };
        Self { image, code, ring, window, list, ac: false, pkru: 0, cr0_at_start: cr0, cr0 }
    }

    /// Adds what the case with this index does in this ring.
    pub(super) fn add(&mut self, index: usize, case: &Case) {
        let mut state = case.state;

        for (number, action) in case.script().enumerate() {
            action.change(&mut state);
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

            if ring == self.ring {
                let is_last = number == case.before.len();
                self.act(action, &state, Owner { case: index, is_last, instruction: 0 });
            }
        }
    }

    /// Ends the list, with CR0, EFLAGS.AC and PKRU as they were at its start.
    pub(super) fn end(mut self) -> List {
        self.set_cr0(self.cr0_at_start);
        self.set_pkru(0);
        self.set_flags(false);

        let end = if self.ring == Ring::Three { Stub::UserEnd } else { Stub::SupervisorEnd };
        self.push(end, 0, 0, None);
        self.list
    }

    fn act(&mut self, action: Action, state: &ControlState, owner: Owner) {
        if !matches!(action, Action::WriteProtect(_)) {
            // As the case has it, whatever the case before it, or the list of the other ring, has left.
            self.set_cr0(state.cr0);
        }

        match action {
            Action::Access(step) => self.access(step, state, owner),
            // Page tables are in the guest's own memory.
            Action::Write(entry) => {
                let store = store_of_entry(state.mode(), self.code);
                self.push(store, entry.at + self.window, entry.value, None);
            }
            Action::Invlpg(address) => self.change(Privileged::Invlpg, address.get()),
            Action::ReloadCr3 => self.change(Privileged::ReloadCr3, 0),
            Action::WriteProtect(_) => self.load_cr0(state.cr0),
            // PKRU is loaded where the next access is made.
            Action::Pkru(_) => {}
        }
    }

    /// Adds a privileged change, with the contents of the record's address field.
    fn change(&mut self, change: Privileged, operand: u64) {
        self.push(Stub::Privileged(change, self.ring), operand, 0, None);
    }

    /// Adds an access, and before it the steps that change EFLAGS.AC and PKRU.
    fn access(&mut self, step: AccessStep, state: &ControlState, owner: Owner) {
        self.set_pkru(state.pkru);
        self.set_flags(step.access.ac);

        let mut address = step.access.address.get();
        let mut value = step.value;
        if self.code == Code::Bits32 {
            value &= LOW_HALF;
            if step.access.kind == AccessKind::Fetch {
                // A jump adds the base of the code segment, which is the window.
                address = address.wrapping_sub(self.window) & LOW_HALF;
            }
        }
        if step.form == Form::SegmentLoad {
            // The stub takes the address of the descriptor.
            address = address.wrapping_sub(ACCESS_BYTE);
        }
        let stub = stub_of(&step, is_keyed(self.pkru, self.code));
        let instruction = self.image.access_of(stub, self.code).map_or(0, |at| at + self.window);
        self.push(stub, address, value, Some(Owner { instruction, ..owner }));
    }

    fn set_cr0(&mut self, cr0: Cr0) {
        if self.cr0 != cr0 {
            self.load_cr0(cr0);
        }
    }

    fn load_cr0(&mut self, cr0: Cr0) {
        self.cr0 = cr0;
        self.change(Privileged::SetCr0, cr0.bits());
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

    fn set_flags(&mut self, ac: bool) {
        const PLAIN_RFLAGS: u64 = 0x2;
        const RFLAGS_AC: u64 = 1 << 18;

        if self.ac != ac {
            self.ac = ac;
            self.push(Stub::SetFlags, PLAIN_RFLAGS | if ac { RFLAGS_AC } else { 0 }, 0, None);
        }
    }

    fn push(&mut self, stub: Stub, address: u64, value: u64, owner: Option<Owner>) {
        let user_address = self.image.stub(stub, self.code).expect("admission checks the stubs");
        let offset_in_segment = user_address + self.window - self.list.code_base;

        let record = AccessRecord { stub: offset_in_segment, address, value };
        self.list.records.push(record);
        self.list.owners.push(owner);
    }
}

/// Whether the stub of an access loads PKRU around it. 32-bit code loads it before.
pub(super) fn is_keyed(pkru: u32, code: Code) -> bool {
    pkru != 0 && code == Code::Bits64
}

/// The stub that makes an access.
pub(super) fn stub_of(step: &AccessStep, keyed: bool) -> Stub {
    Stub::Access {
        form: step.form,
        stack: step.access.segment == Segment::Stack,
        log_size: (step.access.size.clamp(1, 8) as u8).ilog2() as u8,
        keyed,
    }
}

/// The stub that stores an entry of a mode.
const fn store_of_entry(mode: PagingMode, code: Code) -> Stub {
    let log_size = tables::entry_bytes(mode).ilog2() as u8;
    match code {
        Code::Bits32 if log_size == 3 => Stub::StoreEntry,
        _ => Stub::Access { form: Form::Store, stack: false, log_size, keyed: false },
    }
}

/// The distance from user addresses to those at which ring 0 finds the guest's memory.
pub(super) fn supervisor_window(cr0: Cr0) -> u64 {
    if cr0.contains(Cr0::PG) { SUPERVISOR_WINDOW } else { 0 }
}
