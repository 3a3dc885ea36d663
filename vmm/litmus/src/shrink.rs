//! The plainest test that still shows something.

use crate::test::Litmus;

/// Leaves out actions of a test, one after the other, as long as it still shows what `shows` looks for. A test that
/// waits for what was left out would never end, so stores to flags and what waits for them stay.
pub fn shrink(test: &Litmus, mut shows: impl FnMut(&Litmus) -> bool) -> Litmus {
    let mut plainest = test.clone();
    let mut is_plainer = true;
    while is_plainer {
        is_plainer = false;
        for processor in 0..plainest.columns.len() {
            let mut number = 0;
            while number < plainest.columns[processor].len() {
                let Some(candidate) = plainest.without(processor, number) else {
                    number += 1;
                    continue;
                };
                if shows(&candidate) {
                    plainest = candidate;
                    is_plainer = true;
                } else {
                    number += 1;
                }
            }
        }
    }
    plainest
}

impl Litmus {
    /// The test without an action. `None` if another one depends on it, or it is the last one.
    fn without(&self, processor: usize, number: usize) -> Option<Self> {
        use mmu_core::litmus::Action;
        let actions = &self.model.programs[processor].actions;
        let action = actions.get(number)?;
        let is_message = match action {
            Action::WaitFor(..) | Action::Interrupt(_) => true,
            Action::Store(at, _) => self.waits_for(*at),
            _ => false,
        };
        let all: usize = self.columns.iter().map(Vec::len).sum();
        if is_message || all == 1 {
            return None;
        }

        let mut test = self.clone();
        let observed = actions[..number].iter().filter(|action| action.is_observed()).count();
        if action.is_observed() {
            test.observation.results[processor].remove(observed);
        }
        test.columns[processor].remove(number);
        test.model.programs[processor].actions.remove(number);
        Some(test)
    }

    /// Whether anybody waits for a word.
    fn waits_for(&self, at: mmu_core::PhysAddr) -> bool {
        let programs = self.model.programs.iter();
        let mut actions =
            programs.flat_map(|program| program.actions.iter().chain(&program.handler));
        actions.any(|action| {
            matches!(action, mmu_core::litmus::Action::WaitFor(waited, _) if *waited == at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let long = "litmus long\npage x = A\npage y = A\nP0 | P1\nread y | wait f = 1\npte x = B | read x\nf = 1 | fence\nload pte y |\n";
        let test: Litmus = long.parse().unwrap();
        // The old content is read after the edit was announced.
        let shows = |test: &Litmus| {
            let judged = test.judge().unwrap();
            let ends = |wanted: &str| {
                judged.outcomes.keys().any(|outcome| outcome.split(' ').next_back() == Some(wanted))
            };
            ends("a") && ends("b")
        };
        let plainest = shrink(&test, shows);
        assert_eq!(plainest.columns, [vec!["pte x = B", "f = 1"], vec!["wait f = 1", "read x"]]);
        assert!(plainest.judge().unwrap().outcomes.contains_key("b"));
    }
}
