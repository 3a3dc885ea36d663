//! Tests that a system without one of its safeguards is detected.

use super::*;
use std::string::ToString;

fn without(safeguard: Safeguards) -> SpaceBench<FourLevel> {
    SpaceBench::with_safeguards(32, Safeguards::all() - safeguard)
}

#[test]
fn without_the_shoot_down_an_old_translation_leads_to_the_frame_of_another_page() {
    let mut bench = without(Safeguards::SHOOT_DOWN);
    let space = bench.with_heap(2);
    bench.write(space, HEAP, 1);
    bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    bench.write(space, HEAP + 0x1000, 2);
    assert_eq!(bench.read(space, HEAP), 2, "the frame belongs to the other page by now");

    let stale = bench.computer.stale(&bench.system).unwrap().expect("a stale translation");
    assert_eq!((stale.space, stale.page.get()), (space, HEAP));
    assert!(stale.to_string().ends_with("the shoot-down is missing"), "{stale}");
}

#[test]
fn without_the_wipe_a_process_reads_the_data_of_another() {
    let mut bench = without(Safeguards::WIPE);
    let first = bench.with_heap(1);
    bench.write(first, HEAP, 0x5ec2);
    bench.system.destroy(&mut bench.computer, first).unwrap();

    let second = bench.with_heap(1);
    assert_eq!(bench.read(second, HEAP), 0x5ec2);
}

#[test]
fn without_the_write_protection_a_fork_shares_writes() {
    let mut bench = without(Safeguards::WRITE_PROTECT);
    let parent = bench.with_heap(1);
    bench.write(parent, HEAP, 1);

    let child = bench.fork(parent);
    bench.write(child, HEAP, 2);
    assert_eq!(bench.read(parent, HEAP), 2);

    let flaw = bench.system.audit(&bench.computer).unwrap_err();
    assert!(matches!(flaw, Flaw::WritableAndShared(..)), "{flaw}");
    assert!(flaw.to_string().contains("write protection after a fork"), "{flaw}");
}
