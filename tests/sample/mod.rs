//! Sample runs in Markdown: what they show is what the program prints.
//!
//! A sample is a block fenced as `console`. A line that begins with `$ ` is a command, and the lines
//! below it are its output. The samples of a page run in one directory, in order:
//!
//! - `$ crosswalk ...` is run by the shell. Its exit code is 0, unless `$ echo $?` follows and shows
//!   another.
//! - `$ cat NAME` shows a file, and makes it: with these contents, and executable if it begins with `#!`.
//!
//! The directory has `docs`, and the memory images `guest.elf` and `later.elf` of a small guest.
//!
//! The output is compared line by line, except for
//!
//! - a line `...`, which stands for any number of lines;
//! - `…` in a line, which stands for any text;
//! - what is measured, and the names of the host: see [`measured`];
//! - blank lines before the next command.
//!
//! A picture of a page, `pictures/NAME.svg`, is what a command of the page has drawn into `NAME.svg`.
//!
//! A comment `<!-- needs: NAME -->` above a block says what it takes to run: one of `pvm` (the KVM that
//! the sample was made on), `qemu-7.2` (other versions have other faults), and `python3`. Where that is
//! missing the sample is skipped, aloud. With `CROSSWALK_BLESS=1` the output is written into the pages
//! instead of compared; look at the difference before you take it.

mod measured;
mod pictures;
mod shown;

use shown::ShownOutput;

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use support::requirement::{can_be_started, has_kvm, has_qemu};
use support::{ProgramOutput, Sandbox};

/// A block of sample runs.
struct Block {
    /// What it takes to run them.
    needs: Vec<String>,
    steps: Vec<SampleStep>,
}

/// A command of a block.
struct SampleStep {
    command: String,
    /// The lines of the page that show its output.
    output: Range<usize>,
    /// The exit code that the page shows, or 0.
    code: i32,
}

/// Runs the samples of a page. Returns what is wrong with them, a text for each command.
pub(crate) fn problems(page: &Path, root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).expect("the page can be read");
    let lines: Vec<&str> = text.lines().collect();
    let name = page.strip_prefix(root).unwrap_or(page).display();
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(root.join("docs"), sandbox.path().join("docs"))
        .expect("a link to the examples can be made");
    support::memory_image::write_small_guests(sandbox.path());

    let mut problems = Vec::new();
    let mut blessed = Vec::new();
    // A page that explains an output part by part shows its command again and again.
    let mut ran = BTreeMap::new();
    for Block { needs, steps } in blocks(&lines) {
        let place = format!("{name}:{}", steps.first().map_or(0, |step| step.output.start));
        let is_runnable = needs.iter().all(|need| is_here(need, &place));

        for SampleStep { command, output, code } in steps {
            let shown = ShownOutput::new(&lines[output.clone()]);
            if let Some(file) = command.strip_prefix("cat ") {
                make(&sandbox, file, &shown);
                ran.clear();
                continue;
            }
            assert!(command.starts_with("crosswalk "), "{place}: {command:?} is not a sample");
            if !is_runnable {
                continue;
            }

            let (printed, exit_code) =
                ran.entry(command.clone()).or_insert_with(|| run(&sandbox, &command));
            if *exit_code != Some(code) {
                problems.push(format!(
                    "{name}:{}: $ {command}\n  exit code {exit_code:?}, the page shows {code}\n{printed}",
                    output.start
                ));
            } else if let Some(problem) = shown.difference(printed) {
                problems.push(format!("{name}:{}: $ {command}\n{problem}", output.start));
                blessed.push((output, shown.blessed(printed)));
            }
        }
    }
    if std::env::var_os("CROSSWALK_BLESS").is_some() && !blessed.is_empty() {
        rewrite(page, &lines, &blessed);
    }
    problems.extend(pictures::problems(page, &text, sandbox.path()));
    problems
}

/// The blocks of a page.
fn blocks(lines: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].starts_with("```") {
            at += 1;
            continue;
        }
        let end = (at + 1..lines.len()).find(|i| lines[*i].starts_with("```"));
        let end = end.expect("every block ends");
        if lines[at] == "```console" {
            let above = at.checked_sub(1).map_or("", |above| lines[above]);
            let needs =
                above.strip_prefix("<!-- needs: ").and_then(|rest| rest.strip_suffix(" -->"));
            let needs = needs.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            blocks.push(Block { needs, steps: steps(lines, at + 1..end) });
        } else {
            let command = (at..end).find(|i| lines[*i].starts_with("$ "));
            assert_eq!(command, None, "a command in a block that is not fenced as console");
        }
        at = end + 1;
    }
    blocks
}

/// The commands of a block.
fn steps(lines: &[&str], block: Range<usize>) -> Vec<SampleStep> {
    let prompts: Vec<_> = block.clone().filter(|i| lines[*i].starts_with("$ ")).collect();
    assert_eq!(prompts.first(), Some(&block.start), "line {}: expected a command", block.start + 1);
    let ends = prompts.iter().skip(1).copied().chain([block.end]);

    let mut steps: Vec<SampleStep> = Vec::new();
    for (start, end) in prompts.iter().zip(ends) {
        let command = lines[*start]["$ ".len()..].to_owned();
        let output = start + 1..end;
        if command == "echo $?" {
            let code = lines[output.start].parse().expect("an exit code");
            steps.last_mut().expect("a command whose exit code is shown").code = code;
        } else {
            steps.push(SampleStep { command, output, code: 0 });
        }
    }
    steps
}

/// Whether this host has what a sample needs. Says so if not.
fn is_here(need: &str, place: &str) -> bool {
    let skip = |missing: &str, why: &str| {
        support::skip(missing, &format!("{place}: {why}"));
        false
    };
    match need {
        "pvm" if !has_kvm() => skip("kvm", "no /dev/kvm"),
        "pvm" => {
            let is_pvm = machine("kvm")["flavour"] == "pvm";
            is_pvm || skip("pvm", "the sample is of another flavour of KVM")
        }
        "qemu-7.2" if !has_qemu() => skip("qemu", "no qemu-system-x86_64"),
        "qemu-7.2" => {
            let version = machine("qemu")["version"].as_str().unwrap_or_default().to_owned();
            version.starts_with("QEMU 7.2.") || skip("qemu-7.2", "the sample is of QEMU 7.2")
        }
        "python3" => can_be_started("python3") || skip("python3", "no python3"),
        _ => panic!("{place}: a sample cannot need {need:?}"),
    }
}

/// What `crosswalk machines` says of a machine.
fn machine(kind: &str) -> &'static Value {
    static MACHINES: OnceLock<Value> = OnceLock::new();
    let machines = MACHINES.get_or_init(|| support::run(&["machines", "--json"]).json());
    let offers = machines["machines"].as_array().expect("a list of machines");
    let offer = offers.iter().find(|offer| offer["kind"] == kind).expect("a machine of this kind");
    &offer["machine"]
}

/// Makes a file that a page shows.
fn make(sandbox: &Sandbox, name: &str, shown: &ShownOutput) {
    use std::os::unix::fs::PermissionsExt;
    let contents = shown.text();
    let is_program = contents.starts_with("#!");
    let path = sandbox.path().join(sandbox.file(name, contents));
    if is_program {
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, permissions).expect("the file can be made executable");
    }
}

/// Runs a command, and returns what it printed, errors included, and its exit code.
fn run(sandbox: &Sandbox, command: &str) -> (String, Option<i32>) {
    let program = support::program().parent().expect("a directory with the program");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec 2>&1; {command}")).env("PATH", path);
    let ran = ProgramOutput::of(shell.current_dir(sandbox.path()));
    (ran.stdout, ran.code)
}

/// Writes new outputs into a page.
fn rewrite(page: &Path, lines: &[&str], blessed: &[(Range<usize>, Vec<String>)]) {
    let mut text = String::new();
    let mut done = 0;
    for (output, new) in blessed {
        for line in lines[done..output.start].iter().copied().chain(new.iter().map(String::as_str))
        {
            text += line;
            text.push('\n');
        }
        done = output.end;
    }
    for line in &lines[done..] {
        text += line;
        text.push('\n');
    }
    std::fs::write(page, text).expect("the page can be written");
}
