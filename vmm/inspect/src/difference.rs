//! What two address spaces map differently: the same guest at two moments, or two processes.

use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use mmu_core::{PhysAddr, VirtAddr};
use std::cmp::Ordering;

/// A piece of a page, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedPiece {
    /// The first address.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// The physical address of the first byte.
    pub address: PhysAddr,
    /// What the path allows.
    pub rights: Rights,
    /// The page has 2^`shift` bytes.
    pub shift: u8,
    /// A, D and G of the leaf.
    pub flags: EntryBits,
}

impl MappedPiece {
    /// The flags that are compared.
    const FLAGS: EntryBits = EntryBits::A.union(EntryBits::D).union(EntryBits::G);

    fn of(page: &PresentEntry) -> Option<Self> {
        let EntryMeaning::Page(address) = page.meaning else { return None };
        Some(Self {
            first: page.first,
            last: page.last,
            address,
            rights: page.rights,
            shift: page.level.shift,
            flags: EntryBits::from_bits_retain(page.entry) & Self::FLAGS,
        })
    }

    /// Number of bytes.
    pub const fn bytes(&self) -> u64 {
        self.last.get().wrapping_sub(self.first.get()).wrapping_add(1)
    }

    /// The part up to an address, which is in the piece, and the part behind it.
    fn split(self, last: VirtAddr) -> (Self, Option<Self>) {
        if last >= self.last {
            return (self, None);
        }
        let first = last.wrapping_add(1);
        let address = self.address + first.get().wrapping_sub(self.first.get());
        (Self { last, ..self }, Some(Self { first, address, ..self }))
    }
}

/// What differs for a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was mapped. `None` if nothing was.
    pub before: Option<MappedPiece>,
    /// What is mapped, for the same addresses.
    pub after: Option<MappedPiece>,
}

impl Change {
    /// The first and the last address.
    pub fn range(&self) -> (VirtAddr, VirtAddr) {
        let piece = self.before.or(self.after);
        piece.map_or((VirtAddr::new(0), VirtAddr::new(0)), |piece| (piece.first, piece.last))
    }
}

/// What two address spaces map differently: an iterator over both.
#[derive(Debug)]
pub struct Differences<A: Iterator, B: Iterator> {
    before: Side<A>,
    after: Side<B>,
    /// The flags that count.
    flags: EntryBits,
}

/// One of them, with the rest of a page of which a part was compared.
#[derive(Debug)]
struct Side<I: Iterator> {
    pages: I,
    rest: Option<MappedPiece>,
}

impl<I: Iterator<Item = PresentEntry>> Side<I> {
    fn next(&mut self) -> Option<MappedPiece> {
        self.rest.take().or_else(|| self.pages.find_map(|page| MappedPiece::of(&page)))
    }
}

impl<A, B> Differences<A, B>
where
    A: Iterator<Item = PresentEntry>,
    B: Iterator<Item = PresentEntry>,
{
    /// Compares pages in the order of addresses. A, D and G count if they are among `flags`.
    pub fn new(before: A, after: B, flags: EntryBits) -> Self {
        Self {
            before: Side { pages: before, rest: None },
            after: Side { pages: after, rest: None },
            flags,
        }
    }

    /// The next addresses that one of them maps, or both.
    fn next_piece(&mut self) -> Option<Change> {
        let (before, after) = match (self.before.next(), self.after.next()) {
            (None, None) => return None,
            (Some(before), Some(after)) => (before, after),
            (before, after) => return Some(Change { before, after }),
        };

        // What lies before the other's first address is mapped on one side only.
        match before.first.cmp(&after.first) {
            Ordering::Less => {
                let (alone, rest) = before.split(before_of(after.first));
                self.before.rest = rest;
                self.after.rest = Some(after);
                Some(Change { before: Some(alone), after: None })
            }
            Ordering::Greater => {
                let (alone, rest) = after.split(before_of(before.first));
                self.after.rest = rest;
                self.before.rest = Some(before);
                Some(Change { before: None, after: Some(alone) })
            }
            Ordering::Equal => {
                let last = before.last.min(after.last);
                let (before, rest) = before.split(last);
                self.before.rest = rest;
                let (after, rest) = after.split(last);
                self.after.rest = rest;
                Some(Change { before: Some(before), after: Some(after) })
            }
        }
    }

    /// Whether a piece is mapped differently.
    fn is_change(&self, change: &Change) -> bool {
        let (Some(before), Some(after)) = (change.before, change.after) else { return true };
        before.address != after.address
            || before.rights != after.rights
            || before.shift != after.shift
            || (before.flags ^ after.flags).intersects(self.flags)
    }
}

/// The address before this one.
const fn before_of(address: VirtAddr) -> VirtAddr {
    VirtAddr::new(address.get().wrapping_sub(1))
}

impl<A, B> Iterator for Differences<A, B>
where
    A: Iterator<Item = PresentEntry>,
    B: Iterator<Item = PresentEntry>,
{
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            let change = self.next_piece()?;
            if self.is_change(&change) {
                return Some(change);
            }
        }
    }
}
