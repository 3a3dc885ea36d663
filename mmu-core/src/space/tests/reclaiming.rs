//! The clock, and what goes to the store.

use super::*;

for_each_format! {
    more_pages_than_frames
    when_nothing_can_be_taken_that_is_an_error
}

fn more_pages_than_frames<F: Format>() {
    // Tables take at most five frames, so ten frames hold at most nine of the twenty pages.
    let mut bench = SpaceBench::<F>::new(10);
    let space = bench.with_heap(20);
    for page in 0..20 {
        bench.write(space, HEAP + 0x1000 * page, 100 + page);
    }
    for page in 0..20 {
        assert_eq!(bench.read(space, HEAP + 0x1000 * page), 100 + page);
        bench.audit();
    }
    assert!(bench.system.statistics().major >= 20 - 9);
}

fn when_nothing_can_be_taken_that_is_an_error<F: Format>() {
    let mut bench = SpaceBench::<F>::new(6);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 5);
    let root = Region::new(RegionKind::Data, VirtAddr::new(0x7f_0000), 1, Protection::DATA);
    bench.map(space, root);
    let error = loop {
        match bench.system.create(&mut bench.computer) {
            Ok(_) => bench.audit(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SpaceError::OutOfFrames(VirtAddr::new(0)));
    bench.audit();
    for other in bench.system.spaces().collect::<Vec<_>>() {
        if other != space {
            bench.system.destroy(&mut bench.computer, other).unwrap();
        }
    }
    assert_eq!(bench.read(space, HEAP), 5);
    bench.audit();
}

/// Of two pages the one that was not read since the hand last passed is taken.
#[test]
fn an_accessed_page_gets_a_second_chance() {
    let mut bench = SpaceBench::<FourLevel>::new(6);
    let space = bench.with_heap(3);
    bench.read(space, HEAP);
    bench.read(space, HEAP + 0x1000);
    // Both have A; it is cleared, and the first is taken.
    assert_eq!(bench.system.frames().free(), 0);
    let first = bench.frame(space, HEAP).unwrap();
    assert_eq!(bench.system.reclaim(&mut bench.computer).unwrap(), Some(first));
    assert_eq!(bench.system.statistics().second_chances, 2);
    bench.read(space, HEAP + 0x2000);
    assert_eq!(bench.frame(space, HEAP + 0x2000), Some(first));
    // The second was not read since, the third was: the second goes, wherever the hand is.
    let second = bench.frame(space, HEAP + 0x1000).unwrap();
    assert_eq!(bench.system.reclaim(&mut bench.computer).unwrap(), Some(second));
    bench.audit();
}

#[test]
fn only_what_was_written_goes_to_the_store() {
    let mut bench = SpaceBench::<FourLevel>::new(16);
    let space = bench.with_heap(2);
    bench.write(space, HEAP, 1);
    bench.read(space, HEAP + 0x1000);
    for _ in 0..2 {
        bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    }
    assert_eq!(bench.system.statistics().written, 1);
    // Back again and only read, the page is in its slot already.
    assert_eq!(bench.read(space, HEAP), 1);
    bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    assert_eq!(bench.system.statistics().written, 1);
    assert_eq!(bench.system.slots().in_use(), 1);
    bench.audit();
}

#[test]
fn a_full_store_keeps_dirty_pages_in_memory() {
    let mut bench = SpaceBench::<FourLevel>::new(40);
    bench.system.slots = Slots::new(IMAGES + 1, IMAGES);
    let space = bench.with_heap(3);
    for page in 0..3 {
        bench.write(space, HEAP + 0x1000 * page, page);
    }
    assert!(bench.system.reclaim(&mut bench.computer).unwrap().is_some());
    assert_eq!(bench.system.reclaim(&mut bench.computer).unwrap(), None);
    for page in 0..3 {
        assert_eq!(bench.read(space, HEAP + 0x1000 * page), page);
    }
    bench.audit();
}
