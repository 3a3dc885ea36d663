//! Whether texts are coloured.

use crate::cli::output::{end_unwritten, print_beside_verdict};
use crate::report::{Coloured, printable};
use anstream::{AutoStream, ColorChoice};
use std::io::{self, Write};

/// When to colour rights and verdicts.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[group(id = "colours")]
pub(super) struct ColourArguments {
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        help = "When to colour; auto: on a terminal, unless NO_COLOR is set"
    )]
    color: When,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum When {
    #[default]
    Auto,
    Always,
    Never,
}

impl ColourArguments {
    /// Whether standard output gets colours.
    pub(super) fn is_on(self) -> bool {
        match self.color {
            When::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            When::Always => true,
            When::Never => false,
        }
    }

    /// Prints a document as it is, or a text with its rights coloured.
    pub(super) fn print_report(self, report: &str, is_document: bool) {
        if is_document {
            print_beside_verdict(report);
        } else {
            self.print(report);
        }
    }

    /// Prints a text with its rights coloured.
    pub(super) fn print(self, text: &str) {
        let mut out = Coloured::new(io::stdout().lock(), self.is_on());
        end_unwritten(out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()));
    }
}
