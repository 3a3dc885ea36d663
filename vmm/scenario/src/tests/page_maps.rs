//! The page maps of a story.

use crate::driver::{Driver, Process};
use crate::page_map::{FrameContent, MappedFrame, PageMap, PagePlace};
use crate::program::{calls, check, fill};
use crate::story::Happened;
use crate::{MAX_MAP_ROWS, Setting};
use crosswalk_guest::system::{Completion, Request};
use mmu_core::VirtAddr;
use mmu_core::space::{Backing, Protection, Region, RegionKind, SlotNumber};
use mmu_core::x86::format::{Format, FourLevel};

const DATA: u64 = 0x8050_0000;
const HEAP: u64 = 0x8060_0000;
const STACK_TOP: u64 = 0x8080_0000;

/// A driver that keeps maps, with 40 frames.
fn driver_with_maps() -> Driver<'static, FourLevel> {
    let mut driver =
        Driver::new("test", "", 40, Setting::new(FourLevel::MODE), None).expect("few frames");
    driver.keep_maps(MAX_MAP_ROWS);
    driver
}

/// A process with pages of its own, of an image and of a shared object, and its child, which copied some.
fn parent_and_child(driver: &mut Driver<'_, FourLevel>) -> [Process; 2] {
    let heap = Region::heap(VirtAddr::new(HEAP), 4, 4);
    let data = Region::new(RegionKind::Data, VirtAddr::new(DATA), 3, Protection::DATA)
        .from_backing(Backing::Image(SlotNumber(2)));
    let object = Backing::Object(driver.object(2, Backing::Zero).unwrap());
    let at = VirtAddr::new(0x8070_0000);
    let shared = Region::new(RegionKind::Shared, at, 2, Protection::DATA).from_backing(object);
    let parent = driver.start(&[heap, data, shared]).unwrap();
    for (start, pages) in [(HEAP, 4), (DATA, 1), (at.get(), 2)] {
        driver.run(parent, "fills", &fill(start, pages, 0xa)).unwrap();
    }

    let child = driver.fork(parent).unwrap();
    driver.run(child, "fills", &fill(HEAP, 2, 0xb)).unwrap();
    driver.run(child, "checks", &check(at.get(), 1, 0xa)).unwrap();
    [parent, child]
}

fn last_map<'d>(driver: &'d Driver<'_, FourLevel>) -> &'d PageMap {
    driver.story.timeline.last().and_then(|entry| entry.map.as_deref()).expect("a map")
}

/// Between the clock's steps and the next request nothing runs, so what follows from the events is in the tables.
#[test]
fn what_follows_from_the_clocks_steps_is_what_the_tables_say() {
    let mut driver = driver_with_maps();
    let [parent, child] = parent_and_child(&mut driver);

    let (mut taken, mut clean) = (0, 0);
    for round in 0..3 {
        loop {
            driver.capture();
            let before = driver.story.timeline.len();
            let completion = driver.request(&Request::Reclaim).unwrap();
            if driver.story.timeline.len() > before {
                let followed = last_map(&driver).clone();
                driver.capture();
                assert_eq!(*last_map(&driver), followed, "round {round}, after {taken} frames");
            }
            if completion == Completion::Taken(None) {
                break;
            }
            taken += 1;
            let last = &driver.story.timeline.last().unwrap().what;
            clean += usize::from(matches!(last, Happened::Evicted { written: None, .. }));
        }
        assert!(
            last_map(&driver)
                .frames
                .iter()
                .all(|frame| matches!(frame.content, FrameContent::Table(_)))
        );

        // Both processes have pages in one slot now, and get a frame each.
        driver.run(parent, "checks", &check(HEAP, 4, 0xa)).unwrap();
        driver.run(child, "checks", &check(HEAP + 0x2000, 2, 0xa)).unwrap();
        driver.run(child, "fills", &fill(0x8070_1000, 1, 0xb)).unwrap();
    }
    assert!(taken > 20 && clean > 3, "{taken} frames, {clean} of them clean");
}

/// By hand: after a fork both have every page, and a frame is copied for who writes.
#[test]
fn a_map_shows_who_has_a_frame() {
    let mut driver = driver_with_maps();
    let [parent, child] = parent_and_child(&mut driver);
    driver.capture();
    let map = last_map(&driver);
    let frame_of = |process: Process, page: u64| {
        let mut processes = map.processes.iter();
        let pages = &processes.find(|known| known.name == process.name)?.pages;
        let page = pages.iter().find(|known| known.page.get() == page)?;
        match page.place {
            PagePlace::Frame(frame, _) => map.frame(frame),
            PagePlace::Slot(_) => None,
        }
    };

    // The child wrote to the first two pages of the heap: each has its own, and the parent's is its alone.
    let [of_parent, of_child] = [parent, child].map(|one| frame_of(one, HEAP).expect("a frame"));
    assert_eq!((of_parent.owner, &of_parent.mapped_by[..]), (Some('A'), &['A'][..]));
    assert_eq!((of_child.owner, &of_child.mapped_by[..]), (Some('B'), &['B'][..]));
    assert!(!of_parent.is_copy_on_write && of_child.is_dirty);

    let third = frame_of(child, HEAP + 0x2000).expect("a frame");
    assert_eq!(third.mapped_by, ['A', 'B']);
    assert!(third.is_copy_on_write && third.is_dirty && third.is_accessed);

    let shared = frame_of(child, 0x8070_0000).expect("a frame");
    assert!(matches!(shared.content, FrameContent::Shared(_, 0)) && !shared.is_copy_on_write);
    assert_eq!(shared.mapped_by, ['A', 'B']);

    // Its root, and a table at each of the other levels at least.
    for level in 1..=4 {
        let is_it = |frame: &&MappedFrame| frame.content == FrameContent::Table(Some(level));
        assert!(
            map.frames.iter().any(|frame| is_it(&frame) && frame.owner == Some('B')),
            "{level}"
        );
    }
}

#[test]
fn a_stack_that_grew_has_its_new_start_at_once() {
    let mut driver = driver_with_maps();
    let stack = Region::stack(VirtAddr::new(STACK_TOP), 1, 4);
    let process = driver.start(&[stack]).unwrap();
    driver.run(process, "calls", &calls(STACK_TOP, 3)).unwrap();
    driver.capture();

    let timeline = &driver.story.timeline;
    let grown: Vec<_> = (0..timeline.len())
        .filter(|index| matches!(timeline[*index].what, Happened::Grown(_)))
        .collect();
    assert_eq!(grown.len(), 2);
    for index in grown {
        let [here, next] = [index, index + 1].map(|index| timeline[index].map.as_ref().unwrap());
        assert_eq!(here.processes[0].regions, next.processes[0].regions);
    }
}

/// A story that would be too long says so by leaving maps out, and costs no more than that.
#[test]
fn maps_are_limited() {
    let mut driver = driver_with_maps();
    driver.keep_maps(100);
    parent_and_child(&mut driver);
    let story = driver.end(Ok(())).unwrap();
    let maps = story.timeline.iter().filter_map(|entry| entry.map.as_ref());
    assert!(maps.clone().count() > 1 && maps.map(|map| map.rows()).sum::<usize>() < 400);
    assert!(story.timeline.last().unwrap().map.is_none());
}
