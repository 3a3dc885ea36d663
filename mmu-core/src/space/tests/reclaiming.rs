//! Tests of reclaim: the clock algorithm, and the pages written to the backing store.

use super::*;

for_each_format! {
    there_can_be_more_pages_than_frames
    running_out_of_frames_is_an_error
}

fn there_can_be_more_pages_than_frames<F: Format>() {
    // At least one of the ten frames is a table, so memory has room for at most nine of twenty
    // pages.
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

fn running_out_of_frames_is_an_error<F: Format>() {
    let mut bench = SpaceBench::<F>::new(6);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 5);

    let data = Region::new(RegionKind::Data, VirtAddr::new(0x7f_0000), 1, Protection::DATA);
    bench.map(space, data);

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

/// Of two pages, reclaim evicts the one that was not accessed since the hand last passed it.
#[test]
fn an_accessed_page_gets_a_second_chance() {
    let mut bench = SpaceBench::<FourLevel>::new(6);
    let space = bench.with_heap(3);
    bench.read(space, HEAP);
    bench.read(space, HEAP + 0x1000);

    // A is set in both. The hand clears it, and evicts the first.
    assert_eq!(bench.system.frames().free(), 0);
    let first = bench.frame(space, HEAP).unwrap();
    assert_eq!(bench.system.reclaim(&mut bench.computer).unwrap(), Some(first));
    assert_eq!(bench.system.statistics().second_chances, 2);
    bench.read(space, HEAP + 0x2000);
    assert_eq!(bench.frame(space, HEAP + 0x2000), Some(first));

    // The second page was not accessed since, but the third was: the second is evicted.
    let second = bench.frame(space, HEAP + 0x1000).unwrap();
    assert_eq!(bench.system.reclaim(&mut bench.computer).unwrap(), Some(second));
    bench.audit();
}

#[test]
fn only_dirty_pages_are_written_to_the_store() {
    let mut bench = SpaceBench::<FourLevel>::new(16);
    let space = bench.with_heap(2);
    bench.write(space, HEAP, 1);
    bench.read(space, HEAP + 0x1000);

    for _ in 0..2 {
        bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    }
    assert_eq!(bench.system.statistics().written, 1);

    // The page is read back and stays clean, so its slot is still up to date.
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
