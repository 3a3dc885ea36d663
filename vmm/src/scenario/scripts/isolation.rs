//! Processes that have nothing in common.

use crate::scenario::driver::Driver;
use crate::scenario::error::DriverError;
use crate::scenario::program::{ProgramStep, check, check_zeros, execute, fill, in_turns};
use crosswalk_guest::layout::{PROCESS_PAGES, SUPERVISOR_WINDOW};
use crosswalk_guest::system::program::{code_word, image_word};
use mmu_core::space::{Backing, Invalid, Protection, Region, RegionKind, SlotNumber};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

/// Where programs have their parts.
pub(in crate::scenario) const CODE: u64 = 0x8040_0000;
pub(in crate::scenario) const DATA: u64 = 0x8050_0000;
pub(in crate::scenario) const HEAP: u64 = 0x8060_0000;
pub(in crate::scenario) const STACK_TOP: u64 = 0x8080_0000;
/// A page of the supervisor's, which every process has.
const KERNEL: u64 = PROCESS_PAGES.start + SUPERVISOR_WINDOW;

/// Code, from the first slots of the store.
pub(in crate::scenario) fn code(pages: u64) -> Region {
    Region::new(RegionKind::Code, VirtAddr::new(CODE), pages, Protection::CODE)
        .from_backing(Backing::Image(SlotNumber(0)))
}

/// Data, from the slots behind the code.
pub(in crate::scenario) fn data(pages: u64, protection: Protection) -> Region {
    Region::new(RegionKind::Data, VirtAddr::new(DATA), pages, protection)
        .from_backing(Backing::Image(SlotNumber(2)))
}

/// A heap that is as large as it can be.
pub(in crate::scenario) fn heap(pages: u64) -> Region {
    Region::heap(VirtAddr::new(HEAP), pages, pages)
}

pub(in crate::scenario) fn isolation<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let only_a = Region::new(RegionKind::Data, VirtAddr::new(DATA), 1, Protection::DATA);
    let a = stage.start(&[heap(2), only_a])?;
    let b = stage.start(&[heap(2)])?;
    let (fill_a, fill_b) = (in_turns(&fill(HEAP, 2, 0xa), 1), in_turns(&fill(HEAP, 2, 0xb), 1));
    stage.run_in_turn(&[
        (a, "fills its heap, and lets B run after each word", &fill_a),
        (b, "fills its heap, at the same addresses", &fill_b),
    ])?;
    stage.halfway();
    let a_reads = stage.run(a, "checks its heap", &check(HEAP, 2, 0xa))?;
    let b_reads = stage.run(b, "checks its heap", &check(HEAP, 2, 0xb))?;
    stage.claim(a_reads && b_reads, "each reads what it wrote, whatever the other wrote there");
    let mut apart = true;
    for page in [HEAP, HEAP + 0x1000] {
        let (a, b) = (stage.frame(a, page)?, stage.frame(b, page)?);
        apart &= a.is_some() && b.is_some() && a != b;
    }
    stage.claim(apart, "the same page is in different frames");
    let mut only_mine = true;
    for frame in [stage.frame(a, HEAP)?, stage.frame(a, HEAP + 0x1000)?].into_iter().flatten() {
        let sharers = stage.system().sharers(stage.memory(), frame)?;
        only_mine &= sharers.len() == 1 && sharers[0].0 == a.space;
    }
    stage.claim(only_mine, "no entry of B leads to a frame of A: B can neither read nor change it");
    stage.run(a, "writes to data that B does not have", &fill(DATA, 1, 0xa))?;
    let ended = stage.attempt(b, AccessKind::Read, DATA)?;
    stage.claim(ended == Some(Invalid::NoRegion), "what A alone has is no region of B's");
    let unharmed = stage.run(a, "checks everything", &check(DATA, 1, 0xa))?;
    stage.claim(unharmed, "the end of B changes nothing for A");
    Ok(())
}

pub(in crate::scenario) fn demand_paging<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let a = stage.start(&[code(2), data(2, Protection::DATA), heap(4)])?;
    stage.claim(stage.frames_of(a) == 0, "at the start no page has a frame");
    let before = *stage.system().statistics();
    stage.run(a, "executes its first page of code", &execute(CODE, 1, 0))?;
    let image = image_word(3, 0x10);
    let read = vec![ProgramStep::Read(VirtAddr::new(DATA + 0x1010), image)].into();
    let loaded = stage.run(a, "reads its second page of data", &read)?;
    stage.claim(loaded, "an image holds what the store holds");
    let after = *stage.system().statistics();
    stage.claim(after.major - before.major == 2, "pages of images are major faults");
    let zeros = stage.run(a, "reads a page of its heap", &check_zeros(HEAP, 1))?;
    stage.run(a, "fills the third", &fill(HEAP + 0x2000, 1, 0xa))?;
    stage.claim(zeros, "a new page of the heap holds zeros");
    let last = *stage.system().statistics();
    stage.claim(last.minor - after.minor == 2, "pages of zeros are minor faults");
    stage.halfway();
    stage.claim(stage.frames_of(a) == 4, "of 8 pages the 4 that were touched have frames");
    stage.run(a, "touches all four again", &check(HEAP + 0x2000, 1, 0xa))?;
    stage.run(a, "touches all four again", &execute(CODE, 1, 0))?;
    let again = *stage.system().statistics();
    let faults = |counts: mmu_core::space::Statistics| counts.minor + counts.major;
    stage.claim(faults(again) == faults(last), "a page that is there does not fault again");
    Ok(())
}

pub(in crate::scenario) fn protection<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let constants = data(1, Protection::CONSTANTS);
    let guard = VirtAddr::new(HEAP + 0x2000);
    let guard = Region::new(RegionKind::Guard, guard, 1, Protection::empty());
    let parent = stage.start(&[code(1), constants, heap(2), guard])?;
    stage.run(parent, "executes its code", &execute(CODE, 1, 0))?;
    let constant = vec![ProgramStep::Read(VirtAddr::new(DATA), image_word(2, 0))].into();
    stage.run(parent, "reads a constant", &constant)?;
    stage.run(parent, "fills its heap", &fill(HEAP, 2, 0xa))?;
    let code = vec![ProgramStep::Write(VirtAddr::new(HEAP + 0x10), code_word(0))].into();
    stage.run(parent, "writes an instruction there", &code)?;
    stage.halfway();
    let has_execute_disable = stage.has_execute_disable();
    for (kind, address, why, claim) in [
        (AccessKind::Write, DATA, Invalid::ReadOnly, "a write to read-only data"),
        (AccessKind::Write, CODE, Invalid::ReadOnly, "a write to code"),
        (AccessKind::Fetch, HEAP + 0x10, Invalid::NoExecute, "executing data"),
        (AccessKind::Read, KERNEL, Invalid::Supervisor, "a user's read of the kernel's page"),
        (AccessKind::Read, HEAP + 0x2000, Invalid::Guard, "a touch of a guard page"),
        (AccessKind::Read, 0x10, Invalid::NoRegion, "a touch of what is no region"),
    ] {
        let child = stage.fork(parent)?;
        let ended = stage.attempt(child, kind, address)?;
        if why == Invalid::NoExecute && !has_execute_disable {
            stage.claim(
                ended.is_none(),
                "without XD, which entries of 32 bits never have, data can be executed",
            );
            stage.finish(child)?;
        } else {
            stage.claim(ended == Some(why), format!("{claim} ends the process"));
        }
    }
    let unharmed = stage.run(parent, "checks its heap", &check(HEAP, 2, 0xa))?;
    stage.claim(unharmed, "the parent is unharmed");
    Ok(())
}
