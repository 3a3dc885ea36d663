//! The textbook's flat table compared with multi-level tables.

use crate::Setting;
use crate::driver::Driver;
use crate::error::DriverError;
use crate::program::{check, execute, fill};
use mmu_core::space::{Backing, PAGE_BYTES, Protection, Region, RegionKind, SlotNumber};
use mmu_core::walk::Path;
use mmu_core::x86::format::{Format, Linear};
use mmu_core::{Access, PagingMode, Ring, VirtAddr};

/// One entry of 4 bytes for every page of 32-bit addresses.
type FlatTable = Linear<32, 12, 4>;

/// Parts far from each other, in the 32-bit addresses that every format has.
const CODE: u64 = 0x8040_0000;
const HEAP: u64 = 0x1000_0000;
const STACK_TOP: u64 = 0xc000_0000;

/// What a process costs with one kind of tables.
struct TableCost {
    table_bytes: u64,
    /// The number of entries that a walk meets.
    walk: usize,
    /// The number of entries read for all accesses.
    entries_read: u64,
    /// The number of accesses.
    accesses: u64,
    /// Whether every load found what the process had written.
    as_expected: bool,
}

/// The same sparse process with a flat table and with those of the mode.
pub(super) fn linear_versus_multilevel<F: Format>(
    driver: &mut Driver<'_, F>,
) -> Result<(), DriverError> {
    let flat = with_flat_table(driver)?;
    let levels = sparse_process(driver)?;
    driver.claim(flat.as_expected && levels.as_expected, "the process reads what it wrote in both");

    let kib = |bytes: u64| bytes / 1024;
    driver.claim(
        flat.table_bytes == 4 << 20,
        format!("the flat table has 2^20 entries of 4 bytes: {} KiB", kib(flat.table_bytes)),
    );
    let tables = levels.table_bytes / PAGE_BYTES;
    driver.claim(
        tables == tables_by_hand(F::MODE),
        format!("{} tables take {tables} frames: {} KiB", F::MODE, kib(levels.table_bytes)),
    );

    driver.claim(flat.walk == 1, "a walk of the flat table meets one entry");
    driver.claim(
        levels.walk == F::LEVELS.len(),
        format!("a walk of {} tables meets {}", F::MODE, levels.walk),
    );
    driver.claim(
        flat.entries_read > 0
            && levels.entries_read > flat.entries_read
            && levels.accesses == flat.accesses,
        format!(
            "with a TLB, {} accesses read {} entries of the flat table and {} of the others",
            levels.accesses, flat.entries_read, levels.entries_read
        ),
    );
    Ok(())
}

/// The process on a flat table, with a driver of its own. What goes wrong there is a problem here.
fn with_flat_table<F: Format>(driver: &mut Driver<'_, F>) -> Result<TableCost, DriverError> {
    let setting = Setting::new(PagingMode::Linear);
    let mut flat_driver = Driver::<FlatTable>::new("linear", "", 1060, setting, None)?;

    let flat = sparse_process(&mut flat_driver)?;
    for problem in flat_driver.end(Ok(()))?.problems {
        driver.problem(format!("with the flat table, {problem}"));
    }
    Ok(flat)
}

/// The number of tables, counted by hand: the root, then at each level a table for each part below
/// it: code, heap, stack, and two regions of the supervisor, of which 4-level paging has one.
const fn tables_by_hand(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::Bits32 => 1 + 5,
        PagingMode::Pae | PagingMode::FourLevel => 1 + 3 + 5, // = 1 + 1 + 3 + 4
        _ => 1 + 1 + 1 + 3 + 5,
    }
}

fn sparse_process<F: Format>(driver: &mut Driver<'_, F>) -> Result<TableCost, DriverError> {
    let code = Region::new(RegionKind::Code, VirtAddr::new(CODE), 1, Protection::CODE)
        .from_backing(Backing::Image(SlotNumber(0)));
    let heap = Region::heap(VirtAddr::new(HEAP), 4, 4);
    let stack = Region::stack(VirtAddr::new(STACK_TOP), 1, 4);
    let process = driver.start(&[code, heap, stack])?;

    driver.run(process, "executes its code", &execute(CODE, 1, 0))?;
    driver.run(process, "fills its heap", &fill(HEAP, 4, 0xa))?;
    driver.run(process, "fills its stack", &fill(STACK_TOP - 0x2000, 2, 0xa))?;
    driver.halfway();

    let program = check(HEAP, 4, 0xa).then(&check(STACK_TOP - 0x2000, 2, 0xa));
    let as_expected = driver.run(process, "checks everything", &program)?;
    let accesses = *driver.accesses();
    Ok(TableCost {
        table_bytes: driver.table_bytes(),
        walk: walk_length(driver),
        entries_read: accesses.entries_read,
        accesses: accesses.completed,
        as_expected,
    })
}

/// The number of entries that a walk without caches meets, for the process that ran last.
fn walk_length<F: Format>(driver: &Driver<'_, F>) -> usize {
    let address = VirtAddr::new(HEAP);
    let read = Access::read(address, 8, Ring::Three);
    let mut path = Path::default();
    let translation = driver.mmu().walk(driver.memory(), address, &read, &mut path);
    if translation.is_ok() { path.steps.len() } else { 0 }
}
