//! Processes that have nothing in common.

use crate::driver::Driver;
use crate::error::DriverError;
use crate::program::{ProgramStep, check, check_zeros, execute, fill, in_turns};
use crosswalk_guest::layout::{PROCESS_PAGES, SUPERVISOR_WINDOW};
use crosswalk_guest::system::program::{code_word, image_word};
use mmu_core::space::{Backing, Invalid, Protection, Region, RegionKind, SlotNumber, Statistics};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

/// Where the parts of a program start, and where its stack ends.
pub(crate) const CODE: u64 = 0x8040_0000;
pub(crate) const DATA: u64 = 0x8050_0000;
pub(crate) const HEAP: u64 = 0x8060_0000;
pub(crate) const STACK_TOP: u64 = 0x8080_0000;

/// A page of the supervisor's, which every process has.
const KERNEL: u64 = PROCESS_PAGES.start + SUPERVISOR_WINDOW;

/// Code, from the first slots of the store.
pub(crate) fn code(pages: u64) -> Region {
    Region::new(RegionKind::Code, VirtAddr::new(CODE), pages, Protection::CODE)
        .from_backing(Backing::Image(SlotNumber(0)))
}

/// Data, from the slots behind the code.
pub(crate) fn data(pages: u64, protection: Protection) -> Region {
    Region::new(RegionKind::Data, VirtAddr::new(DATA), pages, protection)
        .from_backing(Backing::Image(SlotNumber(2)))
}

/// A heap that is as large as it can be.
pub(crate) fn heap(pages: u64) -> Region {
    Region::heap(VirtAddr::new(HEAP), pages, pages)
}

/// The same address in two processes.
pub(crate) fn isolation<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let only_a = Region::new(RegionKind::Data, VirtAddr::new(DATA), 1, Protection::DATA);
    let a = driver.start(&[heap(2), only_a])?;
    let b = driver.start(&[heap(2)])?;

    let fill_a = in_turns(&fill(HEAP, 2, 0xa), 1);
    let fill_b = in_turns(&fill(HEAP, 2, 0xb), 1);
    driver.run_in_turn(&[
        (a, "fills its heap, and lets B run after each word", &fill_a),
        (b, "fills its heap, at the same addresses", &fill_b),
    ])?;
    driver.halfway();

    let a_reads = driver.run(a, "checks its heap", &check(HEAP, 2, 0xa))?;
    let b_reads = driver.run(b, "checks its heap", &check(HEAP, 2, 0xb))?;
    driver.claim(a_reads && b_reads, "each reads what it wrote, whatever the other wrote there");

    let mut are_apart = true;
    for page in [HEAP, HEAP + 0x1000] {
        let of_a = driver.frame(a, page)?;
        let of_b = driver.frame(b, page)?;
        are_apart &= of_a.is_some() && of_b.is_some() && of_a != of_b;
    }
    driver.claim(are_apart, "the same page is in different frames");

    let mut only_mine = true;
    for frame in [driver.frame(a, HEAP)?, driver.frame(a, HEAP + 0x1000)?].into_iter().flatten() {
        let sharers = driver.system().sharers(driver.memory(), frame)?;
        only_mine &= sharers.len() == 1 && sharers[0].0 == a.space;
    }
    driver
        .claim(only_mine, "no entry of B leads to a frame of A: B can neither read nor change it");

    driver.run(a, "writes to data that B does not have", &fill(DATA, 1, 0xa))?;
    let ended = driver.attempt(b, AccessKind::Read, DATA)?;
    driver.claim(ended == Some(Invalid::NoRegion), "what only A has is not in a region of B");

    let unharmed = driver.run(a, "checks everything", &check(DATA, 1, 0xa))?;
    driver.claim(unharmed, "the end of B changes nothing for A");
    Ok(())
}

/// Pages get frames when they are touched.
pub(crate) fn demand_paging<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = driver.start(&[code(2), data(2, Protection::DATA), heap(4)])?;
    driver.claim(driver.frames_of(a) == 0, "at the start no page has a frame");

    let at_start = *driver.system().statistics();
    driver.run(a, "executes its first page of code", &execute(CODE, 1, 0))?;
    let image = image_word(3, 0x10);
    let read = vec![ProgramStep::Read(VirtAddr::new(DATA + 0x1010), image)].into();
    let loaded = driver.run(a, "reads its second page of data", &read)?;
    driver.claim(loaded, "a page of an image holds what the store holds");
    let after_images = *driver.system().statistics();
    driver.claim(after_images.major - at_start.major == 2, "pages of images are major faults");

    let zeros = driver.run(a, "reads a page of its heap", &check_zeros(HEAP, 1))?;
    driver.run(a, "fills the third", &fill(HEAP + 0x2000, 1, 0xa))?;
    driver.claim(zeros, "a new page of the heap holds zeros");
    let after_zeros = *driver.system().statistics();
    driver.claim(after_zeros.minor - after_images.minor == 2, "pages of zeros are minor faults");
    driver.halfway();

    driver.claim(driver.frames_of(a) == 4, "of 8 pages the 4 that were touched have frames");
    driver.run(a, "touches all four again", &check(HEAP + 0x2000, 1, 0xa))?;
    driver.run(a, "touches all four again", &execute(CODE, 1, 0))?;
    let at_end = *driver.system().statistics();
    let faults = |counts: Statistics| counts.minor + counts.major;
    driver.claim(
        faults(at_end) == faults(after_zeros),
        "a page that is in memory does not fault again",
    );
    Ok(())
}

/// What a region does not allow.
pub(crate) fn protection<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let constants = data(1, Protection::CONSTANTS);
    let guard_page = VirtAddr::new(HEAP + 0x2000);
    let guard = Region::new(RegionKind::Guard, guard_page, 1, Protection::empty());
    let parent = driver.start(&[code(1), constants, heap(2), guard])?;

    driver.run(parent, "executes its code", &execute(CODE, 1, 0))?;
    let read_constant = vec![ProgramStep::Read(VirtAddr::new(DATA), image_word(2, 0))].into();
    driver.run(parent, "reads a constant", &read_constant)?;
    driver.run(parent, "fills its heap", &fill(HEAP, 2, 0xa))?;
    let write_code = vec![ProgramStep::Write(VirtAddr::new(HEAP + 0x10), code_word(0))].into();
    driver.run(parent, "writes an instruction there", &write_code)?;
    driver.halfway();

    let has_execute_disable = driver.has_execute_disable();
    for (kind, address, why, claim) in [
        (AccessKind::Write, DATA, Invalid::ReadOnly, "a write to read-only data"),
        (AccessKind::Write, CODE, Invalid::ReadOnly, "a write to code"),
        (AccessKind::Fetch, HEAP + 0x10, Invalid::NoExecute, "executing data"),
        (AccessKind::Read, KERNEL, Invalid::Supervisor, "a user's read of the kernel's page"),
        (AccessKind::Read, HEAP + 0x2000, Invalid::Guard, "a touch of a guard page"),
        (AccessKind::Read, 0x10, Invalid::NoRegion, "a touch outside of every region"),
    ] {
        let child = driver.fork(parent)?;
        let ended = driver.attempt(child, kind, address)?;
        if why == Invalid::NoExecute && !has_execute_disable {
            driver.claim(
                ended.is_none(),
                "without XD, which entries of 32 bits never have, data can be executed",
            );
            driver.finish(child)?;
        } else {
            driver.claim(ended == Some(why), format!("{claim} ends the process"));
        }
    }

    let unharmed = driver.run(parent, "checks its heap", &check(HEAP, 2, 0xa))?;
    driver.claim(unharmed, "the parent is unharmed");
    Ok(())
}
