//! How the result of a run is told: options that `check`, `replay`, `judge` and `merge` share.

use super::colour::ColourArguments;
use super::failure::{Failure, print_error};
use crate::report::broken;
use crate::report::run::text::Detail;

/// How the result of a run is told.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of the command line")]
pub(super) struct OutputArguments {
    /// Print the result in this form
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Print one JSON document instead of text: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print the verdict, and what speaks against it, alone
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Print every count, choice and known finding
    #[arg(short, long)]
    verbose: bool,
    /// End with 0 instead of 4 if a part of what was asked for was not run
    #[arg(long)]
    pub(super) allow_incomplete: bool,
    #[command(flatten)]
    pub(super) colour: ColourArguments,
}

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// XML that CI systems show as tests: one for each finding and each mode
    Junit,
    /// Static Analysis Results Interchange Format 2.1.0
    Sarif,
    /// Annotations of a GitHub workflow, and its step summary
    Github,
    /// Markdown, for a comment or a summary
    Markdown,
}

impl OutputArguments {
    /// The form of the result.
    pub(super) const fn format(self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Whether people read the result while it comes: a document stands alone.
    pub(super) fn is_text(self) -> bool {
        self.format() == Format::Text
    }

    /// Whether what is about to run is told before its result.
    pub(super) fn has_heading(self) -> bool {
        self.is_text() && !self.quiet
    }

    /// Refuses the forms that one result alone has.
    pub(super) fn check_text_or_json(self, what: &str) -> Result<(), Failure> {
        match self.format() {
            Format::Text | Format::Json => Ok(()),
            _ => Err(Failure::Input(format!("--format: {what} can be told as text or json only"))),
        }
    }

    /// Says first of all that no machine works here, and what is done instead.
    pub(super) fn print_no_machine(self, why: &str) {
        let words = format!(
            "NO MACHINE  Nothing runs here ({why}): what recorded machines did is compared."
        );
        if self.is_text() {
            self.colour.print(&(broken(&words) + "\n"));
        } else {
            print_error(&words);
        }
    }

    /// How much a text tells.
    pub(super) const fn detail(self) -> Detail {
        match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        }
    }
}
