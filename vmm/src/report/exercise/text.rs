//! Exercises for people: 80 columns wide.

use super::{Sheet, label};
use crate::report::style::table::{line, new_table, trimmed};
use comfy_table::CellAlignment;
use crosswalk_exercise::{Exercise, Marking, Question, Table, Topic};
use std::fmt::Write;

/// The topics, and what their exercises have at each difficulty.
pub fn list() -> String {
    let mut table = new_table(&["topic", "question, and what the levels have"]);
    for topic in Topic::ALL {
        let [basic, moderate, hard] = topic.grades();
        let levels = format!("1: {basic}; 2: {moderate}; 3: {hard}");
        table.add_row([topic.name(), &format!("{}\n{levels}", topic.summary())]);
    }
    let mut text = trimmed(&table) + "\n\n";
    line(
        &mut text,
        "`crosswalk exercise TOPIC` asks at a terminal, `--answers` prints the answers with the way to them, \
         and `--html FILE` writes a sheet to print. `all` is every topic.",
    );
    text
}

/// The exercises one after the other, with their answers if they are wanted.
pub fn sheet(sheet: &Sheet<'_>, has_answers: bool) -> String {
    let mut text = head(sheet);
    for (place, known) in sheet.exercises.iter().enumerate() {
        text.push_str(&exercise(sheet, place));
        for (place, known) in known.questions.iter().enumerate() {
            text.push_str(&question(known, place));
            if has_answers {
                text.push_str(&answer(known));
            }
        }
        text.push('\n');
    }
    text
}

/// What a student reads first: how to have the same exercises again, and how to answer.
pub fn heading(sheet: &Sheet<'_>, how: &str) -> String {
    let mut text = String::new();
    line(&mut text, &format!("seed {}: `{}` asks the same.", sheet.seed, sheet.command));
    text + how + "\n\n"
}

/// The line about the seed.
fn head(sheet: &Sheet<'_>) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &format!("seed {}: `{}` prints the same exercises\n", sheet.seed, sheet.command),
    );
    text
}

/// What is given in the exercise at a place.
pub fn exercise(sheet: &Sheet<'_>, place: usize) -> String {
    let Exercise { topic, difficulty, story, facts, tables, .. } = &sheet.exercises[place];
    let mut text = String::new();
    let number = difficulty.number();
    let count = sheet.exercises.len();
    line(
        &mut text,
        &format!(
            "{} of {count}  {topic}, level {number} of 3 ({})\n",
            place + 1,
            difficulty.name()
        ),
    );

    for words in story {
        line(&mut text, &format!("   {words}\n"));
    }
    let width = facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    for fact in facts {
        line(&mut text, &format!("   {:width$}  {}", fact.name, fact.value));
    }
    if !facts.is_empty() {
        text.push('\n');
    }
    for table in tables {
        text.push_str(&table_text(table));
    }
    text
}

fn table_text(given: &Table) -> String {
    let mut table = new_table(&given.columns);
    for row in &given.rows {
        table.add_row(row);
    }
    for (column, name) in table.column_iter_mut().zip(&given.columns) {
        if ["index", "frame", "step", "value"].contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    let mut text = String::new();
    line(&mut text, &format!("   {}", given.title));
    for row in trimmed(&table).lines() {
        let _ = writeln!(text, "   {row}");
    }
    text.push('\n');
    text
}

/// The question at a place of its exercise.
pub fn question(question: &Question, place: usize) -> String {
    let mut text = String::new();
    line(&mut text, &format!("   ({}) {}", label(place), question.text));
    text
}

/// The answer to a question, and the way to it.
pub fn answer(question: &Question) -> String {
    let mut text = String::new();
    line(&mut text, &format!("       answer: {}", question.form.write(&question.answer)));
    for step in &question.worked {
        line(&mut text, &format!("       - {step}"));
    }
    text.push('\n');
    text
}

/// What is said about a typed answer.
pub fn marked(marking: &Marking) -> String {
    let mut text = String::new();
    match marking {
        Marking::Right => line(&mut text, "       Right.\n"),
        Marking::Unclear(unclear) => line(&mut text, &format!("       Not understood: {unclear}.")),
        Marking::Wrong(reasons) => {
            let reasons = reasons.join(" ");
            line(&mut text, format!("       No. {reasons}").trim_end());
        }
    }
    text
}
