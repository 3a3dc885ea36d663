//! The command line, as far as it needs no machine.

use assert_cmd::Command;
use crosswalk_test_support as support;
use support::{ProgramOutput, program, run, run_with_dev, skip};

/// A case whose first entry is not listed, and so not present.
const CASE: &str = r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620",
    "efer":"0xd00"},"entries":[],"access":{"kind":"read","address":"0x0","size":1,"ring":0}}"#;

#[test]
fn help_lists_every_subcommand() {
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
        "image",
        "judge",
        "conformance",
        "merge",
        "corpus",
        "compare",
        "rules",
        "findings",
        "walk",
        "maps",
        "rmap",
        "diff",
        "audit",
        "litmus",
        "geometry",
        "exercise",
        "scenario",
        "schema",
        "completions",
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
        &["image", "--help"],
        &["judge", "--help"],
        &["explain", "--help"],
        &["mutants", "--help"],
        &["merge", "--help"],
        &["compare", "--help"],
        &["findings", "--help"],
        &["geometry", "--help"],
        &["exercise", "--help"],
        &["scenario", "--help"],
        &["schema", "--help"],
    ] {
        let help = run(arguments).expect_code(0).expect_80_columns().stdout;
        assert!(help.contains("Usage: crosswalk"), "{help}");
    }
}

#[test]
fn the_version_is_that_of_crosswalk() {
    let version = run(&["-V"]).expect_code(0).stdout;
    assert_eq!(version, format!("crosswalk {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_exits_with_2_and_names_what_is_expected() {
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
        (&["check", "--seed", "12h"], "such as 7 or 0x1f"),
        (&["check", "--cases", "1.5"], "such as 200000 or 1e6"),
        (&["check", "--mode", "bogus"], "expected one of unpaged, 32bit, pae, 4level, 5level"),
        (&["check", "--mode", "4level,bogus"], "expected one of unpaged"),
        (&["check", "--machine", "abacus"], "kvm"),
        (&["check", "--walker", "mutant:M99"], "M13a, M13b, M14, M15"),
        (
            &["check", "--walker", "unknown"],
            "expected reference, cmd:COMMAND, mutant:ID or mutant:ID+ID",
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
        (&["explain", "{"], "the case: EOF while parsing"),
        (&["explain", "[]"], "the cases: expected at least one case, found an empty array"),
        (&["explain", "{}", "--walker", "mutant:"], "M13a, M13b, M14, M15"),
        (&["machines", "--cases", "5"], "--cases"),
        (&["scenario", "nonsense"], "copy-on-write"),
        (&["scenario", "all", "--mode", "unpaged"], "expected 32bit, pae, 4level or 5level"),
        (&["scenario", "all", "--machine", "abacus"], "expected auto, kvm, qemu or none"),
    ] {
        let output = run(arguments).expect_code(2);
        // The list of ids is wrapped.
        let message = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(message.contains(words), "{arguments:?}: no {words:?} in {message}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let script = format!("'{}' explain '{CASE}' | true", program().display());
    let output = ProgramOutput::of(Command::new("sh").args(["-c", &script])).expect_code(0);
    assert_eq!(output.stderr, "");
}

/// Asserts that every subcommand that needs a machine exits with 3 and prints these words in one
/// line. `make` fills `/dev`, as in [`run_with_dev`].
fn assert_no_machine(make: &str, words: [&str; 2]) {
    for arguments in ["check --machine kvm", "check --seed 1 --json", "mutants", "machines"] {
        let Some(output) = run_with_dev(make, arguments) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        let output = output.expect_code(3);

        let message = if arguments == "machines" {
            output.words_of_stdout()
        } else {
            output.only_line_of_stderr().to_owned()
        };
        for word in words {
            assert!(message.contains(word), "{arguments}: no {word:?} in {message:?}");
        }
        if arguments.starts_with("check") {
            assert_eq!(output.stdout, "");
        }
    }
}

#[test]
fn without_dev_kvm_one_line_says_what_is_missing_and_what_to_do() {
    assert_no_machine("true", ["there is no /dev/kvm", "load the module"]);
}

/// On a file system mounted with `nodev`, even root may not open a device.
#[test]
fn a_dev_kvm_that_may_not_be_opened_has_its_own_message() {
    assert_no_machine("mknod /dev/kvm c 10 232", ["may not be opened", "group kvm"]);
}

#[test]
fn a_dev_kvm_that_is_not_a_device_is_an_error() {
    assert_no_machine("touch /dev/kvm", ["KVM", ""]);
}

#[test]
fn machines_reports_to_scripts_why_kvm_is_not_available() {
    let Some(output) = run_with_dev("true", "machines --json") else {
        return skip("unshare", "another /dev cannot be mounted here");
    };
    let offers = output.expect_code(3).json();
    assert_eq!(offers["machines"][0]["kind"], "kvm");
    assert_eq!(offers["machines"][0]["available"], false);

    let reason = support::report::text(&offers["machines"][0]["reason"]);
    assert!(reason.contains("there is no /dev/kvm"), "{reason}");
}

#[test]
fn explain_needs_no_machine_unless_asked_to() {
    for (arguments, code) in [("", 0), ("--machine kvm", 3)] {
        let Some(output) = run_with_dev("true", &format!("explain {arguments} '{CASE}'")) else {
            return skip("unshare", "another /dev cannot be mounted here");
        };
        output.expect_code(code);
    }
}
