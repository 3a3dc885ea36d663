//! Replays a corpus of nested cases: judges what machines did as if they had just done it. Nothing is run.

use super::{NestedCorpusReader, RecordedNested, Source};
use crate::corpus::machines::JoinedMachine;
use crate::corpus::read::{CorpusError, CorpusItem};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::tally::{Judge, NestedTally};
use crosswalk_nested::walker::NestedWalker;
use std::ops::ControlFlow;

/// Maximum number of sections, each of which takes some memory. No corpus joins more machines.
const MAX_SECTIONS: usize = 1000;

/// What to replay of a corpus, and how.
pub struct NestedReplayPlan<'p> {
    /// Who predicts.
    pub walker: &'p dyn NestedWalker,
    /// What is known of a machine.
    pub known: &'p dyn Fn(&Identity) -> KnownNested,
    /// Maximum number of cases.
    pub cases: Option<u64>,
}

/// The result of a replay.
#[derive(Debug)]
pub struct NestedReplayed {
    /// Where the cases were recorded, and how many cases of each source were replayed.
    pub sources: Vec<(Source, u64)>,
    /// These machines as if they were one, of the kind `corpus`.
    pub identity: Identity,
    /// What at least one of the machines offers.
    pub capabilities: Capabilities,
    /// What is known of them.
    pub known: KnownNested,
    /// Counts and findings.
    pub tally: NestedTally,
}

/// Replays a corpus. `visit` is called after every case, and can break off.
///
/// # Errors
/// When the corpus is damaged: the error names the line.
pub fn replay(
    reader: &mut NestedCorpusReader,
    plan: &NestedReplayPlan<'_>,
    mut visit: impl FnMut() -> ControlFlow<()>,
) -> Result<NestedReplayed, CorpusError> {
    let mut sources: Vec<(Source, u64)> = Vec::new();
    let mut machine: Option<JoinedMachine> = None;
    let mut all_known = KnownNested::nothing();
    let mut known = KnownNested::nothing();
    let mut tally = NestedTally::default();

    while let Some(item) = reader.next() {
        match item? {
            CorpusItem::Source(source) => {
                if sources.len() >= MAX_SECTIONS {
                    let problem = format!("expected at most {MAX_SECTIONS} sections");
                    return Err(reader.error(&problem));
                }
                let (identity, capabilities) =
                    source.machine().map_err(|problem| reader.error(&problem))?;
                known = (plan.known)(&identity);
                all_known.join(&known);
                match &mut machine {
                    Some(machine) => machine.add(identity, capabilities),
                    none => *none = Some(JoinedMachine::of(identity, capabilities)),
                }
                sources.push((*source, 0));
            }
            CorpusItem::Case(recorded) => {
                // What follows is read all the same: the end says whether the file is whole.
                if plan.cases.is_some_and(|most| tally.cases >= most) {
                    continue;
                }
                if let Some((_, cases)) = sources.last_mut() {
                    *cases = cases.saturating_add(1);
                }
                let RecordedNested { name, case, attempt, .. } = &*recorded;
                let provenance = Provenance::Unknown;
                let judge = Judge { walker: plan.walker, known: &known, provenance };
                tally.add(judge, (tally.cases, || name.to_string()), case, attempt);
                if visit().is_break() {
                    break;
                }
            }
        }
    }

    match machine {
        Some(JoinedMachine { identity, capabilities }) => {
            Ok(NestedReplayed { sources, identity, capabilities, known: all_known, tally })
        }
        None => Err(reader.error("expected a section")),
    }
}
