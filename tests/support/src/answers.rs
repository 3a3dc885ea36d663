//! The cases in `tests/cases`, each with its right answer: what the reference says of them, and what a
//! machine does where it can run them.

use crate::program::{repository, run};

/// A case, a processor, and all that may come of it.
pub struct RightAnswer {
    /// The name of its file, without the directory and the extension.
    pub file: &'static str,
    /// A generation, or "" for the processor of the case, which by default has CET and an unknown
    /// vendor.
    pub profile: &'static str,
    /// The outcomes as `explain` prints them, in its order.
    pub outcomes: &'static [&'static str],
}

/// An answer as a row of a table.
pub const fn answer(
    file: &'static str,
    profile: &'static str,
    outcomes: &'static [&'static str],
) -> RightAnswer {
    RightAnswer { file, profile, outcomes }
}

/// A case that some machine cannot run, and the reason that the program gives.
pub enum Refusal {
    /// No machine can run it.
    Everywhere(&'static str, &'static str),
    /// This machine (`kvm` or `qemu`) cannot run it.
    On(&'static str, &'static str, &'static str),
    /// A KVM may lack what it takes.
    OnSomeKvm(&'static str, &'static str),
}

/// What a machine has to do with a case.
enum Duty {
    Agree,
    Refuse(&'static str),
    AgreeOrRefuse(&'static str),
}

/// The path of a case.
pub fn case_path(file: &str) -> String {
    repository().join(format!("tests/cases/{file}.json")).display().to_string()
}

/// Asserts that the reference gives every answer, and nothing else.
#[track_caller]
pub fn assert_reference(answers: &[RightAnswer]) {
    for RightAnswer { file, profile, outcomes: expected } in answers {
        let path = case_path(file);
        let mut arguments = vec!["explain", &path];
        if !profile.is_empty() {
            arguments.extend(["--profile", profile]);
        }

        let drawing = run(&arguments).expect_code(0).stdout;
        assert_eq!(outcomes(&drawing), *expected, "{file} {profile}\n{drawing}");
    }
}

/// The outcomes in what `explain` draws, each without the choice that leads to it.
fn outcomes(drawing: &str) -> Vec<&str> {
    drawing
        .lines()
        .filter_map(|line| line.strip_prefix("outcome   ").or(line.strip_prefix("or        ")))
        .map(|outcome| outcome.split(" (if ").next().unwrap_or(outcome))
        .collect()
}

/// Asserts that a machine (`kvm` or `qemu`) agrees with every answer, or refuses the case for the reason
/// that is listed.
#[track_caller]
pub fn assert_machine(machine: &str, answers: &[RightAnswer], refusals: &[Refusal]) {
    for RightAnswer { file, .. } in answers {
        let drawing = run(&["explain", "--machine", machine, &case_path(file)]);
        let words = drawing.words_of_stdout();
        let agrees = drawing.code == Some(0) && words.ends_with("verdict agree");
        let is_refused = drawing.code == Some(4) && words.ends_with("verdict unsupported");
        let refuses = |why: &str| words.contains(why) && is_refused;

        let is_right = match duty(machine, file, refusals) {
            Duty::Agree => agrees,
            Duty::Refuse(why) => refuses(why),
            Duty::AgreeOrRefuse(why) => agrees || refuses(why),
        };
        assert!(is_right, "{file} on {machine}\n{words}");
    }
}

fn duty(machine: &str, file: &str, refusals: &[Refusal]) -> Duty {
    let of_refusal = |refusal: &Refusal| match *refusal {
        Refusal::Everywhere(refused, why) if refused == file => Some(Duty::Refuse(why)),
        Refusal::On(on, refused, why) if refused == file && on == machine => {
            Some(Duty::Refuse(why))
        }
        Refusal::OnSomeKvm(refused, why) if refused == file && machine == "kvm" => {
            Some(Duty::AgreeOrRefuse(why))
        }
        _ => None,
    };
    refusals.iter().find_map(of_refusal).unwrap_or(Duty::Agree)
}
