//! Random cases, guided towards what chance shows least.
//!
//! Several candidates are drawn for each lane, and the one is kept that shows the rarest thing: a rule
//! that decides, or a way in which an access ends. How rare these are is estimated by a survey before
//! the first case, from the seed and the predictions alone. So the cases do not depend on what a run
//! has done, and are the same in every shard and after a resume.

use super::alone::alone;
use super::placement::FreeSlots;
use super::random::{lane, together};
use super::relocation::relocate;
use super::state::{BatchState, random_batch_state};
use super::wrap::or_wrapped;
use super::{ENDLESS, Stream, is_alone, random_cases_before, stream_seed};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::{AccessKind, PagingMode, Reference, Ring, Rule};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::OnceLock;

/// Number of batches that the survey draws, each with its own control state.
const SURVEY_BATCHES: u64 = 64;
/// Number of cases in each of them.
const SURVEY_LANES: usize = 60;
/// Number of control states from which a batch chooses.
const STATES: usize = 4;
/// Number of cases by which a control state is judged.
const CASES_OF_STATE: usize = 8;
/// Number of candidates for each lane.
const CANDIDATES: usize = 6;

/// Guided cases of one mode. The same seed and machine give the same cases.
#[derive(Debug)]
pub struct GuidedStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
    survey: OnceLock<Survey<Goal>>,
}

/// Something that a case can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    /// A rule that decides.
    Rule(Rule),
    /// A way to end: vector and error code, or none for completion.
    End(Ring, AccessKind, Option<(u8, u32)>),
}

impl Goal {
    /// Everything that a case shows by the reference.
    fn of(case: &Case) -> Vec<Self> {
        let prediction = Reference.predict(case);
        let fault = prediction.alternatives.first().and_then(|way| way.outcome.fault());
        let end = fault.map(|fault| (fault.vector as u8, fault.error_code));

        let rules = prediction.rules.iter().map(Self::Rule);
        rules.chain([Self::End(case.access.ring, case.access.kind, end)]).collect()
    }
}

/// The number of cases that showed each goal.
#[derive(Clone, Debug)]
pub(super) struct Survey<G> {
    shown: HashMap<G, u64>,
}

impl<G> Default for Survey<G> {
    fn default() -> Self {
        Self { shown: HashMap::new() }
    }
}

impl<G: Eq + Hash> Survey<G> {
    /// Adds a case that shows these goals.
    pub(super) fn add(&mut self, goals: Vec<G>) {
        for goal in goals {
            *self.shown.entry(goal).or_default() += 1;
        }
    }

    /// The worth of a case: that of its rarest goal. A goal is worth less the more often it was shown.
    pub(super) fn worth(&self, goals: &[G]) -> f64 {
        let worth = |goal| 1.0 / (1.0 + self.shown.get(goal).copied().unwrap_or(0) as f64);
        goals.iter().map(worth).fold(0.0, f64::max)
    }
}

impl GuidedStream {
    /// Cases for a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine, survey: OnceLock::new() }
    }

    fn survey(&self) -> &Survey<Goal> {
        self.survey.get_or_init(|| {
            let mut survey = Survey::default();
            for batch in 0..SURVEY_BATCHES {
                let mut rng = self.rng(ENDLESS + batch);
                let arena = Arena::for_batch(batch);
                let cases =
                    together(&mut rng, (self.mode, batch), arena, &self.machine, SURVEY_LANES);
                for case in cases {
                    survey.add(Goal::of(&case));
                }
            }
            survey
        })
    }

    fn rng(&self, batch: u64) -> Xoshiro256PlusPlus {
        // Not the cases that `random` has for this seed.
        Xoshiro256PlusPlus::seed_from_u64(stream_seed(!self.seed, self.mode, batch))
    }

    /// The cases of a batch, one for each lane.
    fn together(&self, rng: &mut Xoshiro256PlusPlus, number: u64, lanes: usize) -> Vec<Case> {
        let arena = Arena::for_batch(number);
        let state = self.state(rng, number);
        let mut slots = FreeSlots::new(state.table_use());
        // What the batch has shown is worth less from then on.
        let mut survey = self.survey().clone();
        let mut cases = Vec::with_capacity(lanes);

        for lane_number in 0..lanes {
            let candidates = (0..CANDIDATES).map(|_| {
                let mut slots = slots.clone();
                let case = lane(rng, arena, lane_number, &self.machine, state, &mut slots);
                (survey.worth(&Goal::of(&case)), case, slots)
            });
            let best = candidates.max_by(|(one, ..), (other, ..)| one.total_cmp(other));
            let (_, case, taken) = best.expect("there is a candidate");

            survey.add(Goal::of(&case));
            slots = taken;
            cases.push(case);
        }
        cases
    }

    /// Of a few control states the one under which the best of a few cases is worth most.
    fn state(&self, rng: &mut Xoshiro256PlusPlus, number: u64) -> BatchState {
        let arena = Arena::for_batch(number);
        let survey = self.survey();
        let candidates = (0..STATES).map(|_| {
            let state = random_batch_state(rng, (self.mode, number), arena, &self.machine);
            let worth = |_| {
                let mut slots = FreeSlots::new(state.table_use());
                let case = lane(rng, arena, 0, &self.machine, state, &mut slots);
                survey.worth(&Goal::of(&case))
            };
            ((0..CASES_OF_STATE).map(worth).fold(0.0, f64::max), state)
        });
        let best = candidates.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.expect("there is a candidate").1
    }

    /// A case that runs alone.
    fn alone(&self, rng: &mut Xoshiro256PlusPlus, number: u64) -> Case {
        let arena = Arena::for_batch(number);
        let batch = (self.mode, number);
        let candidates = (0..CANDIDATES).map(|_| alone(rng, batch, arena, &self.machine));
        let worth = |case: &Case| self.survey().worth(&Goal::of(case));
        let best = candidates.max_by(|one, other| worth(one).total_cmp(&worth(other)));
        best.expect("there is a candidate")
    }
}

impl Stream for GuidedStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        random_cases_before(self.mode, batch)
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let seed = stream_seed(!self.seed, self.mode, number);
        let mut rng = self.rng(number);
        let arena = Arena::for_batch(number);
        let mut cases = if is_alone(self.mode, number) {
            let case = self.alone(&mut rng, number);
            vec![or_wrapped(case, seed, arena, &self.machine)]
        } else {
            self.together(&mut rng, number, most.min(MAX_LANES))
        };
        relocate(&mut cases, seed, (self.mode, number), arena, &self.machine);
        Batch { arena, cases }
    }
}
