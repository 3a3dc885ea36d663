//! No entry has R/W=0 and D=1: with CR4.CET it would map a shadow stack (RIGHT-7). What D said is not
//! lost: the page is written to the store all the same.

use super::*;
use crate::walk::Mmu;
use crate::x86::state::{ControlState, Cr4, PagingMode};

for_each_format! {
    right_7_no_entry_of_a_fork_maps_a_shadow_stack
    right_7_no_protected_entry_maps_a_shadow_stack
}

impl<F: Format> SpaceBench<F> {
    /// The leaf entry of a page.
    fn entry(&self, space: SpaceId, page: u64) -> u64 {
        self.system.look(&self.computer, space, VirtAddr::new(page)).unwrap().unwrap().entry
    }

    /// Asserts that an entry has these values of R/W and D. Flat tables have neither.
    #[track_caller]
    fn assert_rw_and_d(&self, space: SpaceId, page: u64, rw: bool, d: bool) {
        if F::MODE != PagingMode::Linear {
            let entry = self.entry(space, page);
            assert_eq!((entry & 0x2 != 0, entry & 0x40 != 0), (rw, d), "{entry:#x}");
        }
    }

    /// Takes frames until none of the page is left in memory.
    fn evict(&mut self, space: SpaceId, page: u64) {
        while self.frame(space, page).is_some() {
            self.system.reclaim(&mut self.computer).unwrap().unwrap();
        }
    }
}

/// SDM "Access Rights": an address is a shadow-stack address if R/W is 0 and D is 1 in the entry that
/// maps its page, and R/W is 1 in every entry above.
fn right_7_no_entry_of_a_fork_maps_a_shadow_stack<F: Format>() {
    let mut bench = SpaceBench::<F>::new(32);
    let parent = bench.with_heap(1);
    bench.write(parent, HEAP, 7);
    bench.assert_rw_and_d(parent, HEAP, true, true);

    let child = bench.fork(parent);
    bench.assert_rw_and_d(parent, HEAP, false, false);
    bench.assert_rw_and_d(child, HEAP, false, false);
    bench.audit();

    // The page was written before the fork, and is the parent's after the child's end.
    bench.system.destroy(&mut bench.computer, child).unwrap();
    bench.evict(parent, HEAP);
    assert_eq!(bench.system.statistics().written, 1);
    assert_eq!(bench.read(parent, HEAP), 7);
    bench.audit();
}

fn right_7_no_protected_entry_maps_a_shadow_stack<F: Format>() {
    let mut bench = SpaceBench::<F>::new(32);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 7);

    let heap = VirtAddr::new(HEAP);
    let protect = |bench: &mut SpaceBench<F>, protection| {
        bench.system.protect(&mut bench.computer, space, heap, protection).unwrap();
    };
    protect(&mut bench, Protection::CONSTANTS);
    bench.assert_rw_and_d(space, HEAP, false, false);
    bench.audit();

    // Without a write since, it is still the only copy.
    protect(&mut bench, Protection::DATA);
    bench.assert_rw_and_d(space, HEAP, true, false);
    bench.evict(space, HEAP);
    assert_eq!(bench.system.statistics().written, 1);
    assert_eq!(bench.read(space, HEAP), 7);

    // While the page can be written, D stays.
    bench.write(space, HEAP, 8);
    protect(&mut bench, Protection::DATA | Protection::EXECUTE);
    bench.assert_rw_and_d(space, HEAP, true, true);
    bench.audit();
}

/// On a processor with CET, a shadow-stack access to such a page is denied in both spaces.
#[test]
fn right_7_a_shadow_stack_access_to_a_forked_page_is_denied() {
    let mut bench = SpaceBench::<FourLevel>::new(32);
    let parent = bench.with_heap(1);
    bench.write(parent, HEAP, 7);
    let child = bench.fork(parent);

    for space in [parent, child] {
        let mut state = ControlState::four_level(bench.system.root(space).unwrap().get());
        state.cr4 |= Cr4::CET;
        let mmu = Mmu::<FourLevel>::new(state, Profile::default());

        let read = Access::read(VirtAddr::new(HEAP), 8, Ring::Three);
        let access = Access { shadow_stack: true, ..read };
        let prediction = mmu.predict(&bench.computer, &access).unwrap();
        let fault = prediction.alternatives[0].outcome.fault().expect("not a shadow stack");
        // P, U and SS.
        assert_eq!(fault.error_code, 0x45);
    }
}

/// The audit reports an entry that a processor would take for a shadow stack.
#[test]
fn right_7_the_audit_finds_a_read_only_dirty_page() {
    let mut bench = SpaceBench::<FourLevel>::new(32);
    let space = bench.with_heap(1);
    bench.write(space, HEAP, 7);

    let leaf = bench.system.look(&bench.computer, space, VirtAddr::new(HEAP)).unwrap().unwrap();
    let entry = leaf.entry & !0x2;
    bench.computer.write_entry(leaf.at, 8, entry).unwrap();
    let flaw = Flaw::ShadowStack(space, VirtAddr::new(HEAP), entry);
    assert_eq!(bench.system.audit(&bench.computer), Err(flaw));
}
