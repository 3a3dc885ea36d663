//! What the page of a run shows before anything is clicked: the verdict's colour, what is wrong, drawn, and
//! nothing that a browser obeys.

use crosswalk_test_support as support;
use std::os::unix::fs::PermissionsExt;
use support::{ProgramOutput, Sandbox, require_kvm};

/// A walker that is a shell script, as `--walker` names it.
fn script_walker(sandbox: &Sandbox, script: &str) -> String {
    let path = sandbox.path().join("walker");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script can be written");
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, permissions).expect("the script is ours");
    format!("cmd:{}", path.display())
}

/// Replays recorded cases with a walker, and returns what the program printed and the page.
fn replay(sandbox: &Sandbox, walker: &str) -> (ProgramOutput, String) {
    let output = sandbox.run(&["replay", "--cases", "300", "--walker", walker, "--report", "r"]);
    let page = read_page(sandbox, "r");
    (output, page)
}

fn read_page(sandbox: &Sandbox, directory: &str) -> String {
    let page = sandbox.path().join(directory).join("index.html");
    std::fs::read_to_string(page).expect("a page")
}

/// The banner of a page: its colour, and its words.
fn banner(page: &str) -> (&str, &str) {
    let (_, banner) = page.split_once("<div class=\"banner ").expect("a banner");
    let (class, rest) = banner.split_once('"').expect("a class");
    (class, rest.split("</div>").next().expect("its end"))
}

/// The cards of a page, in order.
fn cards(page: &str) -> Vec<&str> {
    page.split("<details class=\"finding").skip(1).collect()
}

#[test]
fn the_page_of_a_program_that_is_wrong_is_red_and_draws_its_mistakes_first() {
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do echo '{"translated":{"address":"0x1000"}}'; done"#;
    let walker = script_walker(&sandbox, script);
    let (output, page) = replay(&sandbox, &walker);
    let output = output.expect_code(1);

    let (class, words) = banner(&page);
    assert_eq!(class, "bad");
    assert!(words.contains("DIVERGE") && words.contains(" is wrong in "), "{words}");
    let last_line = output.stdout.lines().last().expect("a verdict");
    let (_, last_line) = last_line.split_once("  ").expect("a badge");
    assert!(words.contains(last_line), "{last_line} is not in {words}");

    let first = cards(&page)[0];
    assert!(first.contains(">wrong walker</span>") && first.contains(" open>"), "{first}");
    assert!(
        first.contains("translated to 0x1000") && first.contains("the machine and the manuals")
    );
    assert!(first.contains("class=\"walk\"") && first.contains("class=\"step fails\""), "{first}");
    assert!(first.contains("crosswalk explain &#39;{"), "{first}");
}

/// M13b reports a reserved bit without P. A machine that was recorded reports it with P (error codes 8 and 9, and
/// more bits), so both walks end at the same entry, with different codes.
#[test]
fn the_page_of_a_mutant_that_is_caught_is_red_and_draws_where_it_parts_from_the_machine() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.run(&["replay", "--mode", "4level", "--walker", "mutant:M13b", "--report", "r"]);
    output.expect_code(1);
    let page = read_page(&sandbox, "r");

    let (class, words) = banner(&page);
    assert_eq!(class, "bad");
    assert!(words.contains("mutant:M13b is caught"), "{words}");

    let first = cards(&page)[0];
    assert!(first.contains("<strong>M13b</strong>") && first.contains(">wrong walker<"), "{first}");
    let (_, fork) = first.split_once("class=\"fork\"").expect("a fork");
    let (machine, mutant) = fork.split_once("&#10007; the walker, mutant:M13b").expect("two sides");
    assert!(machine.contains("&#10003; the machine") && machine.contains("stops: reserved bits"));
    assert!(machine.contains("#PF(P|") && mutant.contains("#PF("), "{fork}");
    assert!(!mutant.contains("#PF(P|"), "{mutant}");
    assert!(first.contains("crosswalk explain --walker mutant:M13b &#39;{"), "{first}");
}

#[test]
fn the_page_of_a_sum_without_a_shard_is_amber() {
    require_kvm!();
    let sandbox = Sandbox::new();
    for part in ["0", "1"] {
        let options = ["--machine", "kvm", "--mode", "4level", "--seed", "5", "--cases", "3000"];
        let shard = ["--shard", &format!("{part}/3"), "--report", part];
        sandbox.run(&[&["check"], &options[..], &shard[..]].concat());
    }
    sandbox.run(&["merge", "0", "1", "--report", "sum"]);
    let page = read_page(&sandbox, "sum");

    let (class, words) = banner(&page);
    assert_eq!(class, "warn", "{words}");
    assert!(words.contains("INCOMPLETE") && words.contains("missing"), "{words}");
}

/// What walkers and command lines say ends up in the page. U+202E turns the direction of writing.
#[test]
fn nothing_that_a_walker_says_is_obeyed_by_a_browser() {
    let sandbox = Sandbox::new();
    let script = r#"
        while read -r case; do
            echo '{"silent":"<script>alert(1)</script>\u202e"}'
            read -r case && echo '<img src=x onerror=alert(2)> \u202e'
        done"#;
    let walker = script_walker(&sandbox, script);
    let (output, page) = replay(&sandbox, &walker);
    output.expect_code(1);

    assert!(page.contains("alert(1)") && page.contains("alert(2)"), "the page leaves out answers");
    for obeyed in ["<script>alert", "<img", "\u{202e}", "\u{1b}"] {
        assert!(!page.contains(obeyed), "{obeyed:?} is in the page");
    }
    assert_eq!(page.matches("<script>").count(), 1);

    let mistakes = std::fs::read_to_string(sandbox.path().join("r/csv/mistakes.csv"));
    let mistakes = mistakes.expect("a table of mistakes");
    assert!(mistakes.contains("alert(2)") && !mistakes.contains('\u{202e}'), "{mistakes}");
}

/// Without scripts there is no filter and no button that does nothing.
#[test]
fn what_needs_a_script_is_hidden_without_one() {
    let sandbox = Sandbox::new();
    let (_, page) = replay(&sandbox, "mutant:M13b");

    assert!(page.contains("<nav aria-label=\"filters\" hidden>"));
    for button in page.split("<button").skip(1) {
        assert!(button.starts_with(" type=\"button\" class=\"copy\" hidden>"), "{button}");
    }
}
