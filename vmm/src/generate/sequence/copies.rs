//! Instructions with a source among the accesses of a sequence: they read one place and then read or write
//! another.

use super::steps::{DATA_OFFSETS, PAGE_OFFSET, StepWriter};
use crosswalk_case::{AccessStep, Action, Case, TableEntry};
use crosswalk_case::{SAVED_AREA, SAVED_REGISTERS};
use crosswalk_guest::layout::call_target;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_machine::batch::arena_of;
use mmu_core::x86::control::Mov;
use mmu_core::{Access, AccessKind, Ring, Segment, VirtAddr};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The forms, as often as they are drawn.
const FORMS: [Form; 9] = [
    Form::RepeatedMove,
    Form::RepeatedMove,
    Form::MoveString,
    Form::MoveString,
    Form::CompareStrings,
    Form::Push,
    Form::Push,
    Form::Pop,
    Form::Call,
];
/// Those that are not repeated, counted from the front.
const NOT_REPEATED: usize = 2;
/// Those that 32-bit code has, too, counted likewise.
const IN_32_BITS: usize = 5;

impl<R: Rng> StepWriter<'_, R> {
    /// Whether the guest can make it here: it has no such instruction with PKRU.
    pub(super) fn makes_copies(&self) -> bool {
        !self.may_use_keys()
    }

    /// An instruction with a source, in any of the pages. One of its places may cross into the next page:
    /// that of a store only if `may_store_in_two`.
    pub(super) fn random_copy(&mut self, ring: Ring, may_store_in_two: bool) -> AccessStep {
        let is_wide = self.code() == Code::Bits64;
        let forms = if is_wide { &FORMS[..] } else { &FORMS[..IN_32_BITS] };
        let forms = if self.repeated_may_stray() { &forms[NOT_REPEATED..] } else { forms };
        let form = *forms.choose(self.rng).expect("there are some");
        let size = match form {
            Form::Push | Form::Pop => *[2, 8].choose(self.rng).expect("there are some"),
            Form::Call => 8,
            Form::RepeatedMove => self.rng.random_range(2..=8),
            _ => 1 << self.rng.random_range(0..=if is_wide { 3 } else { 2 }),
        };

        let may_cross = size > 1 && self.mapping.is_followed && !self.crossing_may_stray(form);
        let crosses = may_cross && self.rng.random_bool(0.6);
        // A store must not change code.
        let may_store = may_store_in_two && !self.fetches_cross;
        let address_may_cross = may_store || !form.kind().writes();
        // What a call reads is stored before.
        let source_may_cross = may_store || form != Form::Call;
        let source_crosses = crosses && source_may_cross && self.rng.random_bool(0.5);
        let address_crosses = crosses && !source_crosses && address_may_cross;

        let source = self.random_place(size, source_crosses);
        let address = self.random_place(size, address_crosses);
        let is_repeated = form == Form::RepeatedMove;
        let (form, size) = if is_repeated && may_alias(source, address, size) {
            (Form::MoveString, 1)
        } else {
            (form, size)
        };
        let segment =
            if matches!(form, Form::Push | Form::Call) { Segment::Stack } else { Segment::Data };
        let ac = self.random_ac(ring);
        let access = Access {
            segment,
            ac,
            compatibility: self.is_compatible(),
            ..Access::new(form.kind(), address, size, ring)
        };
        let step = AccessStep { access, form, value: source.get() };
        if form == Form::Call { self.with_pointer(step) } else { step }
    }

    /// A call that the guest can make after the actions so far, with a store of its pointer before it if it reads
    /// one; or else a push of the same.
    fn with_pointer(&mut self, call: AccessStep) -> AccessStep {
        let AccessStep { access, value: source, .. } = call;
        let kind = AccessKind::Write;
        let address = VirtAddr::new(source);
        let store = Access { kind, address, segment: Segment::Data, ..access };
        let value = call_target(access.ring);
        let store = Action::Access(AccessStep { access: store, form: Form::Store, value });

        let changes_tables = |action: &Action| matches!(action, Action::Write(_) | Action::Mov(_));
        let push = AccessStep { form: Form::Push, ..call };
        if self.actions.iter().any(changes_tables) {
            return push;
        }

        let mut case = self.case_of(call);
        if arena_of(&case).is_ok() {
            return call;
        }
        case.before.push(store);
        if arena_of(&case).is_err() {
            return push;
        }
        self.actions.push(store);
        call
    }

    /// An access by the registers and entries after the actions so far, as a case of its own.
    fn case_of(&self, step: AccessStep) -> Case {
        let entries = self.mapping.entries.iter().zip(&self.values);
        let AccessStep { access, form, value } = step;
        Case {
            profile: self.machine.profile,
            state: self.state,
            entries: entries
                .map(|(mapped, value)| TableEntry { value: *value, ..mapped.entry })
                .collect(),
            before: Vec::new(),
            access,
            form,
            value,
        }
    }

    /// Whether an instruction that the sequence makes again may go astray, as edits have been made since.
    pub(super) fn strays_again(&self, step: &AccessStep) -> bool {
        let crosses = step.parts().iter().any(|part| part.address.get() & PAGE_OFFSET == 0)
            || step.parts().iter().any(Access::crosses_page);
        let is_repeated = step.form == Form::RepeatedMove;
        // A call has its pointer right before it.
        step.form == Form::Call
            || step.form.has_source()
                && (is_repeated && self.repeated_may_stray()
                    || crosses && self.crossing_may_stray(step.form))
    }

    /// The ring in which an instruction is made again, if this one is wanted: the guest has CMPXCHG16B in
    /// ring 3 alone.
    pub(super) fn ring_of(step: &AccessStep, wanted: Ring) -> Ring {
        let is_wide = step.form == Form::FailingCompare && step.access.size > 8;
        if is_wide { step.access.ring } else { wanted }
    }

    /// Whether there are too many ways in which a repeated instruction may use old translations: it has two
    /// accesses to each of its pages, each with the ways of that page.
    fn repeated_may_stray(&self) -> bool {
        self.changes() > 1
    }

    /// The same for an instruction that crosses into the next page.
    fn crossing_may_stray(&self, form: Form) -> bool {
        self.changes() > usize::from(form != Form::RepeatedMove)
    }

    /// The number of actions so far that have made other tables of what is cached: another root does, too.
    fn changes(&self) -> usize {
        let is_root = |action: &&Action| matches!(action, Action::Mov(Mov::Cr3(_)));
        self.edits + self.actions.iter().filter(is_root).count()
    }

    /// CMPXCHG16B, mostly of an address that is aligned.
    pub(super) fn random_wide_compare(&mut self) -> AccessStep {
        let form = Form::FailingCompare;
        let aligned = self.random_place(16, false).get() & !15;
        let is_misaligned = self.rng.random_bool(0.1);
        let address = if is_misaligned { aligned + 8 } else { aligned };
        let access = Access::new(form.kind(), VirtAddr::new(address), 16, Ring::Three);
        AccessStep { access, form, value: self.value_to_store(address & PAGE_OFFSET) }
    }

    /// Whether ENTER or FXSAVE may be made: no old translation may be used, since a machine that begins the
    /// instruction again, as one with shadow tables does, may have stored a part by it.
    pub(super) fn may_store_in_parts(&self) -> bool {
        self.edits == 0 && self.mapping.other_root.is_none()
    }

    /// ENTER, or FXSAVE, after which memory is not known.
    pub(super) fn random_last(&mut self, ring: Ring) -> AccessStep {
        let form = if ring == Ring::Three && self.rng.random_bool(0.5) {
            Form::Enter
        } else {
            Form::Fxsave
        };
        let (size, alignment) = if form == Form::Enter { (24, 8) } else { (SAVED_AREA, 16) };
        // Nothing need be stored behind the registers.
        let used = if form == Form::Enter { size } else { SAVED_REGISTERS };
        // A store must not change code, which is in the upper half of a page.
        let crosses = self.mapping.is_followed && !self.fetches_cross && self.rng.random_bool(0.5);
        let (page, last) = if crosses {
            (self.mapping.pages[0], PAGE_OFFSET - alignment)
        } else {
            let page = *self.mapping.pages.choose(self.rng).expect("there is a page");
            (page, DATA_OFFSETS.end - u64::from(size))
        };
        let first = if crosses {
            PAGE_OFFSET + 1 - u64::from(used) + alignment
        } else {
            DATA_OFFSETS.start
        };
        let mut offset = self.rng.random_range(first..=last) & !(alignment - 1);
        // One that is not aligned is #GP.
        if form == Form::Fxsave && self.rng.random_bool(0.1) {
            offset += 8;
        }
        let address = page.get() & !PAGE_OFFSET | offset;

        let source = self.random_place(8, false).get() & !7;
        let access = Access {
            segment: if form == Form::Enter { Segment::Stack } else { Segment::Data },
            ac: self.random_ac(ring),
            ..Access::new(form.kind(), VirtAddr::new(address), size, ring)
        };
        AccessStep { access, form, value: if form == Form::Enter { source } else { 0 } }
    }

    /// A place in a page of the sequence, perhaps over the end of the first one.
    fn random_place(&mut self, size: u16, crosses: bool) -> VirtAddr {
        let first = self.mapping.pages[0];
        let (page, offset) = if crosses {
            (first, PAGE_OFFSET - self.rng.random_range(0..u64::from(size) - 1))
        } else {
            let page = *self.mapping.pages.choose(self.rng).expect("there is a page");
            (page, self.rng.random_range(DATA_OFFSETS))
        };
        VirtAddr::new(page.get() & !PAGE_OFFSET | offset)
    }
}

/// Whether the places may overlap though their addresses do not: in frames that are the same. A processor may
/// then copy faster than byte by byte, which shows.
const fn may_alias(source: VirtAddr, address: VirtAddr, size: u16) -> bool {
    let distance = address.get().wrapping_sub(source.get());
    let size = size as u64;
    let is_far = distance.wrapping_add(size) > 2 * size;
    is_far && distance.wrapping_add(size) & PAGE_OFFSET < 2 * size
}
