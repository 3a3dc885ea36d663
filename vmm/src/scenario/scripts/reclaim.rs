//! Processes that want more: frames than there are, stack, heap.

use super::isolation::{CODE, DATA, HEAP, STACK_TOP, code, data, heap};
use crate::scenario::driver::Driver;
use crate::scenario::error::DriverError;
use crate::scenario::program::{ProgramStep, calls, check, execute, fill, linked_list};
use crosswalk_guest::system::program::image_word;
use mmu_core::space::{Invalid, Protection, Region, RegionKind};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

pub(in crate::scenario) fn reclaim<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let a = stage.start(&[code(1), heap(9)])?;
    let filled = stage.run(a, "fills nine pages", &fill(HEAP, 9, 0xa))?;
    stage.halfway();
    let checked = stage.run(a, "checks them", &check(HEAP, 9, 0xa))?;
    stage.claim(filled && checked, "every page holds what was written to it, wherever it was");
    let list = linked_list(HEAP, 9, 2);
    let followed = stage.run(a, "makes a linked list of them and follows it", &list)?;
    stage.claim(followed, "the list leads through all of them");
    stage.run(a, "executes its code all the time", &execute(CODE, 1, 0))?;
    let statistics = *stage.system().statistics();
    let frames = stage.system().frames().count();
    let tables = stage.system().table_frames(a.space);
    let room = frames - tables;
    stage.claim(
        stage.frames_of(a) <= room,
        format!("{frames} frames, {tables} of them tables: {room} pages at most are in memory"),
    );
    stage.claim(
        statistics.evicted as usize >= 10 - room && statistics.major > 0,
        format!(
            "{} times a frame was taken, {} pages came back",
            statistics.evicted, statistics.major
        ),
    );
    stage.claim(statistics.second_chances > 0, "pages in use got a second chance");
    Ok(())
}

pub(in crate::scenario) fn dirty<F: Format>(stage: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = stage.start(&[data(3, Protection::DATA), heap(2)])?;
    let image = |page: u32| {
        let address = VirtAddr::new(DATA + 0x1000 * u64::from(page));
        ProgramStep::Read(address, image_word(2 + page, 0))
    };
    stage.run(a, "reads its data", &(0..3).map(image).collect())?;
    stage.run(a, "writes to the first page of it", &fill(DATA, 1, 0xa))?;
    stage.run(a, "writes to one page of its heap", &fill(HEAP, 1, 0xa))?;
    stage.run(a, "reads the other", &crate::scenario::program::check_zeros(HEAP + 0x1000, 1))?;
    stage.halfway();
    let taken = stage.reclaim(5)?;
    stage.claim(taken == 5, "all five pages are taken");
    let written = stage.system().statistics().written;
    stage.claim(written == 2, "the two that were written went to the store, the others did not");
    let data = stage.run(a, "checks what it wrote", &check(DATA, 1, 0xa))?;
    let heap = stage.run(a, "checks what it wrote", &check(HEAP, 1, 0xa))?;
    let clean = stage.run(a, "reads the rest", &(1..3).map(image).collect())?;
    stage.claim(data && heap && clean, "everything is there again");
    stage.reclaim(5)?;
    stage.claim(
        stage.system().statistics().written == written,
        "only read since, nothing is written a second time",
    );
    Ok(())
}

pub(in crate::scenario) fn growth<F: Format>(stage: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let limit = 4;
    let guard = VirtAddr::new(STACK_TOP - 0x1000 * (limit + 1));
    let guard = Region::new(RegionKind::Guard, guard, 1, Protection::empty());
    let stack = Region::stack(VirtAddr::new(STACK_TOP), 1, limit);
    let small_heap = Region::heap(VirtAddr::new(HEAP), 1, 3);
    let a = stage.start(&[guard, stack, small_heap])?;
    stage.run(a, "calls: its stack has one page", &calls(STACK_TOP, 1))?;
    stage.halfway();
    let whole =
        stage.run(a, "calls itself, three pages deep, and returns", &calls(STACK_TOP, 3))?;
    let mut regions = stage.system().regions(a.space)?.iter();
    let stack = regions.find(|region| region.kind == RegionKind::Stack);
    let pages = stack.map_or(0, |stack| stack.pages);
    stage.claim(pages == 3, "the stack has grown to the page that was touched");
    stage.claim(whole, "every frame of the stack holds what was pushed");
    let child = stage.fork(a)?;
    let ended = stage.attempt(child, AccessKind::Write, HEAP + 0x1000)?;
    stage.claim(ended == Some(Invalid::NoRegion), "behind the heap there is nothing");
    stage.grow(a, HEAP, 2)?;
    stage.run(a, "fills its larger heap", &fill(HEAP, 3, 0xa))?;
    let larger = stage.run(a, "checks it", &check(HEAP, 3, 0xa))?;
    stage.claim(larger, "after it was asked for there is");
    let too_far = stage.grow(a, HEAP, 1);
    stage.claim(too_far.is_err(), "a heap does not grow beyond its limit");
    let ended = stage.attempt(a, AccessKind::Write, STACK_TOP - 0x1000 * limit - 8)?;
    stage.claim(ended == Some(Invalid::Guard), "a stack that grows too far meets the guard page");
    Ok(())
}
