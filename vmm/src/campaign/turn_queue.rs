//! Hands out the turns of a schedule to the machines of a campaign, in order, and puts what comes of
//! them back in order. So it does not matter how many machines there are.

use crate::generate::{Schedule, Turn};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The turns of a schedule, in the order in which the machines take them: two at a time, one for each
/// arena of a machine.
pub(super) struct TurnQueue<'p> {
    schedule: &'p Schedule,
    /// Maximum number of turns that are taken and not judged.
    room: u64,
    state: Mutex<QueueState>,
    /// Notified when there is more room, and when the queue is closed.
    changed: Condvar,
    is_closed: AtomicBool,
}

struct QueueState {
    /// The turn to look for next.
    next: u64,
    /// Number of turns that were taken.
    taken: u64,
    /// Number of turns that were judged.
    judged: u64,
    /// Whether no turns are left.
    is_empty: bool,
}

/// A turn with its place among all that are taken.
pub(super) struct PlacedTurn {
    pub(super) place: u64,
    pub(super) turn: Turn,
}

impl<'p> TurnQueue<'p> {
    /// Number of turns that each machine may be ahead of the verdicts: two batches in flight, two that
    /// are being judged, and as many again so that a slow batch of one machine does not stop the others.
    const ROOM_OF_A_MACHINE: u64 = 8;

    /// The turns from `next` on, for this number of machines.
    pub(super) fn new(schedule: &'p Schedule, next: u64, machines: usize) -> Self {
        Self {
            schedule,
            room: machines as u64 * Self::ROOM_OF_A_MACHINE,
            state: Mutex::new(QueueState { next, taken: 0, judged: 0, is_empty: false }),
            changed: Condvar::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Takes the next turns: one or two with neighbouring batches, or none if there are none, no room, or
    /// the queue is closed.
    pub(super) fn take(&self) -> VecDeque<PlacedTurn> {
        let mut state = self.state();
        let mut turns = VecDeque::new();
        if self.is_closed() || !self.has_room(&state) {
            return turns;
        }

        while turns.len() < 2
            && let Some(turn) = self.next_turn(&state, turns.back())
        {
            state.next = turn.number + 1;
            turns.push_back(PlacedTurn { place: state.taken, turn });
            state.taken += 1;
        }

        state.is_empty = turns.is_empty();
        turns
    }

    /// The next turn; after another one only if its batch is the other of the same pair.
    fn next_turn(&self, state: &QueueState, after: Option<&PlacedTurn>) -> Option<Turn> {
        let turn = self.schedule.turn(state.next)?;
        let is_neighbour = after.is_none_or(|after| turn.is_paired_with(&after.turn));
        is_neighbour.then_some(turn)
    }

    /// Waits a little for room. Returns whether it is worth trying again to take turns.
    pub(super) fn wait_for_room(&self) -> bool {
        /// The time after which a machine looks whether the campaign is over.
        const LOOK: Duration = Duration::from_millis(50);

        let must_wait =
            |state: &mut QueueState| !state.is_empty && !self.is_closed() && !self.has_room(state);

        let waited = self.changed.wait_timeout_while(self.state(), LOOK, must_wait);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_empty && !self.is_closed()
    }

    /// Notes that the next turn was judged.
    pub(super) fn judged_one(&self) {
        self.state().judged += 1;
        self.changed.notify_all();
    }

    /// Hands out no turns any more.
    pub(super) fn close(&self) {
        let state = self.state();
        self.is_closed.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// Set when the queue is closed.
    pub(super) const fn closed(&self) -> &AtomicBool {
        &self.is_closed
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn has_room(&self, state: &QueueState) -> bool {
        state.taken - state.judged < self.room
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a queue when it is dropped, so that no thread waits for one that panicked.
pub(super) struct CloseOnDrop<'q>(pub(super) &'q TurnQueue<'q>);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Results that arrive in any order, and leave in the order of their places.
pub(super) struct InOrder<T> {
    next: u64,
    early: BTreeMap<u64, T>,
}

impl<T> InOrder<T> {
    pub(super) const fn new() -> Self {
        Self { next: 0, early: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, place: u64, result: T) {
        self.early.insert(place, result);
    }

    /// The result whose turn it is, if it has arrived.
    pub(super) fn take_next(&mut self) -> Option<T> {
        let result = self.early.remove(&self.next)?;
        self.next += 1;
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, Shard};
    use crosswalk_machine::Capabilities;
    use mmu_core::{PagingMode, Profile};
    use std::thread;

    fn schedule(cases: u64) -> Schedule {
        let machine = Capabilities::of_everything(Profile::default());
        let modes = [PagingMode::Pae, PagingMode::FourLevel];
        Schedule::new(&[Generator::Random(7)], &modes, &machine, Shard::WHOLE, Some(cases))
    }

    fn numbers(turns: &VecDeque<PlacedTurn>) -> Vec<u64> {
        turns.iter().map(|placed| placed.turn.number).collect()
    }

    /// Two batches of PAE, two of 4 levels, and so on; the limit ends the last pair after one batch.
    #[test]
    fn turns_are_taken_in_pairs_of_one_mode() {
        let schedule = schedule(480 * 4 + 1);
        let queue = TurnQueue::new(&schedule, 0, 1);

        assert_eq!(numbers(&queue.take()), [0, 1]);
        assert_eq!(numbers(&queue.take()), [2, 3]);
        assert_eq!(numbers(&queue.take()), [4]);
        assert_eq!(numbers(&queue.take()), [0; 0]);
        assert!(!queue.wait_for_room(), "no turns are left");
    }

    /// A run that was stopped between two batches of a pair.
    #[test]
    fn a_run_that_goes_on_in_the_middle_of_a_pair_takes_the_rest_of_it_first() {
        let schedule = schedule(480 * 8);
        let queue = TurnQueue::new(&schedule, 1, 1);
        assert_eq!(numbers(&queue.take()), [1]);
        assert_eq!(numbers(&queue.take()), [2, 3]);
    }

    #[test]
    fn no_machine_is_far_ahead_of_the_verdicts() {
        let schedule = schedule(480 * 100);
        let queue = TurnQueue::new(&schedule, 0, 1);
        for _ in 0..4 {
            assert_eq!(queue.take().len(), 2);
        }
        assert!(queue.take().is_empty(), "eight turns are out");
        assert!(queue.wait_for_room(), "there are more");

        queue.judged_one();
        assert_eq!(numbers(&queue.take()), [8, 9]);
    }

    #[test]
    fn a_closed_queue_wakes_those_who_wait() {
        let schedule = schedule(480 * 100);
        let queue = TurnQueue::new(&schedule, 0, 1);
        while !queue.take().is_empty() {}

        thread::scope(|scope| {
            let waiting = scope.spawn(|| while queue.wait_for_room() {});
            drop(CloseOnDrop(&queue));
            waiting.join().expect("it ends");
        });
        assert!(queue.take().is_empty());
    }

    #[test]
    fn results_leave_in_order() {
        let mut results = InOrder::new();
        results.add(2, "third");
        results.add(1, "second");
        assert_eq!(results.take_next(), None);
        results.add(0, "first");
        let order: Vec<_> = std::iter::from_fn(|| results.take_next()).collect();
        assert_eq!(order, ["first", "second", "third"]);
    }
}
