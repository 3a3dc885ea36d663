//! The same cases on several machines: who differs from the manuals, and who from the other machines.

use crate::NestedCase;
use crate::known::KnownNested;
use crate::observation::{EntryAfter, NestedAttempt, NestedObservation, SeenEnd};
use crate::requirements::adopt;
use crate::verdict::{NestedVerdict, judge_prediction};
use crate::walker::{CaseEnd, CasePrediction, REFERENCE, predict};
use crosswalk_machine::nested::Virtualization;
use crosswalk_machine::{Capabilities, ModeOffer};
use mmu_core::nested::{AnyRule, NestedEnd, NestedExit};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What all of these machines offer, with the second level of the first: cases that are made for it can run on each.
/// `None` if there is none, or their second levels are of different kinds.
pub fn common(machines: &[&Capabilities]) -> Option<Capabilities> {
    let (first, others) = machines.split_first()?;
    let mut all = (*first).clone();

    for other in others {
        if is_ept(first) != is_ept(other) {
            return None;
        }
        all.profile.features &= other.profile.features;
        let bits = other.profile.physical_address_bits.min(all.profile.physical_address_bits);
        all.profile.physical_address_bits = bits;
        all.modes = offered_by_both(&all.modes, &other.modes);
        all.nested_modes = offered_by_both(&all.nested_modes, &other.nested_modes);
    }
    Some(all)
}

/// Whether the second level of a machine is EPT; otherwise it is NPT, or there is none.
pub const fn is_ept(machine: &Capabilities) -> bool {
    matches!(machine.virtualization, Ok(Virtualization::Vmx(_)))
}

/// What is not in one of two lists counts as in the other: it was not probed.
fn offered_by_both(one: &[ModeOffer], other: &[ModeOffer]) -> Vec<ModeOffer> {
    let mut both = one.to_vec();
    for (mode, offer) in other {
        match both.iter_mut().find(|(known, _)| known == mode) {
            Some((_, known)) if known.is_ok() => known.clone_from(offer),
            Some(_) => {}
            None => both.push((*mode, offer.clone())),
        }
    }
    both
}

/// One of the machines.
#[derive(Clone, Debug)]
pub struct ComparedMachine {
    /// What it offers.
    pub capabilities: Capabilities,
    /// What is known of it.
    pub known: KnownNested,
    /// How many cases came to which end.
    pub counts: MachineCounts,
}

/// The cases of a machine by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCounts {
    /// All.
    pub cases: u64,
    /// Those in which it does what the manuals allow.
    pub right: u64,
    /// Those in which it differs from them as is known of it.
    pub known: u64,
    /// Those in which it differs in a new way.
    pub unknown: u64,
    /// Those that it could not run, or of which nothing was predicted.
    pub unrun: u64,
    /// Those in which another machine ran the same.
    pub shared: u64,
    /// Those in which it does not do what more than half of the machines do.
    pub outvoted: u64,
}

/// Who differs from whom, and in what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dispute {
    /// Whether every difference from the manuals is known.
    pub is_known: bool,
    /// The machines that differ from the manuals, by their number.
    pub wrong: Vec<usize>,
    /// Whether these are all that ran the case.
    pub everyone: bool,
    /// The machines that do not do what more than half of those do that are allowed the same.
    pub outvoted: Vec<usize>,
    /// Ids of known findings, the names of fields that differ from the manuals in a new way, or the rules that leave a
    /// choice.
    pub about: Vec<String>,
}

/// Cases in which the same machines differ in the same.
#[derive(Clone, Debug)]
pub struct DisputedCases {
    /// The number of cases.
    pub count: u64,
    /// The first of them, as the first machine ran it.
    pub example: NestedCase,
    /// Its name.
    pub name: String,
    /// What the manuals expect of it.
    pub expected: String,
    /// What each machine did, by its number, with the entries that not all of them changed alike.
    pub observed: Vec<(usize, String)>,
}

/// Machines, and what they did with the same cases.
#[derive(Clone, Debug)]
pub struct NestedComparison {
    /// The machines.
    pub machines: Vec<ComparedMachine>,
    /// Number of cases.
    pub cases: u64,
    /// Those that at least two machines ran.
    pub shared: u64,
    /// Those among them in which all did the same, as the manuals allow.
    pub unanimous: u64,
    /// The others.
    pub disputes: BTreeMap<Dispute, DisputedCases>,
}

/// What one machine did with a case, judged.
struct Ballot<'r> {
    machine: usize,
    seen: &'r NestedObservation,
    prediction: CasePrediction,
    verdict: Verdict,
}

enum Verdict {
    Right(Option<(AnyRule, &'static str)>),
    Wrong { about: Vec<String>, is_known: bool, expected: String },
}

impl NestedComparison {
    /// Nothing has run.
    pub const fn new(machines: Vec<ComparedMachine>) -> Self {
        Self { machines, cases: 0, shared: 0, unanimous: 0, disputes: BTreeMap::new() }
    }

    /// Judges what each machine did with a case.
    pub fn add(
        &mut self,
        name: impl FnOnce() -> String,
        case: &NestedCase,
        runs: &[NestedAttempt],
    ) {
        self.cases += 1;
        let ballots: Vec<Ballot<'_>> = runs
            .iter()
            .enumerate()
            .filter_map(|(machine, run)| self.ballot(machine, case, run))
            .collect();
        if ballots.len() < 2 {
            return;
        }

        self.shared += 1;
        let outvoted = outvoted(&ballots);
        for ballot in &ballots {
            let counts = &mut self.machines[ballot.machine].counts;
            counts.shared += 1;
            counts.outvoted += u64::from(outvoted.contains(&ballot.machine));
        }
        let is_wrong = |ballot: &&Ballot<'_>| matches!(ballot.verdict, Verdict::Wrong { .. });
        let wrong: Vec<usize> = ballots.iter().filter(is_wrong).map(|one| one.machine).collect();
        if wrong.is_empty() && outvoted.is_empty() {
            self.unanimous += 1;
            return;
        }

        let is_new =
            |ballot: &Ballot<'_>| matches!(ballot.verdict, Verdict::Wrong { is_known: false, .. });
        let dispute = Dispute {
            is_known: !ballots.iter().any(is_new),
            everyone: wrong.len() == ballots.len(),
            wrong,
            outvoted: outvoted.into_iter().collect(),
            about: about(&ballots),
        };
        let disputed = self.disputes.entry(dispute).or_insert_with(|| DisputedCases {
            count: 0,
            example: case.clone(),
            name: name(),
            expected: expected_of(&ballots),
            observed: ballots
                .iter()
                .map(|one| (one.machine, in_words(one.seen, &ballots)))
                .collect(),
        });
        disputed.count += 1;
    }

    /// Counts what a machine did. `None` if that cannot be compared.
    fn ballot<'r>(
        &mut self,
        machine: usize,
        case: &NestedCase,
        run: &'r NestedAttempt,
    ) -> Option<Ballot<'r>> {
        let ComparedMachine { capabilities, known, counts } = self.machines.get_mut(machine)?;
        let case = adopt(case.clone(), capabilities);
        let prediction = predict(&REFERENCE, &case);
        counts.cases += 1;

        let verdict = match judge_prediction(&case, &prediction, run) {
            NestedVerdict::Agree { choice } => {
                counts.right += 1;
                Verdict::Right(choice)
            }
            NestedVerdict::Diverge { expected, differences } => {
                let ids = known.recognize(&case, run);
                let is_known = !ids.is_empty();
                *(if is_known { &mut counts.known } else { &mut counts.unknown }) += 1;
                let fields: BTreeSet<_> =
                    differences.iter().map(|one| one.field.name().to_owned()).collect();
                let about = if is_known { ids } else { fields.into_iter().collect() };
                Verdict::Wrong { about, is_known, expected: expected.to_string() }
            }
            NestedVerdict::Unsupported(_) | NestedVerdict::Unpredicted => {
                counts.unrun += 1;
                return None;
            }
        };
        match run {
            NestedAttempt::Observed(seen) => Some(Ballot { machine, seen, prediction, verdict }),
            NestedAttempt::Unsupported(_) => None,
        }
    }
}

/// The machines that did not do what more than half of those did that are allowed the same.
fn outvoted(ballots: &[Ballot<'_>]) -> BTreeSet<usize> {
    let is_outvoted = |one: &&Ballot<'_>| {
        let voters =
            ballots.iter().filter(|other| allows_the_same(&one.prediction, &other.prediction));
        let (alike, all) = voters.fold((0, 0), |(alike, all), other| {
            let is_alike = is_alike(&one.prediction, one.seen, other.seen);
            (alike + usize::from(is_alike), all + 1)
        });
        all > 1 && alike * 2 <= all
    };
    ballots.iter().filter(is_outvoted).map(|one| one.machine).collect()
}

/// Whether two predictions are the same.
fn allows_the_same(one: &CasePrediction, other: &CasePrediction) -> bool {
    one.alternatives == other.alternatives
}

/// Whether two machines did the same, as far as it is defined.
fn is_alike(
    prediction: &CasePrediction,
    one: &NestedObservation,
    other: &NestedObservation,
) -> bool {
    let ends_alike = match (one.end, other.end) {
        (SeenEnd::Npf { info1, info2 }, SeenEnd::Npf { info1: other, info2: address }) => {
            (info1 ^ other) & known_bits(prediction) == 0 && info2 == address
        }
        (
            SeenEnd::EptViolation { qualification, guest_physical, linear },
            SeenEnd::EptViolation { qualification: other, guest_physical: at, linear: from },
        ) => {
            let is_defined = known_bits(prediction);
            (qualification ^ other) & is_defined == 0
                && guest_physical == at
                && (linear == from || is_defined & LINEAR_IS_VALID == 0)
        }
        (
            SeenEnd::EptMisconfiguration { guest_physical, qualification },
            SeenEnd::EptMisconfiguration { guest_physical: at, qualification: other },
        ) => guest_physical == at && qualification == other,
        (
            SeenEnd::Fault { vector, error_code, cr2 },
            SeenEnd::Fault { vector: other, error_code: code, cr2: at },
        ) => vector == other && error_code == code && (vector != PAGE_FAULT || cr2 == at),
        (SeenEnd::Completed { .. }, SeenEnd::Completed { .. }) => {
            one.end == other.end && one.rip == other.rip
        }
        (one, other) => one == other,
    };
    ends_alike && one.changed == other.changed && one.stored == other.stored
}

/// The vector of #PF.
const PAGE_FAULT: u8 = 14;
/// Bit 7 of the exit qualification.
const LINEAR_IS_VALID: u64 = 1 << 7;

/// The bits of EXITINFO1 or of the exit qualification that every alternative defines.
fn known_bits(prediction: &CasePrediction) -> u64 {
    prediction.alternatives.iter().fold(!0, |known, way| match &way.end {
        CaseEnd::Of(NestedEnd::Exit(NestedExit::NestedPageFault { info1_known, .. })) => {
            known & info1_known
        }
        CaseEnd::Of(NestedEnd::Exit(NestedExit::EptViolation { qualification_known, .. })) => {
            known & qualification_known
        }
        _ => known,
    })
}

/// What a dispute is about: what differs from the manuals, or else the rules that leave a choice.
fn about(ballots: &[Ballot<'_>]) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let mut choices = Vec::new();
    for ballot in ballots {
        match &ballot.verdict {
            Verdict::Wrong { about, .. } => faults.extend(about.iter().cloned()),
            Verdict::Right(choice) => choices.push(*choice),
        }
    }
    if !faults.is_empty() {
        return faults.into_iter().collect();
    }

    let is_common = |choice: &AnyRuleMember| choices.iter().all(|other| other == &Some(*choice));
    let chosen = choices.iter().flatten().filter(|choice| !is_common(choice));
    let rules: BTreeSet<_> = chosen.map(|(rule, _)| *rule).chain(open_flags(ballots)).collect();
    rules.into_iter().map(|rule| rule.id().to_owned()).collect()
}

type AnyRuleMember = (AnyRule, &'static str);

/// The rules that leave open the flags that not all machines have set.
fn open_flags<'b>(ballots: &'b [Ballot<'_>]) -> impl Iterator<Item = AnyRule> + 'b {
    let is_disputed = |at: u64| {
        let found = ballots.iter().map(|one| one.seen.changed.iter().find(|entry| entry.at == at));
        found.collect::<Vec<_>>().windows(2).any(|two| two[0] != two[1])
    };
    let updates = ballots.iter().flat_map(|one| &one.prediction.alternatives);
    updates
        .flat_map(|way| &way.updates)
        .filter(move |update| update.may_set != 0 && is_disputed(update.at.get()))
        .map(|update| update.open_by)
}

/// What the manuals expect: of the first machine that differs, or of the first.
fn expected_of(ballots: &[Ballot<'_>]) -> String {
    let of_wrong = ballots.iter().find_map(|ballot| match &ballot.verdict {
        Verdict::Wrong { expected, .. } => Some(expected.clone()),
        Verdict::Right(_) => None,
    });
    let likeliest = || {
        let way = ballots.first()?.prediction.alternatives.first()?;
        Some(way.to_string())
    };
    of_wrong.or_else(likeliest).unwrap_or_default()
}

/// What a machine did, with the entries that not all machines changed like this.
fn in_words(seen: &NestedObservation, ballots: &[Ballot<'_>]) -> String {
    let mut words = seen.end.to_string();
    for entry in &seen.changed {
        if !ballots.iter().all(|other| other.seen.changed.contains(entry)) {
            let EntryAfter { at, before, after } = entry;
            let _ = write!(words, "; {before:#x} at {at:#x} became {after:#x}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::observation::Provenance;
    use mmu_core::PagingMode;

    fn machine(known: &str) -> ComparedMachine {
        let capabilities = Capabilities {
            virtualization: Ok(Virtualization::Svm { nested_paging: true, asids: 16 }),
            ..Capabilities::of_everything(mmu_core::Profile::default())
        };
        ComparedMachine {
            capabilities,
            known: KnownNested::of(known),
            counts: MachineCounts::default(),
        }
    }

    /// An unpaged guest whose root has an entry with bit 51, above MAXPHYADDR. The instruction that reads 4 bytes is
    /// at 0x10 in it.
    fn reserved_bit() -> NestedCase {
        NestedCase::from_json(
            r#"{"guest":{"mode":"unpaged","cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x1000"},
                "npt":{"mode":"4level","cr0":"0x80010011","cr3":"0x4f0000","cr4":"0x20","efer":"0x1d00"},
                "guest_entries":[],
                "nested_entries":[{"address":"0x4f0000","value":"0x80000004f1007"}],
                "code":"0x2000","access":{"kind":"read","address":"0x3170","size":4,"ring":0}}"#,
        )
        .unwrap()
    }

    fn npf(info1: u64) -> NestedAttempt {
        NestedAttempt::Observed(NestedObservation {
            end: SeenEnd::Npf { info1, info2: 0x2010 },
            rip: 0x2010,
            changed: Vec::new(),
            stored: Vec::new(),
            provenance: Provenance::Unknown,
        })
    }

    fn compare(machines: Vec<ComparedMachine>, runs: &[NestedAttempt]) -> NestedComparison {
        let mut comparison = NestedComparison::new(machines);
        let mut case = reserved_bit();
        case.profile.physical_address_bits = 40;
        for machine in &mut comparison.machines {
            machine.capabilities.profile.physical_address_bits = 40;
        }
        comparison.add(|| "it".into(), &case, runs);
        comparison
    }

    /// P, US, RSVD, I/D in bits 0, 2, 3 and 4, and the final address in bit 32 (APM volume 2, Nested Page Faults).
    const RIGHT: u64 = 0x1_0000_001d;

    #[test]
    fn machines_that_do_what_the_manuals_say_agree() {
        let found = compare(vec![machine("tcg"), machine("bochs")], &[npf(RIGHT), npf(RIGHT)]);
        assert_eq!((found.cases, found.shared, found.unanimous), (1, 1, 1));
        assert!(found.disputes.is_empty());
        assert_eq!(found.machines[0].counts.right, 1);
    }

    #[test]
    fn who_differs_is_named_with_what_is_known_of_it() {
        let machines = || vec![machine("tcg"), machine("bochs"), machine("bochs")];
        // TN1 of TCG: a reserved bit without P.
        let found = compare(machines(), &[npf(RIGHT & !1), npf(RIGHT), npf(RIGHT)]);
        let (dispute, cases) = found.disputes.first_key_value().unwrap();
        assert_eq!((&dispute.wrong[..], &dispute.outvoted[..]), (&[0][..], &[0][..]));
        assert_eq!((&dispute.about[..], dispute.is_known), (&["TN1".to_owned()][..], true));
        assert_eq!((cases.count, cases.observed.len(), &*cases.name), (1, 3, "it"));
        assert_eq!(found.machines[0].counts.outvoted, 1);

        // Of Bochs nothing of the kind is known. All of two are outvoted.
        let found = compare(
            machines(),
            &[NestedAttempt::Unsupported("no".into()), npf(RIGHT & !1), npf(RIGHT)],
        );
        let (dispute, _) = found.disputes.first_key_value().unwrap();
        assert_eq!((&dispute.wrong[..], &dispute.outvoted[..]), (&[1][..], &[1, 2][..]));
        assert_eq!(
            (&dispute.about[..], dispute.is_known),
            (&["qualification".to_owned()][..], false)
        );
        assert_eq!(found.machines[0].counts.unrun, 1);
    }

    #[test]
    fn a_case_that_one_machine_ran_is_not_compared() {
        let nothing = NestedAttempt::Unsupported("no".into());
        let found = compare(vec![machine("tcg"), machine("bochs")], &[npf(RIGHT), nothing]);
        assert_eq!((found.cases, found.shared), (1, 0));
    }

    #[test]
    fn cases_are_made_for_what_all_machines_have() {
        let (mut one, mut other) = (machine("tcg").capabilities, machine("bochs").capabilities);
        one.nested_modes = vec![(PagingMode::Bits32, Err("it walks nothing".into()))];
        other.profile.physical_address_bits = 36;
        let both = common(&[&one, &other]).unwrap();
        assert_eq!(both.profile.physical_address_bits, 36);
        assert!(both.nested_modes[0].1.is_err());

        other.virtualization = Err("none".into());
        assert!(!is_ept(&other));
        let ept = Capabilities { virtualization: Ok(vmx()), ..other };
        assert!(common(&[&one, &ept]).is_none());
    }

    fn vmx() -> Virtualization {
        let mut msrs = [0; crosswalk_guest::vmx_msrs::VMX_MSRS];
        (msrs[3], msrs[4], msrs[11]) = (1 << (21 + 32), 1 << (15 + 32), 0x82 << 32);
        let leaf = |leaf, _| (leaf == 1).then_some([0, 0, 0x20, 0]);
        Virtualization::detect(leaf, &msrs).unwrap()
    }
}
