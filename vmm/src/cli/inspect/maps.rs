//! `crosswalk maps`: everything that the tables of a memory image map.

use super::{
    ColourArguments, RepeatArguments, SourceArguments, check_width, exit_code, linear_address,
    of_output,
};
use crate::cli::failure::Failure;
use crate::cli::output::{check_replaceable, print, replace_file};
use crate::cli::stop_flag::stop_flag;
use crate::report::Coloured;
use crate::report::inspect::Inspected;
use crate::report::inspect::check;
use crate::report::inspect::maps::{self, MapsOptions, MapsShape};
use crate::report::inspect::page::MapsPage;
use crate::report::inspect::tree;
use crosswalk_inspect::monitor::{MonitorCheck, TlbLineError};
use crosswalk_inspect::{Limits, PageFilter, TableTree, TreeLimits};
use mmu_core::{PagingMode, VirtAddr};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

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
    /// Compare with what QEMU's monitor has printed, and say who is right about each difference
    #[arg(long, value_name = "info-tlb:FILE", conflicts_with_all = ["pages", "stats", "style", "filter", "range", "has", "json_lines", "tree", "html"])]
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

/// A file with what a monitor has printed.
#[derive(Clone, Debug)]
struct MonitorAnswer(PathBuf);

impl FromStr for MonitorAnswer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file = text.strip_prefix("info-tlb:").filter(|file| !file.is_empty());
        file.map(|file| Self(file.into())).ok_or("expected info-tlb:FILE")
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
    let inspected = arguments.source.open()?;
    let mode = inspected.derived.state.mode();
    if let Some(answer) = &arguments.check {
        return compare(&inspected, answer, arguments);
    }
    if arguments.tree {
        return show_tree(&inspected, arguments);
    }
    if let Some(path) = &arguments.html {
        return write_page(&inspected, path, arguments.repeats.limits());
    }

    let range = arguments
        .range
        .map_or((VirtAddr::new(0), VirtAddr::new(u64::MAX)), |range| (range.0, range.1));
    if arguments.range.is_some() {
        check_width(range.1, mode)?;
        check_canonical(range, mode)?;
    }
    let options = MapsOptions {
        shape: arguments.shape(),
        range,
        has: arguments.has,
        filter: arguments.filter.clone().unwrap_or_default(),
        limits: arguments.repeats.limits(),
    };

    let stop = stop_flag()?;
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let is_coloured = options.shape.is_for_people() && arguments.colour.is_on();
    let mut out = Coloured::new(out, is_coloured);
    let written = maps::write(&mut out, &inspected, &options, &stop);
    let is_complete = written.map_err(|error| of_output(&error))?;
    Ok(exit_code(false, is_complete))
}

/// Prints the tables as a tree.
fn show_tree(inspected: &Inspected, arguments: &MapsArguments) -> Result<ExitCode, Failure> {
    let tree =
        TableTree::new(&inspected.image, &inspected.mmu(), TreeLimits::default(), &*stop_flag()?);
    if arguments.json {
        print(&tree::json(inspected, &tree));
    } else {
        arguments.colour.print(&tree::text(inspected, &tree));
    }
    Ok(exit_code(false, tree.is_complete))
}

/// Writes the page for a browser.
fn write_page(inspected: &Inspected, path: &Path, limits: Limits) -> Result<ExitCode, Failure> {
    check_replaceable(path)?;
    let page = MapsPage::new(inspected, limits, &*stop_flag()?);

    replace_file(path, page.html())?;
    print(&page.summary(&path.display().to_string()));
    Ok(exit_code(false, page.is_complete()))
}

/// Compares the image with what a monitor has said.
fn compare(
    inspected: &Inspected,
    MonitorAnswer(path): &MonitorAnswer,
    arguments: &MapsArguments,
) -> Result<ExitCode, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::of_io(format!("{name}: cannot be read: {error}"), &error))?;
    let check = MonitorCheck::new(&text);
    let mut check =
        check.map_err(|number| Failure::Input(format!("{name}: line {number}: {TlbLineError}")))?;

    check::compare(inspected, &mut check, arguments.repeats.limits());
    print(&if arguments.json {
        check::json(inspected, &check)
    } else {
        check::text(inspected, &check)
    });
    Ok(exit_code(check.differences().next().is_some(), true))
}

impl MapsArguments {
    const fn shape(&self) -> MapsShape {
        match self.style {
            Some(MonitorStyle::QemuTlb) => MapsShape::QemuTlb,
            Some(MonitorStyle::QemuMem) => MapsShape::QemuMem,
            None if self.json => MapsShape::Json,
            None if self.json_lines => MapsShape::JsonLines,
            None if self.pages => MapsShape::Pages,
            None if self.stats => MapsShape::Stats,
            None => MapsShape::Ranges,
        }
    }
}

/// Checks that a range begins and ends at addresses that exist.
fn check_canonical((first, last): (VirtAddr, VirtAddr), mode: PagingMode) -> Result<(), Failure> {
    let bits = match mode {
        PagingMode::FourLevel => 48,
        PagingMode::FiveLevel => 57,
        _ => return Ok(()),
    };
    match [first, last].into_iter().find(|address| !address.is_canonical(bits)) {
        Some(address) => {
            Err(Failure::Input(format!("--range: {address} is not canonical in {mode} paging")))
        }
        None => Ok(()),
    }
}
