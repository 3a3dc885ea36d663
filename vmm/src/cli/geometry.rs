//! `crosswalk geometry`: the textbook's arithmetic of page tables.

use super::failure::Failure;
use super::output::{check_replaceable, finish, replace_file};
use crate::geometry::{Geometry, GeometryError, Levels, Parameters};
use crate::report::document::VerdictWord;
use crate::report::geometry::{self, Configuration};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Without options: the textbook's examples, 32-bit and 64-bit addresses.")]
pub(super) struct GeometryArguments {
    /// Number of bits in a virtual address, 1 to 64 [default: 32]
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    bits: Option<u32>,
    /// Size of a page, a power of two: 4KiB, 4096, 2MiB, 1 [default: 4KiB]
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    page: Option<u128>,
    /// Bytes per entry [default: enough for a frame number, rounded up to a power of two]
    #[arg(long, value_name = "BYTES", value_parser = number, allow_negative_numbers = true)]
    entry: Option<u32>,
    /// Number of bits in a physical address [default: as in a virtual address]
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    physical: Option<u32>,
    /// Number of levels, or the index bits of each level from the root down, such as 9,9,9,9
    /// [default: two, three, four and five levels]
    #[arg(long, value_name = "COUNT|LIST", allow_negative_numbers = true)]
    levels: Option<Split>,
    /// Write a page with sliders to this file, which begins with these numbers
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// How `--levels` splits the page number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Split {
    /// Into this number of levels.
    Evenly(u32),
    /// Into levels with these numbers of index bits.
    IndexBits(Vec<u32>),
}

impl Split {
    fn of(&self, geometry: &Geometry) -> Result<Levels, GeometryError> {
        match self {
            Self::Evenly(count) => geometry.even_levels(*count),
            Self::IndexBits(bits) => geometry.levels(bits),
        }
    }
}

impl FromStr for Split {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected a number of levels, or the index bits of each level, such as 10,10";

        let parsed: Result<Vec<_>, _> = text.split(',').map(number).collect();
        let numbers = parsed.map_err(|_| EXPECTED)?;

        Ok(match numbers[..] {
            [count] => Self::Evenly(count),
            _ => Self::IndexBits(numbers),
        })
    }
}

fn number(text: &str) -> Result<u32, &'static str> {
    text.trim().parse().map_err(|_| "expected a whole number below 2^32")
}

/// Parses a size such as `4096` or `4KiB`; the case of the unit does not matter.
fn size(text: &str) -> Result<u128, &'static str> {
    const EXPECTED: &str = "expected a size such as 1, 4096, 4KiB or 2MiB";

    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| EXPECTED)?;
    let unit = match text[digits.len()..].trim_start().to_ascii_lowercase().as_str() {
        "" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        "tib" => 40,
        "pib" => 50,
        "eib" => 60,
        _ => return Err(EXPECTED),
    };

    Ok(u128::from(number) << unit)
}

pub(super) fn run(arguments: &GeometryArguments) -> Result<ExitCode, Failure> {
    let configurations =
        configurations(arguments).map_err(|error| Failure::Input(sentence(&error)))?;
    if let Some(path) = &arguments.html {
        check_replaceable(path)?;
        if let Some(why) = geometry::why_no_page(&configurations) {
            return Err(Failure::Input(why));
        }
        replace_file(path, geometry::page(&configurations))?;
    }
    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || geometry::document(&configurations),
        || geometry::text(&configurations),
    ))
}

fn configurations(arguments: &GeometryArguments) -> Result<Vec<Configuration>, GeometryError> {
    let configurations = geometries(arguments)?.into_iter().map(|geometry| {
        let levels = match &arguments.levels {
            // Those that are possible: a small space may have too few bits for five.
            None => (2..=5).filter_map(|count| geometry.even_levels(count).ok()).collect(),
            Some(split) => vec![split.of(&geometry)?],
        };
        Ok(Configuration { geometry, levels })
    });
    configurations.collect()
}

/// The geometry that the options describe; without options, the textbook's examples.
fn geometries(arguments: &GeometryArguments) -> Result<Vec<Geometry>, GeometryError> {
    let GeometryArguments { bits, page, entry, physical, levels, html: _, json: _ } = arguments;
    let is_given = bits.is_some()
        || page.is_some()
        || entry.is_some()
        || physical.is_some()
        || levels.is_some();
    if !is_given {
        return Ok(vec![Geometry::TEXTBOOK_32, Geometry::TEXTBOOK_64]);
    }

    let default = Parameters::default();
    let geometry = Geometry::new(&Parameters {
        address_bits: bits.unwrap_or(default.address_bits),
        page_bytes: page.unwrap_or(default.page_bytes),
        physical_bits: *physical,
        entry_bytes: *entry,
    })?;
    Ok(vec![geometry])
}

/// An error message that begins with the option it is about.
fn sentence(error: &GeometryError) -> String {
    let option = match error {
        GeometryError::AddressBits(_) => "--bits",
        GeometryError::PageNotPowerOfTwo(_) | GeometryError::PageTooLarge { .. } => "--page",
        GeometryError::PhysicalBits { .. } => "--physical",
        GeometryError::EntryBytes { .. } => "--entry",
        GeometryError::LevelCount { .. }
        | GeometryError::OnePage
        | GeometryError::NoIndexBits
        | GeometryError::LevelSum { .. } => "--levels",
    };
    format!("{option}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct GeometryCommandLine {
        #[command(flatten)]
        arguments: GeometryArguments,
    }

    /// The text, or the error: clap's, or the sentence after `crosswalk: `.
    fn geometry(options: &str) -> Result<String, String> {
        let words = ["geometry"].into_iter().chain(options.split_whitespace());

        let parsed = GeometryCommandLine::try_parse_from(words).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        });

        let configurations = configurations(&parsed?.arguments);
        configurations.map(|all| geometry::text(&all)).map_err(|error| sentence(&error))
    }

    fn headings(options: &str) -> Vec<String> {
        let text = geometry(options).unwrap();
        let headings = text.lines().filter(|line| line.starts_with("Addresses of"));
        headings.map(str::to_owned).collect()
    }

    #[test]
    fn without_options_the_textbook_examples_are_shown() {
        let both = ["Addresses of 32 bits, pages of 4 KiB", "Addresses of 64 bits, pages of 4 KiB"];
        assert_eq!(headings(""), both);
        assert_eq!(headings("--bits 32"), both[..1]);
        assert_eq!(headings("--bits 64"), both[1..]);
    }

    #[test]
    fn a_page_size_may_have_a_unit() {
        for option in ["--page 4096", "--page 4KiB", "--page 4kib", "--entry 4", "--physical 32"] {
            assert_eq!(headings(option), ["Addresses of 32 bits, pages of 4 KiB"], "{option}");
        }
        assert_eq!(headings("--page 2MiB"), ["Addresses of 32 bits, pages of 2 MiB"]);
        assert_eq!(headings("--page 1"), ["Addresses of 32 bits, pages of 1 byte"]);
        assert_eq!(headings("--page 16EiB --bits 64"), ["Addresses of 64 bits, pages of 16 EiB"]);
    }

    #[test]
    fn levels_are_a_count_or_index_bits() {
        assert_eq!("3".parse(), Ok(Split::Evenly(3)));
        assert_eq!("9,9, 9,9".parse(), Ok(Split::IndexBits(vec![9; 4])));
        let three = geometry("--levels 3").unwrap();
        assert_eq!(three, geometry("--levels 6,7,7").unwrap());
        assert_ne!(three, geometry("--levels 7,7,6").unwrap());
        assert!(geometry("--bits 48 --levels 9,9,9,9").unwrap().contains("1+512+2^18+2^27"));
        assert!(geometry("--levels 1").unwrap().contains("4 MiB"));
    }

    #[test]
    fn an_error_names_the_option_and_what_was_expected() {
        for (options, error) in [
            ("--bits 0", "--bits: expected 1 to 64 bits, not 0"),
            ("--bits 65", "--bits: expected 1 to 64 bits, not 65"),
            ("--page 3000", "--page: expected a power of two, not 3000"),
            ("--page 8GiB", "--page: expected at most 2^32 bytes, the whole space, not 8589934592"),
            ("--entry 2", "--entry: expected 3 to 4096 bytes for a frame number of 20 bits, not 2"),
            ("--physical 5", "--physical: expected 12 to 64 bits, enough for one page, not 5"),
            (
                "--levels 10,11",
                "--levels: expected index bits that sum to 20, the 32 bits of an address less 12 \
                 of offset, not to 21",
            ),
            (
                "--levels 21",
                "--levels: expected 1 to 20 levels, at most one for each bit of the page number, \
                 not 21",
            ),
            ("--levels 20,0", "--levels: expected at least one index bit at each level"),
            (
                "--page 4GiB --levels 2",
                "--levels: expected a page smaller than the space: there is no page number to split",
            ),
        ] {
            assert_eq!(geometry(options), Err(error.into()));
        }

        for (options, expectation) in [
            ("--bits x", "'--bits <N>': expected a whole number"),
            ("--bits -1", "'--bits <N>': expected a whole number"),
            ("--page 4KB", "'--page <SIZE>': expected a size such as"),
            ("--page 99999999999999999999", "'--page <SIZE>': expected a size such as"),
            ("--levels 10,,10", "'--levels <COUNT|LIST>': expected a number of levels"),
        ] {
            let error = geometry(options).unwrap_err();
            assert!(error.contains(expectation), "{options}: {error}");
        }
    }
}
