//! What the program reads and writes beside its report: files, pipes, standard input, and what cannot be written.

use assert_cmd::Command;
use crosswalk_test_support as support;
use support::memory_image::write_small_guests;
use support::{ProgramOutput, Sandbox, program, skip};

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

/// Every option that takes the name of a file to write.
const OUTPUTS: [&str; 7] = [
    "maps guest.elf --html",
    "image --cases 10",
    "record --machine qemu --cases 10",
    "compare --page",
    "conformance --no-adapters --page",
    "explain case.json --machine qemu --dump",
    "judge guest.elf --record",
];

/// What an exit code says does not depend on who reads the text beside it.
#[test]
fn a_verdict_stays_what_it_is_when_nobody_reads() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let wrong = ["--walker", "mutant:M41", "--cases", "20000"];
    for (command, code) in [
        (&["audit", "guest.elf"][..], 1),
        (&["diff", "guest.elf", "later.elf"], 1),
        (&["diff", "guest.elf", "guest.elf"], 0),
        (&["maps", "guest.elf", "--check", "info-tlb:empty"], 1),
        (&[&["replay"], &wrong[..]].concat(), 1),
        (&[&["check", "--machine", "corpus"], &wrong[..]].concat(), 1),
    ] {
        std::fs::write(sandbox.path().join("empty"), "").expect("a file");
        for form in [&[][..], &["--json"]] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut program = sandbox.std_command(program());
            program.args(command).args(form).stdout(writer).stderr(std::process::Stdio::piped());
            let ended = program.spawn().and_then(std::process::Child::wait_with_output);
            let ended = ended.expect("it runs");
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert_eq!((ended.status.code(), &*stderr), (Some(code), ""), "{command:?} {form:?}");
        }
    }
}

#[test]
fn an_output_is_a_file() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let before = sandbox.files();
    for arguments in OUTPUTS {
        let mut arguments: Vec<_> = arguments.split(' ').collect();
        arguments.push("-");
        let output = sandbox.run(&arguments).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(line.contains("-: expected the name of a file"), "{arguments:?}: {line}");
    }
    assert_eq!(sandbox.files(), before);
}

/// Before the work: neither a missing image nor a missing machine is told instead.
#[test]
fn an_output_that_cannot_be_written_is_told_first() {
    let sandbox = Sandbox::new();
    for place in ["missing/out", "/proc/self/out", ".", "/dev/null"] {
        for arguments in OUTPUTS {
            let mut arguments: Vec<_> = arguments.split(' ').collect();
            arguments.push(place);
            let output = sandbox.run(&arguments).expect_code(3);
            let line = output.only_line_of_stderr();
            let words = format!("{place}: cannot be written: ");
            assert!(
                line.contains(&words) && !line.contains(".crosswalk-"),
                "{arguments:?}: {line}"
            );
        }
    }
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

/// By default SIGXFSZ ends a program.
#[test]
fn a_limit_of_the_size_of_files_is_told() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let before = sandbox.files();
    let line = "ulimit -f 1; exec \"$crosswalk\" maps guest.elf --html page.html";
    let output = shell(&sandbox, line).expect_code(3);
    let error = output.only_line_of_stderr();
    assert!(error.contains("page.html: cannot be written: File too large"), "{error}");
    let output = shell(&sandbox, "ulimit -f 1; exec \"$crosswalk\" maps --help > help");
    let error = output.expect_code(3).only_line_of_stderr().to_owned();
    assert!(error.contains("standard output: cannot be written"), "{error}");
    std::fs::remove_file(sandbox.path().join("help")).expect("a file");
    assert_eq!(sandbox.files(), before);
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

    // A mark that turns the direction of writing is such a character, too.
    for command in
        [["scenario", "a\u{202e}b"], ["exercise", "a\u{202e}b"], ["maps", "--a\u{202e}b"]]
    {
        let output = sandbox.run(&command).expect_code(2);
        assert!(output.stderr.contains(r"a\u202eb"), "{command:?}: {}", output.stderr);
        assert!(!output.stderr.contains('\u{202e}'), "{command:?}: {}", output.stderr);
    }
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

/// What is read once, from its beginning to its end, is read from a pipe and from standard input.
#[test]
fn a_corpus_and_a_transcript_come_from_standard_input() {
    let sandbox = Sandbox::new();
    write_small_guests(sandbox.path());
    let corpus = support::repository().join("vmm/corpus");
    let Some(corpus) = std::fs::read_dir(corpus).expect("a directory").find_map(|file| {
        let path = file.expect("a file").path();
        path.extension().is_some_and(|extension| extension == "zst").then_some(path)
    }) else {
        return skip("corpus", "no corpus");
    };
    let of = |line: &str| shell(&sandbox, &format!("cat '{}' | {line}", corpus.display()));
    let replayed = of("\"$crosswalk\" replay - --cases 10").expect_code(0);
    assert!(replayed.stdout.contains("standard input"), "{}", replayed.stdout);
    let compared = of("\"$crosswalk\" compare - --mode 4level");
    let file = corpus.display().to_string();
    let expected = sandbox.run(&["compare", &file, "--mode", "4level"]);
    assert_eq!((compared.code, compared.stdout), (expected.code, expected.stdout));

    let judged = shell(&sandbox, "echo nothing | \"$crosswalk\" judge -").expect_code(2);
    assert!(judged.only_line_of_stderr().contains("standard input, "), "{}", judged.stderr);
    let line = "echo nothing | \"$crosswalk\" maps guest.elf --check info-tlb:-";
    let checked = shell(&sandbox, line).expect_code(2);
    assert!(checked.only_line_of_stderr().contains("standard input: line 1: "));
    let explained = shell(&sandbox, "echo '{}' | \"$crosswalk\" explain -").expect_code(2);
    assert!(explained.only_line_of_stderr().contains("standard input: "), "{}", explained.stderr);
}
