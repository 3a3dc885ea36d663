//! The command line, as far as it needs no machine.

mod common;

use assert_cmd::Command;
use common::{PROGRAM, Ran, run, run_with_dev, skip};

#[test]
fn help_lists_what_works_and_nothing_else() {
    let help = run(&["--help"]).expect_code(0).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty())
        })
        .collect();
    let expected = [
        "check",
        "machines",
        "explain",
        "mutants",
        "record",
        "replay",
        "conformance",
        "merge",
        "geometry",
        "scenario",
        "help",
    ];
    assert_eq!(names, expected);
}

#[test]
fn help_fits_80_columns() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["check", "--help"],
        &["machines", "--help"],
        &["explain", "--help"],
        &["mutants", "--help"],
        &["merge", "--help"],
        &["geometry", "--help"],
        &["scenario", "--help"],
    ] {
        let help = run(arguments).expect_code(0).stdout;
        assert!(help.contains("Usage: crosswalk"), "{help}");
        let too_wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(too_wide, None, "{arguments:?}");
    }
}

#[test]
fn the_version_is_that_of_crosswalk() {
    let version = run(&["--version"]).expect_code(0).stdout;
    assert_eq!(version, format!("crosswalk {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_ends_with_2_and_says_what_is_expected() {
    for (arguments, words) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["check", "--cases", "0"], "--cases"),
        (&["check", "--cases", "-1"], "unexpected argument"),
        (&["check", "--cases", "many"], "--cases"),
        (&["check", "--for", "0s"], "such as 30s, 5m or 1h"),
        (&["check", "--for", "nonsense"], "such as 30s, 5m or 1h"),
        (&["check", "--for", "10"], "such as 30s, 5m or 1h"),
        (&["check", "--for", "-1s"], "unexpected argument"),
        (&["check", "--for", "1e300h"], "such as 30s, 5m or 1h"),
        (&["check", "--for", "nans"], "such as 30s, 5m or 1h"),
        (&["check", "--for", "1s", "--cases", "5"], "cannot be used with"),
        (&["check", "--seed", "0x12"], "--seed"),
        (&["check", "--mode", "bogus"], "expected one of unpaged, 32bit, pae, 4level, 5level"),
        (&["check", "--mode", "4level,bogus"], "expected one of unpaged"),
        (&["check", "--machine", "abacus"], "kvm"),
        (&["check", "--walker", "mutant:M99"], "M13a, M13b, M14, M15"),
        (
            &["check", "--walker", "somebody"],
            "expected reference, cmd:PATH, mutant:ID or mutant:ID+ID",
        ),
        (&["check", "--shard", "3/3", "--seed", "1"], "I from 0 to N-1"),
        (&["check", "--shard", "0/3"], "--shard needs --seed or --exhaustive"),
        (&["check", "--resume"], "--report"),
        (&["check", "--exhaustive", "--seed", "1"], "cannot be used with"),
        (&["check", "--exhaustive", "--guided"], "cannot be used with"),
        (&["merge"], "<DIR>"),
        (&["merge", "nowhere"], "nowhere: expected a directory"),
        (&["explain", "random:4level:7"], "expected random:MODE:SEED:INDEX"),
        (&["explain", "exhaustive:9level:7"], "no such paging mode"),
        (&["explain"], "<CASE|FILE|NAME>"),
        (&["explain", "{}", "--walker", "mutant:"], "M13a, M13b, M14, M15"),
        (&["machines", "--cases", "5"], "--cases"),
        (&["scenario", "nonsense"], "copy-on-write"),
        (&["scenario", "all", "--mode", "unpaged"], "expected 32bit, pae, 4level or 5level"),
        (&["scenario", "all", "--machine", "abacus"], "expected auto, kvm, qemu or none"),
    ] {
        let ran = run(arguments).expect_code(2);
        // The list of ids is broken into lines.
        let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(words), "{arguments:?}: no {words:?} in {told}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let case = r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620",
        "efer":"0xd00"},"entries":[],"access":{"kind":"read","address":"0x0","size":1,"ring":0}}"#;
    let script = format!("'{PROGRAM}' explain '{case}' | true");
    let ran = Ran::of(Command::new("sh").args(["-c", &script])).expect_code(0);
    assert_eq!(ran.stderr, "");
}

/// Asserts that the program ends with 3 and one line with these words, however it is started.
fn assert_no_machine(make: &str, words: [&str; 2]) {
    for arguments in ["check --machine kvm", "check --seed 1 --json", "mutants", "machines"] {
        let Some(ran) = run_with_dev(make, arguments) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        let ran = ran.expect_code(3);
        let said = if arguments == "machines" { &ran.stdout } else { ran.only_line_of_stderr() };
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(said.contains(word), "{arguments}: no {word:?} in {said:?}");
        }
        if arguments.starts_with("check") {
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn without_dev_kvm_one_line_says_what_is_missing_and_what_to_do() {
    assert_no_machine("true", ["there is no /dev/kvm", "load the module"]);
}

/// On a file system mounted with `nodev`, no device may be opened, not even by root.
#[test]
fn a_dev_kvm_that_may_not_be_opened_is_told_apart() {
    assert_no_machine("mknod /dev/kvm c 10 232", ["may not be opened", "group kvm"]);
}

#[test]
fn a_dev_kvm_that_is_something_else_is_an_error_too() {
    assert_no_machine("touch /dev/kvm", ["KVM", ""]);
}

#[test]
fn machines_tells_scripts_why_kvm_is_not_there() {
    let Some(ran) = run_with_dev("true", "machines --json") else {
        return skip("unshare", "another /dev cannot be mounted here");
    };
    let offers = ran.expect_code(3).json();
    assert_eq!(offers[0]["kind"], "kvm");
    assert_eq!(offers[0]["available"], false);
    let reason = offers[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("there is no /dev/kvm"), "{reason}");
}

#[test]
fn explain_needs_no_machine_unless_asked_to() {
    let case = r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620",
        "efer":"0xd00"},"entries":[],"access":{"kind":"read","address":"0x0","size":1,"ring":0}}"#;
    for (arguments, code) in [("", 0), ("--machine kvm", 3)] {
        let Some(ran) = run_with_dev("true", &format!("explain {arguments} '{case}'")) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        ran.expect_code(code);
    }
}
