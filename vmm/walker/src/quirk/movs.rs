//! Quirks of MOVs to control registers in a sequence, and of INVPCID: what the machine sees in place of their
//! operands.

use super::{Quirks, Quirky};
use crate::{PredictedPrivileged, Walker};
use crosswalk_case::{Action, Case, Invpcid};
use mmu_core::x86::control::Mov;
use mmu_core::{Cr0, Cr4, Efer, Features, Reference};

/// The bits of CR0 that a processor stores; ET is always 1.
const STORED_IN_CR0: u64 = 0xe005_003f;
const LOW_HALF: u64 = 0xffff_ffff;

impl Quirks {
    /// Those that are about MOVs to control registers and INVPCID.
    pub(super) const OF_MOVS: Self = Self::MOV_HAS_32_BITS
        .union(Self::LMA_IS_IGNORED)
        .union(Self::EFER_IS_UNCHECKED)
        .union(Self::CR0_IS_UNCHECKED)
        .union(Self::CR4_BEYOND_CPUID)
        .union(Self::PKE_DROPS_NOTHING)
        .union(Self::INVPCID_TYPE_HAS_32_BITS);

    /// Those of them that can show in a sequence.
    pub(super) fn of_movs_in(case: &Case) -> Self {
        let movs = case.before.iter().map(|action| match action {
            Action::Mov(Mov::Cr0(_)) => Self::MOV_HAS_32_BITS | Self::CR0_IS_UNCHECKED,
            Action::Mov(Mov::Cr4(_)) => {
                Self::MOV_HAS_32_BITS | Self::CR4_BEYOND_CPUID | Self::PKE_DROPS_NOTHING
            }
            Action::Mov(Mov::Efer(_)) => Self::LMA_IS_IGNORED | Self::EFER_IS_UNCHECKED,
            Action::Invpcid(Invpcid { kind, .. }) if *kind > LOW_HALF => {
                Self::INVPCID_TYPE_HAS_32_BITS
            }
            _ => Self::empty(),
        });
        movs.collect()
    }
}

impl Quirky {
    /// The sequence with the operands that the machine sees. The reference is right about those.
    pub(super) fn with_movs_as_seen(self, case: &Case) -> Case {
        let mut seen = case.clone();
        if self.has(Quirks::CR4_BEYOND_CPUID) {
            seen.profile.features |= Features::SMEP | Features::SMAP | Features::PKU;
        }
        for action in &mut seen.before {
            match action {
                Action::Mov(mov) => *mov = self.as_seen(*mov, case),
                Action::Invpcid(Invpcid { kind, .. })
                    if self.has(Quirks::INVPCID_TYPE_HAS_32_BITS) =>
                {
                    *kind &= LOW_HALF;
                }
                _ => {}
            }
        }
        seen
    }

    fn as_seen(self, mov: Mov, case: &Case) -> Mov {
        match mov {
            Mov::Cr0(value) if self.has(Quirks::CR0_IS_UNCHECKED) => {
                // What it stores beside that has no effect here.
                let known = value & Cr0::from_bits_retain(STORED_IN_CR0);
                Mov::Cr0(known - Cr0::NW - Cr0::CD)
            }
            Mov::Cr0(_) if self.has(Quirks::MOV_HAS_32_BITS) => {
                mov.with_value(mov.value() & LOW_HALF)
            }
            Mov::Cr4(value) if self.has(Quirks::MOV_HAS_32_BITS) => {
                Mov::Cr4(value & Cr4::from_bits_retain(LOW_HALF))
            }
            Mov::Efer(value) if self.has(Quirks::EFER_IS_UNCHECKED) => {
                let known = value & Efer::available(case.profile);
                Mov::Efer(known | Efer::LME | Efer::LMA)
            }
            Mov::Efer(value) if self.has(Quirks::LMA_IS_IGNORED) => Mov::Efer(value | Efer::LMA),
            other => other,
        }
    }

    /// Predicts the privileged instructions of a sequence.
    pub(super) fn predict_movs(self, case: &Case) -> Vec<PredictedPrivileged> {
        let mut predicted = Reference.predict_privileged(&self.with_movs_as_seen(case));

        let privileged = case.before.iter().filter(|action| action.is_privileged());
        for (action, seen) in privileged.zip(&mut predicted) {
            seen.action = *action;
            seen.register = match *action {
                Action::Mov(Mov::Cr0(value)) if self.has(Quirks::CR0_IS_UNCHECKED) => {
                    Some((value | Cr0::ET).bits() & LOW_HALF)
                }
                Action::Mov(Mov::Efer(value)) if self.has(Quirks::EFER_IS_UNCHECKED) => {
                    let lme = (value & Efer::LME).bits();
                    seen.register.map(|register| register & !Efer::LME.bits() | lme)
                }
                _ => seen.register,
            };
        }
        predicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring, Vendor};

    /// Whether the MOV completes by the reference and with a quirk, and what the register holds then.
    fn both(quirk: Quirks, mov: impl Fn(&Case) -> Mov) -> [(bool, u64); 2] {
        let features = Features::NX | Features::PGE;
        let profile = Profile { vendor: Vendor::Amd, features, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Zero, profile);
        case.before = vec![Action::Mov(mov(&case))];

        [&Reference as &dyn Walker, &Quirky(quirk)].map(|walker| {
            let [predicted] = &walker.predict_privileged(&case)[..] else { panic!("one MOV") };
            (predicted.fault.is_none(), predicted.register.expect("a register"))
        })
    }

    #[test]
    fn each_quirk_accepts_what_is_gp() {
        let cr0 = |bits| move |case: &Case| Mov::Cr0(case.state.cr0 | Cr0::from_bits_retain(bits));
        let held = 0x8001_0011;
        let upper = both(Quirks::MOV_HAS_32_BITS, cr0(1 << 40));
        assert_eq!(upper, [(false, held), (true, held)]);
        let nw = both(Quirks::CR0_IS_UNCHECKED, cr0(1 << 29 | 1 << 40));
        assert_eq!(nw, [(false, held), (true, held | 1 << 29)]);
        // Bit 6 is reserved, and stays clear.
        let reserved = both(Quirks::CR0_IS_UNCHECKED, cr0(1 << 6));
        assert_eq!(reserved, [(true, held), (true, held | 1 << 6)]);

        let lma = |case: &Case| Mov::Efer(case.state.efer - Efer::LMA);
        assert_eq!(both(Quirks::LMA_IS_IGNORED, lma), [(false, 0xd00), (true, 0xd00)]);
        let unchecked =
            |value| both(Quirks::EFER_IS_UNCHECKED, |_| Mov::Efer(Efer::from_bits_retain(value)));
        assert_eq!(unchecked(0xf00), [(false, 0xd00), (true, 0xd00)]);
        assert_eq!(unchecked(0xc00), [(false, 0xd00), (true, 0xc00)]);

        let smap = |case: &Case| Mov::Cr4(case.state.cr4 | Cr4::SMAP);
        let [refused, accepted] = both(Quirks::CR4_BEYOND_CPUID, smap);
        assert_eq!([refused.0, accepted.0], [false, true]);
    }

    /// SDM "INVPCID": a type above 3 is #GP, and in 64-bit mode the operand has 64 bits.
    #[test]
    fn a_type_with_upper_bits_is_that_of_its_low_half() {
        let profile = Profile { features: Features::INVPCID, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Zero, profile);
        let ends = |kind| {
            case.before = vec![Action::Invpcid(Invpcid { kind, descriptor: [0, 0] })];
            let quirky = Quirky(Quirks::INVPCID_TYPE_HAS_32_BITS);
            let walkers = [&Reference as &dyn Walker, &quirky];
            walkers.map(|walker| walker.predict_privileged(&case)[0].fault.is_none())
        };
        let kinds = [3, 4, 1 << 32 | 3, 1 << 63 | 4];
        let expected = [[true, true], [false, false], [false, true], [false, false]];
        assert_eq!(kinds.map(ends), expected);
    }
}
