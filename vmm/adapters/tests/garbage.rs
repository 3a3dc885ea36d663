//! For any table contents, a library that runs in this process must return.

use crosswalk_adapters::ADAPTERS;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use crosswalk_guest::layout::Arena;
use mmu_core::{AccessKind, PagingMode, Profile, Ring, VirtAddr};
use proptest::prelude::*;

/// The libraries; KVM and QEMU run elsewhere, and are tested elsewhere.
const IN_PROCESS: [&str; 4] = ["x86_64", "memflow", "page_table_multiarch", "vm-memory"];

/// Table entries: any bits, or an address near the tables with any flags.
fn entry() -> impl Strategy<Value = u64> {
    let near = (0x43e_u64..0x44a, any::<u16>()).prop_map(|(frame, flags)| {
        frame << 12 | u64::from(flags & 0xfff) | u64::from(flags >> 15) << 63
    });
    prop_oneof![any::<u64>(), near]
}

/// An access to change a plain case with.
#[derive(Clone, Debug)]
struct ChangedAccess {
    stays_on_page: bool,
    address: u64,
    size: u16,
    writes: bool,
}

fn access() -> impl Strategy<Value = ChangedAccess> {
    (any::<bool>(), any::<u64>(), 1..=64_u16, any::<bool>()).prop_map(
        |(stays_on_page, address, size, writes)| ChangedAccess {
            stays_on_page,
            address,
            size,
            writes,
        },
    )
}

/// Plain cases with some entries, perhaps the root, and the access changed.
fn case() -> impl Strategy<Value = Case> {
    let modes = prop::sample::select(PagingMode::ALL.to_vec());
    let entries = prop::collection::vec(prop::option::of(entry()), 5);
    let root = prop::option::of(entry());
    (modes, entries, access(), root).prop_map(|(mode, entries, changed, root)| {
        let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default());
        for (listed, value) in case.entries.iter_mut().zip(entries) {
            listed.value = value.unwrap_or(listed.value);
        }
        case.state.cr3 = root.unwrap_or(case.state.cr3);

        let mask = if changed.stays_on_page { 0xfff } else { u64::MAX };
        let address = case.access.address.get() & !mask | changed.address & mask;
        case.access.address = VirtAddr::new(address);
        case.access.size = changed.size;
        if changed.writes {
            case.access.kind = AccessKind::Write;
        }
        case
    })
}

fn candidates() -> Vec<Box<dyn Candidate>> {
    let adapters = ADAPTERS.into_iter().filter(|adapter| IN_PROCESS.contains(&adapter.name));
    adapters.map(|adapter| adapter.open().expect("the library is linked in")).collect()
}

proptest! {
    #[test]
    fn every_library_returns_and_repeats_its_answers(
        cases in prop::collection::vec(case(), 1..8)
    ) {
        let mut candidates = candidates();
        let mut answers = |case: &Case| -> Vec<Answer> {
            candidates.iter_mut().map(|candidate| candidate.answer(case)).collect()
        };
        let first: Vec<_> = cases.iter().map(&mut answers).collect();

        // In the opposite order, since no case may affect the next.
        let mut again: Vec<_> = cases.iter().rev().map(&mut answers).collect();
        again.reverse();
        prop_assert_eq!(first, again);
    }
}
