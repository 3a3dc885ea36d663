//! Which states are possible, by the manuals, and that loads lead to no others.

use super::*;
use crate::memory::SparseTables;
use crate::x86::control::Mov;
use crate::x86::profile::GENERATIONS;
use proptest::prelude::*;
use std::string::ToString;

/// The register that makes a state impossible.
fn wrong(state: ControlState) -> Option<&'static str> {
    state.check().err().map(|error| error.register)
}

/// SDM "MOV - Move to/from Control Registers" and "Checks on Guest Control Registers".
#[test]
fn states_that_no_processor_can_be_in() {
    let good = ControlState::four_level(0x1000);
    assert_eq!(wrong(good), None);
    let cr0 = |bits| ControlState { cr0: Cr0::from_bits_retain(bits), ..good };
    let cr4 = |bits| ControlState { cr4: Cr4::from_bits_retain(bits), ..good };
    let efer = |bits| ControlState { efer: Efer::from_bits_retain(bits), ..good };
    let cr3 = |cr3| ControlState { cr3, ..good };

    for (state, register) in [
        // Bit 32; bit 6; without ET; PG without PE; NW without CD.
        (cr0(0x1_8001_0011), "cr0"),
        (cr0(0x8001_0051), "cr0"),
        (cr0(0x8001_0001), "cr0"),
        (cr0(0x8001_0010), "cr0"),
        (cr0(0xa001_0011), "cr0"),
        // CET without WP.
        (ControlState { cr0: Cr0::from_bits_retain(0x8000_0011), ..cr4(0x80_0620) }, "cr0"),
        // Above 52 bits; bit 63, which is not stored.
        (cr3(1 << 52 | 0x1000), "cr3"),
        (cr3(1 << 63 | 0x1000), "cr3"),
        // Bits 15, 26, 29 and 33; long mode without PAE; PCIDE outside long mode.
        (cr4(0x8620), "cr4"),
        (cr4(0x400_0620), "cr4"),
        (cr4(0x2000_0620), "cr4"),
        (cr4(0x2_0000_0620), "cr4"),
        (cr4(0x600), "cr4"),
        (ControlState { efer: Efer::empty(), ..cr4(0x2_0620) }, "cr4"),
        // Bits 1, 9, 16 and 63; LMA without LME; LME and PG without LMA; LMA without PG.
        (efer(0xd02), "efer"),
        (efer(0xf00), "efer"),
        (efer(0x1_0d00), "efer"),
        (efer(0xd00 | 1 << 63), "efer"),
        (efer(0xc00), "efer"),
        (efer(0x900), "efer"),
        (ControlState { cr0: Cr0::from_bits_retain(0x1_0011), ..good }, "efer"),
    ] {
        assert_eq!(wrong(state), Some(register), "{state:x?}");
    }
}

#[test]
fn states_that_some_processor_can_be_in() {
    let good = ControlState::four_level(0x1000);
    for state in [
        // LAM bits; a CR3 that long mode left behind; LA57 outside long mode.
        ControlState { cr3: 3 << 61 | 0xf_ffff_ffff_f000, ..good },
        ControlState { cr3: 1 << 40, cr4: Cr4::empty(), efer: Efer::empty(), ..good },
        ControlState { cr4: Cr4::LA57, efer: Efer::NXE, ..good },
        // Paging is off and LME is on; real mode.
        ControlState { cr0: Cr0::PE | Cr0::ET, efer: Efer::LME, ..good },
        ControlState { cr0: Cr0::ET, cr4: Cr4::empty(), efer: Efer::empty(), ..good },
        // Both vendors' bits, of which a processor has at most one kind.
        ControlState { efer: good.efer | Efer::UAIE | Efer::TCE, ..good },
        ControlState { cr4: good.cr4 | Cr4::LASS | Cr4::LAM_SUP, ..good },
    ] {
        assert_eq!(state.check(), Ok(()), "{state:x?}");
    }
}

/// Each bit of each register in a plain state of long mode: it is named in an error, or the model knows
/// what it does.
#[test]
fn every_bit_is_known_or_refused() {
    let plain = ControlState::four_level(0x1000);
    let refused = |state: ControlState, register: &str, bit: u64| {
        let error = state.check().err();
        let names_it =
            error.is_some_and(|error| error.register == register && error.bits & bit == bit);
        assert!(names_it || error.is_none(), "{register} bit {bit:#x}: {error:?}");
        names_it
    };
    let bits = || (0..64).map(|number| 1_u64 << number);

    // SDM "Control Registers"; APM "CR0 Register": all but 0 to 5, 16, 18, 29 (only with 30), 30, 31.
    // Bits that are set already are no question here.
    let cr0 = bits().filter(|bit| {
        let state = ControlState { cr0: plain.cr0 | Cr0::from_bits_retain(*bit), ..plain };
        let at_fault = if *bit == 1 << 29 { 1 << 30 } else { *bit };
        refused(state, "cr0", at_fault)
    });
    assert_eq!(cr0.fold(0, |all, bit| all | bit), !0xc005_003f);

    // SDM "Control Registers", CR4: all but 0 to 14, 16 to 25, 27, 28 and 32.
    let cr4 = bits().filter(|bit| {
        refused(ControlState { cr4: plain.cr4 | Cr4::from_bits_retain(*bit), ..plain }, "cr4", *bit)
    });
    assert_eq!(cr4.fold(0, |all, bit| all | bit), !0x1_1bff_7fff);

    // APM "Extended Feature Enable Register": all but 0, 8, 10 to 12, 14, 15, 17, 18, 20 and 21; and 13,
    // LMSLE, whose limits are not modelled.
    let efer = bits().filter(|bit| {
        refused(
            ControlState { efer: plain.efer | Efer::from_bits_retain(*bit), ..plain },
            "efer",
            *bit,
        )
    });
    assert_eq!(efer.fold(0, |all, bit| all | bit), !0x36_dd01);

    // SDM "Use of CR3 with 4-Level Paging": all above bit 51 but LAM's 61 and 62.
    let cr3 =
        bits().filter(|bit| refused(ControlState { cr3: plain.cr3 | bit, ..plain }, "cr3", *bit));
    assert_eq!(cr3.fold(0, |all, bit| all | bit), 0x9ff0_0000_0000_0000);
}

#[test]
fn segment_limits_in_long_mode_are_refused_and_outside_it_do_nothing() {
    let mut state = ControlState::four_level(0x1000);
    state.efer |= Efer::LMSLE;
    assert_eq!(
        state.check().unwrap_err().to_string(),
        "efer: LMSLE=1 gives segments a limit in long mode, which the model does not know; bits \
         0x2000 are wrong in 0x2d00"
    );

    let legacy = ControlState { cr4: Cr4::empty(), efer: Efer::LMSLE, ..state };
    assert_eq!(legacy.check(), Ok(()));
}

/// SDM "PDPTE Registers": bits 2:1, 8:5 and 63:MAXPHYADDR of a present one.
#[test]
fn reserved_bits_of_pdpte_registers_are_refused() {
    let intel = Profile::generation("skylake").unwrap();
    let amd = Profile::generation("zen").unwrap();
    for bit in [1, 2, 5, 6, 7, 8, 46, 63] {
        let mut state = ControlState::in_mode(PagingMode::Pae, 0x1000, intel).unwrap();
        state.pdptes[2] = 0x5001 | 1 << bit;
        let error = state.check_on(intel).unwrap_err();
        assert_eq!((error.register, error.bits), ("pdptes", 1 << bit));
        // AMD's processors may read them during the walk, and absent ones are not checked.
        assert_eq!(state.check_on(amd), Ok(()), "bit {bit}");
        state.pdptes[2] &= !1;
        assert_eq!(state.check_on(intel), Ok(()), "bit {bit}");
    }

    let mut free = ControlState::in_mode(PagingMode::Pae, 0x1000, intel).unwrap();
    free.pdptes = [0x5e19; 4];
    assert_eq!(free.check_on(intel), Ok(()));
}

#[test]
fn a_constructor_refuses_what_the_processor_lacks() {
    let skylake = Profile::generation("skylake").unwrap();
    let pentium_3 = Profile::generation("pentium-3").unwrap();

    for mode in PagingMode::ALL {
        let state = ControlState::in_mode(mode, 0x1000, Profile::default()).unwrap();
        assert_eq!((state.mode(), state.cr3), (mode, 0x1000));
        assert_eq!(state.check(), Ok(()));

        let refused = |profile| {
            let state = ControlState::in_mode(mode, 0x1000, profile);
            state.err().map(|error| error.register)
        };
        let no_long_mode = if mode.is_long_mode() { Some("cr4") } else { None };
        let only_five = no_long_mode.filter(|_| mode == PagingMode::FiveLevel);
        assert_eq!(refused(skylake), only_five, "{mode}");
        let on_pentium_3 = if mode == PagingMode::FourLevel { Some("efer") } else { only_five };
        assert_eq!(refused(pentium_3), on_pentium_3, "{mode}");
    }

    // Skylake has 46 bits (MODE-8), and outside long mode a CR3 has 32.
    let refused = |mode, cr3| ControlState::in_mode(mode, cr3, skylake).unwrap_err().register;
    assert_eq!(refused(PagingMode::FourLevel, 1 << 46), "cr3");
    assert_eq!(refused(PagingMode::Pae, 1 << 32), "cr3");
    assert_eq!(refused(PagingMode::Linear, 0x1000), "mode");
}

/// SDM "Paging Modes and Control Bits": PG, PAE, LMA and LA57 select the mode.
#[test]
fn there_is_a_ready_made_state_for_every_mode() {
    let pdptes = [0x2001, 0, 0x3001, 0];
    for (state, mode, cr0, paging_bits_of_cr4, efer) in [
        (ControlState::unpaged(), PagingMode::Unpaged, 0x1_0011, 0, 0),
        (ControlState::bits32(0x1000), PagingMode::Bits32, 0x8001_0011, 0, 0),
        (ControlState::pae(0x1000, pdptes), PagingMode::Pae, 0x8001_0011, 0x20, 0x800),
        (ControlState::four_level(0x1000), PagingMode::FourLevel, 0x8001_0011, 0x20, 0xd00),
        (ControlState::five_level(0x1000), PagingMode::FiveLevel, 0x8001_0011, 0x1020, 0xd00),
    ] {
        assert_eq!(state.mode(), mode);
        assert_eq!(state.check(), Ok(()), "{mode}");
        assert_eq!(state.cr0.bits(), cr0, "{mode}");
        // Without OSFXSR and OSXMMEXCPT.
        assert_eq!(state.cr4.bits() & !0x600, paging_bits_of_cr4, "{mode}");
        assert_eq!(state.efer.bits(), efer, "{mode}");
        assert_eq!(state.cr3, if mode == PagingMode::Unpaged { 0 } else { 0x1000 });
        assert_eq!(state.pdptes, if mode == PagingMode::Pae { pdptes } else { [0; 4] });
    }
}

#[test]
fn an_error_names_register_rule_and_bits() {
    let mut state = ControlState::four_level(0x1000);
    state.cr4 |= Cr4::SMAP | Cr4::PKE;
    let ivy_bridge = Profile::generation("ivy-bridge").unwrap();
    assert_eq!(
        state.check_on(ivy_bridge).unwrap_err().to_string(),
        "cr4: the processor lacks the feature; bits 0x600000 are wrong in 0x600620"
    );
}

/// A load of a control register.
fn mov() -> impl Strategy<Value = Mov> {
    // One or two bits differ from a usual value: most such loads are near a rule.
    let value = |usual: u64| {
        (0..64_u32, 0..64_u32, any::<bool>())
            .prop_map(move |(one, two, both)| usual ^ 1 << one ^ u64::from(both) << two)
    };
    prop_oneof![
        prop_oneof![value(0x8001_0011), value(0x1_0011)]
            .prop_map(|bits| Mov::Cr0(Cr0::from_bits_retain(bits))),
        prop_oneof![value(0x1000), any::<u64>()].prop_map(Mov::Cr3),
        prop_oneof![value(0x20), value(0), value(0x2_0020)]
            .prop_map(|bits| Mov::Cr4(Cr4::from_bits_retain(bits))),
        prop_oneof![value(0xd00), value(0x900), value(0)]
            .prop_map(|bits| Mov::Efer(Efer::from_bits_retain(bits))),
    ]
}

proptest! {
    /// From a state that a processor can be in, every load that completes leads to another one.
    #[test]
    fn loads_keep_the_state_possible(
        mode in proptest::sample::select(&PagingMode::ALL),
        generation in proptest::sample::select(GENERATIONS),
        movs in proptest::collection::vec(mov(), 1..12),
    ) {
        let profile = generation.profile;
        let Ok(mut state) = ControlState::in_mode(mode, 0, profile) else { return Ok(()) };
        let memory = SparseTables::new(&[]).with_memory_below(u64::MAX);

        for mov in movs {
            for load in state.loads(mov, profile, &memory) {
                let Ok(new) = load.result else { continue };

                // A processor can be in this state, but the model does not know it.
                let has_limits = new.efer.contains(Efer::LMSLE | Efer::LMA);
                let is_refused = new.check_on(profile).is_err_and(|error| error.register == "efer");
                prop_assert_eq!(is_refused, has_limits, "after {:?}", mov);
                if !has_limits {
                    prop_assert_eq!(new.check_on(profile), Ok(()), "after {:?}", mov);
                    state = new;
                }
            }
        }
    }
}
