//! Whatever the tables hold, a walker that is asked in this process must come back from them.

use crosswalk_adapters::ADAPTERS;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use crosswalk_guest::layout::Arena;
use mmu_core::{AccessKind, PagingMode, Profile, Ring, VirtAddr};
use proptest::prelude::*;

/// The libraries: a machine of its own is for others to test.
const IN_PROCESS: [&str; 4] = ["x86_64", "memflow", "page_table_multiarch", "vm-memory"];

/// An entry: any bits, or an address near the tables with any flags.
fn entry() -> impl Strategy<Value = u64> {
    let near = (0x43e_u64..0x44a, any::<u16>()).prop_map(|(frame, flags)| {
        frame << 12 | u64::from(flags & 0xfff) | u64::from(flags >> 15) << 63
    });
    prop_oneof![any::<u64>(), near]
}

fn case() -> impl Strategy<Value = Case> {
    let modes = prop::sample::select(PagingMode::ALL.to_vec());
    let entries = prop::collection::vec((any::<bool>(), entry()), 5);
    let access = (any::<bool>(), any::<u64>(), 1..=64_u16, any::<bool>());
    (modes, entries, access, entry(), any::<bool>()).prop_map(
        |(mode, entries, (is_there, address, size, writes), cr3, keeps_root)| {
            let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default());
            for (listed, (changes, value)) in case.entries.iter_mut().zip(entries) {
                if changes {
                    listed.value = value;
                }
            }
            if !keeps_root {
                case.state.cr3 = cr3;
            }
            let mask = if is_there { 0xfff } else { u64::MAX };
            let address = case.access.address.get() & !mask | address & mask;
            (case.access.address, case.access.size) = (VirtAddr::new(address), size);
            if writes {
                case.access.kind = AccessKind::Write;
            }
            case
        },
    )
}

fn candidates() -> Vec<Box<dyn Candidate>> {
    let adapters = ADAPTERS.into_iter().filter(|adapter| IN_PROCESS.contains(&adapter.name));
    adapters.map(|adapter| adapter.open().expect("it is linked")).collect()
}

proptest! {
    #[test]
    fn every_library_comes_back_and_says_the_same_again(
        cases in prop::collection::vec(case(), 1..8)
    ) {
        let mut candidates = candidates();
        let mut answers = |case: &Case| -> Vec<Answer> {
            candidates.iter_mut().map(|candidate| candidate.answer(case)).collect()
        };
        let first: Vec<_> = cases.iter().map(&mut answers).collect();
        // Nothing of a case is left for the next.
        let mut again: Vec<_> = cases.iter().rev().map(&mut answers).collect();
        again.reverse();
        prop_assert_eq!(first, again);
    }
}
