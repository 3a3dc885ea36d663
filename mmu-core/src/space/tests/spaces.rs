//! Tests of address spaces: regions, fork, destruction.

use super::*;
use crate::x86::fault::{Fault, PageFaultCode};

for_each_format! {
    a_fork_copies_the_contents_and_separates_later_writes
    destroying_the_spaces_frees_everything
    a_fork_shares_a_page_in_the_store
    protection_changes_take_effect_at_once
    a_space_id_is_reused_with_another_root
    fixed_pages_are_accessed_and_where_writable_dirty_from_the_start
}

fn a_fork_copies_the_contents_and_separates_later_writes<F: Format>() {
    let mut bench = SpaceBench::<F>::new(32);
    let parent = bench.with_heap(2);
    bench.write(parent, HEAP, 1);
    bench.write(parent, HEAP + 0x1000, 2);

    let child = bench.fork(parent);
    bench.audit();
    assert_eq!((bench.read(child, HEAP), bench.read(child, HEAP + 0x1000)), (1, 2));

    bench.write(child, HEAP, 10);
    assert_eq!(bench.read(parent, HEAP), 1);
    bench.write(parent, HEAP + 0x1000, 20);
    assert_eq!(bench.read(child, HEAP + 0x1000), 2);
    bench.write(parent, HEAP, 11);
    assert_eq!((bench.read(child, HEAP), bench.read(parent, HEAP)), (10, 11));
    bench.audit();
}

fn destroying_the_spaces_frees_everything<F: Format>() {
    let mut bench = SpaceBench::<F>::new(32);
    let parent = bench.with_heap(3);
    bench.write(parent, HEAP, 1);

    let child = bench.fork(parent);
    bench.write(child, HEAP + 0x2000, 1);
    bench.system.reclaim(&mut bench.computer).unwrap();

    bench.system.destroy(&mut bench.computer, parent).unwrap();
    bench.audit();
    bench.system.unmap(&mut bench.computer, child, VirtAddr::new(HEAP + 5)).unwrap();
    bench.audit();
    bench.system.destroy(&mut bench.computer, child).unwrap();
    bench.audit();

    assert_eq!(bench.system.frames().free(), 32);
    assert_eq!(bench.system.slots().in_use(), 0);
}

fn a_fork_shares_a_page_in_the_store<F: Format>() {
    let mut bench = SpaceBench::<F>::new(32);
    let parent = bench.with_heap(1);
    bench.write(parent, HEAP, 77);
    bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    assert_eq!(bench.frame(parent, HEAP), None);

    let child = bench.fork(parent);
    bench.write(child, HEAP, 78);
    assert_eq!(bench.read(parent, HEAP), 77);

    // Both pages are written to the store, each to its own slot.
    for _ in 0..2 {
        bench.system.reclaim(&mut bench.computer).unwrap().unwrap();
    }

    assert_eq!((bench.read(parent, HEAP), bench.read(child, HEAP)), (77, 78));
    bench.audit();
}

fn protection_changes_take_effect_at_once<F: Format>() {
    let mut bench = SpaceBench::<F>::new(16);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 1);

    let heap = VirtAddr::new(HEAP);
    bench.system.protect(&mut bench.computer, space, heap, Protection::CONSTANTS).unwrap();
    if F::LEVELS[0].has_flags || F::LEVELS.len() > 1 {
        let denied = bench.decisions(space, AccessKind::Write, HEAP);
        assert_eq!(denied, [Decision::Invalid(Invalid::ReadOnly)]);
    }

    bench.system.protect(&mut bench.computer, space, heap, Protection::DATA).unwrap();
    bench.write(space, HEAP, 2);
    assert_eq!(bench.read(space, HEAP), 2);
    bench.audit();
}

/// The first write to a shared page copies it, the last sharer keeps the frame.
#[test]
fn copy_on_write_ends_with_the_last_sharer() {
    let mut bench = SpaceBench::<FourLevel>::new(32);
    let parent = bench.with_heap(1);
    bench.write(parent, HEAP, 1);

    let frame = bench.frame(parent, HEAP).unwrap();
    let child = bench.fork(parent);
    assert_eq!(bench.frame(child, HEAP), Some(frame));
    assert_eq!(bench.system.frames().get(frame).unwrap().references, 2);
    let sharers = bench.system.sharers(&bench.computer, frame).unwrap();
    assert_eq!(sharers[..], [parent, child].map(|space| (space, VirtAddr::new(HEAP))));

    assert_eq!(bench.decisions(parent, AccessKind::Write, HEAP), [Decision::Minor(Minor::Copy)]);
    assert_eq!(bench.decisions(child, AccessKind::Write, HEAP), [Decision::Minor(Minor::Reuse)]);
    assert_eq!(bench.frame(child, HEAP), Some(frame));
    assert_eq!(bench.system.frames().get(frame).unwrap().owner, child);
}

#[test]
fn bad_and_overlapping_regions_are_refused() {
    let mut bench = SpaceBench::<FourLevel>::new(16);
    let space = bench.with_heap(2);
    let page = |start| Region::new(RegionKind::Data, VirtAddr::new(start), 1, Protection::DATA);
    let start = VirtAddr::new;
    let slot = Backing::Image(SlotNumber(IMAGES));

    for (region, error) in [
        (page(HEAP + 0x1000), SpaceError::Overlap(start(HEAP + 0x1000))),
        (page(0x1234), SpaceError::Misaligned(start(0x1234))),
        (Region { pages: 0, ..page(0x1000) }, SpaceError::BadRange(start(0x1000))),
        (page(0x8000_0000_0000), SpaceError::BadRange(start(0x8000_0000_0000))),
        (page(0xffff_ffff_ffff_f000), SpaceError::BadRange(start(0xffff_ffff_ffff_f000))),
        // A stack that could grow into the heap.
        (Region::stack(start(HEAP + 0x5000), 1, 4), SpaceError::Overlap(start(HEAP + 0x4000))),
        (page(0x1000).from_backing(slot), SpaceError::BadSlots(start(0x1000))),
        (
            page(0x1000).from_backing(Backing::Object(ObjectId(3))),
            SpaceError::BadObject(start(0x1000)),
        ),
        (
            page(0x1000).from_backing(Backing::Fixed(PhysAddr::new(0x1_0000))),
            SpaceError::OwnFrame(PhysAddr::new(0x1_0000)),
        ),
        (Region { limit: u64::MAX, ..page(0x1000) }, SpaceError::BadRange(start(0x1000))),
    ] {
        let refused = bench.system.map(&mut bench.computer, space, region);
        assert_eq!(refused, Err(error), "{error}");
    }

    let no_space = bench.system.map(&mut bench.computer, SpaceId(9), page(0));
    assert_eq!(no_space, Err(SpaceError::NoSuchSpace(SpaceId(9))));
    assert_eq!(bench.system.grow(space, start(HEAP), 1), Err(SpaceError::CannotGrow(start(HEAP))));
    bench.audit();
}

/// PDPTE-1: a running PAE process can use its second gigabyte only after the registers are loaded
/// again.
#[test]
fn a_new_pdpte_is_loaded() {
    let mut bench = SpaceBench::<Pae>::new(16);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 1);
    bench.map(space, Region::heap(VirtAddr::new(0x8000_0000), 1, 1));
    bench.write(space, 0x8000_0000, 2);
    assert_eq!(bench.read(space, 0x8000_0000), 2);
}

/// A fixed region is mapped at once, so it needs its tables at once.
#[test]
fn a_fixed_region_without_room_for_its_tables_is_not_mapped() {
    let mut bench = SpaceBench::<FourLevel>::new(3);
    let space = bench.create();
    let fixed = Region::new(RegionKind::Kernel, VirtAddr::new(0xf0_0000), 1, Protection::READ)
        .from_backing(Backing::Fixed(PhysAddr::new(0)));
    let refused = bench.system.map(&mut bench.computer, space, fixed);

    assert_eq!(refused, Err(SpaceError::OutOfFrames(VirtAddr::new(0xf0_0000))));
    assert!(bench.system.regions(space).unwrap().is_empty());
    bench.audit();
}

/// A supervisor page outside the frames that the system manages.
fn fixed_region() -> Region {
    Region::new(RegionKind::Kernel, VirtAddr::new(0x30_0000), 1, Protection::READ)
        .from_backing(Backing::Fixed(PhysAddr::new(0)))
}

/// Regression: the PDPTEs of PAE paging were loaded from the old root.
fn a_space_id_is_reused_with_another_root<F: Format>() {
    let mut bench = SpaceBench::<F>::new(48);
    let first = bench.create();
    let image = Region::new(RegionKind::Data, VirtAddr::new(HEAP), 2, Protection::DATA);
    bench.map(first, image.from_backing(Backing::Image(SlotNumber(2))));

    let fault = |bench: &mut SpaceBench<F>, page: u64| {
        let fault = Fault::page_fault(PageFaultCode::U, VirtAddr::new(HEAP + page * PAGE_BYTES));
        bench.system.fault(&mut bench.computer, first, &fault).unwrap();
    };
    fault(&mut bench, 0);

    let second = bench.with_heap(1);
    bench.write(second, HEAP, 1);
    let old = bench.system.root(second).unwrap();
    bench.system.destroy(&mut bench.computer, second).unwrap();

    // A page of the image takes the frame of the old root before another space runs.
    fault(&mut bench, 1);
    assert_eq!(bench.frame(first, HEAP + PAGE_BYTES), Some(old));

    let again = bench.create();
    assert_eq!(again, second);
    assert_ne!(bench.system.root(again).unwrap(), old);

    bench.map(again, fixed_region());
    bench.map(again, Region::heap(VirtAddr::new(HEAP), 1, 1));
    bench.write(again, HEAP, 2);
    assert_eq!(bench.read(again, HEAP), 2);
    bench.audit();
}

/// RIGHT-7: with R/W=0, D would make the page a shadow stack.
fn fixed_pages_are_accessed_and_where_writable_dirty_from_the_start<F: Format>() {
    let has_dirty = F::LEVELS[F::LEVELS.len() - 1].has_flags;
    let writable = Protection::READ | Protection::WRITE;

    for (protection, is_dirty) in [(Protection::READ, false), (writable, has_dirty)] {
        let mut bench = SpaceBench::<F>::new(16);
        let space = bench.create();
        bench.map(space, Region { protection, ..fixed_region() });

        let page = fixed_region().start;
        let entries = |bench: &SpaceBench<F>| -> Vec<u64> {
            let path = bench.system.path(&bench.computer, space, page).unwrap();
            path.map(|at| bench.computer.read_entry(at, F::ENTRY_BYTES).unwrap()).collect()
        };
        let mapped = entries(&bench);
        for (level, entry) in F::LEVELS.iter().zip(&mapped) {
            // The PDPTEs of PAE paging and the entries of the flat table have no A.
            assert_eq!(entry & 0x20 != 0, level.has_flags, "{}", level.number);
        }
        if has_dirty {
            assert_eq!(mapped[F::LEVELS.len() - 1] & 0x40 != 0, is_dirty);
        }

        // A change of protection and back leads to the same entries.
        for other in [writable, Protection::READ, protection] {
            bench.system.protect(&mut bench.computer, space, page, other).unwrap();
            bench.audit();
        }
        assert_eq!(entries(&bench), mapped);
    }
}
