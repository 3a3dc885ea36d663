//! The mutants for which what one access cached decides about another that needs another right: from
//! another ring, or a fetch after data. They take a sequence to show.

use super::in_sequences::InSequences;
use super::stateful::{Stateful, cached};
use super::{Mutant, Need};
use crate::sequence::{SequenceEvent, is_written_without_wp};
use mmu_core::x86::semantics::Rights;
use mmu_core::{Access, AccessKind, ControlState, Features, Reference, Regime, Rule, Semantics};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B26",
        rule: Some(Rule::Tlb2),
        mistake: "what ring 0 used stays usable for it when CR4.SMEP or SMAP is set",
        origin: "86Box bdc430430, v86 815ef2b0, Bochs c96f5e27a and 50bde4a38",
        needs: &[Need::OneOf(&[Need::Reported(Features::SMEP), Need::Reported(Features::SMAP)])],
        semantics: None,
        walker: &InSequences(Stateful(B26::after)),
    },
    Mutant {
        id: "B27",
        rule: Some(Rule::Right4),
        mistake: "ring 0 uses what ring 3 cached without a look at SMAP",
        origin: "Bochs eda28b95f",
        needs: &[Need::Feature(Features::SMAP)],
        semantics: None,
        walker: &InSequences(Stateful(B27::after)),
    },
    Mutant {
        id: "B28",
        rule: Some(Rule::Right3),
        mistake: "a data access makes a page executable for ring 0 under SMEP",
        origin: "QEMU b09481de91",
        needs: &[Need::Feature(Features::SMEP)],
        semantics: None,
        walker: &InSequences(Stateful(B28::after)),
    },
    Mutant {
        id: "B55",
        rule: Some(Rule::Right2),
        mistake: "a write of ring 0 under WP=0 lets ring 3 write the read-only page",
        origin: "Bochs c30e89289, KVM (kvm-unit-tests fd0898ba)",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(B55::after)),
    },
];

/// Whether ring 0 may have cached the page for code, or for data without EFLAGS.AC: then SMEP or SMAP was
/// off if it is a page of ring 3.
#[derive(Clone, Copy)]
struct B26 {
    code: bool,
    data: bool,
}

impl B26 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        let is_code = |earlier: &Access| earlier.kind == AccessKind::Fetch && !earlier.is_user();
        let is_data = |earlier: &Access| {
            earlier.kind != AccessKind::Fetch && !earlier.is_user() && !earlier.ac
        };
        Self {
            code: cached(events, access.address).any(is_code),
            data: cached(events, access.address).any(is_data),
        }
    }
}

impl Semantics for B26 {
    fn smep_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        !self.code && Reference.smep_denied(rights, access, regime)
    }

    fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        !self.data && Reference.smap_denied(rights, access, regime)
    }
}

/// Whether ring 3 may have cached the page.
#[derive(Clone, Copy)]
struct B27(bool);

impl B27 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        Self(cached(events, access.address).any(Access::is_user))
    }
}

impl Semantics for B27 {
    fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        !self.0 && Reference.smap_denied(rights, access, regime)
    }
}

/// Whether a data access may have cached the page.
#[derive(Clone, Copy)]
struct B28(bool);

impl B28 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        let is_data = |earlier: &Access| earlier.kind != AccessKind::Fetch;
        Self(cached(events, access.address).any(is_data))
    }
}

impl Semantics for B28 {
    fn smep_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        !self.0 && Reference.smep_denied(rights, access, regime)
    }
}

/// Whether the supervisor wrote the page while CR0.WP was 0.
#[derive(Clone, Copy)]
struct B55(bool);

impl B55 {
    fn after(events: &[SequenceEvent], access: &Access, state: &ControlState) -> Self {
        let drops = |event: &SequenceEvent| event.invalidates(access.address);
        Self(is_written_without_wp(events, access, state, drops))
    }
}

impl Semantics for B55 {
    fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        let is_kept = self.0 && access.is_user();
        !is_kept && Reference.write_denied(rights, access, regime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MUTANTS, Walker};
    use crosswalk_case::{AccessStep, Action, Case};
    use crosswalk_guest::layout::Arena;
    use mmu_core::x86::control::Mov;
    use mmu_core::{Cr0, Cr4, Profile, Ring};

    const RW: u64 = 1 << 1;

    /// One access after another to a user page, each by a ring.
    fn pair(first: (AccessKind, Ring), last: (AccessKind, Ring)) -> Case {
        let mut case = Case::plain(Arena::ALL[0], 7, last.1, Profile::default());
        case.access.kind = last.0;
        case.form = Case::default_form(last.0);

        let access = Access { kind: first.0, ring: first.1, ..case.access };
        let form = Case::default_form(first.0);
        case.before = vec![Action::Access(AccessStep { access, form, value: 1 })];
        case
    }

    /// The same with the page invalidated between both.
    fn with_invlpg(case: &Case) -> Case {
        let mut case = case.clone();
        case.before.push(Action::Invlpg(case.access.address));
        case
    }

    /// The error code of the last access by the reference, and by a mutant.
    fn both(id: &str, case: &Case) -> [Option<u32>; 2] {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
        [&Reference as &dyn Walker, mutant.walker].map(|walker| {
            let prediction = walker.predict(case);
            prediction.alternatives[0].outcome.fault().map(|fault| fault.error_code)
        })
    }

    /// SMAP and SMEP deny what ring 0 was allowed before CR4 set them (SDM "Access Rights"; neither manual
    /// lets a cached translation outlive its check).
    #[test]
    fn b26_ring_0_goes_on_with_what_it_used_before_cr4_changed() {
        for (kind, bit, code) in
            [(AccessKind::Read, Cr4::SMAP, 1), (AccessKind::Fetch, Cr4::SMEP, 0x11)]
        {
            let mut case = pair((kind, Ring::Zero), (kind, Ring::Zero));
            let mov = Action::Mov(Mov::Cr4(case.state.cr4 | bit));
            case.before.push(mov);
            assert_eq!(both("B26", &case), [Some(code), None]);
            assert_eq!(both("B26", &with_invlpg(&case)), [Some(code); 2]);

            case.before.remove(0);
            assert_eq!(both("B26", &case), [Some(code); 2]);
        }
    }

    /// SDM "Access Rights": with SMAP and EFLAGS.AC=0 supervisor code reads no user page. P: bit 0.
    #[test]
    fn b27_ring_0_reads_what_ring_3_cached() {
        let smap = |first| {
            let mut case = pair((AccessKind::Read, first), (AccessKind::Read, Ring::Zero));
            case.state.cr4 |= Cr4::SMAP;
            case
        };
        let case = smap(Ring::Three);
        assert_eq!(both("B27", &case), [Some(1), None]);
        assert_eq!(both("B27", &with_invlpg(&case)), [Some(1), Some(1)]);

        // An access of ring 0 was denied, and cached nothing.
        assert_eq!(both("B27", &smap(Ring::Zero)), [Some(1), Some(1)]);

        let mut without = case;
        without.state.cr4 -= Cr4::SMAP;
        assert_eq!(both("B27", &without), [None, None]);
    }

    /// SDM "Access Rights": with SMEP supervisor code executes no user page. P and I/D: bits 0 and 4.
    #[test]
    fn b28_ring_0_executes_what_was_read() {
        let smep = |first, ring| {
            let mut case = pair((first, ring), (AccessKind::Fetch, Ring::Zero));
            case.state.cr4 |= Cr4::SMEP;
            case
        };
        for ring in [Ring::Zero, Ring::Three] {
            let case = smep(AccessKind::Read, ring);
            assert_eq!(both("B28", &case), [Some(0x11), None]);
            assert_eq!(both("B28", &with_invlpg(&case)), [Some(0x11), Some(0x11)]);
        }

        // Ring 3 may execute it, and that is no data access.
        assert_eq!(both("B28", &smep(AccessKind::Fetch, Ring::Three)), [Some(0x11), Some(0x11)]);
    }

    /// SDM "Access Rights": user code writes no read-only page, whatever CR0.WP. P, W and U: 7.
    #[test]
    fn b55_ring_3_writes_what_ring_0_wrote() {
        let read_only = |kind| {
            let mut case = pair((kind, Ring::Zero), (AccessKind::Write, Ring::Three));
            case.state.cr0 -= Cr0::WP;
            case.entries[3].value &= !RW;
            case
        };
        let case = read_only(AccessKind::Write);
        assert_eq!(both("B55", &case), [Some(7), None]);
        assert_eq!(both("B55", &with_invlpg(&case)), [Some(7), Some(7)]);
        // It is the mistake of B25 in another ring.
        assert_eq!(both("B25", &case), [Some(7), Some(7)]);

        assert_eq!(both("B55", &read_only(AccessKind::Read)), [Some(7), Some(7)]);
        let mut protected = case;
        protected.state.cr0 |= Cr0::WP;
        assert_eq!(both("B55", &protected), [Some(7), Some(7)]);
    }
}
