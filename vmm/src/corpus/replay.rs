//! Replays a corpus: judges what machines did as if they had just done it. Nothing is run.
#![allow(clippy::arithmetic_side_effects, reason = "counts of cases that were read")]

use super::coverage::Claims;
use super::machines::JoinedMachine;
use super::read::{CorpusError, CorpusItem, CorpusReader};
use super::{Recorded, Source};
use crate::campaign::Summary;
use crate::campaign::known::KnownSource;
use crate::campaign::series::Series;
use crate::campaign::tally::Tally;
use crate::finding::{Finding, Findings};
use crate::verdict::{self, Verdict};
use crate::walker::{Walker, WalkerSpec};
use crosswalk_machine::{Capabilities, Identity, ModeOffer};
use mmu_core::{PagingMode, Prediction, Reference, Rule};
use std::ops::ControlFlow;
use std::time::Instant;

/// Maximum number of sections, each of which takes some memory. No corpus joins more machines.
const MAX_SECTIONS: usize = 1000;

/// What to replay of a corpus, and how.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// The walker that predicts.
    pub walker: WalkerSpec,
    /// Where the known findings of each machine come from.
    pub known: KnownSource,
    /// The modes; all modes if there are none.
    pub modes: Vec<PagingMode>,
    /// Maximum number of cases.
    pub cases: Option<u64>,
}

impl ReplayPlan {
    fn wants(&self, mode: PagingMode) -> bool {
        self.modes.is_empty() || self.modes.contains(&mode)
    }
}

/// The result of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Where the cases were recorded, and how many cases of each source were replayed.
    pub sources: Vec<(Source, u64)>,
    /// These machines as if they were one, of the kind `corpus`.
    pub identity: Identity,
    /// What at least one of the machines offers.
    pub capabilities: Capabilities,
    /// The requested modes, each with the reason if no machine was recorded in it.
    pub modes: Vec<ModeOffer>,
    /// Counts and findings.
    pub summary: Summary,
    /// Number of cases for which this version allows other outcomes than the version that recorded
    /// them.
    pub allowed_otherwise: u64,
    /// The rules that the corpus claims to cover.
    pub covered: Vec<Rule>,
}

/// Replays a corpus. `visit` is called for every case, with the prediction of the reference and the
/// verdict on it, and can break off.
///
/// # Errors
/// When the corpus is damaged: the error names the line.
pub fn replay(
    reader: &mut CorpusReader,
    plan: &ReplayPlan,
    mut visit: impl FnMut(&Recorded, &Prediction, &Verdict) -> ControlFlow<()>,
) -> Result<Replayed, CorpusError> {
    let mut replay = Replay::start(plan);

    while let Some(item) = reader.next() {
        match item? {
            CorpusItem::Source(source) => {
                replay.open_section(*source).map_err(|problem| reader.error(&problem))?;
            }
            CorpusItem::Case(recorded) => {
                if replay.add(&recorded, &mut visit).is_break() {
                    break;
                }
            }
        }
    }

    replay.finish().ok_or_else(|| reader.error("expected a section"))
}

/// A replay under way.
struct Replay<'p> {
    plan: &'p ReplayPlan,
    start: Instant,
    sections: Vec<ReplaySection>,
    machine: Option<JoinedMachine>,
    tally: Tally,
    claims: Claims,
    allowed_otherwise: u64,
    cases: u64,
}

/// The part of a corpus that comes from one machine.
struct ReplaySection {
    source: Source,
    cases: u64,
    findings: Findings,
}

impl<'p> Replay<'p> {
    fn start(plan: &'p ReplayPlan) -> Self {
        Self {
            plan,
            start: Instant::now(),
            sections: Vec::new(),
            machine: None,
            tally: Tally::default(),
            claims: Claims::default(),
            allowed_otherwise: 0,
            cases: 0,
        }
    }

    fn open_section(&mut self, source: Source) -> Result<(), String> {
        if self.sections.len() >= MAX_SECTIONS {
            return Err(format!("expected at most {MAX_SECTIONS} sections"));
        }

        let (identity, capabilities) = source.machine()?;
        let walker = self.plan.walker;
        let known = self.plan.known.load(walker, &identity).map_err(|error| error.to_string())?;
        let findings = known.collector(walker, &capabilities);
        self.sections.push(ReplaySection { source, cases: 0, findings });

        match &mut self.machine {
            Some(machine) => machine.add(identity, capabilities),
            none => *none = Some(JoinedMachine::of(identity, capabilities)),
        }
        Ok(())
    }

    fn add(
        &mut self,
        recorded: &Recorded,
        visit: &mut impl FnMut(&Recorded, &Prediction, &Verdict) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.claims.add(recorded);

        let is_enough = self.plan.cases.is_some_and(|limit| self.cases >= limit);
        if is_enough || !self.plan.wants(recorded.case.mode()) {
            return ControlFlow::Continue(());
        }
        let Some(section) = self.sections.last_mut() else { return ControlFlow::Continue(()) };

        let Recorded { name, case, attempt, .. } = recorded;
        let by_reference = Judged::by(&Reference, recorded);
        let last = by_reference.predictions.last();
        let flow = last
            .map_or(ControlFlow::Continue(()), |last| visit(recorded, last, &by_reference.verdict));
        let Judged { predictions, verdict } = if self.plan.walker.is_reference() {
            by_reference
        } else {
            Judged::by(self.plan.walker.walker(), recorded)
        };

        self.cases += 1;
        self.allowed_otherwise += u64::from(!recorded.is_allowed_the_same());
        self.tally.add((*name, case), &predictions, attempt, &verdict);
        section.cases += 1;
        section.findings.add(case, attempt, &verdict);
        flow
    }

    /// The result; `None` if the corpus has no section.
    fn finish(self) -> Option<Replayed> {
        let JoinedMachine { identity, capabilities } = self.machine?;

        let mut findings = Vec::new();
        let mut sources = Vec::new();
        for section in self.sections {
            sources.push((section.source, section.cases));
            add_findings(&mut findings, section.findings.finish());
        }

        let modes = capabilities.modes.iter().filter(|(mode, _)| self.plan.wants(*mode));
        Some(Replayed {
            sources,
            identity,
            modes: modes.cloned().collect(),
            capabilities,
            summary: Summary {
                tally: self.tally,
                findings,
                duration: self.start.elapsed(),
                breakdown: None,
                series: Series::default(),
            },
            allowed_otherwise: self.allowed_otherwise,
            covered: self.claims.covered(),
        })
    }
}

/// A recorded case, judged by a walker.
struct Judged {
    /// For each access, the last one last.
    predictions: Vec<Prediction>,
    verdict: Verdict,
}

impl Judged {
    fn by(walker: &dyn Walker, recorded: &Recorded) -> Self {
        let Recorded { case, attempt, .. } = recorded;
        let predictions = walker.predict_accesses(case);
        let verdict = verdict::judge_accesses(walker, case, &predictions, attempt);

        Self { predictions, verdict }
    }
}

/// Adds the findings of a section that occurred. The same finding of two machines becomes one.
fn add_findings(all: &mut Vec<Finding>, more: Vec<Finding>) {
    for mut finding in more.into_iter().filter(|finding| finding.count > 0) {
        let is_same = |known: &&mut Finding| known.id == finding.id && known.title == finding.title;

        if let Some(known) = all.iter_mut().find(is_same) {
            known.count += finding.count;
            if let Some(example) = finding.example {
                known.offer(example);
            }
            continue;
        }

        // Different findings of two machines may have the same id.
        let others = all.iter().filter(|known| known.id == finding.id).count();
        if others > 0 {
            finding.id = format!("{}-{}", finding.id, others + 1);
        }
        all.push(finding);
    }
}
