//! A corpus of nested cases reads back as it was written, damage is an error that names the line, and the one that comes
//! with the program is whole and catches every mutant that its machines can show.

use super::replay::{NestedReplayPlan, NestedReplayed, replay};
use super::*;
use crate::corpus::read::CorpusItem;
use crosswalk_case::observation::Provenance;
use crosswalk_machine::{Capabilities, Identity, MachineLine};
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::mutants::MUTANTS;
use crosswalk_nested::observation::{EntryAfter, Loss, NestedObservation, SeenEnd};
use crosswalk_nested::walker::{NestedWalker, REFERENCE};
use mmu_core::Profile;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::ops::ControlFlow;

const CASE: &str = r#"{"guest":{"mode":"32bit","cr0":"0x80010011","cr3":"0x1000","cr4":"0x10","efer":"0x1000"},
    "npt":{"mode":"4level","cr0":"0x80010011","cr3":"0x4f6000","cr4":"0x20","efer":"0x1d00"},
    "guest_entries":[{"address":"0x556000","value":"0x87"}],
    "nested_entries":[{"address":"0x4f6000","value":"0x4f7007"},{"address":"0x4f7000","value":"0x550007"}],
    "code":"0x2000","access":{"kind":"read","address":"0x3170","size":4,"ring":3}}"#;

fn source() -> Source {
    let identity = Identity {
        kind: "qemu".into(),
        flavour: "tcg".into(),
        beneath: "bare".into(),
        cpu: "a processor".into(),
        host_kernel: "6.1".into(),
        version: Some("QEMU 7.2".into()),
    };
    let capabilities = Capabilities::of_everything(Profile::default());
    Source {
        crosswalk: "0.1.0".into(),
        machine: MachineLine::new(&identity, &capabilities),
        microcode: None,
        seed: u64::MAX,
        tried: 9,
    }
}

/// A case for each end that can be seen, and one that could not run.
fn cases() -> Vec<RecordedNested> {
    let ends = [
        SeenEnd::Completed { rax: u64::MAX, rcx: 2 },
        SeenEnd::Fault { vector: 14, error_code: u32::MAX, cr2: 3 },
        SeenEnd::Npf { info1: 1 << 32 | 0xd, info2: 0x3170 },
        SeenEnd::EptViolation { qualification: 0x181, guest_physical: 4, linear: 5 },
        SeenEnd::EptMisconfiguration { guest_physical: 6, qualification: 7 },
        SeenEnd::NotEntered { code: u64::MAX },
        SeenEnd::Other { code: 0x7f },
        SeenEnd::Lost(Loss::Hang),
        SeenEnd::Lost(Loss::Reset),
        SeenEnd::Lost(Loss::Astray),
    ];
    let observed = ends.into_iter().map(|end| {
        NestedAttempt::Observed(NestedObservation {
            end,
            rip: 0x2010,
            changed: vec![EntryAfter { at: 0x4f_6000, before: 0x4f_7007, after: 0x4f_7027 }],
            stored: vec![(0x4000_0000, 7)],
            provenance: Provenance::Tcg,
        })
    });
    let attempts = observed.chain([NestedAttempt::Unsupported("it cannot".into())]);
    (0..)
        .zip(attempts)
        .map(|(index, attempt): (u64, _)| RecordedNested {
            name: format!("nested:random:5:{index}").parse().unwrap(),
            case: NestedCase::from_json(CASE).unwrap(),
            attempt,
            rules: vec!["NEST-1".into()],
            catches: vec!["NM3".into(), "NM5".into()],
        })
        .collect()
}

fn reader(text: &[u8]) -> NestedCorpusReader {
    NestedCorpusReader::new("corpus".into(), Box::new(Cursor::new(text.to_vec()))).unwrap()
}

/// What a corpus holds, or the error in words.
fn read(text: &[u8]) -> Result<(Vec<Source>, Vec<RecordedNested>), String> {
    let (mut sources, mut cases) = (Vec::new(), Vec::new());
    for item in reader(text) {
        match item.map_err(|error| error.to_string())? {
            CorpusItem::Source(source) => sources.push(*source),
            CorpusItem::Case(recorded) => cases.push(*recorded),
        }
    }
    Ok((sources, cases))
}

fn replay_with(
    reader: &mut NestedCorpusReader,
    walker: &dyn NestedWalker,
) -> Result<NestedReplayed, CorpusError> {
    let known = |machine: &Identity| {
        KnownNested::of(if machine.kind == "qemu" { "tcg" } else { &machine.kind })
    };
    let plan = NestedReplayPlan { walker, known: &known, cases: None };
    replay(reader, &plan, || ControlFlow::Continue(()))
}

#[test]
fn sections_read_back_as_they_were_written() {
    let text = section(&source(), &cases());
    let two = [text.as_bytes(), text.as_bytes()].concat();
    let (sources, read) = read(&two).unwrap();
    assert_eq!(sources, [source(), source()]);
    assert_eq!(read, [cases(), cases()].concat());
}

#[test]
fn damage_is_told_by_its_line() {
    let text = section(&source(), &cases());
    let replaced = |from: &str, to: &str| {
        let damaged = text.replacen(from, to, 1);
        assert_ne!(damaged, text, "{from}");
        read(damaged.as_bytes()).unwrap_err()
    };

    let cut = &text[..text.len() / 2];
    assert!(read(cut.as_bytes()).unwrap_err().contains("the file ends too early"));
    for (from, to, line, what) in [
        ("\"nested_corpus\":1", "\"nested_corpus\":2", 1, "expected version 1"),
        ("\"nested_corpus\":1", "\"corpus\":1", 1, "nested_corpus"),
        ("nested:random:5:0", "random:4level:5:0", 2, "name"),
        ("\"completed\"", "\"ended\"", 2, "ended"),
        ("\"rip\"", "\"eip\"", 2, "eip"),
        ("\"tcg\",\"end\"", "\"nobody\",\"end\"", 2, "nobody"),
        ("\"0xffffffff\"", "\"0x100000000\"", 3, "at most 32 bits"),
        ("\"code\":\"0x2000\"", "\"code\":\"2000h\"", 2, "case.code"),
        ("\"unsupported\":\"it cannot\"", "\"rules\":[]", 12, "rules"),
        ("nested:random:5:1\"", "nested:random:5:8\"", 13, "was altered"),
    ] {
        let error = replaced(from, to);
        assert!(error.contains(&format!("line {line}: ")), "{from}: {error}");
        assert!(error.contains(what), "{from}: {error}");
    }
}

/// Each form is told by its first line, and refuses the other.
#[test]
fn corpora_of_the_other_form_are_refused_by_name() {
    let nested = section(&source(), &cases());
    let plain = nested.replacen("nested_corpus", "corpus", 1);
    let mut of_one_dimension =
        CorpusReader::new("corpus".into(), Box::new(Cursor::new(nested.into_bytes()))).unwrap();
    let error = of_one_dimension.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("line 1: this is a corpus of nested cases"), "{error}");
    let error = read(plain.as_bytes()).unwrap_err();
    assert!(error.contains("first line of a corpus of nested cases"), "{error}");
}

proptest! {
    /// Whatever a line holds, reading and judging it ends, and an error has nothing that a terminal obeys.
    #[test]
    fn hostile_sections_are_errors(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..6),
        cut in 0_usize..4,
    ) {
        let text_of = |recorded: &RecordedNested| line(&CaseLine::of(recorded)).into_bytes();
        let mut lines: Vec<Vec<u8>> = cases().iter().map(text_of).collect();
        let number = at.index(lines.len());
        let damaged = &mut lines[number];
        let place = at.index(damaged.len() - 1);
        let end = (place + cut).min(damaged.len() - 1);
        damaged.splice(place..end, bytes.into_iter().filter(|byte| *byte != b'\n'));

        let lines = lines.into_iter().filter_map(|line| String::from_utf8(line).ok());
        let text = section_of(&line(&SourceLine::from(&source())), lines);
        if let Err(error) = replay_with(&mut reader(text.as_bytes()), &REFERENCE) {
            prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    }
}

#[test]
fn the_bundled_corpus_shows_nothing_that_is_not_known() {
    let replayed = replay_with(&mut NestedCorpusReader::bundled().unwrap(), &REFERENCE).unwrap();
    let tally = &replayed.tally;
    assert_eq!(tally.unknown(), 0, "{:?}", tally.findings);
    assert!(tally.agree > 100 && tally.known > 10, "{} and {}", tally.agree, tally.known);
    let (kind, version) = (&replayed.identity.kind, replayed.identity.version.as_deref());
    assert_eq!(kind, "corpus");
    assert!(version.is_some_and(|version| version.contains("QEMU 7.2")), "{version:?}");
}

#[test]
fn the_bundled_corpus_catches_every_mutant_within_reach() {
    // Bochs makes this mistake itself (BN1), and no machine here has mode-based execute control.
    const NOT_CAUGHT: [&str; 2] = ["NM26", "NM29"];

    let mut told = BTreeSet::new();
    for item in NestedCorpusReader::bundled().unwrap() {
        if let CorpusItem::Case(recorded) = item.unwrap() {
            told.extend(recorded.catches);
        }
    }
    for mutant in MUTANTS {
        let replayed = replay_with(&mut NestedCorpusReader::bundled().unwrap(), mutant.walker);
        let is_caught = replayed.unwrap().tally.unknown() > 0;
        assert_eq!(is_caught, !NOT_CAUGHT.contains(&mutant.id), "{mutant:?}");
        assert_eq!(told.contains(mutant.id), is_caught, "{mutant:?}");
    }
}
