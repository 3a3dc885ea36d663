//! What is allowed for an instruction, by what is allowed for each access that it makes. They are made in
//! the order of its "Operation" section; the first that faults ends it, and those before it have left their
//! flags in the tables.

use crate::segment_load;
use arrayvec::ArrayVec;
use crosswalk_case::{AccessStep, MAX_PARTS};
use crosswalk_guest::stub::Form;
use mmu_core::outcome::{EntryUpdates, Span};
use mmu_core::{
    Access, AccessKind, Alternative, EntryUpdate, Fault, Outcome, Prediction, Rule, Vector,
    VirtAddr,
};

/// What is allowed for an instruction, where `predict` says it of one access.
pub(super) fn predict(step: &AccessStep, predict: &dyn Fn(&Access) -> Prediction) -> Prediction {
    let parts = match step.form {
        Form::SegmentLoad => return segment_load::predict(&step.access, predict),
        form if form.has_source() => step.parts(),
        _ if is_misaligned(step) => {
            let mut found = misaligned(&predict(&step.access));
            if step.form == Form::Fxsave && checks_alignment(&step.access, predict) {
                let outcome = Outcome::Fault(Fault::ALIGNMENT_CHECK);
                let choice = Some((Rule::Align1, "fxsave raises #AC in the place of #GP"));
                add(Alternative { outcome, updates: EntryUpdates::new(), choice }, &mut found);
            }
            return found;
        }
        Form::Fxsave => return may_begin_at_its_end(&step.access, predict(&step.access)),
        _ => return predict(&step.access),
    };

    let mut found = Prediction::default();
    Parts::predict(&parts, predict).follow(&Way::default(), &mut found);
    if step.form == Form::CompareStrings {
        add_other_order(&parts, predict, &mut found);
    }
    found
}

/// Whether the instruction requires a multiple of 16, and its address is none (SDM, APM "CMPXCHG16B",
/// "FXSAVE").
fn is_misaligned(step: &AccessStep) -> bool {
    const ALIGNMENT: u64 = 16;

    let is_wide = step.form == Form::FailingCompare && u64::from(step.access.size) == ALIGNMENT;
    let requires_it = is_wide || step.form == Form::Fxsave;
    requires_it && !step.access.address.get().is_multiple_of(ALIGNMENT)
}

/// What is allowed for such an address: #GP(0) or, if the access faults as well, that fault. The manuals leave
/// the order of exceptions of one class open (SDM "Priority Among Concurrent Events").
fn misaligned(predicted: &Prediction) -> Prediction {
    let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
    let outcome = Outcome::Fault(fault);
    let mut found = Prediction::default();
    found.rules.insert(Rule::Align1);
    add(Alternative { outcome, updates: EntryUpdates::new(), choice: None }, &mut found);

    for way in predicted.alternatives.iter().filter(|way| way.outcome.fault().is_some()) {
        let choice = way.choice.or(Some((Rule::Align1, "the page fault comes first")));
        add(Alternative { choice, ..way.clone() }, &mut found);
        found.rules.extend(predicted.rules);
    }
    found
}

/// Whether alignment checks are on, which a word at an odd address shows. Then FXSAVE may raise #AC in the place of
/// #GP (SDM "FXSAVE": "signaling of #AC is not guaranteed and may vary with implementation").
fn checks_alignment(access: &Access, predict: &dyn Fn(&Access) -> Prediction) -> bool {
    let odd = VirtAddr::new(access.address.get() | 1);
    let word = predict(&Access { address: odd, size: 2, ..*access });
    word.alternatives.iter().any(|way| way.outcome.fault() == Some(&Fault::ALIGNMENT_CHECK))
}

/// Adds the faults of the last byte: a processor may look first whether it can store all, and an AMD one
/// reports the last byte of FXSAVE. No manual says which byte is reported (CODE-12).
fn may_begin_at_its_end(access: &Access, mut found: Prediction) -> Prediction {
    let last = access.last_byte();
    let is_there = |cr2: VirtAddr| cr2.get() >> 12 == last.get() >> 12;
    for way in &found.alternatives.clone() {
        if let Some(fault @ Fault { cr2: Some(cr2), .. }) = way.outcome.fault()
            && is_there(*cr2)
        {
            let outcome = Outcome::Fault(Fault { cr2: Some(last), ..*fault });
            let choice = way.choice.or(Some((Rule::Code12, "the last byte is reported")));
            add(Alternative { outcome, choice, updates: way.updates.clone() }, &mut found);
        }
    }
    found
}

/// No manual says which operand CMPS reads first.
fn add_other_order(
    parts: &[Access],
    predict: &dyn Fn(&Access) -> Prediction,
    found: &mut Prediction,
) {
    let mut other = Prediction::default();
    Parts::predict(parts.iter().rev(), predict).follow(&Way::default(), &mut other);

    for mut way in other.alternatives.iter().filter(|way| way.outcome.fault().is_some()).cloned() {
        let is_same =
            |known: &Alternative| known.outcome == way.outcome && known.updates == way.updates;
        if !found.alternatives.iter().any(is_same) {
            way.choice = way.choice.or(Some((Rule::Code12, "the second operand is read first")));
            found.alternatives.push(way);
        }
    }
}

/// The accesses of an instruction, each with what is allowed for it.
struct Parts(ArrayVec<(AccessKind, Prediction), MAX_PARTS>);

impl Parts {
    /// Predicts each access, up to one that faults in every way.
    fn predict<'a>(
        parts: impl IntoIterator<Item = &'a Access>,
        predict: &dyn Fn(&Access) -> Prediction,
    ) -> Self {
        let mut predicted = ArrayVec::new();
        for part in parts {
            let prediction = predict(part);
            let may_complete =
                prediction.alternatives.iter().any(|way| way.outcome.fault().is_none());
            predicted.push((part.kind, prediction));
            if !may_complete {
                break;
            }
        }
        Self(predicted)
    }

    /// Adds every way in which the accesses behind those of `way` may go on, the likeliest first.
    fn follow(&self, way: &Way, found: &mut Prediction) {
        let Some((kind, part)) = self.0.get(way.accesses) else {
            return way.completed().into_iter().for_each(|way| add(way, found));
        };
        found.rules.extend(part.rules);
        for next in &part.alternatives {
            let updates = both_updates(&way.updates, &next.updates);
            let choice = way.choice.or(next.choice);
            match &next.outcome {
                Outcome::Fault(fault) => {
                    add(Alternative { outcome: Outcome::Fault(*fault), updates, choice }, found);
                }
                Outcome::Translated(spans) => {
                    let mut after = Way { updates, choice, ..way.clone() };
                    after.accesses += 1;
                    let side = if *kind == AccessKind::Write {
                        &mut after.stored
                    } else {
                        &mut after.loaded
                    };
                    if way.accesses < 2 {
                        side.extend(spans.iter().copied());
                    } else {
                        spans.iter().for_each(|span| add_span(side, *span));
                    }
                    self.follow(&after, found);
                }
            }
        }
    }
}

fn add(way: Alternative, found: &mut Prediction) {
    let is_same =
        |known: &Alternative| known.outcome == way.outcome && known.updates == way.updates;
    if !found.alternatives.iter().any(is_same) {
        found.alternatives.push(way);
    }
}

/// What the first accesses of an instruction have done.
#[derive(Clone, Default)]
struct Way {
    /// How many they are.
    accesses: usize,
    loaded: Vec<Span>,
    stored: Vec<Span>,
    updates: EntryUpdates,
    choice: Option<(Rule, &'static str)>,
}

impl Way {
    /// The outcome if these are all: what was loaded, and then what was stored. There is none for one that
    /// has changed its pages in the midst of two: no generated instruction does.
    fn completed(&self) -> Option<Alternative> {
        let spans: Vec<Span> = self.loaded.iter().chain(&self.stored).copied().collect();
        Some(Alternative {
            outcome: Outcome::Translated(spans.as_slice().try_into().ok()?),
            updates: self.updates.clone(),
            choice: self.choice,
        })
    }
}

/// Adds a span of a further run, to that of the last one if it goes on there.
fn add_span(spans: &mut Vec<Span>, next: Span) {
    match spans.last_mut() {
        Some(last) if last.address.get() + u64::from(last.len) == next.address.get() => {
            last.len += next.len;
        }
        _ => spans.push(next),
    }
}

/// What two accesses do to entries.
pub(super) fn both_updates(one: &EntryUpdates, other: &EntryUpdates) -> EntryUpdates {
    let mut both = other.clone();
    for update in one {
        let known = both.iter_mut().find(|known: &&mut EntryUpdate| known.at == update.at);
        if let Some(known) = known {
            known.must_set |= update.must_set;
            known.may_set |= update.may_set;
        } else {
            both.push(*update);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Walker;
    use crosswalk_case::{Case, TableEntry};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Cr0, Profile, Reference, Ring};

    const A: u64 = 1 << 5;
    const D: u64 = 1 << 6;

    /// An instruction with its source in one page, and its address in the next.
    fn instruction(form: Form, size: u16) -> Case {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        let first = case.entries[3];
        case.entries.push(TableEntry { at: first.at + 8, value: first.value + 0x1000 });
        let page = case.access.address.get() & !0xfff;
        case.form = form;
        case.access.kind = form.kind();
        case.access.size = size;
        case.access.address = VirtAddr::new(page + 0x1100);
        case.value = page + 0x10b;
        case
    }

    fn frame(case: &Case) -> u64 {
        case.entries[3].value & !0xfff
    }

    /// Each outcome as a fault's error code and CR2, and the flags that it sets in the two leaves.
    fn faults(case: &Case) -> Vec<(u32, u64, [u64; 2])> {
        let prediction = Reference.predict(case);
        let fault = |way: &Alternative| {
            let leaf = |index: usize| {
                let at = case.entries[index].at;
                way.updates.iter().find(|update| update.at.get() == at).map_or(0, |u| u.must_set)
            };
            let fault = way.outcome.fault()?;
            Some((fault.error_code, fault.cr2?.get(), [leaf(3), leaf(4)]))
        };
        prediction.alternatives.iter().filter_map(fault).collect()
    }

    /// SDM "MOVS", "Operation": what is at the source is loaded, and then stored at the destination.
    #[test]
    fn what_is_loaded_comes_before_what_is_stored() {
        for form in [Form::MoveString, Form::Push, Form::Pop, Form::Call] {
            let case = instruction(form, 8);
            let [only] = &Reference.predict(&case).alternatives[..] else { panic!("one outcome") };
            let Outcome::Translated(spans) = &only.outcome else { panic!("it completes") };
            let places: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
            let frame = frame(&case);
            assert_eq!(places, [(frame + 0x10b, 8), (frame + 0x1100, 8)], "{form:?}");

            let set: Vec<_> =
                only.updates.iter().map(|update| (update.at.get(), update.must_set)).collect();
            assert!(set.contains(&(case.entries[3].at, A)), "{form:?}");
            assert!(set.contains(&(case.entries[4].at, A | D)), "{form:?}");
        }
    }

    #[test]
    fn the_first_access_that_faults_ends_the_instruction() {
        let source = instruction(Form::MoveString, 8).value;
        let address = instruction(Form::MoveString, 8).access.address.get();
        for form in [Form::MoveString, Form::Push, Form::Pop, Form::Call] {
            let mut case = instruction(form, 8);
            case.entries[4].value &= !2;
            assert_eq!(faults(&case), [(7, address, [A, 0])], "{form:?}");
            case.entries[3].value &= !1;
            assert_eq!(faults(&case), [(4, source, [0, 0])], "{form:?}");
        }
    }

    /// No manual says which operand CMPS reads first.
    #[test]
    fn code_12_cmps_may_fault_at_either_operand() {
        let mut case = instruction(Form::CompareStrings, 8);
        let [source, address] = [case.value, case.access.address.get()];
        case.entries[4].value &= !1;
        assert_eq!(faults(&case), [(4, address, [A, 0]), (4, address, [0, 0])]);
        case.entries[3].value &= !1;
        assert_eq!(faults(&case), [(4, source, [0, 0]), (4, address, [0, 0])]);
    }

    /// The iterations before the one that faults have left their flags.
    #[test]
    fn a_repeated_move_faults_where_a_page_ends() {
        let mut case = instruction(Form::RepeatedMove, 8);
        let page = case.access.address.get() & !0xfff;
        case.access.address = VirtAddr::new(page - 3);
        case.entries[4].value &= !2;
        assert_eq!(faults(&case), [(7, page, [A | D, 0])]);

        case.entries[4].value |= 2;
        let [only] = &Reference.predict(&case).alternatives[..] else { panic!("one outcome") };
        let Outcome::Translated(spans) = &only.outcome else { panic!("it completes") };
        let places: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
        assert_eq!(places, [(frame(&case) + 0x10b, 8), (frame(&case) + 0xffd, 8)]);
    }

    /// SDM, APM "CMPXCHG16B", "FXSAVE": #GP(0), or the page fault if there is one.
    #[test]
    fn align_1_wide_instructions_require_a_multiple_of_16() {
        for (form, size) in [(Form::FailingCompare, 16), (Form::Fxsave, 512)] {
            let mut case = instruction(form, size);
            let faults = |case: &Case| -> Vec<_> {
                let alternatives = Reference.predict(case).alternatives;
                alternatives
                    .iter()
                    .map(|way| way.outcome.fault().map(|fault| fault.vector))
                    .collect()
            };
            case.access.address = VirtAddr::new(case.access.address.get() & !0xfff | 0x40);
            assert_eq!(faults(&case), [None], "{form:?}");
            case.access.address = case.access.address.wrapping_add(8);
            assert_eq!(faults(&case), [Some(Vector::GeneralProtection)], "{form:?}");
            case.entries[4].value &= !1;
            assert!(faults(&case).contains(&Some(Vector::PageFault)), "{form:?}");
        }
    }

    /// SDM "FXSAVE": where alignment is checked, #AC may be raised in the place of #GP; an aligned one raises
    /// neither.
    #[test]
    fn align_1_fxsave_may_raise_ac_where_alignment_is_checked() {
        let mut case = instruction(Form::Fxsave, 512);
        let page = case.access.address.get() & !0xfff;
        let mut faults_at = |offset, am, ac, ring| {
            case.access.address = VirtAddr::new(page + offset);
            case.access.ac = ac;
            case.access.ring = ring;
            case.state.cr0.set(Cr0::AM, am);
            let alternatives = Reference.predict(&case).alternatives;
            let vectors = alternatives.iter().map(|way| way.outcome.fault().map(|it| it.vector));
            vectors.collect::<Vec<_>>()
        };

        let [gp, ac] = [Vector::GeneralProtection, Vector::AlignmentCheck].map(Some);
        assert_eq!(faults_at(0x48, true, true, Ring::Three), [gp, ac]);
        assert_eq!(faults_at(0x48, false, true, Ring::Three), [gp]);
        assert_eq!(faults_at(0x48, true, false, Ring::Three), [gp]);
        assert_eq!(faults_at(0x48, true, true, Ring::Zero), [gp]);
        assert_eq!(faults_at(0x40, true, true, Ring::Three), [None]);
    }

    /// Which byte of FXSAVE is reported no manual says: the first of its page, or the last of all.
    #[test]
    fn code_12_fxsave_may_report_its_last_byte() {
        let mut case = instruction(Form::Fxsave, 512);
        let page = case.access.address.get() & !0xfff;
        case.access.address = VirtAddr::new(page - 0x100);
        case.entries[4].value &= !1;
        let addresses: Vec<_> = faults(&case).iter().map(|(code, cr2, _)| (*code, *cr2)).collect();
        assert_eq!(addresses, [(6, page), (6, page + 0xff)]);
    }

    /// SDM, APM "ENTER": RBP is pushed first, and what is below it is read before it is pushed.
    #[test]
    fn enter_pushes_and_reads_in_order() {
        let mut case = instruction(Form::Enter, 24);
        case.value &= !7;
        let [source, address] = [case.value, case.access.address.get()];
        case.entries[4].value &= !2;
        assert_eq!(faults(&case), [(7, address + 16, [0, 0])]);
        case.entries[4].value |= 2;
        case.entries[3].value &= !1;
        assert_eq!(faults(&case), [(4, source, [0, A | D])]);
    }

    /// Only the access to the stack goes through SS (SDM "Interrupt 12").
    #[test]
    fn a_stack_pointer_that_is_not_canonical_is_ss() {
        let far = 1 << 60;
        let vector = |case: &Case| {
            let prediction = Reference.predict(case);
            prediction.alternatives[0].outcome.fault().map(|fault| fault.vector)
        };
        let mut push = instruction(Form::Push, 8);
        push.access.address = VirtAddr::new(push.access.address.get() ^ far);
        assert_eq!(vector(&push), Some(Vector::StackFault));
        let mut push = instruction(Form::Push, 8);
        push.value ^= far;
        assert_eq!(vector(&push), Some(Vector::GeneralProtection));

        let mut pop = instruction(Form::Pop, 8);
        pop.value ^= far;
        assert_eq!(vector(&pop), Some(Vector::StackFault));
    }
}
