//! Runs that are split into shards, killed, resumed and merged: no case is lost, and none runs twice.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use support::report::{list, text};
use support::{ProgramOutput, Sandbox, count, finding, program, repository, require_kvm, run};

/// The cases and results of a report, without times.
fn results(report: &Value) -> Value {
    let mut report = report.clone();
    let fields = report.as_object_mut().expect("an object");
    fields.retain(|name, _| {
        ["modes", "rules", "coverage", "choices", "totals"].contains(&name.as_str())
    });

    let totals = fields["totals"].as_object_mut().expect("an object");
    totals.retain(|name, _| ["cases", "agreed", "diverged", "case_set"].contains(&name.as_str()));
    report
}

/// The id and the count of each finding.
fn finding_counts(report: &Value) -> Vec<(String, u64)> {
    let findings = list(&report["findings"]).iter();
    findings.map(|finding| (finding["id"].to_string(), count(finding, "count"))).collect()
}

#[track_caller]
fn assert_same_results(one: &Value, other: &Value) {
    assert_eq!(results(one)["totals"], results(other)["totals"]);
    assert_eq!(results(one), results(other));
    assert_eq!(finding_counts(one), finding_counts(other));
}

/// Runs `check` on KVM with more arguments, separated by spaces.
fn check(sandbox: &Sandbox, arguments: &str) -> ProgramOutput {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    sandbox.run(&[&["check", "--machine", "kvm", "--json"], &arguments[..]].concat())
}

fn read_report(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the report exists");
    serde_json::from_str(&text).expect("the report is JSON")
}

#[test]
fn shards_add_up_to_the_whole_run() {
    require_kvm!();
    for cases in [
        // Sequences may meet what earlier ones left in the caches of their machine.
        "--seed 11 --cases 5000 --sequences off",
        "--guided --seed 11 --cases 3000",
        "--exhaustive --mode 4level --cases 5000",
    ] {
        let sandbox = Sandbox::new();
        let whole = check(&sandbox, cases).expect_code(0).json();
        for shard in 0..3 {
            let arguments = format!("{cases} --shard {shard}/3 --report part{shard}");
            let report = check(&sandbox, &arguments).expect_code(0).json();
            assert!(count(&report["totals"], "cases") > 0);
        }

        let merged = sandbox
            .run(&["merge", "part0", "part1", "part2", "--json", "--report", "sum"])
            .expect_code(0)
            .json();
        assert_same_results(&merged, &whole);
        assert_eq!(merged["complete"], true);
        assert_eq!(merged["combinations"].is_string(), cases.contains("exhaustive"));
        assert_eq!(merged["shard"]["parts"], json!([0, 1, 2]));
        assert_eq!(read_report(&sandbox.path().join("sum/report.json")), merged);

        // A merged report can be merged again.
        let again = sandbox.run(&["merge", "sum", "--json"]).expect_code(0).json();
        assert_same_results(&again, &whole);
    }
}

#[test]
fn a_merge_keeps_the_smallest_case_and_lists_missing_shards() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let cases = "--seed 2 --cases 9000 --walker mutant:M13b";
    for shard in [0, 2] {
        check(&sandbox, &format!("{cases} --shard {shard}/3 --report part{shard}")).expect_code(1);
    }

    let merged = sandbox.run(&["merge", "part0", "part2", "--json"]).expect_code(1).json();
    assert_eq!(merged["complete"], false);

    let caught = finding(&merged, "M13b");
    let parts =
        [0, 2].map(|part| read_report(&sandbox.path().join(format!("part{part}/report.json"))));
    let counts = parts.each_ref().map(|part| count(finding(part, "M13b"), "count"));
    assert_eq!(count(caught, "count"), counts[0] + counts[1]);
    let smallest = parts.each_ref().map(|part| &finding(part, "M13b")["smallest_case"]);
    assert!(smallest.contains(&&caught["smallest_case"]), "{caught}");

    let text = sandbox.run(&["merge", "part0", "part2"]).expect_code(1).stdout;
    assert!(text.contains("1 shard of 3 is missing: 1"), "{text}");
}

/// Pseudo-random times to kill a run at, the same in every test run, so that a failure can be
/// repeated.
fn kill_times() -> impl Iterator<Item = Duration> {
    let mut state = 0x0bad_cafe_u64;
    (0..20).map(move |number| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The journal is written every half second: some kills come before that, some after it.
        let longest = if number % 3 == 2 { 900 } else { 300 };
        Duration::from_millis(10 + (state >> 33) % longest)
    })
}

/// Kills a run again and again, and resumes it to its end. Returns what it says then, and what an
/// uninterrupted run says.
fn kill_and_resume(
    sandbox: &Sandbox,
    cases: &str,
    times: impl Iterator<Item = Duration>,
) -> [Value; 2] {
    let resume = format!("{cases} --report killed --resume");
    let command = format!("check --machine kvm {resume}");
    let arguments: Vec<_> = command.split_whitespace().collect();

    for time in times {
        let mut child = sandbox.spawn(&arguments);
        std::thread::sleep(time);
        child.kill().expect("the child can be killed");
        let status = child.wait().expect("the child can be waited for");
        assert_eq!(status.signal(), Some(9), "the run ended before it was killed: {status}");
    }

    let resumed = check(sandbox, &resume).expect_code(0).json();
    assert_eq!(resumed["complete"], true);
    [resumed, check(sandbox, cases).expect_code(0).json()]
}

/// A number of cases that takes some seconds on this host, so that no kill comes too late.
fn cases_of_seconds(sandbox: &Sandbox, options: &str, seconds: f64) -> String {
    let short = check(sandbox, &format!("{options} --for 500ms")).expect_code(0).json();
    let rate = short["totals"]["cases_per_second"].as_f64().expect("a rate");
    format!("{options} --cases {}", (rate * seconds) as u64)
}

#[test]
fn a_run_that_is_killed_20_times_ends_like_an_uninterrupted_one() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let cases = cases_of_seconds(&sandbox, "--seed 12 --sequences off", 10.0);
    let [resumed, whole] = kill_and_resume(&sandbox, &cases, kill_times());
    assert_same_results(&resumed, &whole);

    // Nothing is left to do.
    let again = check(&sandbox, &format!("{cases} --report killed --resume")).expect_code(0).json();
    assert_same_results(&again, &whole);
}

/// What a sequence meets in the caches depends on what the host did meanwhile: two runs may see different
/// members of a choice. The cases are the same.
#[test]
fn a_run_of_sequences_that_is_killed_runs_every_case_once() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let cases = cases_of_seconds(&sandbox, "--seed 12 --sequences only", 4.0);
    let [resumed, whole] = kill_and_resume(&sandbox, &cases, kill_times().take(6));
    for field in ["cases", "case_set"] {
        assert_eq!(resumed["totals"][field], whole["totals"][field], "{field}");
    }
}

#[test]
fn an_interrupted_run_writes_its_whole_report() {
    require_kvm!();
    for signal in ["INT", "TERM"] {
        let sandbox = Sandbox::new();
        let arguments =
            ["check", "--machine", "kvm", "--for", "1h", "--seed", "4", "--report", "r"];
        let mut child = sandbox.spawn(&arguments);
        let journal = sandbox.path().join("r/journal.jsonl");
        while !journal.exists() {
            let status = child.try_wait().expect("the child can be waited for");
            assert_eq!(status, None, "the run ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }

        let kill = format!("kill -{signal} {}", child.id());
        Command::new("sh").args(["-c", &kill]).assert().success();
        assert_eq!(child.wait().expect("the child can be waited for").code(), Some(4));

        let report = read_report(&sandbox.path().join("r/report.json"));
        assert_eq!(report["complete"], false);
        assert!(count(&report["totals"], "cases") > 0);
        assert!(sandbox.path().join("r/index.html").exists());

        // It resumes with the same seed, and its time is counted.
        let resumed = check(&sandbox, "--report r --resume --for 1ms").expect_code(0).json();
        assert_eq!(resumed["seed"], "4");
        assert_eq!(resumed["totals"]["case_set"], report["totals"]["case_set"]);
    }
}

#[test]
fn a_journal_that_cannot_be_resumed_is_one_clear_error() {
    require_kvm!();
    let sandbox = Sandbox::new();
    check(&sandbox, "--seed 3 --cases 500 --report r").expect_code(0);
    let journal = sandbox.path().join("r/journal.jsonl");
    let good = std::fs::read_to_string(&journal).expect("a journal");
    let refused = |arguments: &str, words: &[&str]| {
        let output = check(&sandbox, arguments).expect_code(2);
        let line = output.only_line_of_stderr();
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert_eq!(output.stdout, "");
    };

    let again = "--seed 3 --cases 500 --report r --resume";
    refused("--seed 3 --cases 500 --report r", &["r/journal.jsonl", "--resume"]);
    refused("--seed 5 --cases 500 --report r --resume", &["line 1", "expected seed 5, found 3"]);
    refused(
        "--seed 3 --cases 501 --report r --resume",
        &["line 1", "expected cases 501, found 500"],
    );

    let damaged = good.replacen("CODE-1\"", "CODE-0\"", 1);
    let line = 1 + damaged.lines().position(|line| line.contains("CODE-0")).expect("a line");
    std::fs::write(&journal, &damaged).expect("the journal can be written");
    refused(again, &[&format!("r/journal.jsonl, line {line}: "), "checksum"]);

    std::fs::write(&journal, &good[..good.len() / 2]).expect("the journal can be written");
    refused(again, &["r/journal.jsonl, line "]);

    std::fs::write(&journal, [0xff, 0xfe]).expect("the journal can be written");
    refused(again, &["r/journal.jsonl", "cannot be read"]);

    std::fs::write(&journal, &good).expect("the journal can be written");
    check(&sandbox, again).expect_code(0);
}

#[test]
fn reports_that_cannot_be_merged_are_one_clear_error() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let refused = |arguments: &[&str], words: &str| {
        let output = sandbox.run(&[&["merge"], arguments].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);
    };

    check(&sandbox, "--seed 3 --cases 500 --report r").expect_code(0);
    refused(&["r", "r"], "r: expected each shard once, found shard 0/1 again");
    refused(&["."], "./journal.jsonl: expected a journal, found none");
    std::fs::create_dir(sandbox.path().join("link")).expect("a directory");
    std::os::unix::fs::symlink("/dev/zero", sandbox.path().join("link/journal.jsonl"))
        .expect("a link");
    refused(&["link"], "link/journal.jsonl: cannot be read: expected a regular file");

    check(&sandbox, "--seed 3 --cases 500 --shard 0/2 --report s").expect_code(0);
    check(&sandbox, "--seed 4 --cases 500 --shard 1/2 --report t").expect_code(0);
    refused(&["s", "t"], "t: another run than that of s: expected seed 3, found 4");

    // A journal may name any file: none is opened that the user does not name.
    std::fs::write(sandbox.path().join("known.toml"), "").expect("a file");
    let run = check(&sandbox, "--seed 3 --cases 500 --known known.toml --report k");
    refused(&["k"], "used the known findings of \"known.toml\": name the file with --known");
    refused(&["s", "--known", "known.toml"], "did not use the known findings that --known names");
    let merged = sandbox.run(&["merge", "k", "--known", "known.toml"]);
    assert_eq!(merged.code, run.code, "{}", merged.stderr);
}

#[test]
fn two_runs_do_not_write_into_one_directory() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let mut first = sandbox.spawn(&["check", "--machine", "kvm", "--for", "1h", "--report", "r"]);
    while !sandbox.path().join("r/journal.jsonl").exists() {
        let status = first.try_wait().expect("the child can be waited for");
        assert_eq!(status, None, "the run ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }

    let words = "r: the directory cannot be used: another run is writing into it";
    let output = check(&sandbox, "--cases 500 --report r --resume").expect_code(2);
    assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);
    let output = sandbox.run(&["replay", "--cases", "50", "--report", "r"]).expect_code(2);
    assert!(output.only_line_of_stderr().contains(words), "{}", output.stderr);

    // However a run ends, the directory is free again.
    first.kill().expect("it can be killed");
    first.wait().expect("it ends");
    check(&sandbox, "--for 1ms --report r --resume").expect_code(0);
}

/// Every rule that was hit has a case, whose name repeats it.
#[test]
fn the_example_of_a_rule_shows_the_rule() {
    require_kvm!();
    for how in ["--seed 8", "--guided --seed 8", "--exhaustive"] {
        let mut arguments =
            vec!["check", "--machine", "kvm", "--json", "--cases", "1500", "--mode", "4level"];
        arguments.extend(how.split(' '));
        let report = run(&arguments).expect_code(0).json();

        let examples = list(&report["coverage"]["rules"]);
        assert!(!examples.is_empty());
        for example in examples.iter().step_by(7) {
            let rule = text(&example["rule"]);
            let name = text(&example["example"]);
            let drawn = run(&["explain", "--machine", "kvm", name]).expect_code(0).stdout;
            assert!(rules_in(&drawn).contains(&rule), "{name}: no {rule} in {drawn}");
        }
    }
}

/// The ids between `rules` and `machine` in what `explain` draws.
fn rules_in(drawn: &str) -> Vec<&str> {
    let (_, from_rules) = drawn.split_once("\nrules ").expect("the rules");
    let rules = from_rules.split("\nmachine ").next().expect("the rules");
    rules.split([',', '\n', ' ']).filter(|word| !word.is_empty()).collect()
}

#[test]
fn a_missed_rule_names_what_stands_in_the_way() {
    require_kvm!();
    let report = run(&["check", "--machine", "kvm", "--json", "--cases", "1000", "--seed", "1"])
        .expect_code(0)
        .json();
    let missed = list(&report["coverage"]["missed"]);
    let by = |rule: &str, mode: &str| {
        let cell = missed.iter().find(|cell| cell["rule"] == rule && cell["mode"] == mode);
        cell.map(|cell| text(&cell["by"]))
    };

    assert_eq!(by("CANON-5", "4level"), Some("campaign"));
    assert_eq!(by("MODE-12", "4level"), None, "the rule is about another mode");

    let not_checked = list(&report["modes"]).iter().filter(|mode| mode["status"] != "checked");
    for mode in not_checked {
        let name = text(&mode["mode"]);
        let rule = if name == "unpaged" { "MODE-12" } else { "CODE-1" };
        assert_eq!(by(rule, name), Some("machine"));
    }
}

/// A search path on which the program is found by its name.
fn search_path(sandbox: &Sandbox) -> String {
    let link = sandbox.path().join("crosswalk");
    std::os::unix::fs::symlink(program(), link).expect("a link can be created");
    format!("{}:{}", sandbox.path().display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn the_slurm_example_runs_each_shard() {
    let script = repository().join("docs/examples/crosswalk.sbatch");
    Command::new("bash").arg("-n").arg(&script).assert().success();
    require_kvm!();

    let sandbox = Sandbox::new();
    let path = search_path(&sandbox);
    for task in ["0", "1"] {
        let mut command = Command::new("bash");
        command.arg(&script).args(["--machine", "kvm", "--seed", "6", "--cases", "2000"]);
        command.current_dir(sandbox.path()).env("PATH", &path);
        command.env("SLURM_ARRAY_TASK_ID", task).env("SLURM_ARRAY_TASK_COUNT", "2");
        ProgramOutput::of(&mut command).expect_code(0);
    }

    let merged = sandbox
        .run(&["merge", "reports/shard-0", "reports/shard-1", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(count(&merged["totals"], "cases"), 2000);
    assert_eq!(merged["complete"], true);
}

#[test]
fn the_kubernetes_example_runs_each_shard() {
    let path = repository().join("docs/examples/crosswalk-job.yaml");
    let yaml = std::fs::read_to_string(path).expect("the example exists");
    let job: Value = serde_yaml_ng::from_str(&yaml).expect("the example is YAML");
    assert_eq!(job["kind"], "Job");
    assert_eq!(job["spec"]["completionMode"], "Indexed");

    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let shards = &container["env"][0];
    assert_eq!(shards["name"], "SHARDS");
    assert_eq!(shards["value"], job["spec"]["completions"].to_string());
    assert_eq!(container["command"], json!(["sh", "-c"]));
    require_kvm!();

    let sandbox = Sandbox::new();
    let path = search_path(&sandbox);
    // The same command with fewer cases.
    let command = text(&container["args"][0])
        .replace("--exhaustive", "--exhaustive --machine kvm --cases 2000");
    for index in ["0", "1"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(sandbox.path()).env("PATH", &path);
        shell.env("SHARDS", "2").env("REPORTS", "reports").env("JOB_COMPLETION_INDEX", index);
        ProgramOutput::of(&mut shell).expect_code(0);
    }

    let merged = sandbox
        .run(&["merge", "reports/shard-0", "reports/shard-1", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(count(&merged["totals"], "cases"), 2000);
}
