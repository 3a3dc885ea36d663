//! What `crosswalk exercise` asks, prints and writes. That the answers are right is shown in `vmm/exercise/tests`.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::browser::drive;
use support::{ProgramOutput, Sandbox, require_browser, run};

/// The command with these lines typed into a pipe.
fn answered(arguments: &[&str], lines: &str) -> String {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(arguments);
    ProgramOutput::of(command.write_stdin(lines)).expect_code(0).expect_80_columns().stdout
}

#[test]
fn the_list_of_topics() {
    insta::assert_snapshot!(run(&["exercise"]).expect_code(0).expect_80_columns().stdout);
}

#[test]
fn a_sheet_with_answers() {
    let sheet = ["exercise", "translate", "--seed", "7", "--level", "2", "--count", "1"];
    let sheet = run(&[&sheet[..], &["--answers"]].concat()).expect_code(0).expect_80_columns();
    insta::assert_snapshot!(sheet.stdout);
}

/// One answer is right, one wrong, one unreadable, and one is asked for.
#[test]
fn answers_are_marked_and_explained() {
    let arguments = ["exercise", "fault", "--seed", "7", "--level", "1", "--count", "2"];
    let right = questions(&run(&[&arguments[..], &["--json"]].concat()).json());
    let lines = format!("{}\n#PF(RSVD)\nwhat?\n?\n", right[0].0);

    let asked = answered(&arguments, &lines);
    assert!(asked.contains("1 of 4 right."), "{asked}");
    insta::assert_snapshot!(asked);
}

/// The answers to all questions of a document, and their typical wrong answers.
fn questions(document: &Value) -> Vec<(String, Vec<(String, String)>)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let exercises = document["exercises"].as_array().expect("a list");
    let questions =
        exercises.iter().flat_map(|exercise| exercise["questions"].as_array().expect("a list"));
    let mistake = |mistake: &Value| (text(&mistake["answer"]), text(&mistake["why"]));
    questions
        .map(|question| {
            let mistakes = question["mistakes"].as_array().expect("a list");
            (text(&question["answer"]), mistakes.iter().map(mistake).collect())
        })
        .collect()
}

/// The answers of the document are right when they are typed, and its mistakes are explained as it says.
#[test]
fn the_document_has_the_answers_and_the_mistakes() {
    let arguments = ["exercise", "all", "--seed", "11", "--count", "3"];
    let all = questions(&run(&[&arguments[..], &["--json"]].concat()).json());

    let lines: Vec<&str> = all.iter().map(|(answer, _)| answer.as_str()).collect();
    let asked = answered(&arguments, &lines.join("\n"));
    let count = all.len();
    assert!(asked.ends_with(&format!("{count} of {count} right.\n")), "{asked}");

    let wrong = |(answer, mistakes): &(String, Vec<(String, String)>)| {
        mistakes.first().map_or(answer.clone(), |(mistake, _)| mistake.clone())
    };
    let lines: Vec<String> = all.iter().map(wrong).collect();
    let asked = answered(&arguments, &lines.join("\n"));
    let words = asked.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, why) in all.iter().filter_map(|(_, mistakes)| mistakes.first()) {
        assert!(words.contains(why), "{why} is not in {asked}");
    }
}

#[test]
fn the_same_seed_gives_the_same_sheet_and_another_one_does_not() {
    let sheet = |seed: &str| run(&["exercise", "all", "--seed", seed]).expect_code(0).stdout;
    let seven = sheet("7");
    assert_eq!(seven, sheet("0x7"));
    assert!(seven.starts_with("seed 7: `crosswalk exercise all --seed 7` prints the same"));
    assert_ne!(seven.replace("seed 7", "seed 8"), sheet("8"));
}

/// Nothing waits where nobody answers: a pipe that is empty is a sheet.
#[test]
fn an_empty_pipe_gets_a_sheet() {
    let sheet = answered(&["exercise", "pages", "--seed", "1"], "");
    assert!(!sheet.contains("> ") && !sheet.contains("answer"), "{sheet}");
    let sheet = answered(&["exercise", "pages", "--seed", "1", "--answers"], "12\n");
    assert!(sheet.contains("       answer: "), "{sheet}");
}

/// Whatever comes through the pipe.
#[test]
fn any_bytes_are_answers() {
    let mut lines = vec![0xff; 5000];
    lines.extend(b"\n\x1b[31m12\n\0\0\n^*.#\n");
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["exercise", "all", "--seed", "3"]);
    let output = ProgramOutput::of(command.write_stdin(lines)).expect_code(0);
    assert!(output.stdout.contains("Not understood: expected ") && !output.stdout.contains('\x1b'));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (arguments, expected) in [
        (&["exercise", "dreams"][..], "translate"),
        (&["exercise", "tlb", "--level", "4"], "expected 1, 2 or 3"),
        (&["exercise", "tlb", "--count", "0"], "expected"),
        (&["exercise", "tlb", "--count", "1001"], "--count: expected at most 1000, found 1001"),
        (&["exercise", "--seed", "7"], "TOPIC"),
        (&["exercise", "tlb", "--json", "--answers"], "--json"),
        (&["exercise", "tlb", "--html", "no/such/place.html"], "no/such/place.html"),
    ] {
        let output = run(arguments);
        assert!(output.code.is_some_and(|code| code >= 2), "{arguments:?}");
        assert!(output.stderr.contains(expected), "{}", output.stderr);
    }
}

/// The page has every exercise, and the answers behind them.
#[test]
fn the_page_has_the_exercises_and_then_the_answers() {
    let sandbox = Sandbox::new();
    let arguments = ["exercise", "all", "--seed", "7"];
    sandbox.run(&[&arguments[..], &["--html", "sheet.html"]].concat()).expect_code(0);
    let page = std::fs::read_to_string(sandbox.path().join("sheet.html")).expect("the page");
    assert!(page.len() < 1 << 20, "{} bytes", page.len());

    let (exercises, answers) = page.split_once("id=\"answers\"").expect("a part of its own");
    let document = sandbox.run(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(exercises.matches("<section class=\"exercise\"").count(), 27);
    for (answer, _) in questions(&document) {
        assert!(answers.contains(&format!(">{answer}</strong>")), "{answer}");
    }
}

#[test]
fn the_page_can_be_read_by_everybody() {
    require_browser!();
    let sandbox = Sandbox::new();
    sandbox.run(&["exercise", "all", "--seed", "7", "--html", "sheet.html"]).expect_code(0);
    let page = sandbox.path().join("sheet.html");
    assert_eq!(drive("look.mjs", &page, &["exercise"]), json!([]));
}
