//! Many walks at once, level by level: while one entry comes from memory, the others are asked for.

use super::masks::{Check, Demand, PathBits};
use super::{Mmu, WalkError};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::outcome::Translation;
use crate::x86::format::{EntryKind, Format, Leaf, Level};
use crate::x86::regime::Regime;

/// Number of walks at once: as many as a processor keeps loads in flight, and a few more.
const MANY: usize = 128;
/// Number of walks at once, of those that are left.
const FEW: usize = 8;

/// `N` walks that go down together.
struct Lanes<'a, const N: usize> {
    addresses: &'a [VirtAddr; N],
    /// The entries that they have read last.
    entries: [u64; N],
    /// Their paths so far: the flags that all entries of each have, and those that any has.
    all: [u64; N],
    any: [u64; N],
}

impl<'a, const N: usize> Lanes<'a, N> {
    #[inline]
    const fn new(addresses: &'a [VirtAddr; N]) -> Self {
        let PathBits { all, any } = PathBits::EMPTY;
        Self { addresses, entries: [0; N], all: [all; N], any: [any; N] }
    }

    #[inline]
    const fn path(&self, lane: usize) -> PathBits {
        PathBits { all: self.all[lane], any: self.any[lane] }
    }

    /// Adds the entries, of this level, to the paths.
    #[inline]
    fn extend_paths(&mut self, level: &Level) {
        for lane in 0..N {
            PathBits { all: self.all[lane], any: self.any[lane] } =
                self.path(lane).and(level, self.entries[lane]);
        }
    }

    /// Whether all entries pass a check.
    #[inline]
    fn all_pass(&self, check: Check) -> bool {
        self.entries.iter().fold(0, |flaws, entry| flaws | check.flaws(*entry)) == 0
    }

    /// Whether all paths meet a demand, and the keys of their leaves allow the access.
    #[inline]
    fn all_meet(&self, demand: Demand, access: &Access, regime: &Regime) -> bool {
        if demand.has_keys {
            let mut lanes = 0..N;
            lanes.all(|lane| demand.is_met(self.path(lane), self.entries[lane], access, regime))
        } else {
            (0..N).fold(0, |flaws, lane| flaws | demand.flaws(self.path(lane))) == 0
        }
    }
}

/// How far walks have come together.
enum Together {
    /// One level down.
    Down,
    /// To their pages, which have been handed over.
    Done,
    /// No further.
    NoFurther,
}

impl<F: Format> Mmu<F> {
    /// Walks for many addresses, and hands over the result of each, in their order. It is what
    /// [`Mmu::walk`] returns for an access like `access` at that address. Where entries come from memory
    /// rather than from a cache, it is several times as fast.
    ///
    /// The addresses must be canonical.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{Access, ControlState, Mmu, Profile, Ring, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9007)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// let addresses = [0x1234, 0x2345, 0x3456].map(VirtAddr::new);
    /// let read = Access::read(VirtAddr::new(0), 1, Ring::Three);
    ///
    /// let mut found = Vec::new();
    /// mmu.walk_batch(&tables, &addresses, &read, |_, translation| {
    ///     found.push(translation.ok().map(|translation| translation.address.get()));
    /// });
    /// assert_eq!(found, [Some(0x5234), Some(0x9345), None]);
    /// ```
    #[inline]
    pub fn walk_batch<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        addresses: &[VirtAddr],
        access: &Access,
        mut each: impl FnMut(VirtAddr, Result<Translation, WalkError<M::Error>>),
    ) {
        let Some(demand) = Demand::of(access, &self.regime) else {
            return self.walk_alone(memory, addresses, access, &mut each);
        };

        let (chunks, rest) = addresses.as_chunks::<MANY>();
        for addresses in chunks {
            self.walk_together(memory, addresses, access, demand, &mut each);
        }

        let (chunks, rest) = rest.as_chunks::<FEW>();
        for addresses in chunks {
            self.walk_together(memory, addresses, access, demand, &mut each);
        }

        self.walk_alone(memory, rest, access, &mut each);
    }

    /// Walks for a few addresses, together as far as they go alike: down the same levels, with nothing
    /// wrong. The others go alone, and find in the cache what they have read so far.
    #[inline]
    fn walk_together<const N: usize, M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        addresses: &[VirtAddr; N],
        access: &Access,
        demand: Demand,
        each: &mut impl FnMut(VirtAddr, Result<Translation, WalkError<M::Error>>),
    ) {
        let mut lanes = Lanes::new(addresses);
        let mut go_down = |depth: usize| match depth {
            // Spelt out, so that each level is a constant.
            0 => self.go_down::<0, N, M>(&mut lanes, memory, access, demand, each),
            1 => self.go_down::<1, N, M>(&mut lanes, memory, access, demand, each),
            2 => self.go_down::<2, N, M>(&mut lanes, memory, access, demand, each),
            3 => self.go_down::<3, N, M>(&mut lanes, memory, access, demand, each),
            4 => self.go_down::<4, N, M>(&mut lanes, memory, access, demand, each),
            _ => Together::NoFurther,
        };

        for depth in 0.. {
            match go_down(depth) {
                Together::Down => {}
                Together::Done => return,
                Together::NoFurther => break,
            }
        }
        self.walk_alone(memory, addresses, access, each);
    }

    /// Reads the entries at a depth. Nothing is decided between one load and the next, so that a
    /// processor has as many of them in flight as it can.
    #[inline]
    fn go_down<const DEPTH: usize, const N: usize, M: TableMemory + ?Sized>(
        &self,
        lanes: &mut Lanes<'_, N>,
        memory: &M,
        access: &Access,
        demand: Demand,
        each: &mut impl FnMut(VirtAddr, Result<Translation, WalkError<M::Error>>),
    ) -> Together {
        let Some(level) = F::LEVELS.get(DEPTH) else { return Together::NoFurther };

        let mut places = [PhysAddr::default(); N];
        for ((place, entry), address) in places.iter_mut().zip(&lanes.entries).zip(lanes.addresses)
        {
            let table = match DEPTH.checked_sub(1) {
                None => self.root,
                Some(above) => F::address(&F::LEVELS[above], EntryKind::Table, *entry),
            };
            *place = Self::place_of(level, table, *address);
        }
        for ((entry, place), address) in lanes.entries.iter_mut().zip(&places).zip(lanes.addresses)
        {
            // What cannot be read counts as not present: the detailed walk finds out why.
            *entry = self.entry_at(memory, level, *place, *address).unwrap_or(0);
        }
        lanes.extend_paths(level);

        let masks = self.masks.at(DEPTH);
        if level.leaf != Leaf::Always && lanes.all_pass(masks.table) {
            return Together::Down;
        }
        if !lanes.all_pass(masks.leaf)
            || level.has_flags && !lanes.all_meet(demand, access, &self.regime)
        {
            return Together::NoFurther;
        }

        for (lane, address) in lanes.addresses.iter().enumerate() {
            let (leaf, path) = (lanes.entries[lane], lanes.path(lane));
            each(*address, Ok(Self::translation(level, leaf, path, *address)));
        }
        Together::Done
    }

    /// Walks for one address after the other.
    #[inline(never)]
    fn walk_alone<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        addresses: &[VirtAddr],
        access: &Access,
        each: &mut impl FnMut(VirtAddr, Result<Translation, WalkError<M::Error>>),
    ) {
        for address in addresses {
            each(*address, self.walk(memory, *address, access, &mut ()));
        }
    }
}
