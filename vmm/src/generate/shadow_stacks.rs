//! Shadow-stack accesses (RIGHT-7) in the place of others, in batches with CR4.CET=1: pages become shadow stacks, and
//! loads of ring 3 and stores become accesses to one. What is drawn depends on the case alone.

use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::layout::DATA_BASE;
use crosswalk_guest::stub::Form;
use mmu_core::x86::format::EntryBits;
use mmu_core::{Access, AccessKind, ControlState, Cr4, Ring, Segment, VirtAddr};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The case with shadow stacks, if its batch has them. A call needs the pointer that is stored before it.
pub(super) fn with_shadow_stacks(mut case: Case) -> Case {
    let calls = case
        .script()
        .any(|action| matches!(action, Action::Access(step) if step.form == Form::Call));
    if !case.state.cr4.contains(Cr4::CET) || calls {
        return case;
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(case.value);

    for entry in &mut case.entries {
        make_shadow_stack(&mut rng, &mut entry.value);
    }
    let mut state = case.state;
    let mut actions = std::mem::take(&mut case.before);
    for action in &mut actions {
        match action {
            Action::Access(step) if may_use_them(&state) => use_shadow_stack(&mut rng, step),
            Action::Write(entry) => make_shadow_stack(&mut rng, &mut entry.value),
            _ => {}
        }
        action.change(&mut state, case.profile, &case);
    }
    case.before = actions;

    let mut last = case.access_step();
    if may_use_them(&state) {
        use_shadow_stack(&mut rng, &mut last);
    }
    let AccessStep { access, form, value } = last;
    Case { access, form, value, ..case }
}

/// Whether the guest makes a shadow-stack access in this state: its stubs do not load PKRU.
fn may_use_them(state: &ControlState) -> bool {
    state.cr4.contains(Cr4::CET) && state.pkru == 0
}

/// Mostly makes a leaf that of a shadow stack: read-only and dirty, and often one of the supervisor.
fn make_shadow_stack(rng: &mut impl Rng, entry: &mut u64) {
    let is_leaf = *entry & EntryBits::ADDRESS >= DATA_BASE;
    if is_leaf && rng.random_bool(0.7) {
        *entry = *entry & !EntryBits::RW.bits() | EntryBits::D.bits();
        if rng.random_bool(0.2) {
            *entry &= !EntryBits::US.bits();
        }
    }
}

/// Mostly turns a load of ring 3 or a store within a page into the access to a shadow stack.
fn use_shadow_stack(rng: &mut impl Rng, step: &mut AccessStep) {
    let access = step.access;
    let form = match (access.kind, access.ring) {
        (AccessKind::Read, Ring::Three) if step.form == Form::Load => Form::ShadowLoad,
        (AccessKind::Write, _) if step.form == Form::Store => Form::ShadowStore,
        _ => return,
    };
    let size = if rng.random_bool(0.3) { 4 } else { 8 };
    let address = access.address.get() & !(u64::from(size) - 1);
    // SSP is canonical.
    let is_usable = form == Form::ShadowStore || VirtAddr::new(address).is_canonical(48);

    if is_usable && !access.crosses_page() && rng.random_bool(0.8) {
        let (address, segment) = (VirtAddr::new(address), Segment::Data);
        let access = Access { address, size, segment, shadow_stack: true, ..access };
        *step = AccessStep { access, form, ..*step };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, Stream};
    use crosswalk_machine::Capabilities;
    use crosswalk_machine::batch::arena_of;
    use mmu_core::{Features, PagingMode, Profile};

    fn stream(generator: Generator, features: Features) -> Box<dyn Stream> {
        let profile = Profile { physical_address_bits: 40, features, ..Profile::default() };
        generator.stream(PagingMode::FourLevel, &Capabilities::of_everything(profile))
    }

    fn steps(case: &Case) -> Vec<AccessStep> {
        case.script()
            .filter_map(|action| match action {
                Action::Access(step) => Some(step),
                _ => None,
            })
            .collect()
    }

    /// Batches 3 and 4 of 16 have CR4.CET=1, and the guest can run all of them.
    #[test]
    fn right_7_shadow_stacks_are_read_and_written_where_there_is_cet() {
        for generator in [Generator::Random(7), Generator::Sequences(7)] {
            let with = stream(generator, Features::all());
            let cases: Vec<_> = [3, 4].map(|number| with.batch(number, 480).cases).concat();
            assert!(cases.iter().all(|case| case.state.cr4.contains(Cr4::CET)));
            let steps: Vec<_> = cases.iter().flat_map(steps).collect();
            let of = |form: Form, ring: Ring| {
                steps.iter().filter(|step| (step.form, step.access.ring) == (form, ring)).count()
            };
            assert!(of(Form::ShadowLoad, Ring::Three) > 30);
            assert!(of(Form::ShadowStore, Ring::Three) > 30);
            assert!(of(Form::ShadowStore, Ring::Zero) > 5);
            for case in &cases {
                assert!(arena_of(case).is_ok(), "{:?}: {}", arena_of(case), case.to_json());
            }

            let without = stream(generator, Features::all() - Features::CET_SS);
            for number in [2, 3, 4, 5] {
                let cases = without.batch(number, 480).cases;
                let has_any = |case: &Case| steps_of(case).any(|access| access.shadow_stack);
                assert!(!cases.iter().any(has_any));
                assert!(!cases.iter().any(|case| case.state.cr4.contains(Cr4::CET)));
            }
        }
    }

    fn steps_of(case: &Case) -> impl Iterator<Item = Access> {
        steps(case).into_iter().map(|step| step.access)
    }
}
