//! A journal reads back as it was written, and an error about a damaged one names the line.

use super::text::{BadLine, parse, write};
use super::*;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::campaign::tally::{ModeCounts, Occurrences};
use crate::generate::{CaseName, Generator, Shard, tests::capabilities};
use crate::verdict::{ChoiceTaken, End};
use crate::walker::WalkerSpec;
use crosswalk_case::observation::Provenance;
use crosswalk_machine::Identity;
use mmu_core::{AccessKind, PagingMode, Ring, Rule};

fn run() -> RunLine {
    let identity = Identity {
        kind: "kvm".into(),
        flavour: "pvm".into(),
        beneath: "kvm".into(),
        cpu: "a processor".into(),
        host_kernel: "6.1".into(),
        version: None,
    };
    let modes = [(PagingMode::Pae, Ok(())), (PagingMode::FiveLevel, Err("no LA57".into()))];
    let options = RunOptions {
        modes: &modes,
        cases: Some(500),
        walker: &Predictor::BuiltIn(WalkerSpec::Reference),
        known: &KnownSource::Shipped,
    };
    let shard = Shard { index: 3, count: 8 };

    RunLine::generated(Generator::Random(9), shard, options, &identity, &capabilities(true))
}

fn name(index: u64) -> CaseName {
    CaseName { generator: Generator::Random(9), mode: PagingMode::Pae, index }
}

fn checkpoint() -> Checkpoint {
    let findings = vec![
        Saved::Known { id: "K1".into(), count: 4, example: None },
        Saved::Group {
            ring: 0,
            expected: "denied".into(),
            observed: 14,
            fields: vec!["error_code".into()],
            explained_by: vec!["M13b".into()],
            count: 2,
            example: None,
        },
    ];

    Checkpoint {
        run: run(),
        progress: ProgressLine { turn: 12, seconds: 1.5, cpu_seconds: 2.25, complete: false },
        tally: tally(),
        findings,
        smallest: Vec::new(),
    }
}

fn tally() -> Tally {
    let mut tally = Tally { digest: u64::MAX, ..Tally::default() };

    let mut counts = ModeCounts { cases: 70, faults: 30, translations: 40, ..Default::default() };
    counts.accesses.insert(AccessKind::Fetch, 70);
    counts.provenance.insert(Provenance::KvmWalker, 70);
    tally.modes.insert(PagingMode::Pae, counts);

    tally.rules.insert((Rule::Code1, PagingMode::Pae), Occurrences { count: 5, example: name(17) });

    let end = (PagingMode::Pae, Provenance::KvmWalker, Some((14, 5)));
    tally.ends.insert(end, Occurrences { count: 30, example: name(2) });

    let choice = ChoiceTaken {
        rule: Rule::Ad2,
        mode: PagingMode::Pae,
        provenance: Provenance::KvmWalker,
        ring: Ring::Three,
        access: AccessKind::Fetch,
        end: End::NotPresent,
        level: "PDE",
        member: "A left clear",
    };
    tally.choices.insert(choice, 11);

    tally
}

#[test]
fn a_checkpoint_reads_back_as_it_was_written() {
    let written = checkpoint();
    let text = write(&written);
    let read = parse(&text).expect("a good journal");

    assert_eq!(read.run.difference(&written.run), None);
    assert_eq!(read.progress, written.progress);
    assert_eq!(read.tally, written.tally);
    assert_eq!(write(&read), text);

    let (identity, machine) = read.run.machine.read().expect("a machine");
    assert_eq!((identity.flavour.as_str(), identity.cpu.as_str()), ("pvm", "a processor"));
    assert_eq!(machine.profile, capabilities(true).profile);
    assert_eq!(read.run.read_modes().expect("modes")[1].1, Err("no LA57".into()));
}

#[test]
fn an_error_names_the_damaged_line() {
    let good = write(&checkpoint());
    let half = &good[..good.len() / 2];
    let lines: Vec<&str> = good.lines().collect();
    let count = lines.len();
    let changed = |number: usize, with: &str| {
        let mut lines = lines.clone();
        lines[number - 1] = with;
        lines.join("\n")
    };

    for (text, line, words) in [
        (String::new(), 1, "ends too early"),
        (lines[..count - 1].join("\n"), count, "ends too early"),
        (half.to_owned(), half.lines().count(), "a line of a journal"),
        (changed(1, "{}"), 1, "a line of a journal"),
        (changed(2, lines[3]), 2, "\"progress\" second"),
        (changed(4, lines[0]), 4, "once"),
        (changed(3, "\u{1b}[31m"), 3, "a line of a journal"),
        (changed(5, &lines[4].replace("CODE-1", "CODE-99")), 5, "no rule \"CODE-99\""),
        (changed(5, &lines[4].replace("random:pae:9:17", "random:pae")), 5, "name of a case"),
        (changed(4, &lines[3].replace("\"faults\"", "\"fault\"")), 4, "expected counts.faults"),
        (changed(count, "{\"lines\":3}"), count, "expected 3 lines before this one"),
        (good.clone() + "{\"lines\":3}", count + 1, "expected nothing after"),
    ] {
        let BadLine { number, problem } = parse(&text).expect_err("a damaged journal");
        assert_eq!(number, line, "{problem} in {text}");
        assert!(problem.contains(words) && !problem.contains('\u{1b}'), "{problem}");
    }
}

#[test]
fn the_difference_of_two_runs_is_their_first_different_field() {
    let here = run();
    let mut there = run();
    there.machine.cpu = "another of the same kind".into();
    assert_eq!(here.difference(&there), None);

    there.seed = 10;
    assert_eq!(here.difference(&there).as_deref(), Some("expected seed 9, found 10"));
}

#[test]
fn tallies_of_parts_add_up() {
    let mut twice = tally();
    twice.merge(tally());

    assert_eq!(twice.modes[&PagingMode::Pae].faults, 60);
    let rule = twice.rules[&(Rule::Code1, PagingMode::Pae)];
    assert_eq!((rule.count, rule.example), (10, name(17)));
    assert_eq!(twice.digest, u64::MAX.wrapping_mul(2));
}
