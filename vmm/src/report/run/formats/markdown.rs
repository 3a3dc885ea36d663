//! A run as Markdown, for the summary of a workflow or a comment.

use super::super::conclusion::Conclusion;
use super::{Grade, RunResult, results};
use crate::campaign::Summary;
use crate::report::RunFacts;
use crate::report::document::Ending;
use crate::report::run::text::describe_cases;
use crate::report::style::number::with_commas;
use mmu_core::Rule;
use std::fmt::Write;

/// The page.
pub fn page(facts: &RunFacts<'_>, summary: &Summary, ending: Ending) -> String {
    let conclusion = Conclusion::of(facts, summary);
    let sign = match conclusion {
        Conclusion::Agree => "✅",
        Conclusion::NothingToDo | Conclusion::Incomplete => "⚠️",
        Conclusion::Diverge | Conclusion::NothingCompared => "❌",
    };
    let mut text = format!("## {sign} {}\n\n", inline(&conclusion.line(facts, summary)));

    add_facts(&mut text, facts, summary);
    let results = results(facts, summary, ending);
    add_modes(&mut text, facts, summary);
    let is_grave = |result: &&RunResult| matches!(result.grade, Grade::Failed | Grade::Missing);
    let is_known = |result: &&RunResult| result.grade == Grade::Known;
    add_table(&mut text, "### What is wrong or missing", results.iter().filter(is_grave));
    add_examples(&mut text, results.iter().filter(is_grave));
    add_table(&mut text, "### Known", results.iter().filter(is_known));
    text
}

fn add_facts(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    let identity = facts.identity;
    let version =
        identity.version.as_ref().map_or_else(String::new, |version| format!("{version}, "));
    let cases = with_commas(summary.tally.cases());
    let seconds = summary.duration.as_secs_f64();
    let _ = writeln!(
        text,
        "**{}**: {}flavour {}, beneath it {}; {}, Linux {}  \n{cases} cases in {seconds:.1} s: {}\n",
        inline(&identity.kind),
        inline(&version),
        inline(&identity.flavour),
        inline(&identity.beneath),
        inline(&identity.cpu),
        inline(&identity.host_kernel),
        inline(&describe_cases(facts.run)),
    );
}

fn add_modes(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    *text += "| mode | cases | agree | differ | not run |\n|---|--:|--:|--:|---|\n";
    for (mode, offer) in facts.modes {
        let counts = summary.tally.modes.get(mode).cloned().unwrap_or_default();
        let [cases, agreed, diverged] =
            [counts.cases, counts.agreed, counts.diverged].map(with_commas);
        let why = offer.as_ref().err().map_or("", String::as_str);
        let _ = writeln!(text, "| {mode} | {cases} | {agreed} | {diverged} | {} |", inline(why));
    }
    text.push('\n');
}

fn add_table<'r>(text: &mut String, title: &str, results: impl Iterator<Item = &'r RunResult>) {
    let mut results = results.peekable();
    if results.peek().is_none() {
        return;
    }

    let _ = writeln!(text, "{title}\n\n| finding | rule | cases | what |\n|---|---|--:|---|");
    for result in results {
        let rule = result.rule.map_or("", Rule::id);
        let cases = with_commas(result.cases);
        let [id, title] = [&result.id, &result.title].map(|words| inline(words));
        let _ = writeln!(text, "| {id} | {rule} | {cases} | {title} |");
    }
    text.push('\n');
}

fn add_examples<'r>(text: &mut String, results: impl Iterator<Item = &'r RunResult>) {
    for result in results {
        let Some(command) = &result.command else { continue };
        let title = inline(&format!("{}: {}", result.id, result.title));
        let details = fenced("text", &result.details.join("\n"));
        let command = fenced("sh", command);
        let _ = writeln!(
            text,
            "<details><summary>{title}</summary>\n\n{details}\n\n{command}\n\n</details>\n"
        );
    }
}

/// Words in which nothing is Markdown or HTML.
fn inline(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '\n' | '\r' => text.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                text.push('\\');
                text.push(letter);
            }
            letter => text.push(letter),
        }
    }
    text
}

/// A block in which nothing is Markdown: its fence is longer than every row of backticks in it.
fn fenced(language: &str, block: &str) -> String {
    let mut longest = 2;
    let mut row = 0;
    for letter in block.chars() {
        row = if letter == '`' { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence}{language}\n{block}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_text() {
        assert_eq!(inline("<b>a|b</b>\n# c"), r"&lt;b&gt;a\|b&lt;/b&gt; \# c");
        assert_eq!(fenced("sh", "a ``` b"), "````sh\na ``` b\n````");
    }
}
