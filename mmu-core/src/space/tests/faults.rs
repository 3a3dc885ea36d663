//! The decisions on faults.

use super::*;

const ZERO_FILL: Decision = Decision::Minor(Minor::ZeroFill);

for_each_format! {
    the_first_touch_maps_a_page_of_zeros
    an_image_is_read_from_the_store
    accesses_outside_regions_are_invalid
    a_stack_grows_down_to_its_limit
    a_shared_object_has_one_set_of_frames
}

fn the_first_touch_maps_a_page_of_zeros<F: Format>() {
    let mut bench = SpaceBench::<F>::new(16);
    let space = bench.with_heap(2);
    assert_eq!(bench.decisions(space, AccessKind::Read, HEAP + 8), [ZERO_FILL]);
    assert_eq!(bench.decisions(space, AccessKind::Read, HEAP + 0x800), []);
    assert_eq!(bench.read(space, HEAP), 0, "memory was filled with 0xa5");
    bench.write(space, HEAP + 0x1000, 7);
    assert_eq!(bench.read(space, HEAP + 0x1000), 7);
    assert_eq!(bench.system.statistics().minor, 2);
    bench.audit();
}

fn an_image_is_read_from_the_store<F: Format>() {
    let mut bench = SpaceBench::<F>::new(16);
    let space = bench.create();
    let code = Region::new(RegionKind::Code, VirtAddr::new(0x40_0000), 2, Protection::CODE);
    bench.map(space, code.from_backing(Backing::Image(SlotNumber(2))));

    let decisions = bench.decisions(space, AccessKind::Fetch, 0x40_1000);
    assert_eq!(decisions, [Decision::Major(SlotNumber(3))]);
    assert_eq!(bench.read(space, 0x40_1008), 0xc0de_0003);
    bench.audit();
}

fn accesses_outside_regions_are_invalid<F: Format>() {
    let mut bench = SpaceBench::<F>::new(16);
    let space = bench.with_heap(1);
    let guard =
        Region::new(RegionKind::Guard, VirtAddr::new(HEAP + 0x1000), 1, Protection::empty());
    bench.map(space, guard);

    for (address, why) in [
        (HEAP - 1, Invalid::NoRegion),
        (HEAP + 0x1000, Invalid::Guard),
        (HEAP + 0x2000, Invalid::NoRegion),
    ] {
        let decisions = bench.decisions(space, AccessKind::Read, address & !7);
        assert_eq!(decisions, [Decision::Invalid(why)], "{address:#x}");
    }

    bench.audit();
}

fn a_stack_grows_down_to_its_limit<F: Format>() {
    let mut bench = SpaceBench::<F>::new(16);
    let space = bench.create();
    bench.map(space, Region::stack(VirtAddr::new(0x80_0000), 1, 3));
    bench.write(space, 0x7f_fff8, 1);
    bench.write(space, 0x7f_d000, 3);
    assert_eq!(bench.system.regions(space).unwrap()[0].pages, 3);

    let below = bench.decisions(space, AccessKind::Write, 0x7f_cff8);
    assert_eq!(below, [Decision::Invalid(Invalid::NoRegion)]);
    assert_eq!((bench.read(space, 0x7f_fff8), bench.read(space, 0x7f_d000)), (1, 3));
    bench.audit();
}

fn a_shared_object_has_one_set_of_frames<F: Format>() {
    let mut bench = SpaceBench::<F>::new(24);
    let object = bench.system.create_object(2, Backing::Zero).unwrap();
    let region = |start| {
        Region::new(RegionKind::Shared, VirtAddr::new(start), 2, Protection::DATA)
            .from_backing(Backing::Object(object))
    };

    let first = bench.create();
    bench.map(first, region(0x70_0000));
    let second = bench.create();
    bench.map(second, region(0x72_0000));

    bench.write(first, 0x70_1000, 42);
    let decisions = bench.decisions(second, AccessKind::Read, 0x72_1000);
    assert_eq!(decisions, [Decision::Minor(Minor::MapShared)]);
    assert_eq!(bench.read(second, 0x72_1000), 42);

    bench.write(second, 0x72_1000, 43);
    assert_eq!(bench.read(first, 0x70_1000), 43);
    assert_eq!(bench.frame(first, 0x70_1000), bench.frame(second, 0x72_1000));
    bench.audit();

    // The frames are freed with the last space that maps them.
    bench.system.destroy(&mut bench.computer, first).unwrap();
    assert_eq!(bench.read(second, 0x72_1000), 43);
    bench.audit();
    bench.system.destroy(&mut bench.computer, second).unwrap();
    assert_eq!(bench.system.frames().free(), 24);
}

#[test]
fn the_region_decides_the_rights() {
    let mut bench = SpaceBench::<FourLevel>::new(16);
    let space = bench.with_heap(1);
    let constants =
        Region::new(RegionKind::Data, VirtAddr::new(0x50_0000), 1, Protection::CONSTANTS);
    bench.map(space, constants);

    let protection = Protection::READ | Protection::EXECUTE;
    let kernel = Region::new(RegionKind::Kernel, VirtAddr::new(0xf0_0000), 1, protection)
        .from_backing(Backing::Fixed(PhysAddr::new(0)));
    bench.map(space, kernel);

    // An access that is not allowed is denied before the first touch of the page and after.
    for (kind, address, expected) in [
        (AccessKind::Write, 0x50_0000, Decision::Invalid(Invalid::ReadOnly)),
        (AccessKind::Read, 0x50_0000, ZERO_FILL),
        (AccessKind::Write, 0x50_0000, Decision::Invalid(Invalid::ReadOnly)),
        (AccessKind::Fetch, HEAP, Decision::Invalid(Invalid::NoExecute)),
        (AccessKind::Write, HEAP, ZERO_FILL),
        (AccessKind::Fetch, HEAP, Decision::Invalid(Invalid::NoExecute)),
        (AccessKind::Read, 0xf0_0000, Decision::Invalid(Invalid::Supervisor)),
    ] {
        assert_eq!(bench.decisions(space, kind, address), [expected], "{kind:?} {address:#x}");
    }

    assert_eq!(bench.system.statistics().invalid, 5);
    bench.audit();
}

/// 32-bit entries have no XD: a fetch from a data page completes once the page is present.
#[test]
fn without_execute_disable_data_can_be_executed() {
    let mut bench = SpaceBench::<Bits32>::new(16);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 1);
    assert_eq!(bench.decisions(space, AccessKind::Fetch, HEAP), []);
}

#[test]
fn an_access_that_is_not_canonical_is_invalid() {
    let mut bench = SpaceBench::<FourLevel>::new(16);
    let space = bench.with_heap(1);
    let decisions = bench.decisions(space, AccessKind::Read, 1 << 60);
    assert_eq!(decisions, [Decision::Invalid(Invalid::NotCanonical)]);
}
