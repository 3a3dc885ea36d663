//! The corpus that comes with the program, recording another, and replaying them against walkers of
//! ours and of others.

mod common;

use common::{Ran, Sandbox, count, require_kvm, require_qemu, run, run_with_dev, skip};
use crosswalk::corpus::Recorded;
use crosswalk::corpus::read::{CorpusItem, CorpusReader};
use crosswalk::verdict::{self, Verdict};
use crosswalk::walker::MUTANTS;
use crosswalk_case::observation::Attempt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What the bundled corpus covers, by hand: what a machine that it was recorded on can show.
const COVERED: [&str; 40] = [
    "MODE-3", "MODE-4", "MODE-5", "MODE-6", "MODE-7", "MODE-8", "MODE-10", "MODE-11", "MODE-12",
    "PDPTE-1", "PDPTE-2", "PDPTE-3", "CODE-1", "CODE-2", "CODE-3", "CODE-4", "CODE-5", "CODE-6",
    "CODE-7", "CODE-8", "CODE-9", "CODE-10", "CODE-11", "CODE-12", "RIGHT-1", "RIGHT-2", "RIGHT-3",
    "RIGHT-4", "RIGHT-5", "RIGHT-6", "RIGHT-8", "AD-1", "AD-2", "AD-3", "AD-5", "AD-6", "AD-7",
    "CANON-1", "CANON-2", "OUT-1",
];

fn bundled() -> Vec<Recorded> {
    let items = CorpusReader::bundled().expect("it can be read");
    let cases = items.filter_map(|item| match item.expect("it is whole") {
        CorpusItem::Source(_) => None,
        CorpusItem::Case(recorded) => Some(*recorded),
    });
    cases.collect()
}

fn report(arguments: &[&str], code: i32) -> Value {
    run(&[arguments, &["--json"]].concat()).expect_code(code).json()
}

#[test]
fn without_a_machine_the_program_replays_the_corpus_and_says_so() {
    for arguments in ["", "check --mode 4level,pae"] {
        let Some(ran) = run_with_dev("true", arguments) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        let ran = ran.expect_code(0);
        let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "machine corpus (no machine here: there is no /dev/kvm",
            "nothing is run, the bundled corpus is replayed",
            "recorded qemu tcg,",
            "The recorded machines and the model agree, known findings aside.",
        ] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
    }
}

#[test]
fn a_replay_keeps_to_the_contract_of_check() {
    let report = report(&["check", "--machine", "corpus"], 0);
    assert_eq!(report["machine"]["kind"], "corpus");
    assert_eq!((&report["walker"], &report["seed"]), (&"reference".into(), &Value::Null));
    let sources = report["sources"].as_array().expect("sources");
    let flavours: BTreeSet<_> =
        sources.iter().map(|one| &one["machine"]["flavour"]).map(Value::to_string).collect();
    let expected = ["\"pvm\"", "\"svm-npt\"", "\"svm-shadow\"", "\"tcg\""];
    assert_eq!(flavours, expected.map(String::from).into());
    let modes = report["modes"].as_array().expect("modes");
    for mode in modes {
        assert!(mode["status"] == "checked" && count(mode, "cases") > 10, "{mode}");
    }
    assert_eq!(modes.len(), 5);
    let unknown = report["findings"].as_array().expect("findings").iter();
    let unknown: Vec<_> = unknown.filter(|one| one["known"] == false).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn what_needs_a_machine_is_refused_with_the_corpus() {
    for option in [&["--exhaustive"][..], &["--seed", "1"], &["--phys-bits", "48"]] {
        let ran = run(&[&["check", "--machine", "corpus"], option].concat()).expect_code(2);
        assert!(ran.only_line_of_stderr().contains("needs a machine"), "{}", ran.stderr);
    }
    let ran = run(&["scenario", "isolation", "--machine", "corpus"]).expect_code(2);
    assert!(ran.stderr.contains("corpus"), "{}", ran.stderr);
}

/// Every rule of the list, every mode, and every kind of end that an access can have.
#[test]
fn the_bundled_corpus_covers_what_it_is_to_cover() {
    let report = report(&["replay"], 0);
    let covers: BTreeSet<_> =
        report["covers"].as_array().expect("rules").iter().filter_map(Value::as_str).collect();
    assert_eq!(covers, BTreeSet::from(COVERED));
    let mut ends: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for recorded in bundled() {
        if let Attempt::Observed(seen) = &recorded.attempt {
            let end = seen.fault.map(|fault| (fault.vector, fault.error_code));
            ends.entry(recorded.case.mode()).or_default().insert(end);
        }
    }
    let ends: Vec<_> = ends.values().map(BTreeSet::len).collect();
    // Unpaged accesses complete; in the other modes more than ten codes of #PF can be had.
    assert!(ends.len() == 5 && ends.iter().skip(1).all(|ends| *ends > 10), "{ends:?}");
}

/// The expected outcomes in the file are those of this version.
#[test]
fn the_bundled_corpus_is_up_to_date() {
    let stale = bundled().iter().filter(|recorded| !recorded.is_allowed_the_same()).count();
    assert_eq!(stale, 0, "ci/corpus records it anew");
}

/// Each mutant, held against every case: what the corpus says that it tells, it tells, and every rule
/// that it covers has all its mutants caught.
#[test]
fn every_mutant_of_a_covered_rule_is_caught() {
    let cases = bundled();
    for mutant in MUTANTS.iter() {
        let told: Vec<_> = cases
            .iter()
            .filter(|recorded| recorded.catches.iter().any(|id| id == mutant.id))
            .collect();
        let is_covered = mutant.rule.is_none_or(|rule| COVERED.contains(&rule.id()));
        assert!(!is_covered || !told.is_empty(), "{} is not caught", mutant.id);
        for recorded in told {
            let verdict = verdict::judge(mutant.walker, &recorded.case, &recorded.attempt);
            let name = &recorded.name;
            assert!(matches!(verdict, Verdict::Diverge { .. }), "{} by {name}", mutant.id);
        }
    }
}

#[test]
fn replay_catches_a_mutant_with_a_case_that_explain_takes() {
    for id in ["M13b", "M24", "M37", "M41+M42"] {
        let walker = format!("mutant:{id}");
        let report = report(&["replay", "--walker", &walker], 1);
        let findings = report["findings"].as_array().expect("findings");
        let caught = findings.iter().find(|finding| finding["id"] == id).expect("it is caught");
        let case = caught["smallest_case"].to_string();
        let explained = run(&["explain", "--walker", &walker, &case]).expect_code(0);
        let names_them = id.split('+').all(|id| explained.stdout.contains(id));
        assert!(names_them, "{}", explained.stdout);
    }
}

/// The cases are the same; so is what was observed, but for entries that a rule leaves open.
#[track_caller]
fn assert_recorded_twice_alike(machine: &[&str]) {
    let sandbox = Sandbox::new();
    let [first, second] = ["first.jsonl", "second.zst"].map(|name| {
        let asked = [&["record", name, "--seed", "3", "--cases", "12000"], machine].concat();
        sandbox.run(&asked).expect_code(0);
        let reader = CorpusReader::open(&sandbox.path().join(name)).expect("it was written");
        reader.map(|item| item.expect("it is whole")).collect::<Vec<_>>()
    });
    assert_eq!(first.len(), second.len());
    assert!(first.len() > 100, "{}", first.len());
    for pair in first.iter().zip(&second) {
        match pair {
            (CorpusItem::Case(first), CorpusItem::Case(second)) => {
                assert_eq!((&first.name, &first.case), (&second.name, &second.case));
                assert_eq!(first.allowed, second.allowed);
                if first.attempt != second.attempt {
                    // The manuals leave it open: the likeliest way is not the only one, or a flag is.
                    let ways = first.allowed["access"].as_array().expect("ways");
                    let open = |way: &Value| {
                        let entries = way["entries"].as_array().expect("entries");
                        entries.iter().any(|entry| entry["may_set"] != "0x0")
                    };
                    assert!(ways.len() > 1 || ways.iter().any(open), "{}", first.name);
                }
            }
            (CorpusItem::Source(first), CorpusItem::Source(second)) => assert_eq!(first, second),
            pair => panic!("{pair:?}"),
        }
    }
}

#[test]
fn on_kvm_a_seed_records_the_same_twice() {
    require_kvm!();
    assert_recorded_twice_alike(&["--machine", "kvm"]);
}

#[test]
fn on_qemu_a_seed_records_the_same_twice() {
    require_qemu!();
    assert_recorded_twice_alike(&["--machine", "qemu"]);
}

#[test]
fn a_damaged_corpus_is_one_line_with_its_place() {
    let sandbox = Sandbox::new();
    let bundled = crosswalk::corpus::BUNDLED;
    let mut altered = bundled.to_vec();
    altered[bundled.len() / 2] ^= 0x10;
    for (name, bytes, words) in [
        ("empty.zst", &[][..], "line 1: expected a corpus, found nothing"),
        ("cut.zst", &bundled[..bundled.len() / 2], "line "),
        ("altered.zst", &altered, "line "),
        ("later.jsonl", b"{\"corpus\":2}\n", "line 1: expected version 1 of the format, found 2"),
        ("other.jsonl", b"# a text\n", "line 1: expected the first line of a corpus"),
    ] {
        let file = sandbox.file(name, bytes);
        for command in [&["replay"][..], &["conformance", "--no-adapters"]] {
            let ran = sandbox.run(&[command, &[&file]].concat()).expect_code(2);
            let line = ran.only_line_of_stderr();
            assert!(line.contains(&file) && line.contains(words), "{line}");
        }
    }
    let ran = sandbox.run(&["replay", "nothing.zst"]).expect_code(2);
    assert!(ran.only_line_of_stderr().contains("nothing.zst: cannot be read"), "{}", ran.stderr);
}

/// A few hundred bytes of zstd that are 1.3 GB: refused in little memory.
#[test]
fn a_bomb_is_refused_in_little_memory() {
    let sandbox = Sandbox::new();
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    bomb.extend([0x02, 0x00, 0x10, b'x'].repeat(10_000));
    let file = sandbox.file("bomb.zst", bomb);
    let script = format!("ulimit -v 400000; exec '{}' replay '{file}'", common::PROGRAM);
    let mut command = assert_cmd::Command::new("sh");
    command.current_dir(sandbox.path()).args(["-c", &script]);
    let ran = Ran::of(&mut command).expect_code(2);
    assert!(
        ran.only_line_of_stderr().contains("line 1: expected lines of at most"),
        "{}",
        ran.stderr
    );
}

/// A program that is a shell script, by its path.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> String {
    let path = sandbox.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    format!("cmd:{}", path.display())
}

#[test]
fn a_program_that_says_nothing_wrong_passes() {
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do echo '{"silent":"I know nothing"}'; done"#;
    let walker = program(&sandbox, "silent", script);
    let report = report(&["replay", "--walker", &walker], 0);
    let score = &report["candidate"];
    assert_eq!(report["walker"], walker.as_str());
    assert!(count(score, "does_not_say") > 1000, "{score}");
    assert_eq!((count(score, "wrong"), count(score, "failed")), (0, 0));
    assert_eq!(score["silences"]["I know nothing"], score["does_not_say"]);
}

/// It claims that every access faults, dies at every tenth case, and answers nonsense at others.
#[test]
fn whatever_a_program_does_is_reported_and_the_run_goes_on() {
    let sandbox = Sandbox::new();
    let script = r#"n=0
while read -r case; do n=$((n+1)); case $n in
  10) exit 3 ;;
  7) echo nonsense ;;
  *) echo '{"fault":{"vector":14}}' ;;
esac; done"#;
    let walker = program(&sandbox, "wild", script);
    let report = report(&["replay", "--walker", &walker, "--cases", "300"], 1);
    let score = &report["candidate"];
    assert!(count(score, "right") > 20 && count(score, "wrong") > 20, "{score}");
    assert!(count(score, "failed") > 20, "{score}");
    let failures = score["failures"].as_array().expect("failures");
    assert!(
        failures.iter().any(|one| one["what"].to_string().contains("not an answer")),
        "{score}"
    );
    let mistake = &score["mistakes"][0];
    assert_eq!(mistake["answered"], "#PF(0)");
    let case = mistake["smallest_case"].to_string();
    run(&["explain", &case]).expect_code(0);
    let text = run(&["replay", "--walker", &walker, "--cases", "300"]).expect_code(1).stdout;
    assert!(text.contains("is wrong in "), "{text}");
}

#[test]
fn a_program_that_cannot_be_started_is_bad_usage() {
    for path in ["/no/such/program", "/etc/passwd"] {
        let ran = run(&["replay", "--walker", &format!("cmd:{path}")]).expect_code(2);
        let line = ran.only_line_of_stderr();
        assert!(line.contains(path) && line.contains("cannot be started"), "{line}");
    }
}

#[test]
fn a_program_that_always_fails_is_given_up() {
    let report = report(&["replay", "--walker", "cmd:/bin/false"], 1);
    let score = &report["candidate"];
    assert_eq!(count(score, "failed"), 20);
    assert!(count(score, "not_asked") > 1000, "{score}");
}

/// On a machine, too: the program is asked about what has just been run.
#[test]
fn check_asks_a_program_beside_a_machine() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do echo '{"fault":{}}'; done"#;
    let walker = program(&sandbox, "pessimist", script);
    let asked = ["check", "--machine", "qemu", "--cases", "3000", "--seed", "1", "--walker"];
    let report = report(&[&asked[..], &[&walker]].concat(), 1);
    let score = &report["candidate"];
    let sum: u64 = ["right", "wrong", "does_not_say", "failed", "not_marked"]
        .into_iter()
        .map(|field| count(score, field))
        .sum();
    assert_eq!(sum, count(&report["totals"], "cases"));
    assert!(count(score, "right") > 500 && count(score, "wrong") > 500, "{score}");
}

/// The table has the mutants where their mistakes are, and the reference right everywhere.
#[test]
fn conformance_finds_what_a_walker_gets_wrong() {
    let expected = [("mutant:M41", "RIGHT-1"), ("mutant:M37", "MODE-11"), ("mutant:M42", "CODE-1")];
    let mut asked = vec!["conformance", "--no-adapters"];
    for (walker, _) in &expected {
        asked.extend(["--walker", walker]);
    }
    let table = report(&asked, 0);
    let wrong = |walker: &str| -> BTreeMap<String, Value> {
        let rules = table["rules"].as_array().expect("rules").iter();
        let cells = rules.map(|rule| {
            let cells = rule["cells"].as_array().expect("cells");
            let cell = cells.iter().find(|cell| cell["walker"] == walker).expect("a cell");
            (rule["rule"].as_str().expect("an id").to_owned(), cell.clone())
        });
        cells.filter(|(_, cell)| cell["result"] == "wrong").collect()
    };
    assert!(wrong("reference").is_empty(), "{:?}", wrong("reference"));
    for (walker, rule) in expected {
        let cells = wrong(walker);
        assert_eq!(cells.keys().collect::<Vec<_>>(), [rule], "{walker}");
        let case = cells[rule]["smallest_case"].to_string();
        run(&["explain", &case]).expect_code(0);
    }
    let rules = table["rules"].as_array().expect("rules");
    let right = |rule: &&Value| rule["cells"][0]["result"] == "right";
    assert!(rules.iter().filter(right).count() > 25, "{table}");
}
