//! What was asked for and is missing: it is said first, and the exit code says it, too.

use crosswalk_test_support as support;
use support::{ProgramOutput, Sandbox, require_kvm, require_qemu, run_with_dev, skip};

fn run(sandbox: &Sandbox, arguments: &str) -> ProgramOutput {
    sandbox.run(&arguments.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn a_sum_without_all_shards_is_incomplete() {
    require_kvm!();
    let sandbox = Sandbox::new();
    for shard in [0, 3, 4] {
        let arguments = format!("check --machine kvm --seed 4 --cases 500 --shard {shard}/9");
        run(&sandbox, &format!("{arguments} --report p{shard}")).expect_code(0);
    }

    let text = run(&sandbox, "merge p0 p3 p4").expect_code(4).expect_80_columns();
    let missing = "6 shards of 9 are missing: 1, 2, 5 to 8.";
    let words = text.words_of_stdout();
    assert!(words.starts_with("INCOMPLETE ") && words.contains(missing), "{words}");
    assert!(text.stdout.lines().rev().take(3).any(|line| line.starts_with("INCOMPLETE  ")));
    run(&sandbox, "merge p0 p3 p4 --allow-incomplete").expect_code(0);
    assert_eq!(run(&sandbox, "merge p0 p3 p4 --json").expect_code(4).json()["complete"], false);

    // A shard by itself is what was asked for, and one alone is not the sum.
    run(&sandbox, "merge p0").expect_code(4);
}

#[test]
fn a_mode_that_was_named_and_is_not_there_is_missing() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let without = "check --machine qemu --qemu-cpu=-la57 --cases 500 --seed 1";
    let text = run(&sandbox, &format!("{without} --mode 4level,5level")).expect_code(4);
    assert!(text.words_of_stdout().contains("5level was not run ("), "{}", text.stdout);
    run(&sandbox, &format!("{without} --mode 4level,5level --allow-incomplete")).expect_code(0);

    // Nobody asked for it here.
    run(&sandbox, without).expect_code(0);
    // Nothing is left of what was asked for.
    run(&sandbox, &format!("{without} --mode 5level")).expect_code(3);
}

/// Cases come in the order of the modes: few of them do not get to the last.
#[test]
fn a_mode_that_was_named_and_had_no_case_is_missing() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let few = "check --machine qemu --seed 1 --cases 500";
    let text = run(&sandbox, &format!("{few} --mode 4level,5level")).expect_code(4);
    assert!(text.words_of_stdout().contains("5level had no case"), "{}", text.stdout);
    let text = run(&sandbox, few).expect_code(0).stdout;
    assert!(text.contains("\n5level had no case\n"), "{text}");
}

/// All cases fall to the first shard: the second one says that it had none, and is no failure.
#[test]
fn a_shard_to_which_nothing_falls_says_so() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let shard = "check --machine qemu --seed 1 --cases 500 --shard 1/2";
    let text = run(&sandbox, shard).expect_code(0).stdout;
    assert!(text.contains("NOTHING TO DO  No case of the run falls to this shard."), "{text}");
    assert_eq!(run(&sandbox, &format!("{shard} --json")).json()["verdict"], "done");
    let junit = run(&sandbox, &format!("{shard} --format junit")).expect_code(0).stdout;
    assert!(junit.contains("skipped=\"5\""), "{junit}");
}

/// A divergence is graver than what is missing.
#[test]
fn a_divergence_is_told_before_what_is_missing() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = "check --machine qemu --qemu-cpu=-la57 --cases 2000 --seed 1 --known none";
    let text = run(&sandbox, &format!("{arguments} --mode pae,5level")).expect_code(1).stdout;
    assert!(text.contains("DIVERGE  ") && text.contains("Not complete: 5level was not run"));
}

#[test]
fn without_a_machine_the_corpus_is_said_first_and_can_be_forbidden() {
    let Some(output) = run_with_dev("true", "--cases 100") else {
        return skip("unshare", "another /dev cannot be mounted here");
    };
    let output = output.expect_code(0);
    assert!(output.stdout.starts_with("NO MACHINE  "), "{}", output.stdout);

    let forbidden = run_with_dev("true", "check --require-machine").expect("as before");
    let line = forbidden.expect_code(3);
    assert!(line.only_line_of_stderr().contains("--require-machine"));
    let asked = support::run(&["check", "--machine", "corpus", "--require-machine"]);
    asked.expect_code(2);
}

/// A mutant that no case catches is no divergence, whatever the machine does.
#[test]
fn a_mutant_ends_with_whether_it_is_caught() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let run_of = |mutant: &str| {
        run(
            &sandbox,
            &format!(
                "check --machine qemu --mode pae --cases 2000 --seed 1 --walker mutant:{mutant} -q"
            ),
        )
    };
    let caught = run_of("M24").expect_code(1);
    assert!(caught.words_of_stdout().contains("DIVERGE mutant:M24 is caught"));
    // LA57 is of five levels.
    let missed = run_of("B31").expect_code(0);
    assert!(missed.words_of_stdout().contains("AGREE mutant:B31 is not caught"));
}

#[test]
fn a_quiet_run_prints_its_verdict_and_what_speaks_against_it() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = "check --machine qemu --cases 2000 --seed 1";
    let quiet = run(&sandbox, &format!("{arguments} -q")).expect_code(0).stdout;
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    let normal = run(&sandbox, arguments).expect_code(0).stdout;
    let verbose = run(&sandbox, &format!("{arguments} -v")).expect_code(0).stdout;
    assert!(verbose.contains("decided by: tcg ") && !normal.contains("decided by: tcg "));
    assert!(verbose.lines().count() > normal.lines().count());
    let against = run(&sandbox, &format!("{arguments} -q --known none")).expect_code(1).stdout;
    assert!(against.contains("T1 ") && !against.contains(" mode "), "{against}");
}

/// Without a terminal there is no colour, unless it is asked for; `NO_COLOR` does not matter then.
#[test]
fn verdicts_are_coloured_on_demand() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = "check --machine qemu --cases 500 --seed 1";
    assert!(!run(&sandbox, arguments).stdout.contains('\u{1b}'));
    let coloured = run(&sandbox, &format!("{arguments} --color always")).expect_code(0).stdout;
    assert!(coloured.contains("\u{1b}[1m\u{1b}[32mAGREE\u{1b}[0m  "), "{coloured}");
    assert!(!run(&sandbox, &format!("{arguments} --color never")).stdout.contains('\u{1b}'));
}

#[test]
fn the_first_failure_ends_a_run() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = "check --machine qemu --seed 1 --known none --for 1h --fail-fast";
    let output = run(&sandbox, arguments).expect_code(1);
    assert!(output.stdout.contains("the run was stopped before its end"), "{}", output.stdout);
}
