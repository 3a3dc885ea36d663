//! `crosswalk litmus`: what several processors may show that edit tables and use them.

use super::failure::Failure;
use super::output::{check_replaceable, finish, print_beside_verdict, replace_file};
use crate::file;
use crate::report::document::VerdictWord;
use crate::report::litmus::{self, JudgedTest};
use crosswalk_litmus::diagram::Diagram;
use crosswalk_litmus::{Judgement, Litmus, catalogue};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest file of a test that is read. The text form has a lower limit of its own.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LitmusArguments {
    #[command(subcommand)]
    explain: Option<LitmusCommand>,
    /// The name of a test, `all`, or a file with a test [default: a list of all]
    #[arg(value_name = "NAME|all|FILE")]
    test: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum LitmusCommand {
    /// Draw a shortest execution that leads to an outcome
    Explain(ExplainLitmusArguments),
}

#[derive(Clone, Debug, clap::Args)]
struct ExplainLitmusArguments {
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

pub(super) fn run(arguments: &LitmusArguments) -> Result<ExitCode, Failure> {
    if let Some(LitmusCommand::Explain(explained)) = &arguments.explain {
        return explain(explained);
    }

    let tests = match arguments.test.as_deref() {
        None | Some("all") => catalogue::all().collect::<Result<_, _>>().map_err(in_catalogue)?,
        Some(name) => vec![read(name)?],
    };
    let is_list = arguments.test.is_none();
    let judged = tests.into_iter().map(judge).collect::<Result<Vec<_>, _>>()?;

    let is_refuted = judged.iter().any(|judged| !judged.refuted_claims().is_empty());
    let verdict = if is_refuted { VerdictWord::Failed } else { VerdictWord::Done };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || litmus::document(&judged),
        || match &judged[..] {
            _ if is_list => litmus::list(&judged),
            [judged] => litmus::test(judged),
            _ => litmus::table(&judged),
        },
    ))
}

/// Draws executions.
fn explain(arguments: &ExplainLitmusArguments) -> Result<ExitCode, Failure> {
    if let Some(path) = &arguments.svg {
        check_replaceable(path)?;
    }
    let JudgedTest { test, judgement } = judge(read(&arguments.test)?)?;
    let outcomes: Vec<&str> = match arguments.outcome.as_deref() {
        None => judgement.outcomes.keys().map(String::as_str).collect(),
        Some(outcome) if judgement.outcomes.contains_key(outcome) => vec![outcome],
        Some(outcome) => return Err(not_allowed(&test, &judgement, outcome)),
    };

    for outcome in outcomes {
        let judged = &judgement.outcomes[outcome];
        let diagram = Diagram::new(&test, &judged.execution);
        match &arguments.svg {
            Some(path) => replace_file(path, diagram.svg(&format!("{}: {outcome}", test.name)))?,
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

/// The test of a name, or in a file.
fn read(argument: &str) -> Result<Litmus, Failure> {
    if let Some(test) = catalogue::named(argument) {
        return test.map_err(in_catalogue);
    }

    let path = Path::new(argument);
    let name = file::input_name(path);
    let text = file::read_input(path, MAX_BYTES).map_err(|error| {
        let hint = "it is no test either: `crosswalk litmus` lists them";
        Failure::Input(format!("{name}: cannot be read: {error}; {hint}"))
    })?;
    text.parse().map_err(|error| Failure::Input(format!("{name}: {error}")))
}

fn judge(test: Litmus) -> Result<JudgedTest, Failure> {
    match test.judge() {
        Ok(judgement) => Ok(JudgedTest { test, judgement }),
        Err(error) => Err(Failure::Input(format!("{}: {error}", test.name))),
    }
}

fn in_catalogue(error: crosswalk_litmus::LitmusTextError) -> Failure {
    Failure::machine(format!("the catalogue of litmus tests: {error}"))
}
