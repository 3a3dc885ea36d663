//! Below NPT, an access of a guest without paging is what a user access is in the host's tables, in each of
//! the host's modes (NEST-7): the same pages, flags and error code.

use super::{Frames, access, frames, guest as any_state, profile};
use crate::access::{Access, Ring};
use crate::nested::{NestedEnd, NestedExit, NestedMmu, SecondLevel};
use crate::outcome::Outcome;
use crate::walk::AnyMmu;
use crate::x86::fault::Fault;
use crate::x86::profile::{Pins, Profile};
use crate::x86::state::{ControlState, Cr0, Cr4};
use proptest::prelude::*;
use std::vec::Vec;

/// I/D of an error code, which is open where NXE is 0.
const FETCH: u64 = 1 << 4;

/// An end in numbers: the pages, or the error code and the address.
#[derive(Clone, Debug, PartialEq)]
enum End {
    At(Vec<(u64, u16)>),
    Refused(u64, u64),
}

/// An end, and for each entry its address, its bits afterwards, and the open ones.
type WithUpdates = (End, Vec<(u64, u64, u64)>);

fn in_one_dimension(
    host: ControlState,
    profile: Profile,
    memory: &Frames,
    access: &Access,
) -> Vec<WithUpdates> {
    let prediction = AnyMmu::new(host, profile).predict(memory, access).unwrap();
    let alternatives = prediction.alternatives.iter().map(|alternative| {
        let end = match &alternative.outcome {
            Outcome::Translated(spans) => {
                End::At(spans.iter().map(|span| (span.address.get(), span.len)).collect())
            }
            Outcome::Fault(Fault { error_code, cr2, .. }) => {
                let code = u64::from(*error_code) & !FETCH;
                End::Refused(code, cr2.expect("a page fault").get())
            }
        };
        let updates = alternative
            .updates
            .iter()
            .map(|update| (update.at.get(), update.before | update.must_set, update.open_bits()));
        (end, updates.collect())
    });
    distinct(alternatives)
}

fn below(
    host: ControlState,
    profile: Profile,
    memory: &Frames,
    access: &Access,
) -> Vec<WithUpdates> {
    let mmu = NestedMmu::new(ControlState::unpaged(), SecondLevel::Npt(host), profile);
    let prediction = mmu.predict(memory, access).unwrap();
    let alternatives = prediction.alternatives.iter().map(|alternative| {
        let end = match &alternative.end {
            NestedEnd::Translated(spans) => {
                End::At(spans.iter().map(|span| (span.address.get(), span.len)).collect())
            }
            NestedEnd::Exit(NestedExit::NestedPageFault { info1, info2, .. }) => {
                assert_eq!(info1 >> 32, 1);
                End::Refused(info1 & 0xffff_ffff & !FETCH, *info2)
            }
            end => panic!("{end}"),
        };
        let updates = alternative
            .updates
            .iter()
            .map(|update| (update.at.get(), update.before | update.must_set, update.open_bits()));
        (end, updates.collect())
    });
    distinct(alternatives)
}

/// The alternatives in some order, without those that differ in I/D alone.
fn distinct(alternatives: impl Iterator<Item = WithUpdates>) -> Vec<WithUpdates> {
    let mut all: Vec<WithUpdates> = Vec::new();
    for (end, mut updates) in alternatives {
        updates.sort_unstable();
        if !all.contains(&(end.clone(), updates.clone())) {
            all.push((end, updates));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn npt_is_a_user_access_in_the_hosts_tables(
        host in any_state(),
        memory in frames(7, 0.3),
        access in access(),
        profile in profile(),
    ) {
        prop_assume!(host.cr0.contains(Cr0::PG));
        let address = access.address.truncated(32);
        let access = Access { address, ring: Ring::Three, ..access };

        // In one dimension PDPTEs are to be read from memory as well, and no alignment is checked.
        let pins = Pins { pdptes_are_walked: Some(true), ..profile.pins };
        let plain = ControlState {
            cr0: host.cr0 - Cr0::AM,
            cr4: host.cr4 - (Cr4::SMEP | Cr4::SMAP),
            ..host
        };
        let expected = in_one_dimension(plain, Profile { pins, ..profile }, &memory, &access);

        // What a supervisor may not do in the host's tables plays no part, nor does the guest's ring.
        for ring in Ring::ALL {
            let access = Access { ring, ..access };
            prop_assert_eq!(below(host, profile, &memory, &access), expected.clone());
        }
    }
}
