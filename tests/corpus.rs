//! The bundled corpus, recording another one, and replaying either against crosswalk's walkers and
//! against a user's.

use crosswalk::corpus::Recorded;
use crosswalk::corpus::read::{CorpusItem, CorpusReader};
use crosswalk::verdict::{self, Verdict};
use crosswalk::walker::MUTANTS;
use crosswalk_case::observation::Attempt;
use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::report::{list, text};
use support::{
    ProgramOutput, Sandbox, count, program, require_kvm, require_qemu, run, run_with_dev, skip,
};

/// The rules that the bundled corpus covers, listed by hand: those that the machines it was recorded
/// on can show.
const COVERED: [&str; 51] = [
    "MODE-1", "MODE-2", "MODE-3", "MODE-4", "MODE-5", "MODE-6", "MODE-7", "MODE-8", "MODE-9",
    "MODE-10", "MODE-11", "MODE-12", "PDPTE-1", "PDPTE-2", "PDPTE-3", "CODE-1", "CODE-2", "CODE-3",
    "CODE-4", "CODE-5", "CODE-6", "CODE-7", "CODE-8", "CODE-9", "CODE-10", "CODE-11", "CODE-12",
    "RIGHT-1", "RIGHT-2", "RIGHT-3", "RIGHT-4", "RIGHT-5", "RIGHT-6", "RIGHT-8", "AD-1", "AD-2",
    "AD-3", "AD-4", "AD-5", "AD-6", "AD-7", "CANON-1", "CANON-2", "CANON-3", "TLB-1", "TLB-2",
    "TLB-3", "TLB-4", "TLB-5", "ALIGN-1", "OUT-1",
];

/// The cases of the bundled corpus.
fn bundled() -> Vec<Recorded> {
    let items = CorpusReader::bundled().expect("the corpus can be read");
    let cases = items.filter_map(|item| match item.expect("the corpus is complete") {
        CorpusItem::Source(_) => None,
        CorpusItem::Case(recorded) => Some(*recorded),
    });
    cases.collect()
}

/// The JSON report of a run of the program that exits with `code`.
#[track_caller]
fn report(arguments: &[&str], code: i32) -> Value {
    run(&[arguments, &["--json"]].concat()).expect_code(code).json()
}

#[test]
fn without_a_machine_the_program_replays_the_corpus_and_says_so() {
    for arguments in ["", "check --mode 4level,pae"] {
        let Some(output) = run_with_dev("true", arguments) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        let text = output.expect_code(0).words_of_stdout();
        for words in [
            "machine corpus (no machine here: there is no /dev/kvm",
            "nothing is run, the bundled corpus is replayed",
            "recorded qemu tcg,",
            "The recorded machines and the model agree, known findings aside.",
        ] {
            assert!(text.contains(words), "no {words:?} in {text}");
        }
    }
}

#[test]
fn a_replay_keeps_the_contract_of_check() {
    let report = report(&["check", "--machine", "corpus"], 0);
    assert_eq!(report["machine"]["kind"], "corpus");
    assert_eq!(report["walker"], "reference");
    assert_eq!(report["seed"], Value::Null);

    let sources = list(&report["sources"]).iter();
    let flavours: BTreeSet<_> = sources.map(|source| text(&source["machine"]["flavour"])).collect();
    assert_eq!(flavours, BTreeSet::from(["bochs", "pvm", "svm-npt", "svm-shadow", "tcg", "v86"]));

    let modes = list(&report["modes"]);
    for mode in modes {
        assert!(mode["status"] == "checked" && count(mode, "cases") > 10, "{mode}");
    }
    assert_eq!(modes.len(), 5);

    let findings = list(&report["findings"]).iter();
    let unknown: Vec<_> = findings.filter(|finding| finding["known"] == false).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn options_that_need_a_machine_are_refused_with_the_corpus() {
    for option in [&["--exhaustive"][..], &["--seed", "1"], &["--phys-bits", "48"]] {
        let output = run(&[&["check", "--machine", "corpus"], option].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains("needs a machine"), "{}", output.stderr);
    }

    let output = run(&["scenario", "isolation", "--machine", "corpus"]).expect_code(2);
    assert!(output.stderr.contains("corpus"), "{}", output.stderr);
}

/// Every rule of the list, every mode, and every outcome that an access can have.
#[test]
fn the_bundled_corpus_covers_its_rules_and_outcomes() {
    let report = report(&["replay"], 0);
    let covers: BTreeSet<_> = list(&report["covers"]).iter().map(text).collect();
    assert_eq!(covers, BTreeSet::from(COVERED));

    let mut outcomes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for recorded in bundled() {
        if let Attempt::Observed(seen) = &recorded.attempt {
            let outcome = seen.fault.map(|fault| (fault.vector, fault.error_code));
            outcomes.entry(recorded.case.mode()).or_default().insert(outcome);
        }
    }

    // Without paging, accesses complete; the other modes have more than ten error codes of #PF.
    let counts: Vec<_> = outcomes.values().map(BTreeSet::len).collect();
    assert_eq!(counts.len(), 5);
    assert!(counts.iter().skip(1).all(|outcomes| *outcomes > 10), "{counts:?}");
}

/// The expected outcomes in the file are what this version predicts.
#[test]
fn the_bundled_corpus_is_up_to_date() {
    let stale = bundled().iter().filter(|recorded| !recorded.is_allowed_the_same()).count();
    assert_eq!(stale, 0, "run ci/corpus to record it again");
}

/// Every case diverges from the mutants that the corpus says it catches, and every mutant of a
/// covered rule is caught.
#[test]
fn every_mutant_of_a_covered_rule_is_caught() {
    let cases = bundled();
    for mutant in MUTANTS.iter() {
        let catches = |recorded: &&Recorded| recorded.catches.iter().any(|id| id == mutant.id);
        let catching: Vec<_> = cases.iter().filter(catches).collect();
        let is_covered = mutant.rule.is_none_or(|rule| COVERED.contains(&rule.id()));
        assert!(!is_covered || !catching.is_empty(), "{} is not caught", mutant.id);

        for recorded in catching {
            let verdict = verdict::judge(mutant.walker, &recorded.case, &recorded.attempt);
            let name = &recorded.name;
            assert!(matches!(verdict, Verdict::Diverge { .. }), "{} by {name}", mutant.id);
        }
    }
}

#[test]
fn replay_catches_a_mutant_with_a_case_that_explain_accepts() {
    for id in ["M13b", "M24", "M37", "M41+M42"] {
        let walker = format!("mutant:{id}");
        let report = report(&["replay", "--walker", &walker], 1);
        let case = support::finding(&report, id)["smallest_case"].to_string();
        let drawn = run(&["explain", "--walker", &walker, &case]).expect_code(0).stdout;
        assert!(id.split('+').all(|id| drawn.contains(id)), "{drawn}");
    }
}

/// Records a corpus twice from the same seed. The cases are the same; so are the observations, but
/// for what a rule leaves open.
#[track_caller]
fn assert_records_the_same_twice(machine: &[&str]) {
    let sandbox = Sandbox::new();
    let [first, second] = ["first.jsonl", "second.zst"].map(|name| {
        let arguments = [&["record", name, "--seed", "3", "--cases", "12000"], machine].concat();
        sandbox.run(&arguments).expect_code(0);
        let reader = CorpusReader::open(&sandbox.path().join(name)).expect("it was written");
        reader.map(|item| item.expect("the corpus is complete")).collect::<Vec<_>>()
    });
    assert_eq!(first.len(), second.len());
    assert!(first.len() > 100, "{}", first.len());

    for pair in first.iter().zip(&second) {
        match pair {
            (CorpusItem::Case(first), CorpusItem::Case(second)) => {
                assert_eq!((&first.name, &first.case), (&second.name, &second.case));
                assert_eq!(first.allowed, second.allowed);
                assert!(
                    first.attempt == second.attempt || leaves_a_choice(first),
                    "{}",
                    first.name
                );
            }
            (CorpusItem::Source(first), CorpusItem::Source(second)) => assert_eq!(first, second),
            pair => panic!("{pair:?}"),
        }
    }
}

/// Whether the manuals allow several outcomes, or leave a flag of an entry open.
fn leaves_a_choice(recorded: &Recorded) -> bool {
    let alternatives = list(&recorded.allowed["access"]);
    let has_open_flag = |alternative: &Value| {
        list(&alternative["entries"]).iter().any(|entry| entry["may_set"] != "0x0")
    };
    alternatives.len() > 1 || alternatives.iter().any(has_open_flag)
}

#[test]
fn on_kvm_a_seed_records_the_same_twice() {
    require_kvm!();
    assert_records_the_same_twice(&["--machine", "kvm"]);
}

#[test]
fn on_qemu_a_seed_records_the_same_twice() {
    require_qemu!();
    assert_records_the_same_twice(&["--machine", "qemu"]);
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
            let output = sandbox.run(&[command, &[&file]].concat()).expect_code(2);
            let line = output.only_line_of_stderr();
            assert!(line.contains(&file) && line.contains(words), "{line}");
        }
    }

    let output = sandbox.run(&["replay", "nothing.zst"]).expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains("nothing.zst: cannot be read"), "{line}");
}

/// A few kilobytes of zstd that expand to 1.3 GB.
#[test]
fn a_decompression_bomb_is_refused_in_little_memory() {
    let sandbox = Sandbox::new();
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    bomb.extend([0x02, 0x00, 0x10, b'x'].repeat(10_000));
    let file = sandbox.file("bomb.zst", bomb);

    let script = format!("ulimit -v 400000; exec '{}' replay '{file}'", program().display());
    let mut command = assert_cmd::Command::new("sh");
    command.current_dir(sandbox.path()).args(["-c", &script]);
    let output = ProgramOutput::of(&mut command).expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains("line 1: expected lines of at most"), "{line}");
}

/// A walker that is a shell script, as `--walker` takes it.
fn script_walker(sandbox: &Sandbox, name: &str, script: &str) -> String {
    let path = sandbox.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    format!("cmd:{}", path.display())
}

#[test]
fn a_walker_that_says_nothing_is_not_called_right() {
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do echo '{"silent":"I know nothing"}'; done"#;
    let walker = script_walker(&sandbox, "silent", script);
    let said = run(&["replay", "--walker", &walker]).expect_code(3).words_of_stdout();
    assert!(said.contains("Nothing was compared: cmd:"), "{said}");
    let report = report(&["replay", "--walker", &walker], 3);
    assert_eq!(report["walker"], walker.as_str());

    let score = &report["candidate"];
    assert!(count(score, "does_not_say") > 1000, "{score}");
    assert_eq!((count(score, "wrong"), count(score, "failed")), (0, 0));
    assert_eq!(score["silences"]["I know nothing"], score["does_not_say"]);
}

/// The walker answers that every access faults, but dies at the tenth case, and answers nonsense at
/// the seventh; after either it is started again.
#[test]
fn failures_of_a_walker_are_reported_and_the_run_goes_on() {
    let sandbox = Sandbox::new();
    let script = r#"n=0
while read -r case; do n=$((n+1)); case $n in
  10) exit 3 ;;
  7) echo nonsense ;;
  *) echo '{"fault":{"vector":14}}' ;;
esac; done"#;
    let walker = script_walker(&sandbox, "wild", script);
    let report = report(&["replay", "--walker", &walker, "--cases", "300"], 1);

    let score = &report["candidate"];
    assert!(count(score, "right") > 20 && count(score, "wrong") > 20, "{score}");
    assert!(count(score, "failed") > 20, "{score}");
    let failures = list(&score["failures"]).iter();
    let no_answers =
        failures.filter(|failure| failure["what"].to_string().contains("not an answer"));
    assert!(no_answers.count() > 0, "{score}");

    let mistake = &score["mistakes"][0];
    assert_eq!(mistake["answered"], "#PF(0)");
    run(&["explain", &mistake["smallest_case"].to_string()]).expect_code(0);

    let text = run(&["replay", "--walker", &walker, "--cases", "300"]).expect_code(1).stdout;
    assert!(text.contains("is wrong in "), "{text}");
}

#[test]
fn a_walker_that_cannot_be_started_is_bad_usage() {
    for path in ["/no/such/program", "/etc/passwd"] {
        let output = run(&["replay", "--walker", &format!("cmd:{path}")]).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains(path) && line.contains("cannot be started"), "{line}");
    }
}

#[test]
fn a_walker_that_always_fails_is_given_up() {
    let report = report(&["replay", "--walker", "cmd:/bin/false"], 1);
    let score = &report["candidate"];
    assert_eq!(count(score, "failed"), 20);
    assert!(count(score, "not_asked") > 1000, "{score}");
}

/// On a machine, the walker is asked about each case that has just run.
#[test]
fn check_asks_a_walker_about_the_cases_of_a_machine() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do echo '{"fault":{}}'; done"#;
    let walker = script_walker(&sandbox, "pessimist", script);
    let arguments = ["check", "--machine", "qemu", "--cases", "3000", "--seed", "1", "--walker"];
    let report = report(&[&arguments[..], &[&walker]].concat(), 1);

    let score = &report["candidate"];
    let sum: u64 = ["right", "wrong", "does_not_say", "failed", "not_marked"]
        .into_iter()
        .map(|field| count(score, field))
        .sum();
    assert_eq!(sum, count(&report["totals"], "cases"));
    assert!(count(score, "right") > 500 && count(score, "wrong") > 500, "{score}");
}

/// The conformance table shows each mutant's mistake, and the reference right everywhere.
#[test]
fn conformance_finds_what_a_walker_gets_wrong() {
    // In a sequence a right that M41 misses also lets it set A and D, as other answers of it show.
    let expected: [(&str, &[&str]); 3] =
        [("mutant:M41", &["RIGHT-1"]), ("mutant:M37", &["MODE-11"]), ("mutant:M42", &["CODE-1"])];
    let mut arguments = vec!["conformance", "--no-adapters"];
    for (walker, _) in &expected {
        arguments.extend(["--walker", walker]);
    }
    let table = report(&arguments, 0);
    let rules = list(&table["rules"]);

    let wrong = |walker: &str| -> BTreeMap<&str, &Value> {
        let cells = rules.iter().map(|rule| {
            let mut cells = list(&rule["cells"]).iter();
            let cell = cells.find(|cell| cell["walker"] == walker).expect("a cell");
            (text(&rule["rule"]), cell)
        });
        cells.filter(|(_, cell)| cell["result"] == "wrong").collect()
    };
    assert!(wrong("reference").is_empty(), "{:?}", wrong("reference"));
    for (walker, wrong_rules) in expected {
        let cells = wrong(walker);
        assert_eq!(cells.keys().copied().collect::<Vec<_>>(), wrong_rules, "{walker}");
        for rule in wrong_rules {
            run(&["explain", &cells[rule]["smallest_case"].to_string()]).expect_code(0);
        }
    }

    let right = |rule: &&Value| rule["cells"][0]["result"] == "right";
    assert!(rules.iter().filter(right).count() > 25, "{table}");
}
