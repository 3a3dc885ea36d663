//! Journals that were edited: each is refused with its line, or leads nowhere and shows nothing that a
//! terminal obeys.

use crosswalk_test_support as support;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use support::{ProgramOutput, Sandbox, require_kvm};

const CHECK: &str = "check --machine kvm --mode 4level --seed 3 --cases 300 --report r";

/// A run's journal in `r`.
fn journal(sandbox: &Sandbox) -> String {
    sandbox.run(&CHECK.split(' ').collect::<Vec<_>>()).expect_code(0);
    std::fs::read_to_string(sandbox.path().join("r/journal.jsonl")).expect("a journal")
}

/// Replaces a part of a journal, and its checksums by those that fit: 8 bytes of the SHA-256 of the
/// checksum before and the line, in hexadecimal.
fn forge(journal: &str, from: &str, to: &str) -> String {
    assert!(journal.contains(from), "no {from} in {journal}");
    let edited = journal.replacen(from, to, 1);

    let mut sum = String::new();
    let mut forged = String::new();
    for line in edited.lines() {
        let (_, line) = line.split_once("\"line\":").expect("a line of a journal");
        let line = line.strip_suffix('}').expect("a line of a journal");
        let digest = Sha256::new().chain_update(&sum).chain_update(line).finalize();
        let first: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
        sum = format!("{:016x}", u64::from_be_bytes(first));
        writeln!(forged, "{{\"sum\":\"{sum}\",\"line\":{line}}}").expect("a string takes all");
    }
    forged
}

fn merge(sandbox: &Sandbox, journal: &str) -> ProgramOutput {
    sandbox.file("r/journal.jsonl", journal);
    sandbox.run(&["merge", "r"])
}

#[track_caller]
fn assert_refused(output: ProgramOutput, words: &str) {
    let output = output.expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains(words) && !line.contains('\u{1b}'), "no {words:?} in {line}");
    assert_eq!(output.stdout, "");
}

#[test]
fn an_edited_journal_is_refused_at_its_line() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let good = journal(&sandbox);
    // A seed is a string. It was a number once.
    merge(&sandbox, &forge(&good, "\"seed\":\"3\"", "\"seed\":3")).expect_code(0);

    for (from, to, words) in [
        ("\"format\":3", "\"format\":4", "journal.jsonl, line 1: expected format 3"),
        ("\"version\":\"", "\"version\":\"99.0.0", "line 1: expected a journal of version"),
        ("\"count\":1", "\"count\":18446744073709551615", "line 1: expected parts of at most"),
        ("\"turn\":", "\"turn\":9999999999999999", "line 2: "),
        ("\"agreed\":", "\"agreed\":9", "found"),
    ] {
        assert_refused(merge(&sandbox, &forge(&good, from, to)), words);
    }

    // The same without fitting checksums: for instance a turn of 0, to run the cases again.
    let (before, after) = good.split_once("\"turn\":").expect("a turn");
    let (_, after) = after.split_once(',').expect("a field after it");
    let again = format!("{before}\"turn\":0,{after}");
    assert_refused(merge(&sandbox, &again), "journal.jsonl, line 2: ");
    let resume = format!("{CHECK} --resume");
    let resumed = sandbox.run(&resume.split(' ').collect::<Vec<_>>());
    assert_refused(resumed, "checksum");
}

#[test]
fn no_file_that_a_journal_names_is_opened() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let good = journal(&sandbox);
    let pipe = sandbox.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");

    for path in [&*pipe.display().to_string(), "/dev/zero", "/etc/shadow", "\\u001b[2J"] {
        let forged = forge(&good, "\"known\":null", &format!("\"known\":\"{path}\""));
        assert_refused(merge(&sandbox, &forged), "name the file with --known");

        let resume = format!("{CHECK} --resume");
        let resumed = sandbox.run(&resume.split(' ').collect::<Vec<_>>());
        assert_refused(resumed, "line 1: another run: expected known findings");
    }
}

#[test]
fn nothing_in_a_journal_controls_the_terminal() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let good = journal(&sandbox);

    for field in ["kind", "flavour", "beneath", "cpu", "host_kernel"] {
        let from = format!("\"{field}\":\"");
        let to = format!("\"{field}\":\"\\u001b]0;x\\u0007\\u001b[2J\\r\\u009b31m");
        let output = merge(&sandbox, &forge(&good, &from, &to));
        assert!(matches!(output.code, Some(0..=2)), "{field}: {output:?}");

        let text = output.stdout + &output.stderr;
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert_eq!(text.find(obeyed), None, "{field}: {text:?}");
    }
}
