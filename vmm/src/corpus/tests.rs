//! A corpus reads back as it was written, and damage is an error that names the line.

use super::read::{CorpusItem, CorpusReader};
use super::replay::{ReplayPlan, replay};
use super::*;
use crate::campaign::known::KnownSource;
use crate::walker::WalkerSpec;
use crosswalk_case::Moved;
use crosswalk_case::observation::{
    EarlierAccess, EntryAfter, Observation, ObservedFault, OutsideAccess, PrivilegedRecord,
    Provenance, Register, SavedFrame,
};
use crosswalk_guest::layout::Arena;
use mmu_core::{PagingMode, Profile, Ring};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Cursor;

fn source() -> Source {
    let identity = Identity {
        kind: "kvm".into(),
        flavour: "svm-npt".into(),
        beneath: "bare".into(),
        cpu: "a processor".into(),
        host_kernel: "6.1".into(),
        version: None,
    };

    let mut capabilities = Capabilities::of_everything(Profile::default());
    capabilities.modes = vec![(PagingMode::FourLevel, Ok(())), (PagingMode::Pae, Err("no".into()))];

    Source {
        crosswalk: "0.1.0".into(),
        machine: MachineLine::new(&identity, &capabilities),
        microcode: Some("0x1".into()),
        seed: u64::MAX,
        tried: 7,
    }
}

/// A fault with everything else that an observation can have, a plain read, and a case that could not
/// run.
fn cases() -> Vec<Recorded> {
    let case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
    let attempts = [
        Attempt::Observed(everything_observed(&case)),
        Attempt::Observed(Observation::new(None, 8, Provenance::Tcg)),
        Attempt::Unsupported("it cannot".into()),
    ];

    let recorded = |(index, attempt): (u64, Attempt)| Recorded {
        name: format!("random:4level:5:{index}").parse().expect("a name"),
        allowed: allowed(&case),
        case: case.clone(),
        attempt,
        rules: vec!["AD-1".into()],
        catches: vec!["M04".into(), "M34".into()],
    };
    (0..).zip(attempts).map(recorded).collect()
}

/// An observation in which no field is empty.
fn everything_observed(case: &Case) -> Observation {
    let entry = case.entries[0];
    let fault = ObservedFault {
        vector: 14,
        error_code: 0x10,
        cr2: u64::MAX,
        cr2_before: 0x1000,
        rip: None,
        frame: Some(SavedFrame {
            cs: 0x23,
            rflags: 0x1_0002,
            rsp: -8,
            changed: Some(Register::Rbx),
        }),
    };

    Observation {
        earlier: vec![
            EarlierAccess { fault: Some(fault), value: 5, moved: None },
            EarlierAccess { fault: None, value: 6, moved: Some(Moved { rsi: 4, rdi: 4, rcx: 0 }) },
        ],
        privileged: vec![
            PrivilegedRecord { fault: Some(fault), register: Some(u64::MAX) },
            PrivilegedRecord { fault: None, register: None },
        ],
        fault: Some(fault),
        value: u64::MAX,
        moved: Some(Moved { rsi: 2, rdi: 2, rcx: -2 }),
        stored: vec![(0x4000_0000, 7)],
        entries: vec![EntryAfter { at: entry.at, before: entry.value, after: entry.value | 0x20 }],
        outside: vec![OutsideAccess { address: 1 << 40, len: 8, is_write: true, data: 9 }],
        sees_outside: true,
        provenance: Provenance::KvmWalker,
    }
}

fn reader(bytes: &[u8]) -> CorpusReader {
    CorpusReader::new("corpus".into(), Box::new(Cursor::new(bytes.to_vec())))
        .expect("bytes in memory can be read")
}

/// What a corpus holds, or the error in words.
fn read(bytes: &[u8]) -> Result<(Vec<Source>, Vec<Recorded>), String> {
    let mut sources = Vec::new();
    let mut cases = Vec::new();

    for item in reader(bytes) {
        match item.map_err(|error| error.to_string())? {
            CorpusItem::Source(source) => sources.push(*source),
            CorpusItem::Case(recorded) => cases.push(*recorded),
        }
    }

    Ok((sources, cases))
}

/// The same for a replay, which must survive any corpus.
fn replayed(bytes: &[u8]) -> Result<(), String> {
    let plan = ReplayPlan {
        walker: WalkerSpec::Reference,
        known: KnownSource::Unforgiven,
        modes: Vec::new(),
        cases: None,
    };

    let replayed = replay(&mut reader(bytes), &plan, |_, _, _| std::ops::ControlFlow::Continue(()));
    replayed.map(|_| ()).map_err(|error| error.to_string())
}

/// A section with a correct digest, whatever its lines are.
fn sealed(lines: &[String]) -> Vec<u8> {
    let text = lines.join("\n") + "\n";
    let digest = write::hex(&Sha256::digest(&text));
    let end = format!("{{\"end\":{},\"sha256\":\"{digest}\"}}\n", lines.len().saturating_sub(1));
    (text + &end).into_bytes()
}

/// The lines of a section without its last.
fn lines() -> Vec<String> {
    let text = write::section(&source(), &cases());
    text.lines().take(1 + cases().len()).map(String::from).collect()
}

#[test]
fn a_section_reads_back_as_it_was_written() {
    let plain = write::section(&source(), &cases()).into_bytes();
    let compressed = write::compressed(&source(), &cases());

    for bytes in [plain.clone(), compressed.clone()] {
        assert_eq!(read(&bytes).unwrap(), (vec![source()], cases()));
    }
    assert_eq!(sealed(&lines()), plain);

    // A corpus file followed by another is one corpus.
    let twice = [compressed.clone(), compressed].concat();
    let (sources, all) = read(&twice).unwrap();
    assert_eq!((sources.len(), all.len()), (2, 6));
}

#[test]
fn an_error_names_the_line_and_what_was_expected() {
    let whole = write::section(&source(), &cases());
    let with = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        whole.replacen(from, to, 1)
    };

    for (text, words) in [
        (String::new(), "corpus, line 1: expected a corpus, found nothing"),
        ("hello\n".into(), "line 1: expected the first line of a corpus"),
        ("{}\n".into(), "line 1: expected the first line of a corpus"),
        (with("\"corpus\":1", "\"corpus\":2"), "line 1: expected version 1 of the format, found 2"),
        (with("\"seed\":\"18446744073709551615\"", "\"seed\":-1"), "line 1: seed: invalid value"),
        (with("\"4level\",null", "\"6level\",null"), "line 1: there is no paging mode \"6level\""),
        (with("\"tried\":7", "\"tried\":7,\"more\":1"), "line 1: more: unknown field `more`"),
        (with("random:4level:5:0", "random:4level:5"), "line 2: name: not the name of a case"),
        (with("kvm-walker", "kvm"), "line 2: observed.provenance: expected one of processor,"),
        (with("\"kind\":\"read\"", "\"kind\":\"reed\""), "line 2: case.access.kind: expected one"),
        (with("\"bytes\":8,\"store\"", "\"bytes\":9,\"store\""), "expected 1 to 8 bytes, found 9"),
        (with("\"unsupported\":", "\"unsupproted\":"), "line 4: unsupproted: unknown field"),
        (with(",\"unsupported\":\"it cannot\"", ""), "line 4: expected either \"observed\" or"),
        (with("\"end\":3", "\"end\":4"), "line 5: expected 4 cases before this line, found 3"),
        (with("\"value\":\"0x8\"", "\"value\":\"0x9\""), "line 5: the section was altered"),
        (whole.clone() + "x\n", "line 6: expected the first line of a corpus"),
        (with("}\n", "}\r\n"), "line 5: the section was altered"),
    ] {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(error.contains(words), "{words:?} not in {error:?}");
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let plain = write::section(&source(), &cases()).into_bytes();
    let compressed = write::compressed(&source(), &cases());
    for whole in [plain, compressed] {
        // A section without its last line feed has all its content, but is refused as well.
        for length in 0..whole.len() {
            let error = read(&whole[..length]).expect_err("the file is truncated");
            assert!(error.starts_with("corpus, line "), "{length}: {error}");
        }
    }
}

#[test]
fn memory_use_is_bounded_whatever_a_file_holds() {
    // An endless line, as plain text and as a few bytes of zstd: one run-length block, repeated.
    let endless = vec![b'x'; 1 << 20];
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for _ in 0..10_000 {
        // A run-length block of 128 KiB that is not the last.
        bomb.extend([0x02, 0x00, 0x10, b'x']);
    }
    for bytes in [endless, bomb] {
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("expected lines of at most 262144 bytes"), "{error}");
    }

    // A frame that requires a window of 2 GiB.
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert!(read(&greedy).unwrap_err().contains("indow"), "{:?}", read(&greedy));
}

/// Replaces one of the values in a line; `place` selects it.
fn put(value: &mut Value, place: usize, new: &Value) {
    let count = places(value);
    let mut left = place % count;
    put_at(value, &mut left, new);
}

fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(places).sum::<usize>(),
        Value::Object(fields) => fields.values().map(places).sum::<usize>(),
        _ => 0,
    }
}

/// Replaces the value `left` places further on, counting depth first.
fn put_at(value: &mut Value, left: &mut usize, new: &Value) -> bool {
    if *left == 0 {
        *value = new.clone();
        return true;
    }

    *left -= 1;
    match value {
        Value::Array(values) => values.iter_mut().any(|value| put_at(value, left, new)),
        Value::Object(fields) => fields.values_mut().any(|value| put_at(value, left, new)),
        _ => false,
    }
}

fn hostile_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(|number| Value::from(format!("{number:#x}"))),
        (0_u32..64).prop_map(|bit| Value::from(format!("{:#x}", 1_u64 << bit))),
        any::<i64>().prop_map(Value::from),
        (0_u64..300).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::Null),
        Just(Value::Array(Vec::new())),
        prop::sample::select(vec!["xadd", "jmp", "lsl", "clflush", "fetch", "rmw", "stack", "pae"])
            .prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn altered_bytes_are_found(place: prop::sample::Index, bit in 0_u32..8, compressed: bool) {
        let mut bytes = if compressed {
            write::compressed(&source(), &cases())
        } else {
            write::section(&source(), &cases()).into_bytes()
        };
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;

        // Some bits of a frame have no meaning.
        if let Ok(same) = read(&bytes) {
            prop_assert_eq!(same, (vec![source()], cases()));
        }
    }

    /// A section with hostile values and a correct digest is either replayed or refused.
    #[test]
    fn hostile_values_do_not_crash_a_replay(
        line in 0_usize..4,
        changes in prop::collection::vec((any::<usize>(), hostile_value()), 1..4),
    ) {
        let mut lines = lines();
        let mut value: Value = serde_json::from_str(&lines[line]).expect("a line is JSON");
        for (place, new) in changes {
            put(&mut value, place, &new);
        }

        lines[line] = value.to_string();
        if let Err(error) = replayed(&sealed(&lines)) {
            prop_assert!(error.starts_with("corpus, line "), "{}", error);
            prop_assert!(!error.contains(char::is_control), "{}", error);
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), is_frame: bool) {
        let start: &[u8] = if is_frame { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[] };
        prop_assert!(read(&[start, &bytes].concat()).is_err());
    }
}
