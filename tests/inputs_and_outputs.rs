//! What the program reads and writes beside its report: files, pipes, standard input, and what cannot be written.

use assert_cmd::Command;
use crosswalk_test_support as support;
use support::{ProgramOutput, Sandbox, program};

/// Runs a line of the shell in a sandbox, in which `$crosswalk` is the program.
fn shell(sandbox: &Sandbox, line: &str) -> ProgramOutput {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(sandbox.path()).env("crosswalk", program());
    ProgramOutput::of(&mut command)
}

#[test]
fn help_that_cannot_be_written_is_told() {
    let sandbox = Sandbox::new();
    for arguments in ["--help", "maps --help", "--version", "-h"] {
        let output = shell(&sandbox, &format!("\"$crosswalk\" {arguments} > /dev/full"));
        let output = output.expect_code(3);
        let line = output.only_line_of_stderr();
        assert!(line.contains("standard output: cannot be written"), "{arguments}: {line}");
    }
    // A reader that has enough is no failure.
    let output = shell(&sandbox, "{ \"$crosswalk\" --help; echo $? >&2; } | head -n 1");
    assert_eq!(output.only_line_of_stderr(), "0");
    let wrong = shell(&sandbox, "\"$crosswalk\" --nonsense 2> /dev/full");
    wrong.expect_code(2);
}

/// A name is shown, and cannot begin a line of its own.
#[test]
fn a_name_stays_within_its_line() {
    let sandbox = Sandbox::new();
    let name = "a\ncrosswalk: all is well\u{1b}[31m";
    sandbox.file(name, "nothing");
    for command in [&["maps", name][..], &["replay", name], &["judge", name], &["explain", name]] {
        let output = sandbox.run(command).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains(r"a\u000acrosswalk: all is well\u001b[31m"), "{command:?}: {line}");
    }
    let option = sandbox.run(&["maps", "--\u{1b}[31m"]).expect_code(2);
    assert!(!option.stderr.contains('\u{1b}'), "{}", option.stderr);
}

/// A file of known findings has an error in its second line.
#[test]
fn an_error_in_a_file_of_known_findings_is_one_line() {
    let sandbox = Sandbox::new();
    sandbox.file("known.toml", "\n[[finding]\n");
    let output = sandbox.run(&["replay", "--cases", "10", "--known", "known.toml"]).expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains("known.toml: line 2: ") || line.contains("line 2: "), "{line}");
}
