//! Runs that are cut into shards, killed, resumed and added up: nothing is lost, nothing done twice.

mod common;

use assert_cmd::Command;
use common::{PROGRAM, Ran, Sandbox, count, finding, require_kvm, run};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// What a report says of the cases and of what came of them: all but times.
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

/// The id of each finding, with its count.
fn counts(report: &Value) -> Vec<(String, u64)> {
    let findings = report["findings"].as_array().expect("findings are a list");
    findings.iter().map(|it| (it["id"].to_string(), count(it, "count"))).collect()
}

#[track_caller]
fn assert_same(one: &Value, other: &Value) {
    assert_eq!(results(one)["totals"], results(other)["totals"]);
    assert_eq!(results(one), results(other));
    assert_eq!(counts(one), counts(other));
}

fn check(sandbox: &Sandbox, arguments: &str) -> Ran {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    sandbox.run(&[&["check", "--machine", "kvm", "--json"], &arguments[..]].concat())
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report");
    serde_json::from_str(&text).expect("a JSON document")
}

#[test]
fn shards_add_up_to_the_whole() {
    require_kvm!();
    for cases in [
        "--seed 11 --cases 5000",
        "--guided --seed 11 --cases 3000",
        "--exhaustive --mode 4level --cases 5000",
    ] {
        let sandbox = Sandbox::new();
        let whole = check(&sandbox, cases).expect_code(0).json();
        for shard in 0..3 {
            let part = format!("{cases} --shard {shard}/3 --report part{shard}");
            let part = check(&sandbox, &part).expect_code(0).json();
            assert!(count(&part["totals"], "cases") > 0);
        }
        let merged =
            sandbox.run(&["merge", "part0", "part1", "part2", "--json", "--report", "sum"]);
        let merged = merged.expect_code(0).json();
        assert_same(&merged, &whole);
        assert_eq!(merged["complete"], true);
        assert_eq!(merged["combinations"].is_u64(), cases.contains("exhaustive"));
        assert_eq!(merged["shard"]["parts"], serde_json::json!([0, 1, 2]));
        assert_eq!(read(&sandbox.path().join("sum/report.json")), merged);
        // A sum is a report like any other.
        let again = sandbox.run(&["merge", "sum", "--json"]).expect_code(0).json();
        assert_same(&again, &whole);
    }
}

#[test]
fn a_sum_keeps_the_smallest_case_and_says_what_is_missing() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let cases = "--seed 2 --cases 9000 --walker mutant:M13b";
    for shard in [0, 2] {
        check(&sandbox, &format!("{cases} --shard {shard}/3 --report part{shard}")).expect_code(1);
    }
    let merged = sandbox.run(&["merge", "part0", "part2", "--json"]).expect_code(1).json();
    assert_eq!(merged["complete"], false);
    let caught = finding(&merged, "M13b");
    let parts = [0, 2].map(|part| read(&sandbox.path().join(format!("part{part}/report.json"))));
    let counts = parts.each_ref().map(|part| count(finding(part, "M13b"), "count"));
    assert_eq!(count(caught, "count"), counts[0] + counts[1]);
    let cases = parts.each_ref().map(|part| &finding(part, "M13b")["smallest_case"]);
    assert!(cases.contains(&&caught["smallest_case"]), "{caught}");
    let text = sandbox.run(&["merge", "part0", "part2"]).expect_code(1).stdout;
    assert!(text.contains("shards 1 are missing"), "{text}");
}

/// The moments are drawn from a seed of their own, so that the same run fails again.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state = 0x0bad_cafe_u64;
    (0..20).map(move |number| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A journal is written every half second: some kills come before the first, some after it.
        let longest = if number % 3 == 2 { 900 } else { 300 };
        Duration::from_millis(10 + (state >> 33) % longest)
    })
}

#[test]
fn a_run_that_is_killed_20_times_ends_like_one_that_is_not() {
    require_kvm!();
    let sandbox = Sandbox::new();
    // Some seconds of work here, so that no kill comes too late.
    let short = check(&sandbox, "--seed 12 --for 500ms").expect_code(0).json();
    let rate = short["totals"]["cases_per_second"].as_f64().expect("a rate");
    let cases = format!("--seed 12 --cases {}", (rate * 10.0) as u64);
    let whole = check(&sandbox, &cases).expect_code(0).json();
    let arguments = format!("check --machine kvm {cases} --report killed --resume");
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    for moment in moments() {
        let mut child = sandbox.spawn(&arguments);
        std::thread::sleep(moment);
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it can be waited for");
        assert_eq!(status.signal(), Some(9), "it ended before it was killed: {status}");
    }
    let resumed = check(&sandbox, &format!("{cases} --report killed --resume"));
    let resumed = resumed.expect_code(0).json();
    assert_same(&resumed, &whole);
    assert_eq!(resumed["complete"], true);
    // There is nothing left to do.
    let again = check(&sandbox, &format!("{cases} --report killed --resume")).expect_code(0).json();
    assert_same(&again, &whole);
}

#[test]
fn an_interrupt_ends_a_run_with_its_whole_report() {
    require_kvm!();
    for signal in ["INT", "TERM"] {
        let sandbox = Sandbox::new();
        let arguments =
            ["check", "--machine", "kvm", "--for", "1h", "--seed", "4", "--report", "r"];
        let mut child = sandbox.spawn(&arguments);
        let journal = sandbox.path().join("r/journal.jsonl");
        while !journal.exists() {
            assert_eq!(child.try_wait().expect("it can be asked"), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        let kill = format!("kill -{signal} {}", child.id());
        Command::new("sh").args(["-c", &kill]).assert().success();
        assert_eq!(child.wait().expect("it can be waited for").code(), Some(0));
        let report = read(&sandbox.path().join("r/report.json"));
        assert_eq!(report["complete"], false);
        assert!(count(&report["totals"], "cases") > 0);
        assert!(sandbox.path().join("r/index.html").exists());
        // It goes on, from the seed and the time that it had.
        let more = ["--report r --resume --for 1ms"];
        let more = check(&sandbox, more[0]).expect_code(0).json();
        assert_eq!(more["seed"], 4);
        assert_eq!(more["totals"]["case_set"], report["totals"]["case_set"]);
    }
}

#[test]
fn what_cannot_be_resumed_is_one_clear_error() {
    require_kvm!();
    let sandbox = Sandbox::new();
    check(&sandbox, "--seed 3 --cases 500 --report r").expect_code(0);
    let journal = sandbox.path().join("r/journal.jsonl");
    let good = std::fs::read_to_string(&journal).expect("a journal");
    let refused = |arguments: &str, words: &[&str]| {
        let ran = check(&sandbox, arguments).expect_code(2);
        let line = ran.only_line_of_stderr();
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert_eq!(ran.stdout, "");
    };
    let again = "--seed 3 --cases 500 --report r --resume";
    refused("--seed 3 --cases 500 --report r", &["r/journal.jsonl", "--resume"]);
    refused("--seed 5 --cases 500 --report r --resume", &["line 1", "expected seed 5, found 3"]);
    refused("--seed 3 --cases 501 --report r --resume", &["line 1", "expected cases Some(501)"]);
    let damaged = good.replacen("CODE-1\"", "CODE-0\"", 1);
    let line = 1 + damaged.lines().position(|line| line.contains("CODE-0")).expect("it is there");
    std::fs::write(&journal, &damaged).expect("it can be written");
    refused(again, &[&format!("r/journal.jsonl, line {line}: "), "no rule"]);
    std::fs::write(&journal, &good[..good.len() / 2]).expect("it can be written");
    refused(again, &["r/journal.jsonl, line "]);
    std::fs::write(&journal, [0xff, 0xfe]).expect("it can be written");
    refused(again, &["r/journal.jsonl", "cannot be read"]);
    std::fs::write(&journal, &good).expect("it can be written");
    check(&sandbox, again).expect_code(0);

    let refused = |arguments: &[&str], words: &str| {
        let ran = sandbox.run(&[&["merge"], arguments].concat()).expect_code(2);
        assert!(ran.only_line_of_stderr().contains(words), "{}", ran.stderr);
    };
    refused(&["r", "r"], "r: expected each shard once, found shard 0/1 again");
    refused(&["."], ".: expected a journal.jsonl, found none");
    check(&sandbox, "--seed 3 --cases 500 --shard 0/2 --report s").expect_code(0);
    check(&sandbox, "--seed 4 --cases 500 --shard 1/2 --report t").expect_code(0);
    refused(&["s", "t"], "t/journal.jsonl, line 1: another run: expected seed 3, found 4");
}

/// Each rule that was met has a case, by whose name it can be seen again.
#[test]
fn the_example_of_a_rule_shows_it() {
    require_kvm!();
    for how in ["--seed 8", "--guided --seed 8", "--exhaustive"] {
        let report =
            run(&["check", "--machine", "kvm", "--json", "--cases", "1500", "--mode", "4level"]
                .into_iter()
                .chain(how.split(' '))
                .collect::<Vec<_>>());
        let report = report.expect_code(0).json();
        let met = report["coverage"]["rules"].as_array().expect("a list");
        assert!(!met.is_empty());
        for example in met.iter().step_by(7) {
            let (rule, name) = (&example["rule"], example["example"].as_str().expect("a name"));
            let told = run(&["explain", "--machine", "kvm", name]).expect_code(0).stdout;
            let rules =
                told.split("\nrules ").nth(1).expect("the rules").split("\nmachine ").next();
            let words = rules.expect("the rules").replace([',', '\n'], " ");
            let rule = rule.as_str().expect("an id");
            assert!(words.split_whitespace().any(|word| word == rule), "{name}: {rule} in {told}");
        }
    }
}

#[test]
fn a_missed_rule_tells_who_stands_in_the_way() {
    require_kvm!();
    let report = run(&["check", "--machine", "kvm", "--json", "--cases", "1000", "--seed", "1"]);
    let report = report.expect_code(0).json();
    let missed = report["coverage"]["missed"].as_array().expect("a list");
    let by = |rule: &str, mode: &str| {
        let cell = missed.iter().find(|cell| cell["rule"] == rule && cell["mode"] == mode);
        cell.map(|cell| cell["by"].as_str().expect("a word").to_owned())
    };
    assert_eq!(by("TLB-3", "4level").as_deref(), Some("campaign"));
    assert_eq!(by("MODE-12", "4level"), None, "the rule is about another mode");
    for mode in
        report["modes"].as_array().expect("a list").iter().filter(|it| it["status"] != "checked")
    {
        let name = mode["mode"].as_str().expect("a name");
        let rule = if name == "unpaged" { "MODE-12" } else { "CODE-1" };
        assert_eq!(by(rule, name).as_deref(), Some("machine"));
    }
}

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A directory in which the program is found by its name.
fn search_path(sandbox: &Sandbox) -> String {
    std::os::unix::fs::symlink(PROGRAM, sandbox.path().join("crosswalk")).expect("a link");
    format!("{}:{}", sandbox.path().display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn the_slurm_example_runs_each_shard() {
    let script = root().join("docs/examples/crosswalk.sbatch");
    Command::new("bash").arg("-n").arg(&script).assert().success();
    require_kvm!();
    let sandbox = Sandbox::new();
    let path = search_path(&sandbox);
    for task in ["0", "1"] {
        let mut command = Command::new("bash");
        command.arg(&script).args(["--machine", "kvm", "--seed", "6", "--cases", "2000"]);
        command.current_dir(sandbox.path()).env("PATH", &path);
        command.env("SLURM_ARRAY_TASK_ID", task).env("SLURM_ARRAY_TASK_COUNT", "2");
        Ran::of(&mut command).expect_code(0);
    }
    let merged = sandbox.run(&["merge", "reports/shard-0", "reports/shard-1", "--json"]);
    let merged = merged.expect_code(0).json();
    assert_eq!(
        (count(&merged["totals"], "cases"), &merged["complete"]),
        (2000, &Value::Bool(true))
    );
}

#[test]
fn the_kubernetes_example_runs_each_shard() {
    let text = std::fs::read_to_string(root().join("docs/examples/crosswalk-job.yaml"));
    let job: Value = serde_yaml_ng::from_str(&text.expect("the example")).expect("YAML");
    assert_eq!((&job["kind"], &job["spec"]["completionMode"]), (&"Job".into(), &"Indexed".into()));
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let shards = &container["env"][0];
    assert_eq!(shards["name"], "SHARDS");
    assert_eq!(shards["value"], job["spec"]["completions"].to_string());
    assert_eq!(container["command"], serde_json::json!(["sh", "-c"]));
    require_kvm!();
    let sandbox = Sandbox::new();
    let path = search_path(&sandbox);
    // The same command on less.
    let command = container["args"][0].as_str().expect("a command");
    let command = command.replace("--exhaustive", "--exhaustive --machine kvm --cases 2000");
    for index in ["0", "1"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(sandbox.path()).env("PATH", &path);
        shell.env("SHARDS", "2").env("REPORTS", "reports").env("JOB_COMPLETION_INDEX", index);
        Ran::of(&mut shell).expect_code(0);
    }
    let merged = sandbox.run(&["merge", "reports/shard-0", "reports/shard-1", "--json"]);
    assert_eq!(count(&merged.expect_code(0).json()["totals"], "cases"), 2000);
}
