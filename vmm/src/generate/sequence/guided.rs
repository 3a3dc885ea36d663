//! Random sequences, guided towards what chance shows least: as [`crate::generate::guided`], with goals
//! that belong to sequences.

use super::{SALT, SequenceBatch};
use crate::generate::guided::Survey;
use crate::generate::{ENDLESS, Stream, is_alone, paged_cases_before, stream_seed};
use crate::walker::Walker;
use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::{Arena, MAX_SEQUENCES};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::{AccessKind, PagingMode, Reference, Ring, Rule};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::mem::Discriminant;
use std::sync::OnceLock;

/// Number of batches that the survey draws, each with its own control state.
const SURVEY_BATCHES: u64 = 32;
/// Number of sequences in each of them.
const SURVEY_LANES: usize = 40;
/// Number of candidates for each lane.
const CANDIDATES: usize = 4;

/// Guided sequences of one mode. The same seed and machine give the same cases.
#[derive(Debug)]
pub struct GuidedSequenceStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
    survey: OnceLock<Survey<SequenceGoal>>,
}

/// Something that a sequence can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SequenceGoal {
    /// A rule that decides one of its accesses.
    Rule(Rule),
    /// A rule that decides an access right after an action of this kind.
    After(Discriminant<Action>, Ring, AccessKind, Rule),
}

impl SequenceGoal {
    /// Everything that a sequence shows by the reference.
    fn of(case: &Case) -> Vec<Self> {
        let mut goals = Vec::new();
        let mut predictions = Reference.predict_accesses(case).into_iter();
        let mut before: Option<Action> = None;

        for action in case.script() {
            if let Action::Access(step) = action
                && let Some(prediction) = predictions.next()
            {
                for rule in prediction.rules.iter() {
                    goals.push(Self::Rule(rule));
                    if let Some(before) = before {
                        let kind = std::mem::discriminant(&before);
                        goals.push(Self::After(kind, step.access.ring, step.access.kind, rule));
                    }
                }
            }
            before = Some(action);
        }
        goals
    }
}

impl GuidedSequenceStream {
    /// Sequences for a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine, survey: OnceLock::new() }
    }

    fn survey(&self) -> &Survey<SequenceGoal> {
        self.survey.get_or_init(|| {
            let mut survey = Survey::default();
            for number in 0..SURVEY_BATCHES {
                let mut rng = self.rng(ENDLESS + number);
                let batch = SequenceBatch::random(&mut rng, self.mode, number, &self.machine);
                for case in batch.together(&mut rng, SURVEY_LANES) {
                    survey.add(SequenceGoal::of(&case));
                }
            }
            survey
        })
    }

    fn rng(&self, batch: u64) -> Xoshiro256PlusPlus {
        // Not the sequences that are random for this seed.
        Xoshiro256PlusPlus::seed_from_u64(stream_seed(!self.seed ^ SALT, self.mode, batch))
    }

    /// Of a few candidates for each lane the one that is worth most.
    fn together(
        &self,
        batch: &SequenceBatch<'_>,
        rng: &mut Xoshiro256PlusPlus,
        count: usize,
    ) -> Vec<Case> {
        let mut slots = batch.free_slots();
        // What the batch has shown is worth less from then on.
        let mut survey = self.survey().clone();
        let mut cases = Vec::with_capacity(count);

        for number in 0..count {
            let candidates = (0..CANDIDATES).map(|_| {
                let mut slots = slots.clone();
                let case = batch.sequence(rng, number, &mut slots);
                let goals = SequenceGoal::of(&case);
                (survey.worth(&goals), case, goals, slots)
            });
            let best = candidates.max_by(|(one, ..), (other, ..)| one.total_cmp(other));
            let (_, case, goals, taken) = best.expect("there is a candidate");

            survey.add(goals);
            slots = taken;
            cases.push(case);
        }
        cases
    }
}

impl Stream for GuidedSequenceStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        paged_cases_before(MAX_SEQUENCES as u64, batch)
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let mut rng = self.rng(number);
        let batch = SequenceBatch::random(&mut rng, self.mode, number, &self.machine);

        let cases = if is_alone(self.mode, number) {
            vec![batch.alone(&mut rng)]
        } else {
            self.together(&batch, &mut rng, most.min(MAX_SEQUENCES))
        };
        Batch { arena: Arena::for_batch(number), cases }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::sequence::SequenceStream;
    use crate::generate::tests::capabilities;
    use std::collections::HashSet;

    /// The number of different goals that the first batches of a stream show.
    fn goals(stream: &dyn Stream) -> usize {
        let cases = (0..3).flat_map(|number| stream.batch(number, usize::MAX).cases);
        cases.flat_map(|case| SequenceGoal::of(&case)).collect::<HashSet<_>>().len()
    }

    #[test]
    fn guided_sequences_show_more_than_random_ones() {
        let machine = capabilities(true);
        let random = goals(&SequenceStream::new(3, PagingMode::FourLevel, machine.clone()));
        let guided = goals(&GuidedSequenceStream::new(3, PagingMode::FourLevel, machine));
        assert!(guided > random * 11 / 10, "{guided} goals, and {random} by chance");
    }
}
