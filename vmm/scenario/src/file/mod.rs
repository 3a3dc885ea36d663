//! Scenarios in files: processes, what they do, and what is claimed of them, as TOML. The guide has the format.
//!
//! - `table` reads TOML with the place of everything; `error` says what is wrong, and where;
//! - `words`, `names` and `expression`: what things are called, and what claims compare;
//! - `region`, `programs`, `step`: the parts of a scenario;
//! - `play` performs them.
//!
//! Whatever a file says, reading and running it takes bounded time and memory, and what it says is checked before
//! the first step.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod error;
mod expression;
mod names;
mod play;
mod programs;
mod region;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use error::ScenarioFileError;
pub(crate) use play::play;

use crate::driver::tables_of_a_process;
use error::FileError;
use mmu_core::PagingMode;
use mmu_core::space::PAGE_BYTES;
use names::Names;
use region::check_touched;
use step::Step;
use table::{Fields, Value, list, number, text, unexpected};
use toml::de::{DeTable, DeValue};

/// The maximum size of a file in bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// The maximum number of steps.
const MAX_STEPS: usize = 400;
/// The maximum number of pages of a region.
const MAX_REGION_PAGES: u64 = 128;
/// The maximum number of accesses that one step makes, so that the events of all of them have room in the guest.
const MAX_ACCESSES: usize = 400;
/// The maximum number of accesses and of reclaimed frames of all steps together, which bounds the time of a run.
const MAX_WORK: usize = 10_000;
/// The maximum number of characters of a sentence.
const MAX_SENTENCE: usize = 200;
/// The end of the addresses that a process may have.
const END_OF_PLACES: u64 = 1 << 32;
/// The number of frames that the guest has.
const MAX_FRAMES: u64 = crosswalk_guest::system::layout::MAX_FRAMES as u64;

/// A scenario that was read from a file.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioFile {
    /// The name.
    pub(crate) name: String,
    /// What it shows, as a sentence without a full stop.
    pub(crate) shows: String,
    frames: FrameCount,
    steps: Vec<Step>,
    /// The number of variables that steps leave values in.
    variables: usize,
}

/// The number of frames.
#[derive(Clone, Copy, Debug)]
enum FrameCount {
    /// As many for pages, and those that the tables of so many processes take.
    ForPages { pages: u64, processes: u64 },
    /// These in all.
    All(u64),
}

impl ScenarioFile {
    /// The scenario in a text; errors call it `name`.
    pub(crate) fn read(name: &str, text: &str) -> Result<Self, ScenarioFileError> {
        if text.len() > MAX_BYTES {
            let problem = format!("expected at most {MAX_BYTES} bytes, found {}", text.len());
            return Err(FileError::new(0..0, problem).within(name, text));
        }

        let parsed = DeTable::parse(text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            FileError::new(place, error.message()).within(name, text)
        })?;
        let fields = Fields::new("a scenario", parsed.span(), parsed.get_ref());
        Self::from_fields(fields, text).map_err(|error| error.within(name, text))
    }

    fn from_fields(fields: Fields<'_>, source: &str) -> Result<Self, FileError> {
        let name = fields.need("name")?;
        let title = text(name, 40)?;
        let is_part =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if !title.chars().all(is_part) {
            return Err(FileError::new(
                name.span(),
                "expected a name of small letters, digits and hyphens",
            ));
        }

        let shows = text(fields.need("shows")?, MAX_SENTENCE)?;
        let frames = FrameCount::read(&fields)?;
        let mut names = Names::default();
        if let Some(places) = fields.get("places") {
            read_places(places, &mut names)?;
        }

        let value = fields.need("step")?;
        let list = list(value)?;
        if list.is_empty() || list.len() > MAX_STEPS {
            return Err(FileError::new(
                value.span(),
                format!("expected 1 to {MAX_STEPS} steps, found {}", list.len()),
            ));
        }
        let steps = list.iter().map(|value| Step::read(value, source, &mut names));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let work = steps.iter().map(Step::work).fold(0, usize::saturating_add);
        if work > MAX_WORK {
            let problem = format!(
                "expected at most {MAX_WORK} accesses and reclaimed frames in all, found {work}"
            );
            return Err(FileError::new(value.span(), problem));
        }
        if !steps.iter().any(Step::is_claim) {
            return Err(FileError::new(
                value.span(),
                "expected a step with `claim`: a scenario claims something",
            ));
        }

        fields.end()?;
        Ok(Self { name: title, shows, frames, steps, variables: names.variables() })
    }

    /// The number of frames of the system in a mode.
    pub(crate) fn frames(&self, mode: PagingMode) -> usize {
        let all = match self.frames {
            FrameCount::All(all) => all,
            FrameCount::ForPages { pages, processes } => {
                let tables = tables_of_a_process(mode) as u64;
                pages.saturating_add(processes.saturating_mul(tables))
            }
        };
        all.min(MAX_FRAMES) as usize
    }
}

impl FrameCount {
    fn read(fields: &Fields<'_>) -> Result<Self, FileError> {
        if let Some(value) = fields.get("frames") {
            return Ok(Self::All(number(value, 8..MAX_FRAMES + 1)?));
        }
        let missing = "a scenario needs `frames`, or `pages` and `processes`";
        let need = |key| fields.get(key).ok_or_else(|| FileError::new(fields.place(), missing));
        let pages = number(need("pages")?, 1..129)?;
        let processes = number(need("processes")?, 1..9)?;
        Ok(Self::ForPages { pages, processes })
    }
}

/// The addresses that have names.
fn read_places(value: &Value<'_>, names: &mut Names) -> Result<(), FileError> {
    let fields = Fields::of("the places", value)?;
    for (name, value) in fields.entries() {
        let address = number(value, 0..END_OF_PLACES)?;
        names.add_place(name, address).map_err(|problem| FileError::new(value.span(), problem))?;
    }
    Ok(())
}

/// The address of 8 bytes of one page.
fn word_address(value: &Value<'_>, names: &Names) -> Result<u64, FileError> {
    let address = address(value, names)?;
    if address >= END_OF_PLACES {
        return Err(FileError::new(value.span(), "expected an address from 0 to 0xffffffff"));
    }
    if address % PAGE_BYTES > PAGE_BYTES - 8 {
        return Err(FileError::new(value.span(), "8 bytes here would reach into the next page"));
    }
    check_touched(value, address..address.saturating_add(8))?;
    Ok(address)
}

/// An address: a number, or a place and what is added to it. A stack may end where all places do.
fn address(value: &Value<'_>, names: &Names) -> Result<u64, FileError> {
    let DeValue::String(text) = value.get_ref() else {
        return match value.get_ref() {
            DeValue::Integer(_) => number(value, 0..END_OF_PLACES + 1),
            _ => Err(unexpected("an address, such as 0x8060_0000 or \"heap + 0x1000\"", value)),
        };
    };

    let error = |problem: String| FileError::new(value.span(), problem);
    let sum = expression::sum(text, names).map_err(error)?;
    let known = sum.constant().ok_or_else(|| error("expected places and numbers only".into()))?;
    let known = u64::try_from(known).ok().filter(|address| *address <= END_OF_PLACES);
    known.ok_or_else(|| error("expected an address from 0 to 0xffffffff".into()))
}
