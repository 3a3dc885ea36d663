//! The memory of a history as caches may show it.

use crate::access::MAX_PAGES;
use crate::address::PhysAddr;
use crate::cache::history::History;
use crate::cache::moments::MomentNumber;
use crate::memory::{OutsideMemory, TableMemory};
use crate::table::limits;
use crate::walk::Path;
use crate::x86::format::MAX_LEVELS;
use arrayvec::ArrayVec;
use core::cell::RefCell;
use core::iter;

/// Where the value of an entry on a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A register of the processor (PDPTE-1).
    Register,
    /// Memory as it is now.
    Memory,
    /// A cache: it has been replaced in memory.
    Past,
    /// There is no memory, and this is what reads from it gave (OUT-1).
    Outside(&'static str),
}

/// The value that one read got, or the registers that start a walk: number `chosen` of `count`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    chosen: usize,
    count: usize,
    pub(super) origin: Origin,
    /// The moment at which the value was stored.
    pub(super) stored: MomentNumber,
    /// The first moment at which it was gone; none is so late for a value that is still there.
    pub(super) until: MomentNumber,
}

impl Pick {
    /// A PDPTE in a register (PDPTE-1).
    const REGISTER: Self =
        Self { chosen: 0, count: 1, origin: Origin::Register, stored: 0, until: MomentNumber::MAX };
}

/// The picks of a view: for each walk, the registers that start it, and then its reads.
#[derive(Debug, Default)]
struct Picks {
    list: ArrayVec<Pick, { MAX_PAGES * (MAX_LEVELS + 1) }>,
    /// The number of choices so far: reads, and starts of walks.
    read: usize,
    /// The first moment at which the next entry can have been cached.
    since: MomentNumber,
}

impl Picks {
    /// The number that the next choice takes in this view.
    fn chosen(&self) -> usize {
        self.list.get(self.read).map_or(0, |pick| pick.chosen)
    }

    /// Adds the next choice.
    fn add(&mut self, pick: Pick) {
        match self.list.get_mut(self.read) {
            Some(known) => *known = pick,
            None => self.list.push(pick),
        }
        self.read += 1;
    }
}

/// The memory of a history as caches may show it: each read returns one of the values that the entry
/// had.
///
/// The walk is repeated, each time with other picks, until all have been tried: first the values in
/// memory, then the others of the last read, and so on upwards.
pub(super) struct StaleView<'h, M, const N: usize> {
    pub(super) history: &'h History<M, N>,
    picks: RefCell<Picks>,
}

impl<M: TableMemory<Error = OutsideMemory>, const N: usize> TableMemory for StaleView<'_, M, N> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let mut picks = self.picks.borrow_mut();
        let chosen = picks.chosen();
        let mut past = self.history.past(at);
        let count_inside = 1 + self.history.past_since(at, picks.since);

        let mut until = MomentNumber::MAX;
        let (value, count, origin) = match (self.history.memory().read_entry(at, bytes), chosen) {
            (Ok(now), 0) => (now, count_inside, Origin::Memory),
            (Ok(now), _) => {
                let old = past.nth(chosen - 1);
                until = old.map_or(until, |past| past.until);
                (old.map_or(now, |past| past.value), count_inside, Origin::Past)
            }
            (Err(_), 0) => (0, 2, Origin::Outside("reads as zeros")),
            (Err(_), _) => (limits::all_ones(bytes), 2, Origin::Outside("reads as ones")),
        };

        // The value was stored when the one before it was replaced. Entries below it were cached at
        // that moment or later.
        let stored = past.next().map_or(0, |before| before.until);
        picks.since = stored.max(picks.since);
        picks.add(Pick { chosen, count, origin, stored, until });
        Ok(value)
    }
}

impl<'h, M, const N: usize> StaleView<'h, M, N> {
    /// The view that shows memory as it is now.
    pub(super) fn new(history: &'h History<M, N>) -> Self {
        Self { history, picks: RefCell::default() }
    }

    /// Starts a walk by one of `count` registers, and returns its number.
    pub(super) fn start_walk(&self, count: usize) -> usize {
        let mut picks = self.picks.borrow_mut();
        let chosen = picks.chosen();
        picks.since = 0;
        picks.add(Pick { chosen, count, ..Pick::REGISTER });
        chosen
    }

    /// The number of choices so far.
    pub(super) fn reads(&self) -> usize {
        self.picks.borrow().read
    }

    /// The picks for the entries of a path that was walked after `reads_before` reads. Steps without
    /// a read are registers, and come first (PDPTE-1).
    pub(super) fn picks(&self, path: &Path, reads_before: usize) -> ArrayVec<Pick, MAX_LEVELS> {
        let picks = self.picks.borrow();
        let reads = &picks.list[reads_before..picks.read];
        let registers = path.steps.len() - reads.len();

        iter::repeat_n(Pick::REGISTER, registers).chain(reads.iter().copied()).collect()
    }

    /// Goes on to the next view, if there is one.
    pub(super) fn advance(&self) -> bool {
        let Picks { list, read, .. } = &mut *self.picks.borrow_mut();
        *read = 0;

        while let Some(last) = list.last_mut() {
            last.chosen += 1;
            if last.chosen < last.count {
                return true;
            }
            list.pop();
        }
        false
    }
}
