//! Processes that have frames in common, at once or one after the other.

use super::isolation::{CODE, HEAP, code, heap};
use crate::scenario::driver::Driver;
use crate::scenario::error::DriverError;
use crate::scenario::program::{check, check_zeros, execute, fill};
use mmu_core::space::{Backing, Invalid, Protection, Region, RegionKind, SlotNumber};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, VirtAddr};

const LIBRARY: u64 = 0x8048_0000;
const SHARED_IN_A: u64 = 0x8070_0000;
const SHARED_IN_B: u64 = 0x8072_0000;

pub(in crate::scenario) fn sharing<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let library = Backing::Object(stage.object(1, Backing::Image(SlotNumber(4)))?);
    let buffer = Backing::Object(stage.object(2, Backing::Zero)?);
    let shown = |start: u64, pages, protection, object| {
        let kind = RegionKind::Shared;
        Region::new(kind, VirtAddr::new(start), pages, protection).from_backing(object)
    };
    let library = shown(LIBRARY, 1, Protection::CODE, library);
    let shared = |start| shown(start, 2, Protection::DATA, buffer);
    let a = stage.start(&[library, shared(SHARED_IN_A)])?;
    let b = stage.start(&[library, shared(SHARED_IN_B)])?;
    stage.run(a, "executes the library", &execute(LIBRARY, 1, 4))?;
    let before = *stage.system().statistics();
    stage.run(b, "executes the library", &execute(LIBRARY, 1, 4))?;
    let after = *stage.system().statistics();
    stage.claim(
        (after.minor, after.major) == (before.minor + 1, before.major),
        "the library is loaded once: for B the fault is minor",
    );
    stage.claim(
        stage.frame(a, LIBRARY)? == stage.frame(b, LIBRARY)?,
        "both have the library in one frame",
    );
    stage.run(a, "fills the shared memory", &fill(SHARED_IN_A, 2, 0xa))?;
    stage.halfway();
    // The pattern tells the addresses at which A wrote.
    let seen_by_b =
        crate::scenario::program::moved(&check(SHARED_IN_A, 2, 0xa), SHARED_IN_A, SHARED_IN_B);
    let seen = stage.run(b, "reads it at another address", &seen_by_b)?;
    stage.claim(seen, "B reads what A wrote, at an address of its own");
    stage.run(b, "overwrites it", &fill(SHARED_IN_B, 1, 0xb))?;
    let back =
        crate::scenario::program::moved(&check(SHARED_IN_B, 1, 0xb), SHARED_IN_B, SHARED_IN_A);
    let seen = stage.run(a, "reads it", &back)?;
    stage.claim(seen, "A reads what B wrote");
    let frame = stage.frame(a, SHARED_IN_A)?;
    stage.claim(frame.is_some() && frame == stage.frame(b, SHARED_IN_B)?, "it is one frame");
    let ended = stage.attempt(b, AccessKind::Write, LIBRARY)?;
    stage.claim(ended == Some(Invalid::ReadOnly), "nobody may write to the library");
    let kept = stage.run(a, "reads it again", &back)?;
    stage.claim(kept, "what B shared outlives B");
    Ok(())
}

pub(in crate::scenario) fn copy_on_write<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let a = stage.start(&[code(1), heap(4)])?;
    stage.run(a, "executes its code", &execute(CODE, 1, 0))?;
    stage.run(a, "fills its heap", &fill(HEAP, 4, 0xa))?;
    let before = *stage.system().statistics();
    let used_before = stage.frames_of(a);
    let b = stage.fork(a)?;
    let one_frame = stage.frame(a, HEAP)?;
    stage.claim(
        stage.frames_of(b) == used_before && one_frame == stage.frame(b, HEAP)?,
        "after the fork every page of B is a frame of A",
    );
    let read = stage.run(b, "reads its heap", &check(HEAP, 4, 0xa))?;
    stage.claim(read, "B reads what A wrote before the fork");
    stage.claim(stage.system().statistics().copies == before.copies, "reading copies nothing");
    stage.halfway();
    stage.run(b, "fills its first page", &fill(HEAP, 1, 0xb))?;
    stage.claim(
        stage.system().statistics().copies == before.copies + 1,
        "two writes to one page copy it once",
    );
    let kept = stage.run(a, "checks its heap", &check(HEAP, 4, 0xa))?;
    stage.claim(kept, "A does not see what B writes");
    stage.run(a, "fills its first two pages anew", &fill(HEAP, 2, 0xc))?;
    stage.claim(
        stage.system().statistics().copies == before.copies + 2,
        "the last who has a frame keeps it without a copy",
    );
    let own = stage.run(b, "checks its first page", &check(HEAP, 1, 0xb))?;
    let old = stage.run(b, "checks the others", &check(HEAP + 0x1000, 3, 0xa))?;
    stage.claim(own && old, "B does not see what A writes");
    Ok(())
}

pub(in crate::scenario) fn reallocation<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let a = stage.start(&[heap(2)])?;
    stage.run(a, "writes its secrets", &fill(HEAP, 2, 0x5ec))?;
    let frames = [stage.frame(a, HEAP)?, stage.frame(a, HEAP + 0x1000)?];
    stage.halfway();
    stage.finish(a)?;
    let b = stage.start(&[heap(4)])?;
    let zeros = stage.run(b, "reads its new heap", &check_zeros(HEAP, 4))?;
    let mut moved = 0;
    for page in 0..4 {
        let frame = stage.frame(b, HEAP + 0x1000 * page)?;
        moved += usize::from(frame.is_some() && frames.contains(&frame));
    }
    stage.claim(moved == 2, "both frames of A belong to B now");
    stage.claim(zeros, "B finds zeros in them, and nothing of A's");
    Ok(())
}
