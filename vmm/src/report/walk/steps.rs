//! The steps of a sequence as text, and what a machine did in each.

use crate::report::style::table::line;
use crate::verdict::describe_action;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_explain::steps::{CachedDrawing, StepDrawing};

/// What a machine did in each step of a sequence, in words; nothing if it did not run the case.
pub(in crate::report) fn observed_in<'c>(
    case: &'c Case,
    attempt: Option<&'c Attempt>,
) -> impl Fn(usize) -> Option<String> + 'c {
    let seen = match attempt {
        Some(Attempt::Observed(seen)) => Some(seen),
        _ => None,
    };
    move |at| seen.and_then(|seen| describe_action(case, seen, at))
}

/// Adds the steps to a text of 80 columns.
pub(super) fn draw(text: &mut String, steps: &[StepDrawing]) {
    let mut known: &[CachedDrawing] = &[];
    for (number, step) in (1..).zip(steps) {
        let StepDrawing { action, outcomes, observed, dropped, cached } = step;
        line(text, &format!("step {number}    {action}"));
        add(text, "outcome", "or", outcomes);
        add(text, "machine", "", observed.as_slice());
        add(text, "drops", "", dropped);
        let lines = match cached {
            _ if cached.is_empty() => vec!["nothing".to_owned()],
            _ if cached == known => vec!["as before".to_owned()],
            _ => cached.iter().map(in_words).collect(),
        };
        add(text, "cached", "", &lines);
        text.push('\n');
        known = cached;
    }
}

fn in_words(CachedDrawing { words, old }: &CachedDrawing) -> String {
    let old = old.as_ref().map_or_else(String::new, |old| format!("; {old}"));
    format!("{words}{old}")
}

/// Adds lines of one kind. The first is labelled, the others have a label of their own.
fn add(text: &mut String, label: &str, others: &str, lines: &[String]) {
    for (number, words) in lines.iter().enumerate() {
        let label = if number == 0 { label } else { others };
        line(text, &format!("  {label:<7} {words}"));
    }
}
