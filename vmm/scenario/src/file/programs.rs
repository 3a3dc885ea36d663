//! What a process does: a list of parts, each many accesses.

use super::FileError;
use super::names::Names;
use super::region::{check_touched, page};
use super::table::{Fields, Value, list, number};
use super::{END_OF_PLACES, MAX_ACCESSES, MAX_REGION_PAGES, word_address};
use crate::driver::IMAGES;
use crate::program::{
    Program, ProgramStep, calls, check, check_zeros, execute, fill, in_turns, linked_list, moved,
};
use crosswalk_guest::system::program::{code_word, image_word};
use mmu_core::VirtAddr;
use mmu_core::space::PAGE_BYTES;

/// The end of the numbers that TOML has.
const END: u64 = 1 << 63;

/// The program of a list of parts. A part alone runs as code of its own, if the guest has it.
pub(super) fn program(
    value: &Value<'_>,
    turns: Option<&Value<'_>>,
    names: &Names,
) -> Result<Program, FileError> {
    let mut all: Option<Program> = None;
    for part in list(value)? {
        let program = self::part(part, names)?;
        let joined = match all {
            None => program,
            Some(before) => before.then(&program),
        };
        if joined.steps.len() > MAX_ACCESSES {
            return Err(FileError::new(
                part.span(),
                format!("expected at most {MAX_ACCESSES} accesses at a time"),
            ));
        }
        all = Some(joined);
    }

    let program =
        all.ok_or_else(|| FileError::new(value.span(), "expected at least one part of a program"))?;
    match turns {
        None => Ok(program),
        Some(value) => {
            let steps = number(value, 1..MAX_ACCESSES as u64)?;
            Ok(in_turns(&program, steps as usize))
        }
    }
}

/// The parts, by the key that they have.
const PARTS: [&str; 9] =
    ["fill", "check", "zeros", "execute", "list", "calls", "read", "write", "yield"];

/// `{ fill = "heap", pages = 4, by = 0xa }`.
fn part(value: &Value<'_>, names: &Names) -> Result<Program, FileError> {
    let fields = Fields::of("a part of a program", value)?;
    let mut given = PARTS.into_iter().filter(|key| fields.has(key));
    let (Some(key), None) = (given.next(), given.next()) else {
        let problem = format!("expected a part with one of {}", PARTS.join(", "));
        return Err(FileError::new(value.span(), problem));
    };

    let program = match key {
        "read" | "write" => single(&fields, key, names)?,
        "yield" => {
            fields.get(key);
            vec![ProgramStep::Yield].into()
        }
        _ => of_pages(&fields, key, names)?,
    };
    fields.end()?;
    Ok(program)
}

/// A part that goes through pages.
fn of_pages(fields: &Fields<'_>, key: &'static str, names: &Names) -> Result<Program, FileError> {
    let value = fields.need(key)?;
    let start = page(value, names)?.get();
    let pages = number(fields.need("pages")?, 1..MAX_REGION_PAGES + 1)?;
    let bytes = pages.saturating_mul(PAGE_BYTES);
    let is_there =
        if key == "calls" { start >= bytes } else { start.saturating_add(bytes) <= END_OF_PLACES };
    if !is_there {
        return Err(FileError::new(value.span(), "there are not so many pages"));
    }
    let touched = if key == "calls" {
        start.saturating_sub(bytes)..start
    } else {
        start..start.saturating_add(bytes)
    };
    check_touched(value, touched)?;

    Ok(match key {
        "fill" => fill(start, pages, writer(fields)?),
        "check" => {
            let by = writer(fields)?;
            match fields.get("written-at") {
                None => check(start, pages, by),
                Some(value) => {
                    let there = page(value, names)?.get();
                    if there.saturating_add(bytes) > END_OF_PLACES {
                        return Err(FileError::new(value.span(), "there are not so many pages"));
                    }
                    moved(&check(there, pages, by), there, start)
                }
            }
        }
        "zeros" => check_zeros(start, pages),
        "execute" => {
            let last = u64::from(IMAGES).saturating_sub(pages);
            let image = fields.need("image")?;
            execute(start, pages, number(image, 0..last.saturating_add(1))? as u32)
        }
        "list" => {
            let stride =
                fields.get("stride").map(|value| number(value, 1..MAX_REGION_PAGES)).transpose()?;
            linked_list(start, pages, stride.unwrap_or(1))
        }
        _ => calls(start, pages),
    })
}

/// The number that distinguishes what one process writes from what another does.
fn writer(fields: &Fields<'_>) -> Result<u64, FileError> {
    number(fields.need("by")?, 0..0x1000)
}

/// One access.
fn single(fields: &Fields<'_>, key: &'static str, names: &Names) -> Result<Program, FileError> {
    let at = fields.need(key)?;
    let address = VirtAddr::new(word_address(at, names)?);

    let value = if let Some(value) = fields.get("value") {
        number(value, 0..END)?
    } else if let Some(code) = fields.get("code") {
        code_word(number(code, 0..1 << 32)? as u32)
    } else {
        let image = number(fields.need("image")?, 0..IMAGES.into())?;
        image_word(image as u32, address.get() % PAGE_BYTES)
    };
    let step = if key == "read" {
        ProgramStep::Read(address, value)
    } else {
        ProgramStep::Write(address, value)
    };
    Ok(vec![step].into())
}
