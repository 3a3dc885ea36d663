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
