//! What CI systems read: their own parsers and schemas read it, too.

use assert_cmd::Command;
use crosswalk_test_support as support;
use quick_junit::{Report, TestCaseStatus};
use serde_json::Value;
use support::{ProgramOutput, Sandbox, program, repository, require_qemu};

/// A short run on QEMU; without forgiveness it diverges.
fn run(sandbox: &Sandbox, options: &str) -> ProgramOutput {
    let arguments = format!("check --machine qemu --cases 3000 --seed 1 {options}");
    sandbox.run(&arguments.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn junit_has_a_test_for_each_mode_and_finding() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let parse =
        |output: ProgramOutput| Report::deserialize_from_str(&output.stdout).expect("JUnit");

    let good = parse(run(&sandbox, "--format junit").expect_code(0));
    let suite = &good.test_suites[0];
    assert_eq!((suite.failures, suite.errors), (0, 0));
    let names: Vec<_> = suite.test_cases.iter().map(|test| test.name.as_str()).collect();
    assert!(
        ["unpaged", "32bit", "pae", "4level", "5level"].iter().all(|mode| names.contains(mode))
    );
    assert!(names.contains(&"T1: a reserved-bit fault does not report P"), "{names:?}");

    let bad = parse(run(&sandbox, "--format junit --known none").expect_code(1));
    let failed =
        |test: &&quick_junit::TestCase| matches!(test.status, TestCaseStatus::NonSuccess { .. });
    let failures: Vec<_> = bad.test_suites[0].test_cases.iter().filter(failed).collect();
    assert_eq!(failures.len(), bad.test_suites[0].failures);
    let of_t1 = failures.iter().find(|test| test.name.starts_with("T1: ")).expect("T1");
    let TestCaseStatus::NonSuccess { description, .. } = &of_t1.status else { unreachable!() };
    let text = description.as_ref().expect("a text").as_str();
    assert!(
        text.contains("error_code: expected") && text.contains("crosswalk explain '{"),
        "{text}"
    );

    let part = "--format junit --qemu-cpu=-la57 --mode 4level,5level";
    let part = parse(run(&sandbox, part).expect_code(4));
    assert_eq!(part.test_suites[0].errors, 1);
}

#[test]
fn sarif_follows_its_schema() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let schema = repository().join("tests/sample/sarif-2.1.0.schema.json");
    let schema = std::fs::read_to_string(schema).expect("a schema");
    let mut schema: Value = serde_json::from_str(&schema).expect("JSON");
    // This pattern of the standard has a bracket too many.
    for part in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][part]["properties"]["language"];
        language.as_object_mut().expect("an object").remove("pattern");
    }
    let validator = jsonschema::validator_for(&schema).expect("a schema");

    for (options, code, level) in [("", 0, "note"), ("--known none", 1, "error")] {
        let output = run(&sandbox, &format!("--format sarif {options}")).expect_code(code);
        let log: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&log).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");

        let run = &log["runs"][0];
        assert_eq!(run["invocations"][0]["exitCode"], code);
        let results = run["results"].as_array().expect("results");
        let of_t1 = results.iter().find(|result| result["ruleId"] == "T1").expect("T1");
        assert_eq!(of_t1["level"], level);
        assert_eq!(of_t1["suppressions"].is_array(), code == 0);

        // The case is in the document, and explains itself.
        let uri = &of_t1["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        let artifacts = run["artifacts"].as_array().expect("artifacts");
        let case = artifacts.iter().find(|artifact| artifact["location"]["uri"] == *uri);
        let case = case.expect("the case")["contents"]["text"].as_str().expect("text");
        sandbox.run(&["explain", case]).expect_code(0);
    }
}

#[test]
fn github_has_annotations_and_a_step_summary() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let summary = sandbox.file("summary.md", "before\n");
    let with_summary = |options: &str| {
        let arguments =
            format!("check --machine qemu --cases 3000 --seed 1 --format github {options}");
        let mut command = Command::new(program());
        command.args(arguments.split_whitespace()).current_dir(sandbox.path());
        command.env("GITHUB_STEP_SUMMARY", &summary);
        ProgramOutput::of(&mut command)
    };

    let good = with_summary("").expect_code(0).stdout;
    assert!(good.starts_with("::notice title=crosswalk%3A qemu tcg%2C QEMU "), "{good}");
    let bad = with_summary("--known none").expect_code(1).stdout;
    let annotations: Vec<_> = bad.lines().filter(|line| line.starts_with("::")).collect();
    assert!(annotations.iter().all(|line| line.starts_with("::error title=")), "{bad}");
    assert!(annotations[0].contains("::a reserved-bit fault does not report P (CODE-1): "));
    assert!(annotations[0].contains("%0Acrosswalk explain '{"), "{bad}");

    let page = std::fs::read_to_string(sandbox.path().join("summary.md")).expect("a summary");
    assert!(
        page.starts_with("before\n## ✅ AGREE ") && page.contains("\n## ❌ DIVERGE "),
        "{page}"
    );

    let mut unwritable = Command::new(program());
    let arguments = "check --machine qemu --cases 500 --format github";
    unwritable.args(arguments.split_whitespace()).env("GITHUB_STEP_SUMMARY", "/dev/full");
    ProgramOutput::of(&mut unwritable).expect_code(3);
}

#[test]
fn markdown_has_tables_and_commands() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let page = run(&sandbox, "--format markdown --known none").expect_code(1).stdout;
    assert!(page.starts_with("## ❌ DIVERGE  The machine and the model disagree"), "{page}");
    assert!(page.contains("\n| T1 | CODE-1 | ") && page.contains("```sh\n"), "{page}");
}

/// A walker writes what it likes.
#[test]
fn what_a_walker_writes_stays_text() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let hostile = "x</failure><b>%0A::error::|`\u{1b}[2J";
    let script = format!(
        "#!/bin/sh\nread hello; echo '{{\"protocol\":1,\"name\":\"x\"}}'\nwhile read line; do printf '%s\\n' '{{\"unsupported\":\"{hostile}\"}}'; done\n"
    );
    let walker = sandbox.file("walker.sh", script);
    Command::new("chmod").args(["+x", &walker]).current_dir(sandbox.path()).assert().success();
    for format in ["junit", "github", "markdown", "sarif"] {
        let options = format!("--no-jail --walker cmd:./{walker} --format {format}");
        let output = run(&sandbox, &options);
        assert!(!output.stdout.contains('\u{1b}'), "{format}");
        if format == "junit" {
            Report::deserialize_from_str(&output.stdout).expect("JUnit");
        }
    }
}

/// A walker without an answer is no green test.
#[test]
fn a_walker_that_is_dead_fails_in_every_form() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let form = |form: &str| {
        let options = format!("--no-jail --walker cmd:true --format {form}");
        run(&sandbox, &options).expect_code(1).stdout
    };
    let junit = Report::deserialize_from_str(&form("junit")).expect("JUnit");
    assert!(junit.test_suites[0].failures > 0);
    assert!(form("github").starts_with("::error title=cmd%3Atrue%3A no answer"));
    assert!(form("sarif").contains("\"level\": \"error\""));
    assert!(form("markdown").contains("### What is wrong or missing"));
}

/// In a mutant's run the machine's own faults are named, and are no failures.
#[test]
fn only_the_mutant_fails_in_its_run() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let output = run(&sandbox, "--mode pae --walker mutant:M24 --format junit").expect_code(1);
    let junit = Report::deserialize_from_str(&output.stdout).expect("JUnit");
    assert_eq!(junit.test_suites[0].failures, 1, "{}", output.stdout);
}

/// What cannot be run is missing, or skipped where that is allowed.
#[test]
fn a_case_that_cannot_be_run_is_no_failed_test() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let mut refused = support::case_json::plain();
    refused["state"]["cr4"] = serde_json::json!("0x8000620");
    let cases = [refused, support::case_json::plain()].map(|case| case.to_string());
    let check = ["check", "--machine", "qemu", "--format", "junit", &cases[0], &cases[1]];
    let counts = |output: ProgramOutput| {
        let junit = Report::deserialize_from_str(&output.stdout).expect("JUnit");
        let suite = &junit.test_suites[0];
        (suite.failures, suite.errors > 0)
    };
    assert_eq!(counts(sandbox.run(&check).expect_code(4)), (0, true));
    let allowed = sandbox.run(&[&check[..], &["--allow-incomplete"]].concat());
    assert_eq!(counts(allowed.expect_code(0)), (0, false));
}

/// A pipe that nobody reads would keep the run for ever.
#[test]
fn a_step_summary_is_a_regular_file() {
    require_qemu!();
    let sandbox = Sandbox::new();
    Command::new("mkfifo").arg("pipe").current_dir(sandbox.path()).assert().success();
    let mut command = Command::new(program());
    let arguments = "check --machine qemu --cases 500 --format github";
    command.args(arguments.split_whitespace()).current_dir(sandbox.path());
    let output = ProgramOutput::of(command.env("GITHUB_STEP_SUMMARY", "pipe")).expect_code(3);
    assert!(output.only_line_of_stderr().contains("pipe: cannot be written: expected a regular"));
}

/// A baseline: what is found once is new no more, and what comes later is.
#[test]
fn findings_can_be_accepted() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.file("known.toml", "# Mine.\n");
    let known = |name: &str| std::fs::read_to_string(sandbox.path().join(name)).expect("a file");

    run(&sandbox, "--known known.toml").expect_code(1);
    let accepted = run(&sandbox, "--update-known known.toml").expect_code(0);
    assert!(accepted.only_line_of_stderr().contains("known.toml: "), "{}", accepted.stderr);
    let text = known("known.toml");
    assert!(text.starts_with("# Mine.\n") && text.contains("id = \"A1\""), "{text}");
    run(&sandbox, "--known known.toml").expect_code(0);

    // So is what differs at a MOV within a sequence.
    let sequences = "check --machine qemu --cases 20000 --seed 9 --sequences only";
    let sequences: Vec<_> = sequences.split_whitespace().collect();
    sandbox.file("moves.toml", "");
    for (option, code) in [("--known", 1), ("--update-known", 0), ("--known", 0)] {
        sandbox.run(&[&sequences[..], &[option, "moves.toml"]].concat()).expect_code(code);
    }

    // Nothing is new: the file stays what it is.
    run(&sandbox, "--update-known known.toml").expect_code(0);
    assert_eq!(known("known.toml"), text);

    // A new file begins with what comes with the program.
    run(&sandbox, "--update-known new.toml").expect_code(0);
    assert!(known("new.toml").contains("from = \"tcg\""), "{}", known("new.toml"));
    run(&sandbox, "--known new.toml").expect_code(0);

    let output = run(&sandbox, "--update-known known.toml --walker mutant:M24").expect_code(2);
    assert!(output.only_line_of_stderr().contains("--update-known"));
    assert_eq!(known("known.toml"), text);
}

/// The commands of a CI system's file that run the program, each as a script for a shell.
fn commands_of(file: &str) -> Vec<String> {
    let path = repository().join("docs/examples/ci").join(file);
    let text = std::fs::read_to_string(path).expect("an example");
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let mut scripts = Vec::new();
    collect_scripts(&value, &mut scripts);
    scripts.retain(|script| script.contains("crosswalk check"));
    scripts
}

fn collect_scripts(value: &serde_yaml_ng::Value, scripts: &mut Vec<String>) {
    match value {
        serde_yaml_ng::Value::Mapping(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    (Some("run"), serde_yaml_ng::Value::String(script)) => {
                        scripts.push(script.clone());
                    }
                    (Some("script"), serde_yaml_ng::Value::Sequence(lines)) => {
                        let lines = lines.iter().filter_map(serde_yaml_ng::Value::as_str);
                        scripts.extend(lines.map(str::to_owned));
                    }
                    _ => collect_scripts(value, scripts),
                }
            }
        }
        serde_yaml_ng::Value::Sequence(values) => {
            for value in values {
                collect_scripts(value, scripts);
            }
        }
        _ => {}
    }
}

/// With fewer cases, the commands of the examples do what the page says.
#[test]
fn the_commands_of_the_examples_run() {
    require_qemu!();
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("bugs")).expect("a directory");
    sandbox.file("bugs/plain.json", support::case_json::plain().to_string());
    let directory = program().parent().expect("a directory").display().to_string();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap_or_default());

    for (file, count) in [("github-actions.yml", 3), ("gitlab-ci.yml", 1)] {
        let commands = commands_of(file);
        assert_eq!(commands.len(), count, "{file}: {commands:?}");
        for command in commands {
            let command = command
                .replace("00000 --seed", "000 --seed")
                .replace("--report report", &format!("--report {file}"));
            let mut shell = Command::new("sh");
            shell.args(["-ec", &command]).current_dir(sandbox.path()).env("PATH", &path);
            ProgramOutput::of(&mut shell).expect_code(0);
        }
        assert!(sandbox.path().join(file).join("index.html").exists());
    }
    let sarif = std::fs::read(sandbox.path().join("crosswalk.sarif")).expect("a file");
    serde_json::from_slice::<Value>(&sarif).expect("JSON");
    let junit = std::fs::read_to_string(sandbox.path().join("junit.xml")).expect("a file");
    Report::deserialize_from_str(&junit).expect("JUnit");
}
