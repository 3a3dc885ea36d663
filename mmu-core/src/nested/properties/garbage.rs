//! Nothing panics whatever memory, registers and processors hold, and what is predicted is consistent.

use super::{Frames, access};
use crate::access::Access;
use crate::nested::{
    Dimension, Ept, EptCapabilities, NestedEnd, NestedMmu, NestedPrediction, SecondLevel,
};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use proptest::prelude::*;

prop_compose! {
    fn any_state()(
        [cr0, cr3, cr4, efer] in any::<[u64; 4]>(),
        [pkru, pkrs] in any::<[u32; 2]>(),
        pdptes in any::<[u64; 4]>(),
    ) -> ControlState {
        ControlState {
            cr0: Cr0::from_bits_retain(cr0),
            cr3,
            cr4: Cr4::from_bits_retain(cr4),
            efer: Efer::from_bits_retain(efer),
            pkru,
            pkrs,
            pdptes,
        }
    }
}

fn any_second_level() -> impl Strategy<Value = SecondLevel> {
    let ept = (any::<u64>(), any::<bool>(), any::<u8>()).prop_map(
        |(eptp, mode_based_execute, capabilities)| {
            let capabilities = EptCapabilities::from_bits_truncate(capabilities);
            SecondLevel::Ept(Ept { eptp, mode_based_execute, capabilities })
        },
    );
    prop_oneof![any_state().prop_map(SecondLevel::Npt), ept]
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let vendor = prop::sample::select(&Vendor::ALL[..]);
    (vendor, any::<u8>(), any::<u32>()).prop_map(|(vendor, bits, features)| Profile {
        vendor,
        physical_address_bits: bits,
        features: Features::from_bits_truncate(features),
        ..Profile::default()
    })
}

/// Words of which two in three have the lowest bits set, so that walks go on.
fn any_frames() -> impl Strategy<Value = Frames> {
    let word = (any::<u64>(), 0..3).prop_map(|(word, kind)| match kind {
        0 => word,
        1 => word | 7,
        _ => word & 0x0fff_ffff_f000 | 0x37,
    });
    prop::collection::vec(prop::collection::vec(word, 8), 16).prop_map(|words| {
        let mut frames = Frames([[0; 8]; 16]);
        for (place, frame) in frames.0.iter_mut().zip(words) {
            place.copy_from_slice(&frame);
        }
        frames
    })
}

fn check(prediction: &NestedPrediction, second: &SecondLevel) {
    assert!(!prediction.alternatives.is_empty());
    let is_single = prediction.alternatives.len() == 1;
    for (number, alternative) in prediction.alternatives.iter().enumerate() {
        assert!(is_single || alternative.choice.is_some(), "{prediction:?}");
        let others = &prediction.alternatives[..number];
        let same = |other: &&_| *other == alternative;
        assert!(others.iter().find(same).is_none());

        for update in &alternative.updates {
            // A or D, each in its place.
            let allowed = match (update.dimension, second) {
                (Dimension::Second, SecondLevel::Ept(_)) => 0x300,
                _ => 0x60,
            };
            assert_eq!((update.must_set | update.may_set) & !allowed, 0);
            assert!(update.allows(update.before | update.must_set));
        }

        // No EPT exit below NPT, nor the reverse.
        if let NestedEnd::Exit(exit) = &alternative.end {
            let is_npf = matches!(exit, crate::nested::NestedExit::NestedPageFault { .. });
            assert_eq!(is_npf, matches!(second, SecondLevel::Npt(_)));
            assert!(exit.allows(exit));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_panics(
        guest in any_state(),
        second in any_second_level(),
        profile in any_profile(),
        memory in any_frames(),
        near in access(),
        far in any::<u64>(),
        is_near in any::<bool>(),
        size in any::<u16>(),
    ) {
        let far = Access { address: crate::VirtAddr::new(far), size, ..near };
        let access = if is_near { near } else { far };
        let mmu = NestedMmu::new(guest, second, profile);

        match mmu.predict(&memory, &access) {
            Ok(prediction) => {
                check(&prediction, &second);
                let walk = mmu.walk(&memory, &access).unwrap();
                // A walk takes the likeliest member of each choice.
                prop_assert_eq!(&walk.end, &prediction.alternatives[0].end);
                prop_assert!(walk.references.len() <= 35 * crate::access::MAX_PAGES);
            }
            Err(error) => {
                let walked = mmu.walk(&memory, &access);
                prop_assert_eq!(walked, Err(crate::nested::NestedError::Size(error)));
            }
        }
    }
}
