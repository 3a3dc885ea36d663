//! What QEMU's monitor gets wrong, as QEMU 7.2 prints it, is named.

use super::{raw, scan};
use crate::monitor::{MonitorCheck, MonitorDifference, TlbLine};
use crate::test_images::SmallMemory;
use crate::{Found, Limits, StateOptions};

/// Compares lines with tables. Returns the number of pages that agree, each kind of difference with its count,
/// and the number of pages that are executable by their leaves only.
fn check(
    memory: &SmallMemory,
    options: &StateOptions,
    lines: &str,
) -> (u64, Vec<(MonitorDifference, u64)>, u64) {
    let mut check = MonitorCheck::new(lines).expect("lines of a monitor");
    for found in scan(&raw(&memory.0), options, Limits::default()) {
        if let Found::Page(entry) | Found::Reserved(entry) = found {
            check.add(&entry);
        }
    }
    check.finish();
    let differences = check.differences().map(|(kind, found)| (kind, found.count)).collect();
    (check.agreed(), differences, check.leaf_only())
}

fn registers(cr4: u64, efer: u64) -> StateOptions {
    let (cr0, cr3) = (Some(0x8001_0011), Some(0x1000));
    StateOptions { cpu: 0, cr0, cr3, cr4: Some(cr4), efer: Some(efer) }
}

#[test]
fn bits_51_and_50_are_dropped_by_the_monitor() {
    let mut memory = SmallMemory::new(0x5000);
    memory.entry(0x1000, 0x2067).entry(0x2000, 0x3067).entry(0x3000, 0x4067);
    memory.entry(0x4000, 0x000c_0000_0000_5067).entry(0x4008, 0x6067);
    let lines = "0000000000000000: 0000000000005000 ---DA--UW\n\
                 0000000000001000: 0000000000006000 ---DA--UW\n";
    let found = check(&memory, &registers(0x20, 0xd00), lines);
    assert_eq!(found, (1, vec![(MonitorDifference::TopBitsDropped, 1)], 0));
}

#[test]
fn xd_is_part_of_an_address_in_pae_paging() {
    let mut memory = SmallMemory::new(0x4000);
    memory.entry(0x1000, 0x2001).entry(0x2000, 0x3067).entry(0x2008, 1 << 63 | 0x20_00e7);
    memory.entry(0x3000, 1 << 63 | 0x5067);
    let lines = "0000000000000000: 8000000000005000 X--DA--UW\n\
                 0000000000200000: 8000000000200000 X-PDA--UW\n";
    let found = check(&memory, &registers(0x20, 0x800), lines);
    assert_eq!(found, (0, vec![(MonitorDifference::XdInAddress, 2)], 0));
}

#[test]
fn large_pages_above_4_gib_are_shown_below() {
    let mut memory = SmallMemory::new(0x2000);
    memory.entry_32(0x1004, 0x0040_60e7);
    let lines = "0000000000400000: 0000000000400000 --PDA--UW\n";
    let found = check(&memory, &registers(0x10, 0), lines);
    assert_eq!(found, (0, vec![(MonitorDifference::HighBitsIgnored, 1)], 0));
}

#[test]
fn entries_with_reserved_bits_are_listed() {
    let mut memory = SmallMemory::new(0x5000);
    // A page of 2 MiB with bit 13, and a PML4E with PS, below which there is a page.
    memory.entry(0x1000, 0x2067).entry(0x2000, 0x3067).entry(0x3000, 0x4020_20e7);
    memory.entry(0x1008, 0x20e7);
    let lines = "0000000000000000: 0000000040202000 --PDA--UW\n\
                 0000008000000000: 0000000040202000 --PDA--UW\n\
                 0000400000000000: 0000000000001000 --PDA--UW\n";
    let found = check(&memory, &registers(0x20, 0xd00), lines);
    let expected = vec![(MonitorDifference::ReservedListed, 2), (MonitorDifference::NotMapped, 1)];
    assert_eq!(found, (0, expected, 0));
}

#[test]
fn pages_that_only_look_executable_are_counted() {
    let mut memory = SmallMemory::new(0x5000);
    memory.entry(0x1000, 1 << 63 | 0x2067).entry(0x2000, 0x3067).entry(0x3000, 0x4067);
    memory.entry(0x4000, 0x5025).entry(0x4008, 1 << 63 | 0x6067);
    let lines = "0000000000000000: 0000000000005000 ----A--U-\n\
                 0000000000001000: 0000000000006000 X--DA--UW\n";
    assert_eq!(check(&memory, &registers(0x20, 0xd00), lines), (2, vec![], 1));

    let one = lines.lines().next().unwrap();
    let missing = vec![(MonitorDifference::Missing, 1)];
    assert_eq!(check(&memory, &registers(0x20, 0xd00), one), (1, missing, 1));
}

#[test]
fn a_line_of_something_else_is_refused_with_its_number() {
    let error = MonitorCheck::new("0000000000000000: 0000000000005000 ----A--U-\n\nnonsense\n");
    assert_eq!(error.unwrap_err(), 3);
    assert!("0: 1 ---------".parse::<TlbLine>().is_ok());
}

/// What a terminal shows of a session with `-monitor stdio`.
#[test]
fn a_transcript_has_prompts() {
    let mut memory = SmallMemory::new(0x2000);
    memory.entry_32(0x1004, 0x0040_00e7);
    let lines = "QEMU 7.2.22 monitor - type 'help' for more information\r\n\
                 (qemu) info tlb\r\n0000000000400000: 0000000000400000 --PDA--UW\r\n(qemu) ";
    assert_eq!(check(&memory, &registers(0x10, 0), lines), (1, vec![], 0));
    assert_eq!(MonitorCheck::new("(qemu) info tlb\nunknown command: 'info tbl'").err(), Some(2));
}

/// The second PML4E leads to the tables of the first, which are not read again, and the third out of memory.
#[test]
fn what_was_not_looked_at_is_not_compared() {
    let mut memory = SmallMemory::new(0x5000);
    memory.entry(0x1000, 0x2067).entry(0x1008, 0x2067).entry(0x1010, 0x9_0000_0067);
    memory.entry(0x2000, 0x3067).entry(0x3000, 0x4067).entry(0x4000, 0x5067);
    let page = |address: u64| format!("{address:016x}: 0000000000005000 ---DA--UW\n");
    let lines = [0, 0x80_0000_0000, 0x100_0000_0000, 0x180_0000_0000].map(page).concat();

    let mut check = MonitorCheck::new(&lines).expect("lines of a monitor");
    for found in scan(&raw(&memory.0), &registers(0x20, 0xd00), Limits { repeats: 0 }) {
        match found {
            Found::Page(entry) => check.add(&entry),
            Found::Repeated(entry) => check.leave_out(entry.first, entry.last),
            Found::Unreadable(entries) => check.leave_out(entries.first, entries.last),
            _ => {}
        }
    }
    check.finish();
    assert_eq!((check.agreed(), check.unseen()), (1, 2));
    let differences: Vec<_> =
        check.differences().map(|(kind, found)| (kind, found.count)).collect();
    assert_eq!(differences, [(MonitorDifference::NotMapped, 1)]);
}
