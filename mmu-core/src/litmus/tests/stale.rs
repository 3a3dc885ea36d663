//! On one processor the machine allows what [`Mmu::predict_stale`] does, which works it out from moments in
//! a history and enumerates no executions.

use super::*;
use crate::access::Access;
use crate::cache::{History, RegisterWrite};
use crate::memory::{Bytes, TableMemoryMut};
use crate::outcome::Outcome;
use crate::walk::Mmu;
use crate::x86::format::FourLevel;
use proptest::prelude::*;

/// Where the entries are that may be edited: the PDE, and the PTEs of x and y in two tables.
const SLOTS: [u64; 5] = [0x12_000, 0x13_008, 0x13_010, 0x14_008, 0x14_010];
/// The frames. Each contains its address.
const FRAMES: [u64; 3] = [0x50_000, 0x60_000, 0x70_000];

/// What happens before the access.
#[derive(Clone, Copy, Debug)]
enum Before {
    Edit(usize, u64),
    Invlpg(VirtAddr),
    Cr3,
    TogglePge,
}

fn flags() -> impl Strategy<Value = u64> {
    const MOSTLY: u64 = P | RW | 1 << 2 | ACCESSED;
    let noise = [P, RW, 1 << 2, ACCESSED, DIRTY, G, 1 << 63];
    prop::collection::vec(prop::sample::select(noise.to_vec()), 0..3)
        .prop_map(|flips| flips.into_iter().fold(MOSTLY, |flags, flip| flags ^ flip))
}

/// An entry for a slot: the first one points to a table, the others to frames.
fn entry(slot: usize) -> impl Strategy<Value = u64> {
    let targets = if slot == 0 { vec![0x13_000, 0x14_000] } else { FRAMES.to_vec() };
    (prop::sample::select(targets), flags()).prop_map(|(target, flags)| target | flags)
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        4 => (0..SLOTS.len()).prop_flat_map(|slot| entry(slot).prop_map(move |entry| Before::Edit(slot, entry))),
        1 => prop::sample::select(vec![X, Y]).prop_map(Before::Invlpg),
        1 => Just(Before::Cr3),
        1 => Just(Before::TogglePge),
    ]
}

/// The outcomes of the access by the history.
fn by_history(
    words: &[(u64, u64)],
    (state, profile): (ControlState, Profile),
    actions: &[Before],
    access: &Access,
) -> BTreeSet<String> {
    let mut memory = Bytes::new(PhysAddr::new(0x10_000), vec![0_u8; 0x5000]);
    for (at, word) in words.iter().filter(|(at, _)| *at < 0x15_000) {
        memory.write_entry(PhysAddr::new(*at), 8, *word).unwrap();
    }
    let mut history = History::<_, 12>::new(memory);
    let mut state = state;
    for action in actions {
        match *action {
            Before::Edit(slot, entry) => {
                history.edit(PhysAddr::new(SLOTS[slot]), 8, entry).unwrap();
            }
            Before::Invlpg(page) => history.invlpg::<FourLevel>(&state, &profile, page),
            Before::Cr3 => {
                let write = RegisterWrite::Cr3(state.cr3);
                history.write_register(write, &state, &state, profile.vendor).unwrap();
            }
            Before::TogglePge => {
                let new = ControlState { cr4: state.cr4 ^ Cr4::PGE, ..state };
                let write = RegisterWrite::Other;
                history.write_register(write, &state, &new, profile.vendor).unwrap();
                state = new;
            }
        }
    }

    let mut found = BTreeSet::new();
    let mmu = Mmu::<FourLevel>::new(state, profile);
    mmu.predict_stale(&history, access, |prediction| {
        found.extend(prediction.alternatives.iter().map(|way| match &way.outcome {
            Outcome::Fault(fault) => format!("fault {:#x}", fault.error_code),
            translated @ Outcome::Translated(_) => {
                format!("{:#x}", translated.physical_address().unwrap().get())
            }
        }));
    })
    .unwrap();
    found
}

/// The same by all executions.
fn by_executions(test: &LitmusTest) -> BTreeSet<String> {
    let explored = test.explore(50_000).unwrap();
    let outcomes = explored.outcomes.iter().filter(|(_, ways)| {
        ways.iter().any(|way| !way.choices.contains(LitmusChoices::SPECULATIVE_ACCESS))
    });
    outcomes
        .map(|(outcome, _)| match outcome.results[0].last().unwrap() {
            ActionResult::Fault(code) => format!("fault {code:#x}"),
            ActionResult::Value(address) => format!("{address:#x}"),
            // The frame that no longer contains its address was written.
            ActionResult::Wrote => {
                let mut frames = FRAMES.iter().zip(&outcome.memory);
                let (written, _) = frames.find(|(frame, content)| frame != content).unwrap();
                format!("{written:#x}")
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn one_processor_shows_what_predict_stale_allows(
        entries in (entry(0), entry(1), entry(2), entry(3), entry(4)),
        actions in prop::collection::vec(before(), 0..5),
        kind in prop::sample::select(vec![Action::Read(X), write(), Action::Fetch(X)]),
        (is_amd, has_cet, has_pge) in any::<(bool, bool, bool)>(),
    ) {
        let entries = [entries.0, entries.1, entries.2, entries.3, entries.4];
        let mut words = vec![(0x10_000, 0x11_027), (0x11_000, 0x12_027)];
        words.extend(SLOTS.into_iter().zip(entries));
        words.extend(FRAMES.map(|frame| (frame, frame)));

        let mut state = ControlState::four_level(0x10_000);
        state.cr4.set(Cr4::PGE, has_pge);
        let vendor = if is_amd { Vendor::Amd } else { Vendor::Intel };
        let mut profile = Profile { vendor, ..Profile::default() };
        profile.features.set(Features::CET_SS, has_cet);

        let mut cr4 = state.cr4;
        let mut program = Vec::new();
        for action in &actions {
            program.extend(match *action {
                Before::Edit(slot, entry) => {
                    [Action::Store(PhysAddr::new(SLOTS[slot]), entry), Action::Fence]
                }
                Before::Invlpg(page) => [Action::Invlpg(page), Action::Fence],
                Before::Cr3 => [Action::WriteCr3(state.cr3), Action::Fence],
                Before::TogglePge => {
                    cr4 ^= Cr4::PGE;
                    [Action::WriteCr4(cr4), Action::Fence]
                }
            });
        }
        program.push(kind);
        let observed = FRAMES.map(|frame| Observed { at: PhysAddr::new(frame), mask: u64::MAX });
        let test = LitmusTest {
            memory: words.iter().map(|(at, word)| (PhysAddr::new(*at), *word)).collect(),
            state,
            profile,
            ring: Ring::Three,
            programs: vec![Program { actions: program, ..Program::default() }],
            observed: observed.to_vec(),
        };

        let access = match kind {
            Action::Write(..) => Access::write(X, 8, Ring::Three),
            Action::Fetch(_) => Access::fetch(X, 8, Ring::Three),
            _ => Access::read(X, 8, Ring::Three),
        };
        let expected = by_history(&words, (state, profile), &actions, &access);
        prop_assert_eq!(by_executions(&test), expected);
    }
}
