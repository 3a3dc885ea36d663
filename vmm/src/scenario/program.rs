//! Small programs, as the traces of what they access.

use mmu_core::VirtAddr;
use mmu_core::space::PAGE_BYTES;

/// One access of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A load of 8 bytes, which must find this value.
    Read(VirtAddr, u64),
    /// A store of 8 bytes.
    Write(VirtAddr, u64),
    /// A fetch of 8 bytes of code.
    Fetch(VirtAddr),
}

/// What a program accesses, one after the other.
pub type Program = Vec<Step>;

/// The first and the last 8 bytes of each page.
fn edges(start: u64, pages: u64) -> impl Iterator<Item = VirtAddr> {
    let pages = (0..pages).map(move |page| start + page * PAGE_BYTES);
    pages.flat_map(|page| [page, page + PAGE_BYTES - 8]).map(VirtAddr::new)
}

/// A value that tells its address and who wrote it.
const fn pattern(address: VirtAddr, who: u64) -> u64 {
    who << 48 | address.get()
}

/// Writes a pattern to the edges of pages: `who` tells it from those of others.
pub fn fill(start: u64, pages: u64, who: u64) -> Program {
    edges(start, pages).map(|address| Step::Write(address, pattern(address, who))).collect()
}

/// Reads the pattern back.
pub fn check(start: u64, pages: u64, who: u64) -> Program {
    edges(start, pages).map(|address| Step::Read(address, pattern(address, who))).collect()
}

/// Reads zeros at the edges of pages.
pub fn check_zeros(start: u64, pages: u64) -> Program {
    edges(start, pages).map(|address| Step::Read(address, 0)).collect()
}

/// Fetches from the start of each page.
pub fn execute(start: u64, pages: u64) -> Program {
    (0..pages).map(|page| Step::Fetch(VirtAddr::new(start + page * PAGE_BYTES))).collect()
}

/// Builds a linked list with one node in each page, then follows it. From one node to the next it
/// goes `stride` pages on, so with a stride that has no factor in common with `pages` it meets all.
///
/// ```
/// use vmm::scenario::program::{Step, linked_list};
/// use mmu_core::VirtAddr;
/// let node = |page: u64| VirtAddr::new(0x1000 * page);
/// assert_eq!(linked_list(0x1000, 3, 2)[..3], [
///     Step::Write(node(1), 0x3000), Step::Write(node(3), 0x2000), Step::Write(node(2), 0x1000),
/// ]);
/// ```
pub fn linked_list(start: u64, pages: u64, stride: u64) -> Program {
    let node = |number: u64| start + number * stride % pages * PAGE_BYTES;
    let links = |step: fn(VirtAddr, u64) -> Step| {
        (0..pages).map(move |number| step(VirtAddr::new(node(number)), node(number + 1)))
    };
    links(Step::Write).chain(links(Step::Read)).collect()
}

/// The same program for memory that starts at another address.
pub fn moved(program: &Program, from: u64, to: u64) -> Program {
    let there = |address: VirtAddr| VirtAddr::new(address.get() - from + to);
    let steps = program.iter().map(|step| match *step {
        Step::Read(address, value) => Step::Read(there(address), value),
        Step::Write(address, value) => Step::Write(there(address), value),
        Step::Fetch(address) => Step::Fetch(there(address)),
    });
    steps.collect()
}
