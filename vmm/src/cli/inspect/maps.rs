//! `crosswalk maps`: everything that the tables of a memory image or a live guest map.

use super::{RepeatArguments, Report, SourceArguments, check_width, linear_address, of_output};
use crate::cli::colour::ColourArguments;
use crate::cli::failure::Failure;
use crate::cli::invocation::invocation;
use crate::cli::output::{check_replaceable, print_beside_verdict, replace_file};
use crate::file;
use crate::report::Coloured;
use crate::report::document::{Ending, VerdictWord};
use crate::report::inspect::Inspected;
use crate::report::inspect::check;
use crate::report::inspect::maps::{self, MapsOptions, MapsShape};
use crate::report::inspect::page::MapsPage;
use crate::report::inspect::tree;
use crosswalk_inspect::monitor::{MonitorCheck, TlbLineError};
use crosswalk_inspect::{
    Limits, LiveGuest, MonitorAddress, PageFilter, RegisterOrigin, RegisterOrigins, ScanTotals,
    Source, TableTree, TreeLimits,
};
use mmu_core::{PagingMode, VirtAddr};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

/// The longest answer of a monitor that is read: more than the lines of [`MAX_LISTED`] pages.
const MAX_ANSWER: u64 = 256 << 20;

/// The most pages that a monitor is asked to list: those of 16 GiB.
const MAX_LISTED: u64 = 1 << 22;

#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(in crate::cli) struct MapsArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Show every page, not ranges of them
    #[arg(long)]
    pages: bool,
    /// Show counts only
    #[arg(long, conflicts_with = "pages")]
    stats: bool,
    /// Show the tables as a tree, each once
    #[arg(long, conflicts_with_all = ["pages", "stats", "style", "filter", "range", "has", "json_lines"])]
    tree: bool,
    /// Write a page for a browser: a picture of the address space, the tables, and what audit finds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pages", "stats", "style", "filter", "range", "has", "json", "json_lines", "tree"])]
    html: Option<PathBuf>,
    /// Print what QEMU's monitor prints
    #[arg(long, value_enum, conflicts_with_all = ["pages", "stats"])]
    style: Option<MonitorStyle>,
    /// Only pages of which all of these are true: w, x, u, s, nx, a, d, g, huge, each with ! for its
    /// opposite
    #[arg(long, value_name = "LIST")]
    filter: Option<PageFilter>,
    /// Only these addresses
    #[arg(long, value_name = "FIRST-LAST")]
    range: Option<AddressRange>,
    /// Only the range of pages that has this address
    #[arg(long, value_name = "ADDRESS", value_parser = linear_address)]
    has: Option<VirtAddr>,
    /// Compare with what QEMU's monitor has printed, or the one of a live guest prints now, and say who
    /// is right about each difference
    #[arg(long, value_name = "info-tlb:FILE|qmp:SOCKET", conflicts_with_all = ["pages", "stats", "style", "filter", "range", "has", "json_lines", "tree", "html"])]
    check: Option<MonitorAnswer>,
    #[command(flatten)]
    repeats: RepeatArguments,
    #[command(flatten)]
    colour: ColourArguments,
    /// Print one JSON document instead of text
    #[arg(long, conflicts_with_all = ["pages", "stats", "style"])]
    json: bool,
    /// Print a line of JSON for each page
    #[arg(long, conflicts_with_all = ["pages", "stats", "style", "json", "has"])]
    json_lines: bool,
}

/// The command of QEMU's monitor whose output is printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MonitorStyle {
    /// info tlb
    QemuTlb,
    /// info mem
    QemuMem,
}

/// What a monitor says.
#[derive(Clone, Debug)]
enum MonitorAnswer {
    /// A file with what it has printed.
    File(PathBuf),
    /// A live guest, whose monitor is asked.
    Live(MonitorAddress),
}

impl FromStr for MonitorAnswer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file = text.strip_prefix("info-tlb:").filter(|file| !file.is_empty());
        let answer = match file {
            Some(file) => Some(Self::File(file.into())),
            None => text.parse().ok().map(Self::Live),
        };
        answer.ok_or("expected info-tlb:FILE, qmp:SOCKET or qmp:HOST:PORT")
    }
}

/// Addresses from one to another, both included.
#[derive(Clone, Copy, Debug)]
struct AddressRange(VirtAddr, VirtAddr);

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected the first and the last address, such as 0x1000-0x1fff";

        let (first, last) = text.split_once('-').ok_or(EXPECTED)?;
        let (first, last) = (linear_address(first)?, linear_address(last)?);
        if first > last { Err(EXPECTED) } else { Ok(Self(first, last)) }
    }
}

pub(in crate::cli) fn run(arguments: &MapsArguments) -> Result<ExitCode, Failure> {
    match arguments {
        MapsArguments { check: Some(answer), .. } => check_monitor(arguments, answer),
        MapsArguments { tree: true, .. } => show_tree(arguments),
        MapsArguments { html: Some(path), .. } => write_page(arguments, path),
        _ => show(arguments),
    }
}

/// Shows the mappings. Those of an image are printed while they are found; those of a live guest that waits are
/// kept in a file until it runs again.
fn show(arguments: &MapsArguments) -> Result<ExitCode, Failure> {
    if !arguments.source.is_waiting() {
        return arguments.source.inspect_tables(|inspected, stop| {
            let written = arguments.write(io::stdout().lock(), inspected, stop)?;
            let ending = written.map_err(|error| of_output(&error))?;
            Ok(ending.exit_code())
        });
    }

    let of_file = |error| Failure::machine(format!("a temporary file cannot be written: {error}"));
    let mut kept = tempfile::tempfile().map_err(of_file)?;
    let code = arguments.source.inspect_tables(|inspected, stop| {
        let written = arguments.write(&kept, inspected, stop)?;
        Ok(written.map_err(of_file)?.exit_code())
    })?;

    kept.rewind().map_err(of_file)?;
    io::copy(&mut kept, &mut io::stdout().lock()).map_err(|error| of_output(&error))?;
    Ok(code)
}

/// Prints the tables as a tree.
fn show_tree(arguments: &MapsArguments) -> Result<ExitCode, Failure> {
    let report = arguments.source.inspect_tables(|inspected, stop| {
        let memory = inspected.source.memory();
        let tree = TableTree::new(memory, &inspected.mmu(), TreeLimits::default(), stop);
        Ok(Report::new(
            arguments.json,
            Ending::of_search(tree.is_complete, VerdictWord::Done),
            || tree::document(inspected, &tree),
            || tree::text(inspected, &tree),
        ))
    })?;
    Ok(report.print(arguments.colour))
}

/// Writes the page for a browser.
fn write_page(arguments: &MapsArguments, path: &Path) -> Result<ExitCode, Failure> {
    check_replaceable(path)?;
    if arguments.source.is_file(path) {
        let problem = format!("--html: {} is the image that is read", path.display());
        return Err(Failure::Input(problem));
    }
    let limits = arguments.repeats.limits();

    let (page, summary, ending) = arguments.source.inspect_tables(|inspected, stop| {
        let page = MapsPage::new(inspected, limits, stop);
        let summary = page.summary(&path.display().to_string());
        let ending = Ending::of_search(page.is_complete(), VerdictWord::Done);
        Ok((page.html(), summary, ending))
    })?;
    replace_file(path, page)?;
    print_beside_verdict(&summary);
    Ok(ending.exit_code())
}

/// Compares the tables with what a monitor says.
fn check_monitor(arguments: &MapsArguments, answer: &MonitorAnswer) -> Result<ExitCode, Failure> {
    let limits = arguments.repeats.limits();
    let asks_guest = matches!(answer, MonitorAnswer::Live(_));

    let report = arguments.source.inspect_beside(asks_guest, |inspected, stop| {
        let (name, text) = monitor_text(inspected, answer, limits)?;
        let check = MonitorCheck::new(&text);
        let mut check = check
            .map_err(|number| Failure::Input(format!("{name}: line {number}: {TlbLineError}")))?;

        let is_complete = check::compare(inspected, &mut check, limits, stop);
        let differs = check.differences().next().is_some();
        let verdict = if differs { VerdictWord::Differ } else { VerdictWord::Same };
        Ok(Report::new(
            arguments.json,
            Ending::of_search(is_complete, verdict),
            || check::document(inspected, &check, is_complete),
            || check::text(inspected, &check, is_complete),
        ))
    })?;
    print_beside_verdict(&report.text);
    Ok(report.ending.exit_code())
}

/// What the monitor says, and where it is from.
fn monitor_text(
    inspected: &Inspected,
    answer: &MonitorAnswer,
    limits: Limits,
) -> Result<(String, String), Failure> {
    let address = match answer {
        MonitorAnswer::File(path) => {
            let name = file::input_name(path);
            let text = file::read_input(path, MAX_ANSWER).map_err(|error| {
                Failure::of_io(format!("{name}: cannot be read: {error}"), &error)
            })?;
            return Ok((name, text));
        }
        MonitorAnswer::Live(address) => address,
    };

    let name = format!("{address}: info tlb");
    check_listable(inspected, &name, limits)?;
    let text = match &*inspected.source {
        // A monitor serves one program at a time.
        Source::Live(guest) if inspected.name == address.to_string() => {
            if inspected.derived.origins != RegisterOrigins::all(RegisterOrigin::Monitor) {
                let problem =
                    "the monitor takes the CPU's own registers: leave out --cr3 and the like";
                return Err(Failure::Input(format!("{name}: {problem}")));
            }
            guest.info_tlb(inspected.cpu)?
        }
        _ => {
            let guest = LiveGuest::connect(address)?;
            let text = guest.info_tlb(inspected.cpu);
            guest.resume()?;
            text?
        }
    };
    Ok((name, text))
}

/// Checks that the monitor can list all pages in bounded time. It does not know when a table repeats.
fn check_listable(inspected: &Inspected, name: &str, limits: Limits) -> Result<(), Failure> {
    let mut totals = ScanTotals::default();
    for found in inspected.source.scan(&inspected.mmu(), limits) {
        totals.add(&found);
        if totals.repeated > 0 || totals.pages() > MAX_LISTED {
            return Err(Failure::Input(format!(
                "{name}: QEMU would list more than four million pages, or tables that point to themselves, and do \
                 nothing else meanwhile"
            )));
        }
    }
    Ok(())
}

impl MapsArguments {
    /// Writes what is shown. Returns how the command ends.
    fn write(
        &self,
        out: impl Write,
        inspected: &Inspected,
        stop: &AtomicBool,
    ) -> Result<io::Result<Ending>, Failure> {
        let options = self.options(inspected)?;
        let is_coloured = options.shape.is_for_people() && self.colour.is_on();
        let mut out = Coloured::new(BufWriter::with_capacity(1 << 16, out), is_coloured);
        Ok(maps::write(&mut out, inspected, &options, stop))
    }

    /// What is shown.
    fn options(&self, inspected: &Inspected) -> Result<MapsOptions, Failure> {
        let mode = inspected.derived.state.mode();
        let all = (VirtAddr::new(0), VirtAddr::new(u64::MAX));
        let range = self.range.map_or(all, |range| (range.0, range.1));
        if self.range.is_some() {
            check_width(range.1, mode)?;
            check_canonical("--range", [range.0, range.1], mode)?;
        }
        if let Some(address) = self.has {
            check_width(address, mode)?;
            check_canonical("--has", [address], mode)?;
            if address < range.0 || range.1 < address {
                let problem = format!("--has: {address} is not one of the addresses of --range");
                return Err(Failure::Input(problem));
            }
        }
        Ok(MapsOptions {
            shape: self.shape(),
            range,
            has: self.has,
            filter: self.filter.clone().unwrap_or_default(),
            limits: self.repeats.limits(),
        })
    }

    fn shape(&self) -> MapsShape {
        match self.style {
            Some(MonitorStyle::QemuTlb) => MapsShape::QemuTlb,
            Some(MonitorStyle::QemuMem) => MapsShape::QemuMem,
            None if self.json => MapsShape::Json(invocation()),
            None if self.json_lines => MapsShape::JsonLines,
            None if self.pages => MapsShape::Pages,
            None if self.stats => MapsShape::Stats,
            None => MapsShape::Ranges,
        }
    }
}

/// Checks that the addresses of an option exist.
fn check_canonical<const N: usize>(
    option: &str,
    addresses: [VirtAddr; N],
    mode: PagingMode,
) -> Result<(), Failure> {
    let bits = match mode {
        PagingMode::FourLevel => 48,
        PagingMode::FiveLevel => 57,
        _ => return Ok(()),
    };
    match addresses.into_iter().find(|address| !address.is_canonical(bits)) {
        Some(address) => {
            Err(Failure::Input(format!("{option}: {address} is not canonical in {mode} paging")))
        }
        None => Ok(()),
    }
}
