//! What is made from the definition of the command line: completions, manual pages, and the long version.

use assert_cmd::Command;
use crosswalk_test_support as support;
use std::path::Path;
use support::{ProgramOutput, Sandbox, require_program, run};

/// What bash offers for the last of these words.
fn completed_by_bash(script: &Path, words: &[&str]) -> String {
    let line = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _crosswalk crosswalk '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &line]);
    ProgramOutput::of(&mut bash).expect_code(0).stdout.trim().to_owned()
}

#[test]
fn bash_completes_subcommands_options_and_values() {
    require_program!("bash");
    let sandbox = Sandbox::new();
    let script = run(&["completions", "bash"]).expect_code(0).stdout;
    let script = sandbox.path().join(sandbox.file("crosswalk.bash", script));
    for (words, expected) in [
        (&["crosswalk", "mut"][..], "mutants"),
        (&["crosswalk", "check", "--exh"], "--exhaustive"),
        (&["crosswalk", "check", "--machine", "k"], "kvm"),
        (&["crosswalk", "mutants", "--machine", "c"], ""),
        (&["crosswalk", "completions", "f"], "fish"),
    ] {
        assert_eq!(completed_by_bash(&script, words), expected, "{words:?}");
    }
}

#[test]
fn fish_completes_subcommands_options_and_values() {
    require_program!("fish");
    let sandbox = Sandbox::new();
    sandbox.file("crosswalk.fish", run(&["completions", "fish"]).expect_code(0).stdout);
    for (typed, expected) in [
        ("crosswalk mut", "mutants"),
        ("crosswalk check --exh", "--exhaustive"),
        ("crosswalk check --machine k", "kvm"),
    ] {
        let line = format!("source crosswalk.fish; complete -C '{typed}'");
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &line]).current_dir(sandbox.path());
        let offered = ProgramOutput::of(&mut fish).expect_code(0).stdout;
        assert!(offered.lines().any(|line| line.starts_with(expected)), "{typed}: {offered}");
    }
}

/// Completions of zsh need its line editor, so the script is only loaded, and its words are looked at.
#[test]
fn zsh_loads_its_completions() {
    require_program!("zsh");
    let sandbox = Sandbox::new();
    let script = run(&["completions", "zsh"]).expect_code(0).stdout;
    sandbox.file("_crosswalk", &script);
    let line = "fpath=(. $fpath); autoload -U compinit; compinit -D; print $_comps[crosswalk]";
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", line]).current_dir(sandbox.path());
    assert_eq!(ProgramOutput::of(&mut zsh).expect_code(0).stdout.trim(), "_crosswalk");
    for word in ["'mutants:", "--exhaustive", "kvm\\:"] {
        assert!(script.contains(word), "{word}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_examples_and_exit_codes() {
    let sandbox = Sandbox::new();
    sandbox.run(&["man", "."]).expect_code(0);
    let help = run(&["--help"]).expect_code(0).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty())
    });

    let mut pages = vec!["crosswalk.1".to_owned()];
    pages.extend(names.filter(|name| *name != "help").map(|name| format!("crosswalk-{name}.1")));
    let mut found = sandbox.files();
    found.sort();
    pages.sort();
    assert_eq!(found, pages);
    for page in pages {
        let text = std::fs::read_to_string(sandbox.path().join(&page)).expect("a page");
        assert!(text.contains(".TH ") && text.contains("Examples:"), "{page}: {text}");
        assert!(text.contains("Exit codes:"), "{page}: {text}");
    }

    let missing = sandbox.run(&["man", "nowhere"]).expect_code(3);
    assert!(missing.only_line_of_stderr().contains("nowhere/crosswalk.1: cannot be written"));
}

#[test]
fn what_was_built_is_in_the_long_version() {
    let long = run(&["--version"]).expect_code(0).stdout;
    let lines: Vec<_> = long.lines().collect();
    assert_eq!(lines[0], format!("crosswalk {}", env!("CARGO_PKG_VERSION")));
    for (line, label) in lines[1..].iter().zip(["build ", "commit ", "features "]) {
        assert!(line.starts_with(label), "{long}");
    }
    assert!(lines[1].contains("x86_64-unknown-linux-"), "{long}");
}
