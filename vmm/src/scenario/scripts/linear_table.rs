//! The textbook's flat table against tables of tables.

use super::isolation::{CODE, code};
use crate::scenario::driver::Driver;
use crate::scenario::error::DriverError;
use crate::scenario::program::{check, execute, fill};
use crate::scenario::{Scenario, Setting};
use mmu_core::space::{PAGE_BYTES, Region};
use mmu_core::walk::Path;
use mmu_core::x86::format::{Format, Linear};
use mmu_core::{Access, PagingMode, Ring, VirtAddr};

/// One entry of 4 bytes for every page of 32-bit addresses.
type FlatTable = Linear<32, 12, 4>;

/// Parts far from each other, in the 32-bit addresses that every format has.
const HEAP: u64 = 0x1000_0000;
const STACK_TOP: u64 = 0xc000_0000;

/// What a process costs under some tables.
struct TableCost {
    table_bytes: u64,
    /// Entries that a walk meets.
    walk: usize,
    /// Entries read for all accesses, and how many accesses there were.
    read: u64,
    accesses: u64,
    as_expected: bool,
}

pub(in crate::scenario) fn linear_versus_multilevel<F: Format>(
    stage: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    // The same process on a stage of its own; what happens there is the same.
    let scenario = Scenario { name: "linear", shows: "" };
    let mut flat_stage =
        Driver::<FlatTable>::new(scenario, 1060, Setting::new(PagingMode::Linear), None)?;
    let flat = sparse_process(&mut flat_stage)?;
    for problem in flat_stage.end(Ok(()))?.problems {
        stage.problem(format!("with the flat table, {problem}"));
    }
    let levels = sparse_process(stage)?;
    let kib = |bytes: u64| bytes / 1024;
    let tables = levels.table_bytes / PAGE_BYTES;
    stage.claim(flat.as_expected && levels.as_expected, "the process reads what it wrote in both");
    stage.claim(
        flat.table_bytes == 4 << 20,
        format!("the flat table has 2^20 entries of 4 bytes: {} KiB", kib(flat.table_bytes)),
    );
    // The root; then a table of each level for what lies below one of its entries: code, heap, stack,
    // and two regions of the supervisor, of which 4-level paging has one.
    let expected = match F::MODE {
        PagingMode::Bits32 => 1 + 5,
        PagingMode::Pae | PagingMode::FourLevel => 1 + 3 + 5, // = 1 + 1 + 3 + 4
        _ => 1 + 1 + 1 + 3 + 5,
    };
    stage.claim(
        tables == expected,
        format!("{} tables take {tables} frames: {} KiB", F::MODE, kib(levels.table_bytes)),
    );
    stage.claim(flat.walk == 1, "a walk of the flat table meets one entry");
    stage.claim(
        levels.walk == F::LEVELS.len(),
        format!("a walk of {} tables meets {}", F::MODE, levels.walk),
    );
    stage.claim(
        flat.read > 0 && levels.read > flat.read && levels.accesses == flat.accesses,
        format!(
            "with a TLB, {} accesses read {} entries of the flat table and {} of the others",
            levels.accesses, flat.read, levels.read
        ),
    );
    Ok(())
}

fn sparse_process<F: Format>(stage: &mut Driver<'_, F>) -> Result<TableCost, DriverError> {
    let heap = Region::heap(VirtAddr::new(HEAP), 4, 4);
    let stack = Region::stack(VirtAddr::new(STACK_TOP), 1, 4);
    let process = stage.start(&[code(1), heap, stack])?;
    stage.run(process, "executes its code", &execute(CODE, 1, 0))?;
    stage.run(process, "fills its heap", &fill(HEAP, 4, 0xa))?;
    stage.run(process, "fills its stack", &fill(STACK_TOP - 0x2000, 2, 0xa))?;
    stage.halfway();
    let program = check(HEAP, 4, 0xa).then(&check(STACK_TOP - 0x2000, 2, 0xa));
    let as_expected = stage.run(process, "checks everything", &program)?;
    let accesses = *stage.accesses();
    Ok(TableCost {
        table_bytes: stage.table_bytes(),
        walk: walk_length(stage),
        read: accesses.entries_read,
        accesses: accesses.completed,
        as_expected,
    })
}

/// How many entries a walk without caches meets, for the process that ran last.
fn walk_length<F: Format>(stage: &Driver<'_, F>) -> usize {
    let address = VirtAddr::new(HEAP);
    let read = Access::read(address, 8, Ring::Three);
    let mut path = Path::default();
    let walked = stage.mmu().walk(stage.memory(), address, &read, &mut path);
    if walked.is_ok() { path.steps.len() } else { 0 }
}
