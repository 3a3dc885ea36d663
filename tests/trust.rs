//! Nothing is called right that was not compared, and no text that comes from elsewhere commands a
//! terminal.

use crosswalk::corpus::read::{CorpusItem, CorpusReader};
use crosswalk::corpus::{Recorded, Source, write};
use crosswalk_case::observation::Attempt;
use crosswalk_test_support as support;
use support::report::{list, text};
use support::{ProgramOutput, Sandbox, count, program, run};

/// The first machine of the bundled corpus, and a few cases that ran on it.
fn recorded() -> (Source, Vec<Recorded>) {
    let mut items = CorpusReader::bundled().expect("the corpus can be read");
    let Some(Ok(CorpusItem::Source(source))) = items.next() else { panic!("the corpus begins") };

    let ran = items.filter_map(|item| match item.expect("the corpus is complete") {
        CorpusItem::Case(recorded) if matches!(recorded.attempt, Attempt::Observed(_)) => {
            Some(*recorded)
        }
        _ => None,
    });
    (*source, ran.take(4).collect())
}

/// Replays these cases.
fn replay(sandbox: &Sandbox, source: &Source, cases: &[Recorded], more: &[&str]) -> ProgramOutput {
    let corpus = sandbox.file("corpus.jsonl", write::section(source, cases));
    sandbox.run(&[&["replay", &corpus], more].concat())
}

fn make_unsupported(recorded: &mut Recorded, why: &str) {
    recorded.attempt = Attempt::Unsupported(why.into());
}

#[test]
fn a_run_in_which_no_case_ran_is_not_an_agreement() {
    let sandbox = Sandbox::new();
    let (source, mut cases) = recorded();
    for recorded in &mut cases {
        make_unsupported(recorded, "out of order");
    }

    for more in [&[][..], &["--walker", "mutant:M04"], &["--known", "none"]] {
        let output = replay(&sandbox, &source, &cases, more).expect_code(3);
        let last = output.stdout.lines().last().expect("a sentence");
        assert_eq!(last, "NOTHING COMPARED  Nothing was compared: of 4 cases none could be run.");
        assert!(!output.stdout.contains("agree, known"), "{}", output.stdout);
    }
}

#[test]
fn an_unknown_reason_for_not_running_a_case_is_a_finding() {
    let sandbox = Sandbox::new();
    let (source, mut cases) = recorded();
    make_unsupported(&mut cases[0], "out of order");
    make_unsupported(&mut cases[2], "out of order");

    let output = replay(&sandbox, &source, &cases, &[]).expect_code(1);
    let words =
        "The machine did not run every case, for reasons that are not known: see the findings.";
    assert!(output.words_of_stdout().ends_with(words), "{}", output.stdout);

    let report = replay(&sandbox, &source, &cases, &["--json"]).expect_code(1).json();
    let unrun: Vec<_> = list(&report["findings"])
        .iter()
        .filter(|finding| text(&finding["title"]) == "not run: out of order")
        .collect();
    let [finding] = unrun[..] else { panic!("{unrun:?}") };
    assert_eq!((text(&finding["kind"]), count(finding, "count")), ("unsupported", 2));
    assert_eq!((&finding["known"], text(&finding["observed"])), (&false.into(), "out of order"));
}

/// A guest may give another reason for each of millions of cases.
#[test]
fn reasons_for_not_running_cases_are_bounded() {
    let sandbox = Sandbox::new();
    let (source, cases) = recorded();
    let many: Vec<_> = (0..100)
        .map(|number| {
            let mut recorded = cases[number % cases.len()].clone();
            make_unsupported(&mut recorded, &format!("reason {number}"));
            recorded
        })
        .chain(cases.iter().cloned())
        .collect();

    let report = replay(&sandbox, &source, &many, &["--json"]).expect_code(1).json();
    let titles = list(&report["findings"]).iter().map(|finding| text(&finding["title"]));
    let unrun: Vec<_> = titles.filter(|title| title.starts_with("not run: ")).collect();
    assert!(unrun.len() <= 21 && unrun.contains(&"not run: other reasons"), "{unrun:?}");
}

#[test]
fn a_terminal_obeys_nothing_that_a_corpus_says() {
    let sandbox = Sandbox::new();
    let (mut source, mut cases) = recorded();
    source.machine.cpu = "a\u{1b}[2Jb\nThe machine and the model agree\u{9b}0m\u{202e}".into();
    make_unsupported(&mut cases[0], "\u{1b}]0;title\u{7}");

    let output = replay(&sandbox, &source, &cases, &[]).expect_code(1);
    assert_harmless(&output.stdout);
    assert!(!output.stdout.lines().any(|line| line.trim_start().starts_with("The machine and")));
    let words = output.words_of_stdout();
    for shown in
        [r"a\u001b[2Jb\u000aThe machine and the model agree\u009b0m\u202e", r"\u001b]0;title\u0007"]
    {
        assert!(words.contains(shown), "no {shown} in {words}");
    }

    // To a script it is the same text.
    let output = replay(&sandbox, &source, &cases, &["--json"]).expect_code(1);
    assert_harmless(&output.stdout);
    let report = output.json();
    assert_eq!(text(&list(&report["sources"])[0]["machine"]["cpu"]), source.machine.cpu);
}

#[test]
fn a_terminal_obeys_nothing_that_a_name_says() {
    for command in ["replay", "explain", "merge"] {
        let output = run(&[command, "\u{1b}[31m\u{9b}x"]).expect_code(2);
        assert_harmless(&output.stderr);
    }
}

/// A result that nobody can read is no result.
#[test]
fn a_result_that_cannot_be_written_is_told() {
    for arguments in ["replay --cases 50", "geometry", "scenario"] {
        let script = format!("exec '{}' {arguments} > /dev/full", program().display());
        let mut command = assert_cmd::Command::new("sh");
        let output = ProgramOutput::of(command.args(["-c", &script])).expect_code(3);
        let line = output.only_line_of_stderr();
        assert!(line.contains("standard output: cannot be written"), "{arguments}: {line}");
    }
}

fn assert_harmless(text: &str) {
    let obeyed = |letter: &char| letter.is_control() && *letter != '\n' || *letter == '\u{202e}';
    assert_eq!(text.chars().find(obeyed), None, "{text:?}");
}
