//! What is walked: 1 GiB of guest memory with 4-level tables, whose frames are scattered over it.

use mmu_core::memory::AtomicWords;
use mmu_core::{ControlState, PhysAddr};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of guest memory.
pub(crate) const MEMORY: u64 = 1 << 30;

/// P, R/W, U/S, A and D.
const FLAGS: u64 = 0x67;
/// PS: the entry maps a large page.
const LARGE: u64 = 0x80;

/// Guest memory on huge pages, as words.
#[derive(Debug)]
pub(crate) struct Memory {
    words: &'static [AtomicU64],
}

impl Memory {
    /// Maps it for the rest of the program: every contestant keeps a reference.
    pub(crate) fn new() -> io::Result<Self> {
        use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};
        const HUGE: usize = 2 << 20;

        let len = NonZeroUsize::new(MEMORY as usize + HUGE).expect("it has bytes");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice overlaps no other.
        let start = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE) }?;
        let aligned = start.as_ptr().map_addr(|address| address.next_multiple_of(HUGE));
        let aligned = std::ptr::NonNull::new(aligned).expect("an end of a mapping is not null");
        // SAFETY: the range is inside the mapping, and the advice does not change its contents.
        unsafe { madvise(aligned, MEMORY as usize, MmapAdvise::MADV_HUGEPAGE) }?;

        // SAFETY: the range is mapped, aligned, zero, and stays until the program ends. Nothing but
        // this slice refers to it.
        let words = unsafe {
            std::slice::from_raw_parts(aligned.as_ptr().cast::<AtomicU64>(), MEMORY as usize / 8)
        };
        Ok(Self { words })
    }

    pub(crate) fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// As mmu-core sees it.
    pub(crate) fn tables(&self) -> AtomicWords<&'static [AtomicU64]> {
        AtomicWords::new(PhysAddr::new(0), self.words)
    }
}

/// Pages to translate, and the tables that map them.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: char,
    pub(crate) what: &'static str,
    /// The linear addresses, in the order of the accesses.
    pub(crate) addresses: Vec<u64>,
    /// CR3.
    pub(crate) root: u64,
    /// The sum of all physical addresses, which every contestant must find.
    pub(crate) sum: u64,
    /// The part of it that the offsets into the pages are.
    pub(crate) offsets: u64,
    /// The first and the last address, if every page between them is one of the workload.
    pub(crate) range: Option<(u64, u64)>,
}

impl Workload {
    pub(crate) const ALL: [fn(&Memory) -> Self; 5] = [
        |memory| Self::new(memory, 'a', "262,144 pages of 4 KiB in order", 12, 1 << 18, Order::Up),
        |memory| Self::new(memory, 'b', "the same at random", 12, 1 << 18, Order::Shuffled),
        |memory| Self::new(memory, 'c', "65,536 random pages", 12, 1 << 16, Order::Sparse),
        |memory| Self::new(memory, 'd', "512 pages of 2 MiB", 21, 512, Order::Up),
        |memory| Self::new(memory, 'e', "262,144 pages of 2 MiB", 21, 1 << 18, Order::Up),
    ];

    /// The state of a processor that walks these tables.
    pub(crate) fn state(&self) -> ControlState {
        ControlState::four_level(self.root)
    }

    fn new(
        memory: &Memory,
        name: char,
        what: &'static str,
        shift: u32,
        count: usize,
        order: Order,
    ) -> Self {
        memory.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        let mut random = Xoshiro256PlusPlus::seed_from_u64(0x0bec_4a11);
        let mut tables = Tables::new(memory, &mut random);

        let mut pages: Vec<u64> = match order {
            Order::Up | Order::Shuffled => (0..count as u64).collect(),
            Order::Sparse => (0..count).map(|_| random.next_u64() >> (64 - 47 + shift)).collect(),
        };
        let range = (!matches!(order, Order::Sparse)).then_some((0, ((count as u64) << shift) - 1));
        let mut sum = 0_u64;
        let mut offsets = 0_u64;
        for page in &mut pages {
            let frame = random.next_u64() % (1 << (39 - shift));
            let offset = random.next_u64() % (1 << shift) / 8 * 8;
            let mapped = tables.map(*page << shift, frame << shift, shift);
            *page = *page << shift | offset;
            sum = sum.wrapping_add(mapped | offset);
            offsets = offsets.wrapping_add(offset);
        }
        if matches!(order, Order::Shuffled) {
            for left in (1..pages.len()).rev() {
                pages.swap(left, (random.next_u64() % (left as u64 + 1)) as usize);
            }
        }

        Self { name, what, addresses: pages, root: tables.root, sum, offsets, range }
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Up,
    Shuffled,
    /// Anywhere in 47 bits.
    Sparse,
}

/// Tables under construction.
struct Tables<'m> {
    memory: &'m Memory,
    /// Frames that are not used yet, in random order.
    free: Vec<u64>,
    root: u64,
}

impl<'m> Tables<'m> {
    fn new(memory: &'m Memory, random: &mut impl Rng) -> Self {
        let mut free: Vec<u64> = (1..MEMORY >> 12).map(|frame| frame << 12).collect();
        for left in (1..free.len()).rev() {
            free.swap(left, (random.next_u64() % (left as u64 + 1)) as usize);
        }
        let root = free.pop().expect("there are frames");
        Self { memory, free, root }
    }

    /// Maps a page, unless it is mapped already: where it leads then.
    fn map(&mut self, address: u64, frame: u64, shift: u32) -> u64 {
        let mut table = self.root;
        for level in [39, 30, 21, 12] {
            let entry = &self.memory.words[(table / 8 + (address >> level & 511)) as usize];
            let found = entry.load(Ordering::Relaxed);
            if level == shift {
                if found == 0 {
                    let large = if shift > 12 { LARGE } else { 0 };
                    entry.store(frame | large | FLAGS, Ordering::Relaxed);
                }
                let mapped = entry.load(Ordering::Relaxed);
                return mapped & 0x000f_ffff_ffff_f000;
            }

            table = found & 0x000f_ffff_ffff_f000;
            if found == 0 {
                table = self.free.pop().expect("the workload fits into memory");
                entry.store(table | FLAGS, Ordering::Relaxed);
            }
        }
        unreachable!("a page has one of these sizes")
    }
}
