//! Random cases, steered: of several drafts for a lane the one is kept that shows what chance shows
//! least. What chance shows is found by a survey before the first case, from the seed and the
//! predictions alone: which rules decide and how accesses end. So the cases need no memory of what a
//! run has done, and are the same in every shard and after a resume.

use super::placement::FreeSlots;
use super::state::random_state;
use super::{ENDLESS, Stream, arena_of_batch, is_alone, random, random_cases_before, stream_seed};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::{AccessKind, ControlState, PagingMode, Reference, Ring, Rule};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Batches that the survey draws, each with a control state of its own.
const SURVEYED: u64 = 64;
/// Cases of each.
const LANES_SURVEYED: usize = 60;
/// Control states among which the one is chosen that shows most.
const STATES: usize = 4;
/// Drafts for each lane.
const DRAFTS: usize = 6;

/// Steered cases in one mode; the same for the same seed and machine.
#[derive(Debug)]
pub struct GuidedStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
    survey: OnceLock<Survey>,
}

/// What a case can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    /// A rule that decides.
    Rule(Rule),
    /// A way to end: vector and error code, none for completion.
    End(Ring, AccessKind, Option<(u8, u32)>),
}

/// How often each goal was met.
#[derive(Clone, Debug, Default)]
struct Survey {
    met: HashMap<Goal, u64>,
}

impl Survey {
    fn add(&mut self, case: &Case) {
        for goal in goals(case) {
            *self.met.entry(goal).or_default() += 1;
        }
    }

    /// How much a case is worth: that of its rarest goal, the less the more often it was met.
    fn worth(&self, case: &Case) -> f64 {
        let worth = |goal| 1.0 / (1.0 + self.met.get(&goal).copied().unwrap_or(0) as f64);
        goals(case).into_iter().map(worth).fold(0.0, f64::max)
    }
}

/// What the reference says that a case shows.
fn goals(case: &Case) -> Vec<Goal> {
    let prediction = Reference.predict(case);
    let end = prediction.alternatives.first().and_then(|way| way.outcome.fault());
    let end = end.map(|fault| (fault.vector as u8, fault.error_code));
    let rules = prediction.rules.iter().map(Goal::Rule);
    rules.chain([Goal::End(case.access.ring, case.access.kind, end)]).collect()
}

impl GuidedStream {
    /// For a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine, survey: OnceLock::new() }
    }

    fn survey(&self) -> &Survey {
        self.survey.get_or_init(|| {
            let mut survey = Survey::default();
            for batch in 0..SURVEYED {
                let mut rng = self.rng(ENDLESS + batch);
                let (mode, arena) = (self.mode, arena_of_batch(batch));
                let lanes = LANES_SURVEYED;
                for case in random::together(&mut rng, mode, arena, &self.machine, lanes) {
                    survey.add(&case);
                }
            }
            survey
        })
    }

    fn rng(&self, batch: u64) -> Xoshiro256PlusPlus {
        // Other cases than those of `random` with the same seed.
        Xoshiro256PlusPlus::seed_from_u64(stream_seed(!self.seed, self.mode, batch))
    }

    /// The control state under which a few drafts are worth most.
    fn state(&self, rng: &mut Xoshiro256PlusPlus, arena: Arena) -> ControlState {
        let survey = self.survey();
        let candidates = (0..STATES).map(|_| {
            let state = random_state(rng, self.mode, arena, &self.machine);
            let worth =
                |_| survey.worth(&self.draft(rng, arena, 0, state, &mut FreeSlots::new(self.mode)));
            ((0..8).map(worth).fold(0.0, f64::max), state)
        });
        let best = candidates.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.expect("there is a candidate").1
    }

    fn draft(
        &self,
        rng: &mut Xoshiro256PlusPlus,
        arena: Arena,
        lane: usize,
        state: ControlState,
        slots: &mut FreeSlots,
    ) -> Case {
        random::lane(rng, arena, lane, &self.machine, state, slots)
    }

    fn together(&self, rng: &mut Xoshiro256PlusPlus, arena: Arena, lanes: usize) -> Vec<Case> {
        let state = self.state(rng, arena);
        let mut slots = FreeSlots::new(self.mode);
        // What this batch has shown is worth less from then on.
        let mut survey = self.survey().clone();
        let mut cases = Vec::with_capacity(lanes);
        for lane in 0..lanes {
            let drafts = (0..DRAFTS).map(|_| {
                let mut slots = slots.clone();
                let case = self.draft(rng, arena, lane, state, &mut slots);
                (survey.worth(&case), case, slots)
            });
            let best = drafts.max_by(|(one, ..), (other, ..)| one.total_cmp(other));
            let (_, case, taken) = best.expect("there is a draft");
            survey.add(&case);
            slots = taken;
            cases.push(case);
        }
        cases
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
        let mut rng = self.rng(number);
        let arena = arena_of_batch(number);
        let cases = if is_alone(self.mode, number) {
            let drafts =
                (0..DRAFTS).map(|_| random::alone(&mut rng, self.mode, arena, &self.machine));
            let worth = |case: &Case| self.survey().worth(case);
            let best = drafts.max_by(|one, other| worth(one).total_cmp(&worth(other)));
            vec![best.expect("there is a draft")]
        } else {
            self.together(&mut rng, arena, most.min(MAX_LANES))
        };
        Batch { arena, cases }
    }
}
