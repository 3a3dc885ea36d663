//! Exercises for scripts, with their answers.

use super::{Sheet, label};
use crate::report::document::Document;
use crosswalk_case::Decimal;
use crosswalk_exercise::{Exercise, Question, Topic};
use serde::Serialize;

/// Exercises with their answers: `exercise TOPIC`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExercisesDocument<'e> {
    /// The seed that gives the same exercises.
    seed: Decimal,
    /// The exercises.
    exercises: Vec<ExerciseJson<'e>>,
}

/// An exercise.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ExerciseJson<'e> {
    /// What it is about: the name of a topic.
    topic: &'static str,
    /// How hard it is: 1 to 3.
    level: u8,
    /// What is given, in sentences.
    story: &'e [String],
    /// What is given, by name.
    facts: Vec<FactJson<'e>>,
    /// What is given as tables.
    tables: Vec<GivenTableJson<'e>>,
    /// What is asked.
    questions: Vec<QuestionJson<'e>>,
}

/// Something that is given.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FactJson<'e> {
    /// What it is.
    name: &'static str,
    /// Its value, as it is printed.
    value: &'e str,
}

/// A table that is given.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct GivenTableJson<'e> {
    /// What it is.
    title: &'e str,
    /// The heads of its columns.
    columns: &'e [&'static str],
    /// Its rows, with a cell for each column.
    rows: &'e [Vec<String>],
}

/// A question.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct QuestionJson<'e> {
    /// Its letter in the exercise.
    label: char,
    /// The question.
    question: &'e str,
    /// What an answer looks like, in words.
    form: String,
    /// The answer.
    answer: String,
    /// The way to the answer, in steps.
    worked: &'e [String],
    /// Typical wrong answers.
    mistakes: Vec<MistakeJson<'e>>,
}

/// A typical wrong answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MistakeJson<'e> {
    /// The answer.
    answer: String,
    /// What went wrong.
    why: &'e str,
}

impl Document for ExercisesDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The topics of exercises: `exercise`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExerciseListDocument {
    /// The topics, in the order of a textbook.
    topics: Vec<TopicJson>,
}

/// A topic.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TopicJson {
    /// Its name.
    topic: &'static str,
    /// Its question in a few words.
    summary: &'static str,
    /// What its exercises have at each level, the first first.
    levels: [&'static str; 3],
}

impl Document for ExerciseListDocument {
    const SCHEMA: u32 = 1;
}

/// The topics.
pub fn list_document() -> ExerciseListDocument {
    let topics = Topic::ALL.into_iter().map(|topic| TopicJson {
        topic: topic.name(),
        summary: topic.summary(),
        levels: topic.grades(),
    });
    ExerciseListDocument { topics: topics.collect() }
}

/// A sheet.
pub fn document<'e>(sheet: &Sheet<'e>) -> ExercisesDocument<'e> {
    ExercisesDocument {
        seed: Decimal(sheet.seed),
        exercises: sheet.exercises.iter().map(exercise_json).collect(),
    }
}

fn exercise_json(exercise: &Exercise) -> ExerciseJson<'_> {
    ExerciseJson {
        topic: exercise.topic.name(),
        level: exercise.difficulty.number(),
        story: &exercise.story,
        facts: exercise
            .facts
            .iter()
            .map(|fact| FactJson { name: fact.name, value: &fact.value })
            .collect(),
        tables: exercise
            .tables
            .iter()
            .map(|table| GivenTableJson {
                title: &table.title,
                columns: &table.columns,
                rows: &table.rows,
            })
            .collect(),
        questions: exercise.questions.iter().enumerate().map(question_json).collect(),
    }
}

fn question_json((place, question): (usize, &Question)) -> QuestionJson<'_> {
    QuestionJson {
        label: label(place),
        question: &question.text,
        form: question.form.expectation(),
        answer: question.form.write(&question.answer),
        worked: &question.worked,
        mistakes: question.mistakes().map(|(answer, why)| MistakeJson { answer, why }).collect(),
    }
}
