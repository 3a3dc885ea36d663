//! The memory of a test, as one processor sees it.

use crate::address::PhysAddr;
use crate::memory::{OutsideMemory, TableMemory};
use alloc::vec::Vec;
use core::cell::Cell;

/// A store that is not yet in memory: the number of the word, and the value.
pub(super) type PendingStore = (u8, u64);

/// Where the words of a test are, in ascending order. Their values are in the states.
#[derive(Clone, Debug)]
pub(super) struct Addresses(Vec<PhysAddr>);

impl Addresses {
    /// Those of these words, each once.
    pub(super) fn new(words: impl Iterator<Item = PhysAddr>) -> Self {
        let mut addresses: Vec<PhysAddr> = words.collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses)
    }

    /// The number of words.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The number of the word at an address.
    pub(super) fn number(&self, at: PhysAddr) -> Result<u8, OutsideMemory> {
        let number = self.0.binary_search(&at).ok().and_then(|number| u8::try_from(number).ok());
        number.ok_or(OutsideMemory(at))
    }

    /// The address of a word.
    pub(super) fn of(&self, number: u8) -> PhysAddr {
        self.0[usize::from(number)]
    }
}

/// Memory as a processor sees it that has these stores pending.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) addresses: &'a Addresses,
    pub(super) words: &'a [u64],
    /// The oldest first.
    pub(super) stores: &'a [PendingStore],
}

impl Sight<'_> {
    /// The word at an address.
    pub(super) fn read(&self, at: PhysAddr) -> Result<u64, OutsideMemory> {
        let number = self.addresses.number(at)?;
        let pending = self.stores.iter().rev().find(|(word, _)| *word == number);
        Ok(pending.map_or(self.words[usize::from(number)], |(_, value)| *value))
    }

    /// The same without the pending stores.
    pub(super) const fn without_stores(self) -> Self {
        Self { stores: &[], ..self }
    }
}

impl TableMemory for Sight<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        self.read(at)
    }
}

/// The entries that a walk reads: the first ones out of a cache, whatever memory has in their place.
pub(super) struct BelowCached<'a> {
    sight: Sight<'a>,
    cached: &'a [u64],
    reads: Cell<usize>,
}

impl<'a> BelowCached<'a> {
    pub(super) const fn new(sight: Sight<'a>, cached: &'a [u64]) -> Self {
        Self { sight, cached, reads: Cell::new(0) }
    }

    /// The number of entries that were read, cached ones included.
    pub(super) const fn reads(&self) -> usize {
        self.reads.get()
    }
}

impl TableMemory for BelowCached<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        let number = self.reads.replace(self.reads.get() + 1);
        self.cached.get(number).map_or_else(|| self.sight.read(at), |entry| Ok(*entry))
    }
}
