//! `crosswalk litmus explain`: how an outcome comes about.

use super::{judge, read};
use crate::cli::failure::Failure;
use crate::cli::output::{check_replaceable, print_beside_verdict, replace_file};
use crate::report::litmus::{self, JudgedTest};
use crate::report::printable;
use crosswalk_litmus::diagram::Diagram;
use crosswalk_litmus::{Judgement, Litmus};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainLitmusArguments {
    /// The name of a test, or a file with a test
    #[arg(value_name = "NAME|FILE")]
    test: String,
    /// The outcome, as `crosswalk litmus NAME` prints it [default: each]
    #[arg(value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Write the drawing as SVG to this file; needs an outcome
    #[arg(long, value_name = "FILE", requires = "outcome")]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: &ExplainLitmusArguments) -> Result<ExitCode, Failure> {
    if let Some(path) = &arguments.svg {
        check_replaceable(path)?;
    }
    let JudgedTest { test, judgement, .. } = judge(read(&arguments.test)?)?;
    let outcomes: Vec<&str> = match arguments.outcome.as_deref() {
        None => judgement.outcomes.keys().map(String::as_str).collect(),
        Some(outcome) if judgement.outcomes.contains_key(outcome) => vec![outcome],
        Some(outcome) => return Err(not_allowed(&test, &judgement, outcome)),
    };

    for outcome in outcomes {
        let judged = &judgement.outcomes[outcome];
        let diagram = Diagram::new(&test, &judged.execution);
        match &arguments.svg {
            Some(path) => {
                let svg = diagram.svg(&format!("{}: {outcome}", test.name));
                replace_file(path, printable(&svg).as_bytes())?;
            }
            None => print_beside_verdict(&litmus::execution(&test, outcome, judged, &diagram)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn not_allowed(test: &Litmus, judgement: &Judgement, outcome: &str) -> Failure {
    let allowed: Vec<_> = judgement.outcomes.keys().map(|outcome| format!("{outcome:?}")).collect();
    Failure::Input(format!(
        "{}: no execution leads to {outcome:?}; what is allowed: {}",
        test.name,
        allowed.join(", ")
    ))
}
