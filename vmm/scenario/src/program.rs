//! Small programs: what they access, step by step, and which of the guest's programs does the same.

use crosswalk_guest::system::program::{GuestProgram, ScriptStep, StepKind, image_word, name_in};
use mmu_core::space::PAGE_BYTES;
use mmu_core::{AccessKind, VirtAddr};

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramStep {
    /// A load of 8 bytes, which must find this value.
    Read(VirtAddr, u64),
    /// A store of 8 bytes.
    Write(VirtAddr, u64),
    /// A fetch of 8 bytes of code that has this name.
    Fetch(VirtAddr, u32),
    /// Lets the other processes run.
    Yield,
}

impl ProgramStep {
    /// The access that the step makes, if it makes one.
    pub(super) const fn access(self) -> Option<(AccessKind, VirtAddr)> {
        match self {
            Self::Read(address, _) => Some((AccessKind::Read, address)),
            Self::Write(address, _) => Some((AccessKind::Write, address)),
            Self::Fetch(address, _) => Some((AccessKind::Fetch, address)),
            Self::Yield => None,
        }
    }
}

/// A program. On a machine it runs as code; on the software MMU its steps are made one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it accesses, in order.
    pub steps: Vec<ProgramStep>,
    /// The guest's program that makes these accesses, with its arguments. Without one, the guest plays
    /// the steps from a script.
    pub(super) real: Option<(GuestProgram, [u64; 3])>,
}

impl From<Vec<ProgramStep>> for Program {
    fn from(steps: Vec<ProgramStep>) -> Self {
        Self { steps, real: None }
    }
}

impl FromIterator<ProgramStep> for Program {
    fn from_iter<I: IntoIterator<Item = ProgramStep>>(steps: I) -> Self {
        steps.into_iter().collect::<Vec<_>>().into()
    }
}

impl Program {
    const fn real(steps: Vec<ProgramStep>, program: GuestProgram, arguments: [u64; 3]) -> Self {
        Self { steps, real: Some((program, arguments)) }
    }

    /// The steps for a script.
    pub(super) fn script(&self) -> Vec<ScriptStep> {
        let steps = self.steps.iter().map(|step| {
            let (kind, address, value) = match *step {
                ProgramStep::Read(address, value) => (StepKind::Read, address.get(), value),
                ProgramStep::Write(address, value) => (StepKind::Write, address.get(), value),
                ProgramStep::Fetch(address, name) => (StepKind::Fetch, address.get(), name.into()),
                ProgramStep::Yield => (StepKind::Yield, 0, 0),
            };

            ScriptStep { kind: kind as u64, address, value }
        });
        let end = ScriptStep { kind: StepKind::End as u64, address: 0, value: 0 };
        steps.chain([end]).collect()
    }

    /// The steps of this program, then those of another.
    #[must_use]
    pub fn then(&self, other: &Self) -> Self {
        self.steps.iter().chain(&other.steps).copied().collect()
    }
}

/// The first and the last 8 bytes of each page.
fn edges(start: u64, pages: u64) -> impl Iterator<Item = VirtAddr> {
    let pages = (0..pages).map(move |page| start + page * PAGE_BYTES);
    pages.flat_map(|page| [page, page + PAGE_BYTES - 8]).map(VirtAddr::new)
}

/// A value that shows its address and which process wrote it.
const fn pattern(address: VirtAddr, who: u64) -> u64 {
    who << 48 | address.get()
}

/// Writes a pattern to the edges of pages; `who` distinguishes it from the patterns of others.
pub fn fill(start: u64, pages: u64, who: u64) -> Program {
    let write = |address| ProgramStep::Write(address, pattern(address, who));
    Program::real(edges(start, pages).map(write).collect(), GuestProgram::Fill, [start, pages, who])
}

/// Reads the pattern back.
pub fn check(start: u64, pages: u64, who: u64) -> Program {
    let read = |address| ProgramStep::Read(address, pattern(address, who));
    Program::real(edges(start, pages).map(read).collect(), GuestProgram::Check, [start, pages, who])
}

/// Reads zeros at the edges of pages.
pub fn check_zeros(start: u64, pages: u64) -> Program {
    edges(start, pages).map(|address| ProgramStep::Read(address, 0)).collect()
}

/// Executes the start of each page, which must be the code of the images from this slot on.
pub fn execute(start: u64, pages: u64, slot: u32) -> Program {
    let fetch = |page: u64| {
        let name = name_in(image_word(slot + page as u32, 0));
        ProgramStep::Fetch(VirtAddr::new(start + page * PAGE_BYTES), name)
    };
    (0..pages).map(fetch).collect()
}

/// Builds a linked list with one node in each page, then follows it. The distance between two nodes
/// is `stride` pages; a stride coprime to `pages` visits every page.
///
/// ```
/// use crosswalk_scenario::program::{ProgramStep, linked_list};
/// use mmu_core::VirtAddr;
/// let node = |page: u64| VirtAddr::new(0x1000 * page);
/// assert_eq!(linked_list(0x1000, 3, 2).steps[..3], [
///     ProgramStep::Write(node(1), 0x3000),
///     ProgramStep::Write(node(3), 0x2000),
///     ProgramStep::Write(node(2), 0x1000),
/// ]);
/// ```
pub fn linked_list(start: u64, pages: u64, stride: u64) -> Program {
    let node = |number: u64| start + number * stride % pages * PAGE_BYTES;
    let links = |step: fn(VirtAddr, u64) -> ProgramStep| {
        (0..pages).map(move |number| step(VirtAddr::new(node(number)), node(number + 1)))
    };
    let steps = links(ProgramStep::Write).chain(links(ProgramStep::Read)).collect();
    Program::real(steps, GuestProgram::List, [start, pages, stride])
}

/// Calls itself with a page of stack each time, and returns: writes a word below the end of each page
/// from `top` down, and reads them on the way up.
pub fn calls(top: u64, pages: u64) -> Program {
    let word = |page: u64| top - page * PAGE_BYTES - 8;
    let write = |page| ProgramStep::Write(VirtAddr::new(word(page)), word(page));
    let read = |page| ProgramStep::Read(VirtAddr::new(word(page)), word(page));
    let steps = (0..pages).map(write).chain((0..pages).rev().map(read)).collect();
    Program::real(steps, GuestProgram::Calls, [top, pages, 0])
}

/// The same program, letting the others run after every `steps` steps.
pub fn in_turns(program: &Program, steps: usize) -> Program {
    let parts = program.steps.chunks(steps);
    parts.flat_map(|part| part.iter().copied().chain([ProgramStep::Yield])).collect()
}

/// The same steps for memory that starts at another address.
pub fn moved(program: &Program, from: u64, to: u64) -> Program {
    let there = |address: VirtAddr| VirtAddr::new(address.get() - from + to);
    let steps = program.steps.iter().map(|step| match *step {
        ProgramStep::Read(address, value) => ProgramStep::Read(there(address), value),
        ProgramStep::Write(address, value) => ProgramStep::Write(there(address), value),
        ProgramStep::Fetch(address, name) => ProgramStep::Fetch(there(address), name),
        ProgramStep::Yield => ProgramStep::Yield,
    });
    steps.collect()
}
