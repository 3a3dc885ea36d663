//! Replaying a corpus: what machines did is judged as if they had just done it. Nothing is run.

use crate::campaign::Summary;
use crate::campaign::tally::Tally;
use crate::corpus::read::{CorpusError, CorpusItem, CorpusReader};
use crate::corpus::{Recorded, Source};
use crate::finding::known::KnownFinding;
use crate::finding::{Finding, Findings};
use crate::verdict::{self, Verdict};
use crate::walker::{MUTANTS, Walker, WalkerSpec};
use crosswalk_machine::{Capabilities, Identity, ModeOffer};
use mmu_core::{PagingMode, Prediction, Reference, Rule};
use std::collections::BTreeSet;
use std::time::Instant;

/// What to replay of a corpus, and how.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// Who predicts.
    pub walker: WalkerSpec,
    /// The modes; all if there are none.
    pub modes: Vec<PagingMode>,
    /// At most so many cases.
    pub cases: Option<u64>,
}

/// Known findings of a machine, and whether they are forgiven.
pub type KnownFor<'k> = dyn Fn(&Identity) -> Result<(Vec<KnownFinding>, bool), String> + 'k;

/// What came of it.
#[derive(Debug)]
pub struct Replayed {
    /// Where the cases were recorded, with how many of each were replayed.
    pub sources: Vec<(Source, u64)>,
    /// Those machines together: `corpus`, with all that one of them has.
    pub identity: Identity,
    /// What one of them offers at least.
    pub capabilities: Capabilities,
    /// The modes asked for, each with the reason why no machine was recorded in it.
    pub modes: Vec<ModeOffer>,
    /// Counts and findings.
    pub summary: Summary,
    /// Cases of which this version allows something else than the one that recorded them.
    pub allowed_otherwise: u64,
    /// The rules that the corpus claims to cover.
    pub covered: Vec<Rule>,
}

/// A part of a corpus that comes from one machine, while it is replayed.
struct ReplaySection {
    source: Source,
    cases: u64,
    findings: Findings,
}

/// Replays a corpus. `visit` sees every case, with what the reference says of it.
///
/// # Errors
/// When the corpus is damaged: the error names the line.
pub fn replay(
    reader: &mut CorpusReader,
    plan: &ReplayPlan,
    known: &KnownFor<'_>,
    mut visit: impl FnMut(&Recorded, &Prediction, &Verdict),
) -> Result<Replayed, CorpusError> {
    let start = Instant::now();
    let mut sections: Vec<ReplaySection> = Vec::new();
    let mut together: Option<(Identity, Capabilities)> = None;
    let mut tally = Tally::default();
    let mut coverage = Coverage::default();
    let (mut allowed_otherwise, mut cases) = (0, 0);
    let is_wanted = |mode: PagingMode| plan.modes.is_empty() || plan.modes.contains(&mode);
    while let Some(item) = reader.next() {
        let recorded = match item? {
            CorpusItem::Case(recorded) => recorded,
            CorpusItem::Source(source) => {
                let at = |problem: String| reader.error(&problem);
                let (identity, capabilities) = source.machine().map_err(at)?;
                let (known, forgives) = known(&identity).map_err(at)?;
                let findings = Findings::new(plan.walker, known, forgives, &capabilities);
                sections.push(ReplaySection { source: *source, cases: 0, findings });
                if sections.len() > MAX_SECTIONS {
                    return Err(at(format!("expected at most {MAX_SECTIONS} sections")));
                }
                join(&mut together, identity, capabilities);
                continue;
            }
        };
        coverage.add(&recorded);
        let is_enough = plan.cases.is_some_and(|most| cases >= most);
        let (Some(section), true) =
            (sections.last_mut(), !is_enough && is_wanted(recorded.case.mode()))
        else {
            continue;
        };
        let Recorded { name, case, run, .. } = &*recorded;
        cases += 1;
        section.cases += 1;
        allowed_otherwise += u64::from(!recorded.is_allowed_the_same());
        let by_reference = Reference.predict(case);
        let judged = verdict::judge_prediction(&Reference, case, &by_reference, run);
        visit(&recorded, &by_reference, &judged);
        let (prediction, verdict) = if plan.walker.is_reference() {
            (by_reference, judged)
        } else {
            let walker = plan.walker.walker();
            let prediction = walker.predict(case);
            let verdict = verdict::judge_prediction(walker, case, &prediction, run);
            (prediction, verdict)
        };
        tally.add((*name, case), &prediction, run, &verdict);
        section.findings.add(case, run, &verdict);
    }
    let (identity, capabilities) = together.ok_or_else(|| reader.error("expected a section"))?;
    let modes = capabilities.modes.iter().filter(|(mode, _)| is_wanted(*mode)).cloned().collect();
    let mut findings = Vec::new();
    let mut sources = Vec::new();
    for ReplaySection { source, cases, findings: its } in sections {
        sources.push((source, cases));
        add_findings(&mut findings, its.finish());
    }
    let summary = Summary { tally, findings, duration: start.elapsed() };
    let covered = coverage.covered();
    Ok(Replayed { sources, identity, capabilities, modes, summary, allowed_otherwise, covered })
}

/// More machines than anybody joins; each takes some memory.
const MAX_SECTIONS: usize = 1000;

/// Adds a machine to those before.
fn join(
    together: &mut Option<(Identity, Capabilities)>,
    identity: Identity,
    capabilities: Capabilities,
) {
    let Some((all, offers)) = together else {
        *together = Some((Identity { kind: "corpus".into(), ..identity }, capabilities));
        return;
    };
    for (known, one) in [
        (&mut all.flavour, identity.flavour),
        (&mut all.beneath, identity.beneath),
        (&mut all.cpu, identity.cpu),
        (&mut all.host_kernel, identity.host_kernel),
    ] {
        add_name(known, &one);
    }
    match (&mut all.version, identity.version) {
        (Some(known), Some(one)) => add_name(known, &one),
        (known, one) => *known = known.take().or(one),
    }
    offers.profile.features |= capabilities.profile.features;
    let bits = &mut offers.profile.physical_address_bits;
    *bits = (*bits).max(capabilities.profile.physical_address_bits);
    offers.not_in_cpuid |= capabilities.not_in_cpuid;
    offers.sees_outside |= capabilities.sees_outside;
    for (mode, offer) in capabilities.modes {
        match offers.modes.iter_mut().find(|(known, _)| *known == mode) {
            Some((_, known)) if offer.is_ok() => *known = Ok(()),
            Some(_) => {}
            None => offers.modes.push((mode, offer)),
        }
    }
    for (known, one) in [
        (&mut offers.implicit_accesses, capabilities.implicit_accesses),
        (&mut offers.read_only_tables, capabilities.read_only_tables),
    ] {
        if one.is_ok() {
            *known = Ok(());
        }
    }
}

fn add_name(known: &mut String, one: &str) {
    if !known.split(" + ").any(|name| name == one) {
        *known += " + ";
        *known += one;
    }
}

/// Adds the findings of a section that were met. The same finding of two machines is one.
fn add_findings(all: &mut Vec<Finding>, more: Vec<Finding>) {
    for mut finding in more.into_iter().filter(|finding| finding.count > 0) {
        let same =
            |known: &&mut Finding| (&known.id, &known.title) == (&finding.id, &finding.title);
        if let Some(known) = all.iter_mut().find(same) {
            known.count += finding.count;
            if let Some(example) = finding.example {
                known.offer(example);
            }
            continue;
        }
        let others = all.iter().filter(|known| known.id == finding.id).count();
        if others > 0 {
            finding.id = format!("{}-{}", finding.id, others + 1);
        }
        all.push(finding);
    }
}

/// What the cases of a corpus say they are about.
#[derive(Default)]
struct Coverage {
    decided: BTreeSet<Rule>,
    told: BTreeSet<&'static str>,
}

impl Coverage {
    fn add(&mut self, recorded: &Recorded) {
        let has = |ids: &[String], id: &str| ids.iter().any(|one| one == id);
        let rules = Rule::ALL.iter().filter(|rule| has(&recorded.rules, rule.id()));
        self.decided.extend(rules);
        let told = MUTANTS.iter().filter(|mutant| has(&recorded.tells, mutant.id));
        self.told.extend(told.map(|mutant| mutant.id));
    }

    /// The rules that decide a case, and of which every mutant is told by one.
    fn covered(&self) -> Vec<Rule> {
        let is_told = |rule: Rule| {
            let mut mutants = MUTANTS.iter().filter(|mutant| mutant.rule == Some(rule));
            mutants.all(|mutant| self.told.contains(mutant.id))
        };
        self.decided.iter().copied().filter(|rule| is_told(*rule)).collect()
    }
}
