//! The privileged instructions of a sequence: MOVs to control registers, which complete or raise #GP with
//! nothing changed, and INVLPG of addresses that are not canonical, which does nothing (CANON-3).

use crosswalk_case::{Action, Case, Invpcid};
use crosswalk_guest::stub::Code;
use mmu_core::cache::Invalidation;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::x86::control::{CR3_NO_FLUSH, LoadError, Mov};
use mmu_core::x86::format::FourLevel;
use mmu_core::{ControlState, Cr4, Efer, Fault, PhysAddr, Profile, Rule, RuleSet};

/// What is expected of a privileged instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictedPrivileged {
    /// The instruction.
    pub action: Action,
    /// The MOV to a control register that it is, if it is one.
    pub mov: Option<Mov>,
    /// The exception; `None` if it completes.
    pub fault: Option<Fault>,
    /// What its control register holds afterwards, if it has one.
    pub register: Option<u64>,
    /// The rules that decide.
    pub rules: RuleSet,
}

/// What the reference expects of each privileged instruction of a case.
pub(super) fn predict(case: &Case) -> Vec<PredictedPrivileged> {
    // 32-bit code does not observe them.
    let is_observed = Code::of(case.table_use()) == Code::Bits64;
    if !is_observed || !case.before.iter().any(Action::is_privileged) {
        return Vec::new();
    }

    let mut tables = Case { before: Vec::new(), ..case.clone() };
    let mut predicted = Vec::new();
    for action in &case.before {
        let before = tables.state;
        let mut after = before;
        action.change(&mut after, case.profile, &tables);
        if let Action::Write(entry) = action {
            // An entry that cannot be stored leads nowhere.
            let bytes = crosswalk_guest::tables::entry_bytes(case.mode()) as u8;
            let _ = tables.write_entry(PhysAddr::new(entry.at), bytes, entry.value);
        }

        if action.is_privileged() {
            let mov = action.mov(&before);
            let fault = match action {
                Action::Invpcid(invpcid) => invalidation(*invpcid, &before, &case.profile).err(),
                _ => mov.and_then(|mov| fault_of(mov, &before, case.profile, &tables)),
            };
            let register = mov.map(|mov| mov.register_in(&after));
            let rules = match mov {
                Some(mov) => deciding_rules(mov, &before, fault.is_some()),
                None => RuleSet::default(),
            };
            predicted.push(PredictedPrivileged { action: *action, mov, fault, register, rules });
        }
        tables.state = after;
    }
    predicted
}

/// What INVPCID drops, or its fault. It is run in 64-bit code.
pub(super) fn invalidation(
    Invpcid { kind, descriptor }: Invpcid,
    state: &ControlState,
    profile: &Profile,
) -> Result<Invalidation, Fault> {
    Invalidation::invpcid::<FourLevel>(state, profile, kind, descriptor)
}

/// The fault of a MOV, if it most likely raises one.
fn fault_of<M: TableMemory<Error = OutsideMemory>>(
    mov: Mov,
    state: &ControlState,
    profile: Profile,
    memory: &M,
) -> Option<Fault> {
    match state.loads(mov, profile, memory).into_iter().next()?.result {
        Err(LoadError::Fault(fault)) => Some(fault),
        Ok(_) | Err(LoadError::Memory(_)) => None,
    }
}

/// The rules that decide about a MOV.
pub(super) fn deciding_rules(mov: Mov, state: &ControlState, faults: bool) -> RuleSet {
    let long_mode = state.efer.contains(Efer::LMA);
    let decides = match mov {
        Mov::Cr3(value) if long_mode => {
            [(Rule::Mode8, faults), (Rule::Mode9, !faults && value & CR3_NO_FLUSH != 0)]
        }
        Mov::Cr4(value) => {
            let changed = state.cr4 ^ value;
            let sets_pcide = (value - state.cr4).contains(Cr4::PCIDE);
            [
                (Rule::Mode2, long_mode && changed.contains(Cr4::LA57)),
                (Rule::Mode8, faults && sets_pcide && !state.cr3.is_multiple_of(0x1000)),
            ]
        }
        Mov::Efer(value) => {
            let writes_lma = (state.efer ^ value).contains(Efer::LMA);
            [(Rule::Mode1, writes_lma), (Rule::Mode8, false)]
        }
        Mov::Cr0(_) | Mov::Cr3(_) => return RuleSet::default(),
    };

    let mut rules = RuleSet::default();
    for (rule, _) in decides.into_iter().filter(|(_, decides)| *decides) {
        rules.insert(rule);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Cr0, Features, Ring, Vector, Vendor};

    const GP: Fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };

    fn case(vendor: Vendor, before: Vec<Action>) -> Case {
        let features = Features::all() - Features::LAM;
        let profile = Profile { vendor, physical_address_bits: 40, features, ..Profile::default() };
        Case { before, ..Case::plain(Arena::ALL[0], 3, Ring::Zero, profile) }
    }

    /// Fault, register and rules of each instruction.
    fn ends(case: &Case) -> Vec<(Option<Fault>, Option<u64>, Vec<Rule>)> {
        let rules =
            |all: RuleSet| Rule::ALL.iter().copied().filter(|rule| all.contains(*rule)).collect();
        predict(case).iter().map(|one| (one.fault, one.register, rules(one.rules))).collect()
    }

    /// SDM "MOV - Move to/from Control Registers", "64-Bit Mode Exceptions": LA57 changed; CR3 with bit 63
    /// and PCIDE=0, or a bit above MAXPHYADDR; CR0 with one of bits 63:32.
    #[test]
    fn a_mov_that_faults_changes_nothing() {
        let plain = case(Vendor::Intel, Vec::new());
        let ControlState { cr0, cr3, cr4, efer, .. } = plain.state;
        let la57 = Mov::Cr4(cr4 ^ Cr4::LA57);
        let bad_cr0 = Mov::Cr0(cr0 | Cr0::from_bits_retain(1 << 40));
        let bad_efer = Mov::Efer(efer | Efer::from_bits_retain(1 << 9));

        for (mov, register, rules) in [
            (Mov::Cr3(cr3 | 1 << 63), cr3, vec![Rule::Mode8]),
            (Mov::Cr3(cr3 | 1 << 48), cr3, vec![Rule::Mode8]),
            (la57, cr4.bits(), vec![Rule::Mode2]),
            (bad_cr0, cr0.bits(), Vec::new()),
            (bad_efer, efer.bits(), Vec::new()),
        ] {
            let found = ends(&case(Vendor::Intel, vec![Action::Mov(mov)]));
            assert_eq!(found, [(Some(GP), Some(register), rules)], "{mov}");
        }
    }

    /// A MOV meets the registers that the one before it has left.
    #[test]
    fn a_mov_that_completes_is_met_by_the_next() {
        let cr4 = case(Vendor::Amd, Vec::new()).state.cr4 | Cr4::PCIDE;
        let cr3 = Arena::ALL[0].table(0);
        let movs = [Mov::Cr4(cr4), Mov::Cr3(cr3 | 5 | 1 << 63)];
        let with_pcid = case(Vendor::Amd, movs.map(Action::Mov).to_vec());

        let expected =
            [(None, Some(cr4.bits()), Vec::new()), (None, Some(cr3 | 5), vec![Rule::Mode9])];
        assert_eq!(ends(&with_pcid), expected);
    }

    /// APM "Extended Feature Enable Register": writing LMA as it is not raises #GP; Intel ignores it.
    #[test]
    fn mode_1_a_written_lma_is_checked_or_ignored() {
        let efer = case(Vendor::Amd, Vec::new()).state.efer;
        let mov = vec![Action::Mov(Mov::Efer(efer - Efer::LMA))];
        let expected = |fault| [(fault, Some(efer.bits()), vec![Rule::Mode1])];
        assert_eq!(ends(&case(Vendor::Amd, mov.clone())), expected(Some(GP)));
        assert_eq!(ends(&case(Vendor::Intel, mov)), expected(None));
    }

    /// SDM "INVPCID", "Protected Mode Exceptions": a type above 3, bits 63:12 of the descriptor, a PCID while
    /// CR4.PCIDE=0 with types 0 and 1, and with type 0 an address that is not canonical.
    #[test]
    fn invpcid_faults_by_its_type_and_descriptor() {
        for (kind, descriptor, fault) in [
            (0, [0, 0x1000], None),
            (0, [1, 0x1000], Some(GP)),
            (0, [0, 1 << 60], Some(GP)),
            (1, [0, 1 << 60], None),
            (1, [1, 0], Some(GP)),
            (2, [1, 0], None),
            (2, [1 << 12, 0], Some(GP)),
            (3, [0, 0], None),
            (4, [0, 0], Some(GP)),
        ] {
            let invpcid = Action::Invpcid(Invpcid { kind, descriptor });
            let found = ends(&case(Vendor::Intel, vec![invpcid]));
            assert_eq!(found, [(fault, None, Vec::new())], "{invpcid}");
        }
    }

    #[test]
    fn canon_3_invlpg_of_a_non_canonical_address_does_not_fault() {
        let invlpg = |address| Action::Invlpg(mmu_core::VirtAddr::new(address));
        let found = ends(&case(Vendor::Amd, vec![invlpg(1 << 60), invlpg(0x1000)]));
        assert_eq!(found, [(None, None, Vec::new())]);
    }
}
