//! Processes that need more: more frames than there are, more stack, more heap.

use super::isolation::{CODE, DATA, HEAP, STACK_TOP, code, data, heap};
use crate::driver::Driver;
use crate::error::DriverError;
use crate::program::{ProgramStep, calls, check, check_zeros, execute, fill, linked_list};
use crosswalk_guest::system::program::image_word;
use mmu_core::space::{Invalid, Protection, Region, RegionKind};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

/// More pages than frames.
pub(crate) fn reclaim<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = driver.start(&[code(1), heap(9)])?;
    let filled = driver.run(a, "fills nine pages", &fill(HEAP, 9, 0xa))?;
    driver.halfway();
    let checked = driver.run(a, "checks them", &check(HEAP, 9, 0xa))?;
    driver.claim(filled && checked, "every page holds what was written to it, wherever it was");

    let list = linked_list(HEAP, 9, 2);
    let followed = driver.run(a, "makes a linked list of them and follows it", &list)?;
    driver.claim(followed, "the list leads through all of them");
    driver.run(a, "executes its code all the time", &execute(CODE, 1, 0))?;

    let frames = driver.system().frames().count();
    let tables = driver.system().table_frames(a.space);
    let room = frames - tables;
    driver.claim(
        driver.frames_of(a) <= room,
        format!("{frames} frames, {tables} of them tables: {room} pages at most are in memory"),
    );

    let counts = *driver.system().statistics();
    driver.claim(
        counts.evicted as usize >= 10 - room && counts.major > 0,
        format!("{} times a frame was taken, {} pages came back", counts.evicted, counts.major),
    );
    driver.claim(counts.second_chances > 0, "pages in use got a second chance");
    Ok(())
}

/// Dirty and clean pages, when their frames are taken.
pub(crate) fn dirty<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = driver.start(&[data(3, Protection::DATA), heap(2)])?;
    let read_image = |page: u32| {
        let address = VirtAddr::new(DATA + 0x1000 * u64::from(page));
        ProgramStep::Read(address, image_word(2 + page, 0))
    };
    driver.run(a, "reads its data", &(0..3).map(read_image).collect())?;
    driver.run(a, "writes to the first page of it", &fill(DATA, 1, 0xa))?;
    driver.run(a, "writes to one page of its heap", &fill(HEAP, 1, 0xa))?;
    driver.run(a, "reads the other", &check_zeros(HEAP + 0x1000, 1))?;
    driver.halfway();

    let taken = driver.reclaim(5)?;
    driver.claim(taken == 5, "all five pages are taken");
    let written = driver.system().statistics().written;
    driver.claim(written == 2, "the two that were written went to the store, the others did not");

    let data_is_back = driver.run(a, "checks what it wrote", &check(DATA, 1, 0xa))?;
    let heap_is_back = driver.run(a, "checks what it wrote", &check(HEAP, 1, 0xa))?;
    let rest_is_back = driver.run(a, "reads the rest", &(1..3).map(read_image).collect())?;
    driver.claim(data_is_back && heap_is_back && rest_is_back, "everything is there again");

    driver.reclaim(5)?;
    driver.claim(
        driver.system().statistics().written == written,
        "pages that were only read since are not written a second time",
    );
    Ok(())
}

/// A stack and a heap that grow.
pub(crate) fn growth<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let limit = 4;
    let guard_page = VirtAddr::new(STACK_TOP - 0x1000 * (limit + 1));
    let guard = Region::new(RegionKind::Guard, guard_page, 1, Protection::empty());
    let stack = Region::stack(VirtAddr::new(STACK_TOP), 1, limit);
    let small_heap = Region::heap(VirtAddr::new(HEAP), 1, 3);
    let a = driver.start(&[guard, stack, small_heap])?;
    driver.run(a, "calls: its stack has one page", &calls(STACK_TOP, 1))?;
    driver.halfway();

    let is_whole =
        driver.run(a, "calls itself, three pages deep, and returns", &calls(STACK_TOP, 3))?;
    let mut regions = driver.system().regions(a.space)?.iter();
    let grown = regions.find(|region| region.kind == RegionKind::Stack);
    let pages = grown.map_or(0, |stack| stack.pages);
    driver.claim(pages == 3, "the stack has grown to the page that was touched");
    driver.claim(is_whole, "every frame of the stack holds what was pushed");

    let child = driver.fork(a)?;
    let behind_the_heap = driver.attempt(child, AccessKind::Write, HEAP + 0x1000)?;
    driver.claim(behind_the_heap == Some(Invalid::NoRegion), "behind the heap there is nothing");

    driver.grow(a, HEAP, 2)?;
    driver.run(a, "fills its larger heap", &fill(HEAP, 3, 0xa))?;
    let is_larger = driver.run(a, "checks it", &check(HEAP, 3, 0xa))?;
    driver.claim(is_larger, "after the process asked for more there is");

    let too_far = driver.grow(a, HEAP, 1);
    driver.claim(too_far.is_err(), "a heap does not grow beyond its limit");
    let below_the_stack = driver.attempt(a, AccessKind::Write, STACK_TOP - 0x1000 * limit - 8)?;
    driver.claim(
        below_the_stack == Some(Invalid::Guard),
        "a stack that grows too far meets the guard page",
    );
    Ok(())
}
