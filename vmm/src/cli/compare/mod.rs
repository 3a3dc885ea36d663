//! `crosswalk compare`: machines beside the manuals and beside each other, from what was recorded; or two reports; or
//! machines that run the same nested cases.

mod nested;
mod reports;

use nested::NamedMachine;

use crate::campaign::known::KnownSource;
use crate::cli::failure::Failure;
use crate::cli::jail::JailArguments;
use crate::cli::number::{parse_count, parse_seed};
use crate::cli::output::{check_replaceable, finish, replace_file};
use crate::cli::progress;
use crate::conformance::machines::{MachineTable, TableBuilder};
use crate::corpus::read::CorpusReader;
use crate::report::compare;
use crate::report::document::VerdictWord;
use mmu_core::PagingMode;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "`record --cases-of FILE` runs the cases of one machine's corpus on another machine."
)]
pub(in crate::cli) struct CompareArguments {
    /// Corpora that `record` or `judge` wrote, of at least two machines in all; - is standard input; or two reports
    /// of runs: directories given to --report, or their report.json [default: the corpus that comes with the program].
    /// With --nested: nested cases, as JSON or in files
    #[arg(value_name = "FILE")]
    corpora: Vec<PathBuf>,
    /// Paging modes, separated by commas [default: all that were recorded]
    #[arg(long, value_delimiter = ',')]
    mode: Vec<PagingMode>,
    /// A file of known findings, or none to forgive nothing [default: the file for each machine]
    #[arg(long, value_name = "FILE|none")]
    known: Option<KnownSource>,
    /// Write a table of machines by rule into this file as a page of Markdown
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Run the same cases of nested paging on several machines of this host
    #[arg(long)]
    nested: bool,
    /// With --nested, a machine: kvm, qemu, qemu:PROGRAM, bochs or bochs:MODEL; at least two
    #[arg(long, value_name = "MACHINE", requires = "nested")]
    machine: Vec<NamedMachine>,
    /// With --nested, the seed of random cases
    #[arg(long, requires = "nested", value_parser = parse_seed)]
    seed: Option<u64>,
    /// With --nested, the number of random cases [default: 2000]
    #[arg(long, value_name = "N", requires = "nested", value_parser = parse_count)]
    cases: Option<u64>,
    #[command(flatten)]
    jail: JailArguments,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Of two reports the exit code is 1 if their results differ, else 0. Of corpora it is 1 if a machine differs from the manuals in a way that is not known, 3 if no case was
/// run by two machines, else 0.
pub(in crate::cli) fn run(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    if arguments.nested {
        return nested::run(arguments);
    }
    if let Some(reports) = reports::named_by(&arguments.corpora)? {
        return reports::run(reports, arguments);
    }
    if let Some(page) = &arguments.page {
        check_replaceable(page)?;
    }
    let table = read_table(arguments)?;
    if table.cases == 0 {
        return Err(Failure::Input("no case of these modes was recorded".into()));
    }

    if let Some(page) = &arguments.page {
        replace_file(page, compare::page(&table))?;
    }
    let is_unknown = table.machines.iter().any(|machine| machine.unknown > 0);
    let verdict = match (table.shared, is_unknown) {
        (0, _) => VerdictWord::NothingCompared,
        (_, true) => VerdictWord::Diverge,
        (_, false) => VerdictWord::Agree,
    };
    Ok(finish(
        arguments.json,
        verdict.into(),
        || compare::document(&table),
        || compare::text(&table),
    ))
}

impl CompareArguments {
    /// The first option that is about corpora, if there is one.
    fn first_option_of_corpora(&self) -> Option<&'static str> {
        [
            (!self.mode.is_empty(), "--mode"),
            (self.known.is_some(), "--known"),
            (self.page.is_some(), "--page"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }
}

fn read_table(arguments: &CompareArguments) -> Result<MachineTable, Failure> {
    let known = arguments.known.clone().unwrap_or_default();
    let mut builder = TableBuilder::new(&known, &arguments.mode);
    let counter = progress::case_counter();

    let readers = match arguments.corpora.as_slice() {
        [] => vec![CorpusReader::bundled()?],
        // All are opened before one is read, so that a missing one is told at once.
        paths => paths.iter().map(|path| CorpusReader::open(path)).collect::<Result<_, _>>()?,
    };
    for reader in readers {
        builder.read(reader, || {})?;
    }
    let table = builder.finish(|| counter.inc(1));

    counter.finish_and_clear();
    Ok(table)
}
