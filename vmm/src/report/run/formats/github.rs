//! A run as annotations of a GitHub workflow: lines that its runner reads ("Workflow commands for GitHub Actions").

use super::super::conclusion::Conclusion;
use super::{Grade, RunResult, results, subject};
use crate::campaign::Summary;
use crate::report::RunFacts;
use crate::report::document::Ending;
use crate::report::style::table::line;
use std::fmt::Write;

/// An annotation for each thing that is wrong or missing, and one for the verdict.
pub fn annotations(facts: &RunFacts<'_>, summary: &Summary, ending: Ending) -> String {
    let mut text = String::new();
    for result in results(facts, summary, ending) {
        match result.grade {
            Grade::Failed => annotate(&mut text, "error", &result),
            Grade::Missing => annotate(&mut text, "warning", &result),
            Grade::Passed | Grade::Known | Grade::Skipped => {}
        }
    }

    let conclusion = Conclusion::of(facts, summary);
    let verdict = conclusion.line(facts, summary);
    if conclusion == Conclusion::Agree {
        let title = property(&format!("crosswalk: {}", subject(facts)));
        let _ = writeln!(text, "::notice title={title}::{}", message(&verdict));
    }
    line(&mut text, &verdict);
    text
}

fn annotate(text: &mut String, command: &str, result: &RunResult) {
    let title = property(&format!("{}: {}", result.id, result.title));
    let lines = std::iter::once(result.headline());
    let lines = lines.chain(result.details.clone()).chain(result.command.clone());
    let words = message(&lines.collect::<Vec<_>>().join("\n"));
    let _ = writeln!(text, "::{command} title={title}::{words}");
}

/// The text of a command: a line that ends would be the end of it.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, which ends at a comma or a colon.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_and_ends_no_command() {
        assert_eq!(message("100 %\r\n::error::x"), "100 %25%0D%0A::error::x");
        assert_eq!(property("K3: a, b"), "K3%3A a%2C b");
    }
}
