//! Below a second level that maps every address to itself and allows everything, an access does what it
//! does without one.

use super::{Frames, access, frames, guest, profile};
use crate::access::Access;
use crate::address::PhysAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::nested::{AnyRule, Dimension, Ept, NestedEnd, NestedMmu, NestedPrediction, SecondLevel};
use crate::outcome::{Outcome, Prediction};
use crate::walk::AnyMmu;
use crate::x86::profile::{Features, Pins, Profile};
use crate::x86::state::ControlState;
use proptest::prelude::*;
use std::vec::Vec;

/// Where the second level's root is: above all that a guest addresses.
const SECOND_ROOT: u64 = 1 << 51;

/// A guest's memory, and 1 GiB pages for all of it. The PML5 and the PML4 have one entry in common for
/// each index, and entry N of the PDPT at `SECOND_ROOT + (1 + M) × 4 KiB` maps GiB 512 M + N.
struct WithIdentity<'m> {
    guest: &'m Frames,
    is_npt: bool,
}

impl TableMemory for WithIdentity<'_> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let at = at.get();
        if at < SECOND_ROOT {
            return self.guest.read_entry(PhysAddr::new(at), bytes);
        }

        let (table, index) = ((at - SECOND_ROOT) >> 12, at >> 3 & 511);
        Ok(match table {
            0 => SECOND_ROOT | (1 + index) << 12 | 7,
            number => {
                let gib = (number - 1) << 9 | index;
                // A large page; EPT's are write-back.
                gib << 30 | if self.is_npt { 0x87 } else { 0xb7 }
            }
        })
    }
}

/// The ends and the guest's updates, as if there were one dimension. Those of an entry that has nothing to
/// set are no updates.
type Ends = Vec<(Result<Vec<(u64, u16)>, crate::Fault>, Vec<(u64, u64, u64)>)>;

fn ends_of_one(prediction: &Prediction) -> Ends {
    let ends = prediction.alternatives.iter().map(|alternative| {
        let end = match &alternative.outcome {
            Outcome::Translated(spans) => {
                Ok(spans.iter().map(|span| (span.address.get(), span.len)).collect())
            }
            Outcome::Fault(fault) => Err(*fault),
        };
        let updates = alternative.updates.iter();
        let mut updates: Vec<_> = updates
            .map(|update| (update.at.get(), update.before | update.must_set, update.open_bits()))
            .collect();
        updates.sort_unstable();
        (end, updates)
    });
    ends.collect()
}

fn ends_of_two(prediction: &NestedPrediction) -> Ends {
    let ends = prediction.alternatives.iter().map(|alternative| {
        let end = match &alternative.end {
            NestedEnd::Translated(spans) => {
                Ok(spans.iter().map(|span| (span.address.get(), span.len)).collect())
            }
            NestedEnd::Fault(fault) => Err(*fault),
            NestedEnd::Exit(exit) => panic!("{exit}"),
        };
        let updates = alternative.updates.iter();
        let mut updates: Vec<_> = updates
            .filter(|update| update.dimension == Dimension::Guest)
            .map(|update| (update.at.get(), update.before | update.must_set, update.open_bits()))
            .collect();
        updates.sort_unstable();
        (end, updates)
    });
    ends.collect()
}

/// A second level with 1 GiB pages that maps each address to itself.
fn identity(is_npt: bool) -> SecondLevel {
    if is_npt {
        SecondLevel::Npt(ControlState::four_level(SECOND_ROOT))
    } else {
        SecondLevel::Ept(Ept::four_level(SECOND_ROOT))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_identity_changes_nothing(
        guest in guest(),
        mut memory in frames(7, 0.3),
        access in access(),
        profile in profile(),
        is_npt in any::<bool>(),
    ) {
        // The guest has addresses of 48 bits, and the root of the second level is above them.
        for entry in memory.0.iter_mut().flatten() {
            *entry &= !(0xf << 48);
        }
        let below = Profile { physical_address_bits: 52, ..profile };
        let pins = Pins { pdptes_are_walked: Some(is_npt), ..profile.pins };
        let alone = Profile { pins, ..below };

        let one = AnyMmu::new(guest, alone).predict(&memory, &access).unwrap();
        let both = WithIdentity { guest: &memory, is_npt };
        let nested = NestedMmu::new(guest, identity(is_npt), below);
        let two = nested.predict(&both, &access).unwrap();

        prop_assert_eq!(ends_of_two(&two), ends_of_one(&one));
        prop_assert_eq!(two.rules, one.rules);
        let choices = one.alternatives.iter().map(|alternative| {
            alternative.choice.map(|(rule, name)| (AnyRule::Paging(rule), name))
        });
        let nested_choices = two.alternatives.iter().map(|alternative| alternative.choice);
        prop_assert!(nested_choices.eq(choices));
    }
}

/// The identity is one: a hand-made address goes to itself, through both kinds of tables.
#[test]
fn the_identity_maps_an_address_to_itself() {
    let memory = Frames([[0; 8]; 16]);
    for is_npt in [false, true] {
        let profile = Profile { physical_address_bits: 52, ..Profile::default() };
        assert!(profile.features.contains(Features::PAGE_1GB));
        let mmu = NestedMmu::new(ControlState::unpaged(), identity(is_npt), profile);
        let read = Access::read(crate::VirtAddr::new(0xc765_4321), 1, crate::Ring::Zero);

        let both = WithIdentity { guest: &memory, is_npt };
        let end = &mmu.predict(&both, &read).unwrap().alternatives[0].end;
        assert_eq!(end.physical_address(), Some(PhysAddr::new(0xc765_4321)));
    }
}
