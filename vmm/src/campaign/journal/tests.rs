//! A journal reads back as it was written, and an error about a damaged one names the line.

use super::text::{BadLine, Checksum, parse, write};
use super::*;
use crate::campaign::known::KnownSource;
use crate::campaign::predictor::Predictor;
use crate::campaign::series::{Point, Series};
use crate::campaign::tally::{BitCounts, ModeCounts, Occurrences};
use crate::generate::{CaseName, Generator, SequenceUse, Shard, tests::capabilities};
use crate::verdict::{ChoiceTaken, End};
use crate::walker::WalkerSpec;
use crosswalk_case::Decimal;
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
        modes_by_name: false,
        cases: Some(500),
        walker: &Predictor::BuiltIn(WalkerSpec::Reference),
        known: &KnownSource::Shipped,
    };
    let shard = Shard { index: 3, count: 8 };

    let source = (Generator::Random(9), SequenceUse::On);
    RunLine::generated(source, shard, options, &identity, &capabilities(true))
}

fn name(index: u64) -> CaseName {
    CaseName { generator: Generator::Random(9), mode: PagingMode::Pae, index }
}

fn checkpoint() -> Checkpoint {
    let findings = vec![
        Saved::Known { id: "K1".into(), count: 4, example: None },
        Saved::Group {
            of_sequence: None,
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
        series: series(),
        smallest: Vec::new(),
    }
}

/// A run that was stopped after a second and a half, and resumed.
fn series() -> Series {
    let mut series = Series::default();
    for (started, seconds) in [(1_700_000_000, [0.5, 1.5]), (1_700_000_100, [2.0, 2.5])] {
        series.begin(3, started);
        for seconds in seconds {
            let cases = (seconds * 10.0) as u64;
            series.record(Point { seconds, cpu_seconds: 0.25, cases, ..Point::default() });
        }
    }
    series
}

fn tally() -> Tally {
    let mut tally = Tally { digest: u64::MAX, ..Tally::default() };

    let mut counts =
        ModeCounts { cases: 70, faults: 30, translations: 40, agreed: 70, ..Default::default() };
    counts.accesses.insert(AccessKind::Fetch, 70);
    counts.provenance.insert(Provenance::KvmWalker, 70);
    counts.entry_bits.add(2, 63, BitCounts { cases: 9, faults: 7 });
    tally.modes.insert(PagingMode::Pae, counts);

    tally.rules.add(Rule::Code1, PagingMode::Pae, Occurrences { count: 5, example: name(17) });

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
    assert_eq!(read.series, written.series);
    assert_eq!(write(&read), text);

    let (identity, machine) = read.run.machine.read().expect("a machine");
    assert_eq!((identity.flavour.as_str(), identity.cpu.as_str()), ("pvm", "a processor"));
    assert_eq!(machine.profile, capabilities(true).profile);
    assert_eq!(read.run.read_modes().expect("modes")[1].1, Err("no LA57".into()));
}

/// The lines of the checkpoint without their checksums.
fn plain_lines() -> Vec<String> {
    let plain = |line: &str| {
        let (_, line) = line.split_once("\"line\":").expect("a line");
        line.strip_suffix('}').expect("a line").to_owned()
    };
    write(&checkpoint()).lines().map(plain).collect()
}

/// A journal of these lines, with checksums that fit. A forger can compute them, too.
fn forged(lines: &[String]) -> String {
    let mut checksum = Checksum::default();
    let sum = |line: &String| {
        let sum = checksum.add(line);
        format!("{{\"sum\":\"{sum}\",\"line\":{line}}}\n")
    };
    lines.iter().map(sum).collect()
}

fn assert_refused(text: &str, line: usize, words: &str) {
    let BadLine { number, problem } = parse(text).expect_err("a damaged journal");
    assert_eq!(number, line, "{problem} in {text}");
    assert!(problem.contains(words) && !problem.contains('\u{1b}'), "{problem}");
}

#[test]
fn a_damaged_journal_is_refused_at_the_line() {
    let good = write(&checkpoint());
    let half = &good[..good.len() / 2];
    let lines: Vec<&str> = good.lines().collect();
    let count = lines.len();
    let without = |number: usize| [&lines[..number - 1], &lines[number..]].concat().join("\n");
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
        (changed(3, "\u{1b}[31m"), 3, "a line of a journal"),
        // A number that was edited, a line that was lost, and one that was moved.
        (changed(2, &lines[1].replace("\"turn\":12", "\"turn\":0")), 2, "checksum"),
        (without(5), 5, "checksum"),
        (changed(4, lines[4]), 4, "checksum"),
        (good.clone() + lines[count - 1], count + 1, "expected nothing after"),
    ] {
        assert_refused(&text, line, words);
    }
}

#[test]
fn a_forged_journal_is_refused_at_the_line() {
    let lines = plain_lines();
    assert!(parse(&forged(&lines)).is_ok());
    let count = lines.len();
    let changed = |number: usize, with: &str| {
        let mut lines = lines.clone();
        assert_ne!(lines[number - 1], with);
        with.clone_into(&mut lines[number - 1]);
        forged(&lines)
    };
    let edited = |number: usize, from: &str, to: &str| {
        assert!(lines[number - 1].contains(from), "{}", lines[number - 1]);
        changed(number, &lines[number - 1].replace(from, to))
    };

    for (text, line, words) in [
        (edited(1, "\"format\":3", "\"format\":4"), 1, "expected format 3 of a journal, found 4"),
        (edited(1, env!("CARGO_PKG_VERSION"), "99.0.0"), 1, "found one of 99.0.0"),
        (edited(1, "\"count\":8", "\"count\":18446744073709551615"), 1, "at most 1048576 shards"),
        (edited(1, "\"count\":8", "\"count\":0"), 1, "at most 1048576 shards"),
        (edited(1, "\"parts\":[3]", "\"parts\":[8]"), 1, "at most 1048576 shards"),
        (edited(1, "\"parts\":[3]", "\"parts\":[3,3]"), 1, "at most 1048576 shards"),
        (edited(2, "\"turn\":12", "\"turn\":18446744073709551615"), 2, "a count of at most"),
        (edited(2, "\"seconds\":1.5", "\"seconds\":-1.5"), 2, "expected seconds"),
        (edited(2, "\"seconds\":1.5", "\"seconds\":1e300"), 2, "expected seconds"),
        (changed(2, &lines[3]), 2, "\"progress\" second"),
        (changed(4, &lines[0]), 4, "once"),
        (edited(4, "\"faults\"", "\"fault\""), 4, "expected counts.faults"),
        (edited(4, "\"agreed\":70", "\"agreed\":71"), 4, "expected 71 + 0 + 0 cases, found 70"),
        (edited(4, "[2,63,9,7]", "[2,64,9,7]"), 4, "no bit 64 of an entry at level 2"),
        (edited(4, "[2,63,9,7]", "[6,63,9,7]"), 4, "no bit 63 of an entry at level 6"),
        (edited(4, "[2,63,9,7]", "[2,63,6,7]"), 4, "expected at most 6 faults, found 7"),
        (edited(5, "CODE-1", "CODE-99"), 5, "no rule \"CODE-99\""),
        (edited(5, "random:pae:9:17", "random:pae"), 5, "name of a case"),
        (edited(10, "[0.5,", "[1.75,"), 10, "in the order of time"),
        (edited(10, "0.25,5,", "0.25,50,"), 10, "in the order of time"),
        (edited(10, "[0.5,0.25", "[0.5,1e300"), 10, "expected seconds"),
        (edited(10, "1700000000", "18446744073709551615"), 10, "a count of at most"),
        (
            edited(10, "[[0.5", &format!("[{}[0.5", "[0,0,0,0,0,0,0],".repeat(400))),
            10,
            "at most 400",
        ),
        (changed(count, "{\"lines\":3}"), count, "expected 3 lines before this one"),
    ] {
        assert_refused(&text, line, words);
    }
}

/// Lines had no checksums in format 1.
#[test]
fn a_journal_of_an_older_format_is_told_as_that() {
    let first = plain_lines()[0].replace("\"format\":3", "\"format\":1");
    assert_refused(&first, 1, "expected format 3 of a journal, found 1");
}

#[test]
fn counts_beyond_all_bounds_do_not_wrap() {
    let mut tally = tally();
    tally.modes.get_mut(&PagingMode::Pae).expect("it is there").cases = u64::MAX;
    tally.merge(self::tally());

    assert_eq!(tally.modes[&PagingMode::Pae].cases, u64::MAX);
}

#[test]
fn the_difference_of_two_runs_is_their_first_different_field() {
    let here = run();
    let mut there = run();
    there.machine.cpu = "another of the same kind".into();
    assert_eq!(here.difference(&there), None);

    there.seed = Decimal(10);
    assert_eq!(here.difference(&there).as_deref(), Some("expected seed 9, found 10"));
}

#[test]
fn tallies_of_parts_add_up() {
    let mut twice = tally();
    twice.merge(tally());

    assert_eq!(twice.modes[&PagingMode::Pae].faults, 60);
    let rule = twice.rules.get(Rule::Code1, PagingMode::Pae).unwrap();
    assert_eq!((rule.count, rule.example), (10, name(17)));
    assert_eq!(twice.digest, u64::MAX.wrapping_mul(2));
}

/// Each part of a forged run may have as many cases as there can be. Their sum is refused, since nobody
/// could read it again.
#[test]
fn a_sum_that_could_not_be_read_again_is_refused() {
    let part = |index: u64, turn: u64| {
        let mut part = checkpoint();
        part.run.shard.parts = vec![index];
        part.progress.turn = turn;
        part
    };
    let add_up = |turns: [u64; 2]| {
        let mut sum = Sum::start(&part(0, 1), None).expect("the run can be added up");
        for (index, turn) in (0..).zip(turns) {
            sum.add_shards(&part(index, turn).run.shard).expect("each shard is new");
            sum.add(part(index, turn)).expect("the part names nothing unknown");
        }
        sum.finish().map(|(total, _)| total.progress.turn)
    };

    assert_eq!(add_up([5, 7]), Ok(12));
    let error = add_up([1 << 43, 1]).expect_err("there are too many");
    assert!(error.starts_with("expected a count of at most 8796093022208, found "), "{error}");
}
