//! Every execution of a test, shortest first.

use super::choices::LitmusChoices;
use super::decisions::{LitmusReference, LitmusSemantics};
use super::event::Event;
use super::machine::{Machine, MachineState, Successor};
use super::test::LitmusTest;
use super::{ActionResult, LitmusError};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// How a test ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LitmusOutcome {
    /// The results of each processor's actions, those of its handler aside.
    pub results: Vec<Vec<ActionResult>>,
    /// The observed bits of memory, in the order of [`LitmusTest::observed`].
    pub memory: Vec<u64>,
}

/// One way to an outcome: the choices that it takes, and a shortest execution with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The choices. No other way to the outcome needs fewer of these and no others.
    pub choices: LitmusChoices,
    /// What happens.
    pub execution: Vec<Event>,
}

/// Every outcome that is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exploration {
    /// The outcomes, with the ways to each.
    pub outcomes: BTreeMap<LitmusOutcome, Vec<Way>>,
    /// Number of states that were visited.
    pub states: usize,
}

/// How a state was reached: from which, by which of its successors, and with which choices.
struct Node {
    from: usize,
    ordinal: usize,
    choices: LitmusChoices,
}

impl LitmusTest {
    /// Every outcome that the manuals allow.
    ///
    /// # Errors
    /// If an action leads to memory that the test does not have, or is refused by the processor; and if there are
    /// more than `limit` states.
    pub fn explore(&self, limit: usize) -> Result<Exploration, LitmusError> {
        self.explore_on(LitmusReference, limit)
    }

    /// Every outcome on a machine that decides as `semantics` does.
    ///
    /// # Errors
    /// As [`Self::explore`].
    pub fn explore_on<S: LitmusSemantics>(
        &self,
        semantics: S,
        limit: usize,
    ) -> Result<Exploration, LitmusError> {
        let machine = Machine::new(self, semantics);
        let mut known: BTreeMap<MachineState, Vec<LitmusChoices>> = BTreeMap::new();
        let mut nodes = Vec::from([Node { from: 0, ordinal: 0, choices: LitmusChoices::empty() }]);
        let mut waiting = VecDeque::from([(machine.initial()?, 0)]);
        let mut ends: BTreeMap<LitmusOutcome, Vec<(LitmusChoices, usize)>> = BTreeMap::new();

        while let Some((state, number)) = waiting.pop_front() {
            let choices = nodes[number].choices;
            if machine.is_final(&state) {
                let ways = ends.entry(self.outcome(&machine, &state)?).or_default();
                if !add_minimal(ways, choices, number) {
                    continue;
                }
            }
            for (ordinal, successor) in machine.successors(&state)?.into_iter().enumerate() {
                let choices = choices | successor.choices;
                let ways = known.entry(successor.state.clone()).or_default();
                if ways.iter().any(|way| choices.contains(*way)) {
                    continue;
                }
                ways.push(choices);
                nodes.push(Node { from: number, ordinal, choices });
                if nodes.len() > limit {
                    return Err(LitmusError::TooManyStates(limit));
                }
                waiting.push_back((successor.state, nodes.len() - 1));
            }
        }

        let mut exploration = Exploration { states: known.len() + 1, ..Exploration::default() };
        for (outcome, ways) in ends {
            let ways = ways.into_iter().map(|(choices, number)| {
                Ok(Way { choices, execution: execution(&machine, &nodes, number)? })
            });
            exploration.outcomes.insert(outcome, ways.collect::<Result<_, LitmusError>>()?);
        }
        Ok(exploration)
    }

    fn outcome<S: LitmusSemantics>(
        &self,
        machine: &Machine<'_, S>,
        state: &MachineState,
    ) -> Result<LitmusOutcome, LitmusError> {
        let results = state.processors.iter().map(|processor| processor.results.clone()).collect();
        let memory = self.observed.iter().map(|observed| {
            let word = machine.addresses.number(observed.at)?;
            Ok(state.words[usize::from(word)] & observed.mask)
        });
        Ok(LitmusOutcome { results, memory: memory.collect::<Result<_, LitmusError>>()? })
    }
}

/// Adds a way unless one is known that needs no more; forgets those that need more. Returns whether it was
/// added.
fn add_minimal(
    ways: &mut Vec<(LitmusChoices, usize)>,
    choices: LitmusChoices,
    number: usize,
) -> bool {
    if ways.iter().any(|(known, _)| choices.contains(*known)) {
        return false;
    }
    ways.retain(|(known, _)| !known.contains(choices));
    ways.push((choices, number));
    true
}

/// What happens on the way to a state.
fn execution<S: LitmusSemantics>(
    machine: &Machine<'_, S>,
    nodes: &[Node],
    mut number: usize,
) -> Result<Vec<Event>, LitmusError> {
    let mut ordinals = Vec::new();
    while number != 0 {
        ordinals.push(nodes[number].ordinal);
        number = nodes[number].from;
    }

    let mut state = machine.initial()?;
    let mut events = Vec::new();
    for ordinal in ordinals.into_iter().rev() {
        let successor = machine.successors(&state)?.into_iter().nth(ordinal);
        let Some(Successor { event, state: after, .. }) = successor else { break };
        events.push(event);
        state = after;
    }
    Ok(events)
}
