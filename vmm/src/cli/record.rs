//! `crosswalk record`: what a machine does, for those who do not have it.

use super::failure::Failure;
use super::known::{known_findings, modes};
use super::machine::{MachineArguments, MachineKind};
use super::output::print;
use super::parse::parse_mode;
use crate::corpus::record::{RecordOptions, Recording, record};
use crate::corpus::write;
use crate::finding::Findings;
use crate::report::{self, corpus};
use crate::walker::WalkerSpec;
use indicatif::{ProgressBar, ProgressStyle};
use mmu_core::PagingMode;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecordArguments {
    /// The file to write: zstd, or plain text if its name ends in .jsonl
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The machine to run on
    #[arg(long, value_enum, default_value = "auto")]
    machine: MachineKind,
    /// Paging modes, separated by commas; all that the machine offers if not given
    #[arg(long, value_delimiter = ',', value_parser = parse_mode)]
    mode: Vec<PagingMode>,
    /// How many cases to try; those are recorded that show something new, in the simplest way
    #[arg(long, default_value = "200000", value_parser = clap::value_parser!(u64).range(1..))]
    cases: u64,
    /// Record every case that is tried
    #[arg(long)]
    all: bool,
    /// Repeat the recording that had this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: MachineArguments,
}

/// So many cases fit into memory when every one is kept.
const MAX_OF_ALL: u64 = 1_000_000;

pub(super) fn run(arguments: &RecordArguments) -> Result<ExitCode, Failure> {
    if arguments.all && arguments.cases > MAX_OF_ALL {
        let problem = format!("--all: expected --cases {MAX_OF_ALL} at most");
        return Err(Failure::Input(problem));
    }
    let opened = arguments.options.open(arguments.machine)?;
    let (mut machine, why) = (opened.machine, opened.why);
    let (known, forgives) = known_findings(None, WalkerSpec::Reference, machine.identity())?;
    let findings = Findings::new(WalkerSpec::Reference, known, forgives, machine.capabilities());
    let offered = modes(&arguments.mode, machine.as_ref())?;
    let offered = offered.iter().filter(|(_, offer)| offer.is_ok()).map(|(mode, _)| *mode);
    let order = RecordOptions {
        seed: arguments.seed.unwrap_or_else(rand::random),
        modes: offered.collect(),
        cases: arguments.cases,
        all: arguments.all,
    };
    if !arguments.json {
        let what = format!("random and single, seed {}", order.seed);
        print(&report::run::text::heading(machine.identity(), machine.capabilities(), &why, &what));
    }
    let bar = ProgressBar::new(order.cases);
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} tried  {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let recording = record(machine.as_mut(), &order, &findings, |tried, points| {
        bar.set_position(tried);
        bar.set_message(format!("{points} points shown"));
    })?;
    bar.finish_and_clear();
    let bytes = write(&arguments.out, &recording)?;
    print(&if arguments.json {
        corpus::recorded_document(machine.as_ref(), &recording, bytes)
    } else {
        corpus::recorded_text(&arguments.out, &recording, bytes)
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes a file, whole or not at all; returns its size in bytes.
fn write(out: &Path, Recording { source, cases, .. }: &Recording) -> Result<usize, Failure> {
    let is_plain = out.extension().is_some_and(|extension| extension == "jsonl");
    let content = if is_plain {
        write::section(source, cases).into_bytes()
    } else {
        write::compressed(source, cases)
    };
    let mut next = out.as_os_str().to_owned();
    next.push(".next");
    let next = PathBuf::from(next);
    std::fs::write(&next, &content).and_then(|()| std::fs::rename(&next, out)).map_err(
        |error| Failure::Input(format!("{}: cannot be written: {error}", out.display())),
    )?;
    Ok(content.len())
}
