//! Scenarios of a user's own, from files: in software and on machines, with the exit codes and documents of the others.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::fs;
use support::report::{list, text};
use support::{Sandbox, require_kvm, require_qemu};

/// A file as a user writes it: the one that the guide shows.
const TWO_WRITERS: &str = r#"name = "two-writers"
shows = "each of two processes gets its own copy of what both have"
pages = 16      # frames for pages
processes = 2   # at one time: their tables have frames of their own

[places]
heap = 0x8060_0000

[[step]]
start = "A"
regions = [{ kind = "heap", at = "heap", pages = 3 }]

[[step]]
run = "A"
does = "fills its heap"
program = [{ fill = "heap", pages = 3, by = 0xa }]

[[step]]
remember = { copies-before = "copies" }

[[step]]
fork = "A"
child = "B"

[[step]]
run = "B"
does = "fills two of its pages"
program = [{ fill = "heap", pages = 2, by = 0xb }]

[[step]]
run = "A"
does = "checks its heap"
program = [{ check = "heap", pages = 3, by = 0xa }]
result = "is-kept"

[[step]]
claim = "{copies - copies-before} pages are copied, and one is not"
that = [
    "copies == copies-before + 2",
    "frame(A, heap + 0x2000) == frame(B, heap + 0x2000)",
]

[[step]]
claim = "A does not see what B writes"
that = "is-kept == 1"
"#;

/// A sandbox with a file in it, and its path.
fn sandbox_with(content: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let path = sandbox.file("mine.toml", content);
    (sandbox, path)
}

/// Runs the file, and the same with a claim that does not hold, on a machine, in every mode that it offers.
#[track_caller]
fn assert_runs_on(machine: &str) {
    let (sandbox, path) = sandbox_with(TWO_WRITERS);
    let command = ["scenario", &path, "--machine", machine, "--json", "--html", "page.html"];
    let report = sandbox.run(&command).expect_code(0).json();
    assert_eq!(report["verdict"], "passed");
    assert_eq!(report["totals"]["passed"], report["totals"]["scenarios"]);
    for scenario in list(&report["scenarios"]) {
        assert_eq!(scenario["name"], "two-writers");
        assert_eq!(list(&scenario["claims"]).len(), 2);
        if machine == "none" {
            assert_eq!(scenario["comparison"], Value::Null);
        } else {
            assert_eq!(scenario["comparison"]["equal"], true, "{}", scenario["mode"]);
        }
    }
    let page = fs::read_to_string(sandbox.path().join("page.html")).expect("the page");
    assert!(page.contains("<h1>two-writers "), "{page}");

    let wrong = TWO_WRITERS.replace("copies-before + 2", "copies-before + 3");
    let (sandbox, path) = sandbox_with(&wrong);
    let command = ["scenario", &path, "--machine", machine];
    let report = sandbox.run(&[&command[..], &["--json"]].concat()).expect_code(1).json();
    assert_eq!(report["verdict"], "failed");
    for scenario in list(&report["scenarios"]) {
        let claims: Vec<_> =
            list(&scenario["claims"]).iter().map(|claim| &claim["holds"]).collect();
        assert_eq!(claims, [&json!(false), &json!(true)]);
        assert_eq!(text(&scenario["claims"][0]["claim"]), "2 pages are copied, and one is not");
    }
    let shown = sandbox.run(&command).expect_code(1).expect_80_columns().stdout;
    assert!(shown.contains("NO   2 pages are copied, and one is not"), "{shown}");
}

#[test]
fn a_file_runs_in_software() {
    assert_runs_on("none");
}

#[test]
fn a_file_runs_on_kvm() {
    require_kvm!();
    assert_runs_on("kvm");
}

#[test]
fn a_file_runs_on_qemu() {
    require_qemu!();
    assert_runs_on("qemu");
}

/// A run in which every claim was left out has tested nothing: in every paging mode, or in those without execute-disable.
#[test]
fn a_scenario_that_tests_no_claim_does_not_pass() {
    let claims = TWO_WRITERS.find("[[step]]\nclaim").expect("there are claims");
    let (steps, claims) = TWO_WRITERS.split_at(claims);
    let when = |condition: &str| {
        format!(
            "{steps}{}",
            claims.replace("claim = ", &format!("when = \"{condition}\"\nclaim = "))
        )
    };

    let (sandbox, path) = sandbox_with(&when("copies > 100"));
    let command = ["scenario", &path, "--machine", "none"];
    let shown = sandbox.run(&[&command[..], &["--html", "page.html"]].concat());
    let shown = shown.expect_code(4).expect_80_columns().stdout;
    assert!(shown.contains("30 frames of 4 KiB: NOTHING TESTED"), "{shown}");
    assert!(shown.contains("No claim was tested"), "{shown}");
    let page = fs::read_to_string(sandbox.path().join("page.html")).expect("the page");
    assert!(page.contains("&#9650; NOTHING TESTED") && page.contains("No claim was tested"));

    let (sandbox, path) = sandbox_with(&when("execute-disable == 1"));
    let command = ["scenario", &path, "--machine", "none", "--mode", "32bit,4level"];
    let report = sandbox.run(&[&command[..], &["--json"]].concat()).expect_code(4).json();
    assert_eq!((&report["verdict"], &report["exit"]), (&json!("incomplete"), &json!(4)));
    assert_eq!(report["totals"], json!({ "scenarios": 2, "passed": 1, "untested": 1 }));
    let passed: Vec<_> =
        list(&report["scenarios"]).iter().map(|scenario| &scenario["passed"]).collect();
    assert_eq!(passed, [&json!(false), &json!(true)]);
    let shown = sandbox.run(&command).expect_code(4).stdout;
    let total = "1 of 2 scenarios pass with 32bit, 4level tables; 1 tested no claim.";
    assert!(shown.contains(total), "{shown}");
}

/// A script as long as a file may have, on few frames: its events have room in the guest, and the page is small.
#[test]
fn the_longest_script_fits_a_machine() {
    require_kvm!();
    let parts: Vec<_> = ["fill", "check"]
        .into_iter()
        .cycle()
        .zip([1, 1, 2, 2])
        .map(|(part, by)| format!("{{ {part} = 0x8060_0000, pages = 50, by = {by} }}"))
        .collect();
    let parts = parts.join(", ");
    let long = format!(
        "name = \"long\"\nshows = \"much\"\nframes = 12\n\
         [[step]]\nstart = \"A\"\nregions = [{{ kind = \"heap\", at = 0x8060_0000, pages = 50 }}]\n\
         [[step]]\nrun = \"A\"\ndoes = \"much\"\nprogram = [{parts}]\nresult = \"found\"\n\
         [[step]]\nclaim = \"much was done\"\nthat = \"found == 1\"\n"
    );
    let (sandbox, path) = sandbox_with(&long);
    let command = ["scenario", &path, "--machine", "kvm", "--mode", "4level", "--json"];
    let command = [&command[..], &["--html", "page.html"]].concat();
    let report = sandbox.run(&command).expect_code(0).json();
    assert!(list(&report["scenarios"][0]["timeline"]).len() > 400);
    assert!(fs::metadata(sandbox.path().join("page.html")).expect("a page").len() < 1_000_000);
}

#[test]
fn a_file_that_is_none_is_bad_input() {
    let (sandbox, path) = sandbox_with(&TWO_WRITERS.replace("fork = ", "folk = "));
    let output = sandbox.run(&["scenario", &path]).expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains("mine.toml: line 21: expected a step with one of start, fork"), "{line}");

    for (command, words) in [
        (vec!["scenario", "none.toml"], "none.toml: cannot be read: "),
        (vec!["scenario", "./dirty"], "./dirty: cannot be read: "),
        (vec!["scenario", &path, "--html", &path], "is the scenario that is read"),
        (vec!["scenario", &path, "--seed", "1"], "--seed is for random operations"),
    ] {
        let file = sandbox.file("mine.toml", TWO_WRITERS);
        assert_eq!(file, path);
        let output = sandbox.run(&command).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);
    }
}

/// There are no pages to show where every process has ended.
#[test]
fn where_no_process_is_left_there_is_no_table_of_pages() {
    let left = TWO_WRITERS.replace(
        "[[step]]\nclaim = \"A does",
        "[[step]]\nend = \"A\"\n\n[[step]]\nclaim = \"A does",
    );
    let shown = |file: &str| {
        let (sandbox, path) = sandbox_with(file);
        sandbox.run(&["scenario", &path, "--machine", "none"]).expect_code(0).stdout
    };
    let ended = left.replace("end = \"A\"", "end = \"A\"\n\n[[step]]\nend = \"B\"");
    assert!(shown(&left).contains(" process   region "));
    assert!(!shown(&ended).contains(" process   region "), "{}", shown(&ended));
}

/// A mark that turns the direction of writing lets a claim read as another one.
#[test]
fn the_words_of_a_file_cannot_turn_the_direction_of_writing() {
    for (words, line) in [
        ("each of two processes gets its own copy of what both have", 2),
        ("fills its heap", 15),
        ("A does not see what B writes", 44),
    ] {
        let (sandbox, path) =
            sandbox_with(&TWO_WRITERS.replace(words, &format!("{words}\u{202e}sey\u{202c}")));
        let output = sandbox.run(&["scenario", &path, "--machine", "none"]).expect_code(2);
        let problem = output.only_line_of_stderr();
        assert!(problem.contains(&format!("mine.toml: line {line}: expected a text of 1 to ")));
        assert!(problem.contains("without control characters and marks of direction"));
    }
}

/// What a file says is shown, and cannot be anything else than text on a page.
#[test]
fn the_words_of_a_file_stay_words_on_its_page() {
    let hostile = "</script><script>alert(1)</script><!-- ' & \\\" {copies}";
    let text = TWO_WRITERS.replace("A does not see what B writes", hostile);
    let text = text.replace("fills two of its pages", "</script><b>fills</b>");
    let (sandbox, path) = sandbox_with(&text);
    sandbox.run(&["scenario", &path, "--machine", "none", "--html", "page.html"]).expect_code(0);
    let page = fs::read_to_string(sandbox.path().join("page.html")).expect("the page");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<script>alert") && !page.contains("<b>fills"), "{page}");
}
