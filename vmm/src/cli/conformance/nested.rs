//! `conformance` of recorded machines with the rules of nested translation.

use super::ConformanceArguments;
use crate::cli::failure::Failure;
use crate::cli::nested_cases::known_of;
use crate::cli::output::finish;
use crate::cli::progress;
use crate::conformance::nested::columns;
use crate::corpus::nested::NestedCorpusReader;
use crate::report::document::VerdictWord;
use crate::report::nested;
use std::process::ExitCode;

/// Tables what the machines of a corpus make of each rule. The exit code is 0 when there is a table.
pub(super) fn run(
    arguments: &ConformanceArguments,
    mut reader: NestedCorpusReader,
) -> Result<ExitCode, Failure> {
    arguments.check_nested()?;
    let counter = progress::case_counter();
    let columns = columns(&mut reader, known_of, || counter.inc(1))?;
    counter.finish_and_clear();

    let corpus = reader.name();
    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || nested::conformance_document(corpus, &columns),
        || nested::conformance_text(corpus, &columns),
    ))
}

impl ConformanceArguments {
    /// Refuses what is about other walkers: those of nested cases are machines.
    fn check_nested(&self) -> Result<(), Failure> {
        let ignored = [
            (!self.walker.is_empty(), "--walker"),
            (self.adapters.is_some(), "--adapters"),
            (self.page.is_some(), "--page"),
        ];
        match ignored.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => {
                Err(Failure::Input(format!("{option} is not for a corpus of nested cases")))
            }
            None => Ok(()),
        }
    }
}
