//! A sheet of exercises to print, with the answers on a page of their own.

use super::{Sheet, label};
use crate::report::style::page::rendered;
use askama::Template;
use crosswalk_exercise::{Exercise, Form};

#[derive(Template)]
#[template(path = "exercise.html")]
struct SheetPage<'e> {
    seed: u64,
    command: &'e str,
    exercises: Vec<NumberedExercise<'e>>,
}

/// An exercise on the page.
struct NumberedExercise<'e> {
    number: usize,
    topic: &'static str,
    level: u8,
    difficulty: &'static str,
    exercise: &'e Exercise,
    questions: Vec<LabelledQuestion<'e>>,
}

/// A question on the page.
struct LabelledQuestion<'e> {
    label: char,
    text: &'e str,
    /// Whether its answer has many words.
    is_long: bool,
    answer: String,
    worked: &'e [String],
}

/// The page.
pub fn page(sheet: &Sheet<'_>) -> String {
    let exercises = sheet.exercises.iter().zip(1..).map(|(exercise, number)| NumberedExercise {
        number,
        topic: exercise.topic.name(),
        level: exercise.difficulty.number(),
        difficulty: exercise.difficulty.name(),
        exercise,
        questions: exercise
            .questions
            .iter()
            .enumerate()
            .map(|(place, question)| LabelledQuestion {
                label: label(place),
                text: &question.text,
                is_long: matches!(question.form, Form::Words(_, 2..)),
                answer: question.form.write(&question.answer),
                worked: &question.worked,
            })
            .collect(),
    });

    let page =
        SheetPage { seed: sheet.seed, command: sheet.command, exercises: exercises.collect() };
    rendered(&page)
}
