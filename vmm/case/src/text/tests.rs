//! What is read, what is refused, and that the two forms of a case are the same.

use crate::{Action, Case, Invpcid};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use mmu_core::x86::control::Mov;
use mmu_core::x86::profile::{ControlFeatures, GENERATIONS};
use mmu_core::{AccessKind, Cr0, Cr4, Efer, PagingMode, Profile, Ring};
use proptest::prelude::*;

fn plain(mode: PagingMode, profile: Profile) -> Case {
    Case::plain_in(mode, Arena::ALL[0], 7, Ring::Zero, profile)
}

/// The error for a case.
fn refusal(case: &Case) -> String {
    Case::from_json(&case.to_json()).expect_err("an impossible case").to_string()
}

/// SDM "MOV - Move to/from Control Registers" and "Checks on Guest Control Registers": the registers
/// that no processor can hold, by the bits that are turned in a plain state.
#[test]
fn a_state_that_no_processor_can_be_in_is_refused() {
    for (cr0, cr4, efer, place) in [
        // PE=0 with PG=1; NW=1 with CD=0; ET=0; bits 32 and 6.
        (0x1, 0, 0, "state.cr0: "),
        (0x2000_0000, 0, 0, "state.cr0: "),
        (0x10, 0, 0, "state.cr0: "),
        (1 << 32, 0, 0, "state.cr0: "),
        (1 << 6, 0, 0, "state.cr0: "),
        // CET=1 with WP=0.
        (0x1_0000, 1 << 23, 0, "state.cr0: "),
        // PAE=0 with LMA=1; bits 15 and 33.
        (0, 0x20, 0, "state.cr4: "),
        (0, 1 << 15, 0, "state.cr4: "),
        (0, 1 << 33, 0, "state.cr4: "),
        // LME=0 with LMA=1; bit 9.
        (0, 0, 0x100, "state.efer: "),
        (0, 0, 0x200, "state.efer: "),
    ] {
        let mut case = plain(PagingMode::FourLevel, Profile::default());
        case.state.cr0 = Cr0::from_bits_retain(case.state.cr0.bits() ^ cr0);
        case.state.cr4 = Cr4::from_bits_retain(case.state.cr4.bits() ^ cr4);
        case.state.efer = Efer::from_bits_retain(case.state.efer.bits() ^ efer);

        let refusal = refusal(&case);
        assert!(refusal.starts_with(place), "{refusal}");
        assert!(refusal.contains("expected a state that a processor can be in"), "{refusal}");
    }

    // PCIDE outside long mode (MODE-8).
    let mut case = plain(PagingMode::Pae, Profile::default());
    case.state.cr4 |= Cr4::PCIDE;
    assert_eq!(
        refusal(&case),
        "state.cr4: expected a state that a processor can be in: PCIDE=1 needs long mode; found \
         0x20620, where bits 0x20000 are wrong"
    );
}

/// Every bit that the model does not know is an error that names the field and the bit: the reserved ones,
/// and EFER.LMSLE.
#[test]
fn no_bit_of_a_control_register_is_ignored() {
    let plain = plain(PagingMode::FourLevel, Profile::default());
    for (field, value, bit) in [
        ("cr0", plain.state.cr0.bits(), 1 << 6),
        ("cr0", plain.state.cr0.bits(), 1 << 32),
        ("cr4", plain.state.cr4.bits(), 1 << 15),
        ("cr4", plain.state.cr4.bits(), 1 << 26),
        ("cr4", plain.state.cr4.bits(), 1 << 63),
        ("efer", plain.state.efer.bits(), 1 << 13),
        ("efer", plain.state.efer.bits(), 1 << 16),
    ] {
        let text = plain.to_json().replace(
            &format!(r#""{field}":"{value:#x}""#),
            &format!(r#""{field}":"{:#x}""#, value | bit),
        );
        let refusal = Case::from_json(&text).unwrap_err().to_string();
        let names_it = refusal.contains(&format!("bits {bit:#x} are wrong"));
        assert!(refusal.starts_with(&format!("state.{field}: ")) && names_it, "{refusal}");
    }

    // PKRU and PKRS have 32 bits.
    for field in ["pkru", "pkrs"] {
        let text = plain
            .to_json()
            .replace(&format!(r#""{field}":"0x0""#), &format!(r#""{field}":"0x100000000""#));
        let refusal = Case::from_json(&text).unwrap_err().to_string();
        assert_eq!(refusal, format!("state.{field}: expected at most 32 bits, found 0x100000000"));
    }
}

/// MOV to CR0 with WP=0 and CR4.CET=1 is #GP, and changes nothing.
#[test]
fn an_action_that_faults_is_read() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.state.cr4 |= Cr4::CET;
    case.before = vec![Action::WriteProtect(false)];
    assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
    assert_eq!(case.accesses()[0].state, case.state);
}

/// MOVs of any value, also of those that fault, have one spelling each.
#[test]
fn movs_to_control_registers_are_written_by_their_values() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    for (text, mov) in [
        (r#"{"mov_cr0":"0x180010011"}"#, Mov::Cr0(Cr0::from_bits_retain(0x1_8001_0011))),
        (r#"{"mov_cr3":"0x8000000000440000"}"#, Mov::Cr3(0x8000_0000_0044_0000)),
        (r#"{"mov_cr4":"0x1620"}"#, Mov::Cr4(Cr4::from_bits_retain(0x1620))),
        (r#"{"wrmsr_efer":"0x500"}"#, Mov::Efer(Efer::LME | Efer::LMA)),
    ] {
        case.before = vec![Action::Mov(mov)];
        let written = case.to_json();
        assert!(written.contains(&format!(r#""before":[{text}]"#)), "{written}");
        assert_eq!(Case::from_json(&written).unwrap(), case);
    }
}

#[test]
fn invpcid_is_read_as_it_is_written() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.before = vec![Action::Invpcid(Invpcid { kind: 4, descriptor: [7, 1 << 60] })];
    let written = case.to_json();
    let text = r#"{"invpcid":{"type":"0x4","descriptor":["0x7","0x1000000000000000"]}}"#;
    assert!(written.contains(text), "{written}");
    assert_eq!(Case::from_json(&written).unwrap(), case);
}

/// An instruction with a source has that in the place of a value.
#[test]
fn a_source_is_written_where_the_instruction_has_one() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    assert!(!case.to_json().contains("source"));
    for form in Form::ALL.into_iter().filter(|form| form.has_source()) {
        case.form = form;
        case.access.kind = form.kind();
        case.access.size = if form == Form::Enter { 24 } else { 8 };
        case.value = 0x7fff_0008;
        let written = case.to_json();
        assert!(written.contains(r#""source":"0x7fff0008""#), "{written}");
        assert!(!written.contains(r#","value":"0x7fff0008""#), "{written}");
        assert_eq!(Case::from_json(&written).unwrap(), case);

        let without = written.replace(r#","source":"0x7fff0008""#, "");
        let refusal = Case::from_json(&without).unwrap_err().to_string();
        assert!(refusal.starts_with("access.source: expected one for "), "{refusal}");
        let both = written.replace(r#""source""#, r#""value":"0x1","source""#);
        let refusal = Case::from_json(&both).unwrap_err().to_string();
        assert!(refusal.starts_with("access.value: expected none"), "{refusal}");
    }

    let load = plain(PagingMode::FourLevel, Profile::default()).to_json();
    let with = load.replace(r#""ring":0"#, r#""source":"0x1000","ring":0"#);
    let refusal = Case::from_json(&with).unwrap_err().to_string();
    assert_eq!(refusal, "access.source: expected none for mov from memory");
}

/// WRSS stores to a shadow stack, INCSSP reads one.
#[test]
fn a_shadow_stack_access_need_not_name_its_instruction() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.access.shadow_stack = true;
    case.access.size = 8;
    for (kind, form, name) in [
        (AccessKind::Read, Form::ShadowLoad, "incssp"),
        (AccessKind::Write, Form::ShadowStore, "wrss"),
    ] {
        (case.access.kind, case.form) = (kind, form);
        let written = case.to_json();
        let named = format!(r#","instruction":"{name}""#);
        assert!(written.contains(&named), "{written}");
        assert_eq!(Case::from_json(&written.replace(&named, "")).unwrap(), case);
    }
}

/// No processor has them.
#[test]
fn sizes_that_no_instruction_has_are_refused() {
    for (form, size, words) in [
        (Form::MoveString, 3, "1, 2, 4 or 8"),
        (Form::CompareStrings, 6, "1, 2, 4 or 8"),
        (Form::Push, 4, "2 or 8"),
        (Form::Pop, 1, "2 or 8"),
        (Form::Enter, 8, "24"),
        (Form::Call, 4, "8"),
        (Form::Fxsave, 511, "512"),
        (Form::ShadowStore, 2, "4 or 8"),
        (Form::ShadowLoad, 1, "4 or 8"),
    ] {
        let mut case = plain(PagingMode::FourLevel, Profile::default());
        case.form = form;
        case.access.kind = form.kind();
        case.access.size = size;
        case.value = case.access.address.get();
        let refusal = refusal(&case);
        assert!(refusal.starts_with(&format!("access.size: expected {words} for")), "{refusal}");
    }

    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.form = Form::Enter;
    case.access.kind = AccessKind::Write;
    case.access.size = 24;
    case.value = case.access.address.get() + 4;
    assert!(refusal(&case).contains("expected multiples of 8 for enter"));
}

/// A repeated move is predicted in runs, of which it has no more than the first, and two that a page's end
/// parts.
#[test]
fn a_repeated_move_crosses_at_one_place_only() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.form = Form::RepeatedMove;
    case.access.kind = AccessKind::Write;
    for (address, source, is_read) in
        [(0x5ffb, 0x7ffb, true), (0x5ffb, 0x7010, true), (0x5ffb, 0x7ffd, false)]
    {
        case.access.address = mmu_core::VirtAddr::new(address);
        case.value = source;
        assert_eq!(Case::from_json(&case.to_json()).is_ok(), is_read, "{address:#x} {source:#x}");
    }
}

/// What versions before these MOVs wrote means the same as ever: a MOV of what the register has.
#[test]
fn the_old_spellings_are_movs_of_what_the_register_has() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.before = vec![Action::Mov(Mov::Cr4(case.state.cr4 | Cr4::PGE))];
    let text = case
        .to_json()
        .replace(r#""before":[{"#, r#""before":["reload_cr3",{"write_protect":false},{"#);
    let read = Case::from_json(&text).unwrap();
    assert_eq!(read.before[..2], [Action::ReloadCr3, Action::WriteProtect(false)]);

    let state = read.state;
    assert_eq!(read.before[0].mov(&state), Some(Mov::Cr3(state.cr3)));
    assert_eq!(read.before[1].mov(&state), Some(Mov::Cr0(state.cr0 - Cr0::WP)));
    let last = read.accesses()[0].state;
    assert_eq!((last.cr0, last.cr4), (state.cr0 - Cr0::WP, state.cr4 | Cr4::PGE));
}

/// A machine may obey a bit that its CPUID lacks, and MOV to CR3 may fault (MODE-8).
#[test]
fn a_state_that_the_profile_forbids_is_read() {
    let mut case = plain(PagingMode::FourLevel, Profile::generation("k8").unwrap());
    case.state.cr4 |= Cr4::PKE | Cr4::SMAP | Cr4::PKS;
    assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);

    for bit in [40, 52, 63] {
        let cr3 = case.state.cr3 | 1 << bit;
        let mut case = case.clone();
        case.state.cr3 = cr3;
        assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
    }
}

#[test]
fn pdptes_belong_to_pae_paging() {
    for mode in PagingMode::ALL {
        let case = plain(mode, Profile::default());
        let mut text: serde_json::Value = serde_json::from_str(&case.to_json()).unwrap();
        text["state"]["pdptes"] = serde_json::json!(["0x1", "0x0", "0x0", "0x0"]);

        let read = Case::from_json(&text.to_string());
        if mode == PagingMode::Pae {
            assert_eq!(read.unwrap().state.pdptes, [1, 0, 0, 0]);
        } else {
            let refusal = read.unwrap_err().to_string();
            let expected = format!("state.pdptes: expected in pae paging only, found in {mode}");
            assert_eq!(refusal, expected);
        }
    }
}

/// MODE-1: compatibility mode is a submode of long mode.
#[test]
fn compatibility_mode_belongs_to_long_mode() {
    for mode in PagingMode::ALL {
        let mut case = plain(mode, Profile::default());
        assert!(!case.to_json().contains("compatibility"));
        case.access.compatibility = true;

        if matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel) {
            assert!(case.to_json().contains(r#""compatibility":true"#));
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
            assert!(!case.has_64_bit_address());
            case.access.address = mmu_core::VirtAddr::new(1 << 60);
            assert_eq!(case.canonical_ends(), [true; 2]);
            case.access.implicit = true;
            assert_eq!(case.canonical_ends(), [false; 2]);
        } else {
            let expected = "expected in 4level and 5level paging only, found in";
            let refusal = refusal(&case);
            assert_eq!(refusal, format!("access.compatibility: {expected} {mode}"));
        }
    }
}

#[test]
fn plain_cases_and_every_generation_read_back() {
    for mode in PagingMode::ALL {
        for generation in GENERATIONS {
            let case = plain(mode, generation.profile);
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case, "{}", generation.name);
        }
    }

    // Features for CR4 and EFER alone are written where one is missing.
    let all = plain(PagingMode::FourLevel, Profile::default());
    assert!(!all.to_json().contains("control_features"));
    let mut one = all;
    one.profile.control_features = ControlFeatures::UMIP | ControlFeatures::LONG_MODE;
    let expected = r#""control_features":["umip","long_mode"]"#;
    assert!(one.to_json().contains(expected), "{}", one.to_json());
}

/// EFLAGS.AC stands in the state, for every access that has none of its own.
#[test]
fn ac_is_written_with_the_state_and_read_into_every_access() {
    let mut case = plain(PagingMode::FourLevel, Profile::default());
    case.before = vec![Action::Access(case.access_step())];
    let accesses_with_ac = |case: &Case| -> Vec<bool> {
        case.accesses().iter().map(|access| access.access.ac).collect()
    };

    let without = case.to_json();
    assert!(without.contains(r#""pkrs":"0x0","ac":false},"#), "{without}");
    assert_eq!(without.matches(r#""ac""#).count(), 1);
    let with = Case::from_json(&without.replace(r#""ac":false"#, r#""ac":true"#)).unwrap();
    assert_eq!(accesses_with_ac(&with), [true, true]);
    assert_eq!(with.to_json().matches(r#""ac":true"#).count(), 1);

    case.access.ac = true;
    assert!(case.to_json().contains(r#""ac":true},"#), "{case}");
    assert!(case.to_json().contains(r#""ac":false,"instruction""#), "{case}");
    let read = Case::from_json(&case.to_json()).unwrap();
    assert_eq!(accesses_with_ac(&read), [false, true]);
    assert_eq!(read, case);
}

proptest! {
    /// Whatever registers a text gives: what is read prints as a text that reads the same.
    #[test]
    fn what_is_read_reads_back(
        cr0 in any::<u64>(),
        cr4 in any::<u64>(),
        efer in any::<u64>(),
        turned in any::<[u64; 3]>(),
        pdptes in proptest::option::of(any::<[u64; 4]>()),
        mode in proptest::sample::select(&PagingMode::ALL),
    ) {
        let case = plain(mode, Profile::default());
        let mut text: serde_json::Value = serde_json::from_str(&case.to_json()).unwrap();
        let state = [
            ("cr0", case.state.cr0.bits(), cr0, turned[0]),
            ("cr4", case.state.cr4.bits(), cr4, turned[1]),
            ("efer", case.state.efer.bits(), efer, turned[2]),
        ];
        for (name, plain, random, turned) in state {
            // Arbitrary, or the plain value with a bit turned, or plain.
            let value = match turned % 4 {
                0 => random,
                1 => plain ^ 1 << (random % 64),
                _ => plain,
            };
            text["state"][name] = format!("{value:#x}").into();
        }
        if let Some(pdptes) = pdptes {
            text["state"]["pdptes"] = pdptes.map(|entry| format!("{entry:#x}")).to_vec().into();
        }

        if let Ok(read) = Case::from_json(&text.to_string()) {
            prop_assert_eq!(Case::from_json(&read.to_json()).unwrap(), read);
        }
    }
}
