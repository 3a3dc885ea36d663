//! A run as `JUnit` XML, which CI systems show as tests. `templates/junit.xml` is its form.

use super::{Grade, RunResult, results, subject};
use crate::campaign::Summary;
use crate::report::document::Ending;
use crate::report::{RunFacts, printable};
use askama::Template;

#[derive(Template)]
#[template(path = "junit.xml")]
struct JunitDocument {
    suite: String,
    seconds: f64,
    tests: Vec<JunitTest>,
    failures: usize,
    errors: usize,
    skipped: usize,
}

/// A test; its texts are XML already.
struct JunitTest {
    class: String,
    name: String,
    grade: Grade,
    message: String,
    text: String,
}

/// The document.
///
/// # Panics
/// Never: the template shows only text.
pub fn document(facts: &RunFacts<'_>, summary: &Summary, ending: Ending) -> String {
    let class = format!("crosswalk.{}.{}", facts.identity.kind, facts.identity.flavour);
    let tests: Vec<_> =
        results(facts, summary, ending).iter().map(|result| test(&class, result)).collect();
    let count = |grade| tests.iter().filter(|test| test.grade == grade).count();

    let document = JunitDocument {
        suite: xml_text(&format!("crosswalk, {}", subject(facts))),
        seconds: summary.duration.as_secs_f64(),
        failures: count(Grade::Failed),
        errors: count(Grade::Missing),
        skipped: count(Grade::Skipped),
        tests,
    };
    document.render().expect("the template shows only text") + "\n"
}

fn test(class: &str, result: &RunResult) -> JunitTest {
    let lines = result.details.iter().chain(&result.command).map(String::as_str);
    let name = match result.grade {
        Grade::Passed | Grade::Skipped | Grade::Missing => result.id.clone(),
        Grade::Known | Grade::Failed => format!("{}: {}", result.id, result.title),
    };
    JunitTest {
        class: xml_text(class),
        name: xml_text(&name),
        grade: result.grade,
        message: xml_text(&result.headline()),
        text: xml_text(&lines.collect::<Vec<_>>().join("\n")),
    }
}

/// A text in XML. XML 1.0 has no way to write most controls, nor the last two characters of the first plane; and not
/// every reader of `JUnit` knows characters by their numbers.
fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
