//! Processes that have frames in common, at the same time or in turn.

use super::isolation::{CODE, HEAP, code, heap};
use crate::driver::Driver;
use crate::error::DriverError;
use crate::program::{check, check_zeros, execute, fill, moved};
use mmu_core::space::{Backing, Invalid, Protection, Region, RegionKind, SlotNumber};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

const LIBRARY: u64 = 0x8048_0000;
const SHARED_IN_A: u64 = 0x8070_0000;
const SHARED_IN_B: u64 = 0x8072_0000;

/// A library and a buffer that two processes share.
pub(crate) fn sharing<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let library = Backing::Object(driver.object(1, Backing::Image(SlotNumber(4)))?);
    let buffer = Backing::Object(driver.object(2, Backing::Zero)?);
    let shared_region = |start: u64, pages, protection, object| {
        Region::new(RegionKind::Shared, VirtAddr::new(start), pages, protection)
            .from_backing(object)
    };
    let library_region = shared_region(LIBRARY, 1, Protection::CODE, library);
    let buffer_region = |start| shared_region(start, 2, Protection::DATA, buffer);
    let a = driver.start(&[library_region, buffer_region(SHARED_IN_A)])?;
    let b = driver.start(&[library_region, buffer_region(SHARED_IN_B)])?;

    driver.run(a, "executes the library", &execute(LIBRARY, 1, 4))?;
    let before = *driver.system().statistics();
    driver.run(b, "executes the library", &execute(LIBRARY, 1, 4))?;
    let after = *driver.system().statistics();
    driver.claim(
        (after.minor, after.major) == (before.minor + 1, before.major),
        "the library is loaded once: for B the fault is minor",
    );
    driver.claim(
        driver.frame(a, LIBRARY)? == driver.frame(b, LIBRARY)?,
        "both have the library in one frame",
    );

    driver.run(a, "fills the shared memory", &fill(SHARED_IN_A, 2, 0xa))?;
    driver.halfway();

    // The pattern shows the addresses at which A wrote.
    let seen_by_b = moved(&check(SHARED_IN_A, 2, 0xa), SHARED_IN_A, SHARED_IN_B);
    let b_reads = driver.run(b, "reads it at another address", &seen_by_b)?;
    driver.claim(b_reads, "B reads what A wrote, at an address of its own");

    driver.run(b, "overwrites it", &fill(SHARED_IN_B, 1, 0xb))?;
    let seen_by_a = moved(&check(SHARED_IN_B, 1, 0xb), SHARED_IN_B, SHARED_IN_A);
    let a_reads = driver.run(a, "reads it", &seen_by_a)?;
    driver.claim(a_reads, "A reads what B wrote");

    let frame = driver.frame(a, SHARED_IN_A)?;
    driver.claim(frame.is_some() && frame == driver.frame(b, SHARED_IN_B)?, "it is one frame");

    let ended = driver.attempt(b, AccessKind::Write, LIBRARY)?;
    driver.claim(ended == Some(Invalid::ReadOnly), "no process may write to the library");
    let is_kept = driver.run(a, "reads it again", &seen_by_a)?;
    driver.claim(is_kept, "what B shared outlives B");
    Ok(())
}

/// A fork, and writes on both sides.
pub(crate) fn copy_on_write<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = driver.start(&[code(1), heap(4)])?;
    driver.run(a, "executes its code", &execute(CODE, 1, 0))?;
    driver.run(a, "fills its heap", &fill(HEAP, 4, 0xa))?;
    let before = *driver.system().statistics();
    let used_before = driver.frames_of(a);

    let b = driver.fork(a)?;
    let frame_of_a = driver.frame(a, HEAP)?;
    driver.claim(
        driver.frames_of(b) == used_before && frame_of_a == driver.frame(b, HEAP)?,
        "after the fork every page of B is a frame of A",
    );
    let b_reads = driver.run(b, "reads its heap", &check(HEAP, 4, 0xa))?;
    driver.claim(b_reads, "B reads what A wrote before the fork");
    driver.claim(driver.system().statistics().copies == before.copies, "reading copies nothing");
    driver.halfway();

    driver.run(b, "fills its first page", &fill(HEAP, 1, 0xb))?;
    driver.claim(
        driver.system().statistics().copies == before.copies + 1,
        "two writes to one page copy it once",
    );
    let is_kept = driver.run(a, "checks its heap", &check(HEAP, 4, 0xa))?;
    driver.claim(is_kept, "A does not see what B writes");

    driver.run(a, "fills its first two pages again", &fill(HEAP, 2, 0xc))?;
    driver.claim(
        driver.system().statistics().copies == before.copies + 2,
        "the last process that has a frame keeps it without a copy",
    );
    let has_its_own = driver.run(b, "checks its first page", &check(HEAP, 1, 0xb))?;
    let has_the_old = driver.run(b, "checks the others", &check(HEAP + 0x1000, 3, 0xa))?;
    driver.claim(has_its_own && has_the_old, "B does not see what A writes");
    Ok(())
}

/// Frames that go from one process to the next.
pub(crate) fn reallocation<F: Format>(driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
    let a = driver.start(&[heap(2)])?;
    driver.run(a, "writes its secrets", &fill(HEAP, 2, 0x5ec))?;
    let frames_of_a = [driver.frame(a, HEAP)?, driver.frame(a, HEAP + 0x1000)?];
    driver.halfway();
    driver.finish(a)?;

    let b = driver.start(&[heap(4)])?;
    let zeros = driver.run(b, "reads its new heap", &check_zeros(HEAP, 4))?;
    let mut moved_frames = 0;
    for page in 0..4 {
        let frame = driver.frame(b, HEAP + 0x1000 * page)?;
        moved_frames += usize::from(frame.is_some() && frames_of_a.contains(&frame));
    }
    driver.claim(moved_frames == 2, "both frames of A belong to B now");
    driver.claim(zeros, "B finds zeros in them, and nothing of A's");
    Ok(())
}
