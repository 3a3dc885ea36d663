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

/// Flat tables with entries of 1 and of 2 bytes.
type OneByte = Linear<20, 12, 1>;
type TwoBytes = Linear<24, 12, 2>;

/// The settings of a system with this number of slots, and otherwise room for everything.
fn settings(slots: u32, images: u32) -> Settings {
    Settings {
        first_frame: PhysAddr::new(0),
        frames: 64,
        slots,
        images,
        execute_disable: false,
        safeguards: Safeguards::all(),
    }
}

/// An entry with P=0 holds the number of the slot plus 1 above bit 0: 7 bits in an entry of 1 byte, so
/// slots 0 to 126. Of 300 pages in a store of 300 slots, 173 lost their contents.
#[test]
fn slots_that_do_not_fit_into_an_entry_are_refused() {
    let new = |slots| System::<OneByte, 64, 300>::new(settings(slots, 0)).map(drop);
    assert_eq!(new(300), Err(SpaceError::SlotTooHigh(SlotNumber(299))));
    assert_eq!(new(128), Err(SpaceError::SlotTooHigh(SlotNumber(127))));
    assert_eq!(new(127), Ok(()));
    assert_eq!(new(0), Ok(()));

    // 15 bits in an entry of 2 bytes: slots 0 to 32766.
    let new = |slots| System::<TwoBytes, 64, 40_000>::new(settings(slots, 0)).map(drop);
    assert_eq!(new(32_768), Err(SpaceError::SlotTooHigh(SlotNumber(32_767))));
    assert_eq!(new(32_767), Ok(()));
}

/// Slots that are cut do not count, and there are no more images than slots.
#[test]
fn images_are_among_the_slots() {
    assert!(System::<OneByte, 64, 100>::new(settings(300, 300)).is_ok());

    let slots = Slots::<8>::new(8, 300);
    assert!(slots.are_images(SlotNumber(7), 1));
    assert!(!slots.are_images(SlotNumber(8), 1));
    assert_eq!(slots.in_use(), 0);
}

/// With as many slots as an entry can hold, all pages keep their contents.
#[test]
fn pages_in_the_last_slots_of_narrow_entries_keep_their_contents() {
    const SLOTS: usize = 127;
    const PAGES: u64 = 180;

    let store = PhysAddr::new(0x4_0000);
    let bytes = vec![0xa5; store.get() as usize + 0x1000 * SLOTS];
    let mut computer =
        Software::<OneByte, _, Vec<Event>>::new(bytes, store, Profile::default(), Vec::new());
    let mut system = System::<OneByte, 64, SLOTS>::new(settings(SLOTS as u32, 0)).unwrap();
    let space = system.create(&mut computer).unwrap();
    let heap = VirtAddr::new(0x1_0000);
    system.map(&mut computer, space, Region::heap(heap, PAGES, PAGES)).unwrap();
    computer.run(&system, space).unwrap();

    // 63 pages have room in memory, beside the table. The first pass writes, the others find it again.
    for pass in 0..3 {
        for page in 0..PAGES {
            let access = Access::write(heap.wrapping_add(page << 12), 4, Ring::Three);
            let at = loop {
                match computer.access(&access).unwrap() {
                    Outcome::Translated(spans) => break spans[0].address,
                    Outcome::Fault(fault) => {
                        system.fault(&mut computer, space, &fault).unwrap();
                    }
                }
            };
            if pass == 0 {
                computer.write_entry(at, 8, 1000 + page).unwrap();
            }
            assert_eq!(computer.read_entry(at, 8), Ok(1000 + page), "page {page}");
        }
    }

    assert_eq!(system.slots().in_use(), SLOTS);
    system.audit(&computer).unwrap();
}
