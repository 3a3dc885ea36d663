//! `crosswalk conformance`: which rules the walkers that people use get right.

mod nested;

use super::failure::Failure;
use super::jail::JailArguments;
use super::output::{check_replaceable, finish, replace_file};
use super::progress;
use crate::campaign::predictor::Predictor;
use crate::conformance::{Subject, Table, adapters, beside_this_program};
use crate::corpus::nested::AnyCorpusReader;
use crate::corpus::read::{CorpusItem, CorpusReader};
use crate::report::conformance;
use crate::report::document::VerdictWord;
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use mmu_core::Reference;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConformanceArguments {
    /// The corpus whose cases are asked [default: the corpus that comes with the program]
    #[arg(value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Table what recorded machines make of nested translation (NPT, EPT): without FILE those of the corpus that comes
    /// with the program
    #[arg(long)]
    nested: bool,
    /// Also ask this walker: cmd:COMMAND, a program that answers cases, or mutant:ID
    #[arg(long)]
    walker: Vec<Predictor>,
    /// The program of adapters [default: crosswalk-adapters in the directory of this program]
    #[arg(long, value_name = "PATH", conflicts_with = "no_adapters")]
    adapters: Option<PathBuf>,
    /// Ask no adapters, only the reference and the walkers given by --walker
    #[arg(long)]
    no_adapters: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Write the table into this file as a page of Markdown
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    jail: JailArguments,
}

/// The exit code is 0 when there is a table, whatever it shows.
pub(super) fn run(arguments: &ConformanceArguments) -> Result<ExitCode, Failure> {
    if let Some(page) = &arguments.page {
        check_replaceable(page)?;
    }
    let reader = match AnyCorpusReader::open(arguments.corpus.as_deref(), arguments.nested)? {
        AnyCorpusReader::Nested(reader) => return nested::run(arguments, reader),
        AnyCorpusReader::OneDimension(reader) => reader,
    };
    let subjects = subjects(arguments)?;
    let corpus = reader.name().to_owned();
    let table = fill_table(subjects, reader)?;

    if let Some(page) = &arguments.page {
        replace_file(page, conformance::page(&corpus, &table))?;
    }
    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || conformance::document(&corpus, &table),
        || conformance::text(&corpus, &table),
    ))
}

/// The walkers to ask: the reference, the adapters, and those given by `--walker`.
fn subjects(arguments: &ConformanceArguments) -> Result<Vec<Subject>, Failure> {
    let jail = arguments.jail.jail()?;
    let mut subjects = vec![Subject::built_in(WalkerSpec::Reference)];

    if !arguments.no_adapters {
        let program = arguments.adapters.clone().or_else(beside_this_program).ok_or_else(|| {
            let problem = "there is no crosswalk-adapters beside this program: install it with \
                           `cargo install --locked --path vmm/adapters`, name one with --adapters \
                           FILE, or use --no-adapters";
            Failure::Input(problem.into())
        })?;
        subjects.extend(adapters(&program, &jail)?);
    }

    for walker in &arguments.walker {
        subjects.push(match walker {
            Predictor::BuiltIn(walker) => Subject::built_in(*walker),
            Predictor::Program(command) => Subject::program(command, &jail),
            Predictor::Nested(mutant) => {
                let problem = format!("--walker: mutant:{} is one of nested paging", mutant.id);
                return Err(Failure::Input(problem));
            }
        });
    }

    Ok(subjects)
}

/// Asks all walkers about all cases of a corpus.
fn fill_table(subjects: Vec<Subject>, reader: CorpusReader) -> Result<Table, Failure> {
    let counter = progress::case_counter();
    let mut table = Table::new(subjects);

    for item in reader {
        if let CorpusItem::Case(recorded) = item? {
            let verdict = verdict::judge(&Reference, &recorded.case, &recorded.attempt);
            table.add(&recorded.case, matches!(verdict, Verdict::Agree { .. }));
            counter.inc(1);
        }
    }

    table.finish();
    counter.finish_and_clear();
    Ok(table)
}
