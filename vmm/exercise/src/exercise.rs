//! Exercises and their questions.

use crate::answer::{End, Form, Unclear, Value};
use crate::topic::{Difficulty, Topic};

/// An exercise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exercise {
    /// What it is about.
    pub topic: Topic,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// What is given, in words.
    pub story: Vec<String>,
    /// What is given, by name.
    pub facts: Vec<Fact>,
    /// What is given as tables.
    pub tables: Vec<Table>,
    /// What is asked.
    pub questions: Vec<Question>,
}

/// Something that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// Its value, as it is printed.
    pub value: String,
}

impl Fact {
    pub(crate) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into() }
    }
}

/// A table that is given: a page table, or a list of what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it is.
    pub title: String,
    /// The heads of its columns.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub text: String,
    /// What an answer looks like.
    pub form: Form,
    /// The answer.
    pub answer: Value,
    /// The way to the answer, in steps.
    pub worked: Vec<String>,
    /// What is wrong with wrong answers.
    pub(crate) reasons: Vec<Reason>,
}

/// What is wrong with some answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// With which.
    pub(crate) when: When,
    /// What.
    pub(crate) why: String,
}

/// Answers that have something wrong in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// This one.
    Answer(Value),
    /// Every fault.
    AnyFault,
    /// Every physical address.
    AnyPlace,
    /// Those whose lowest bits, so many, are right, if nothing else is known of them.
    SameOffset(u8),
    /// Those in which this step is wrong.
    Step(usize),
    /// Those in which these bits of an error code, or of rights, are wrong.
    Bits(u32),
    /// Those that have this number and should not, or the other way round.
    Element(u64),
}

/// What a typed answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marking {
    /// It is right.
    Right,
    /// It is wrong, and why.
    Wrong(Vec<String>),
    /// It cannot be read.
    Unclear(Unclear),
}

impl Question {
    pub(crate) fn new(text: impl Into<String>, form: Form, answer: Value) -> Self {
        Self { text: text.into(), form, answer, worked: Vec::new(), reasons: Vec::new() }
    }

    /// Adds a step of the way to the answer.
    pub(crate) fn work(mut self, step: impl Into<String>) -> Self {
        self.worked.push(step.into());
        self
    }

    /// Adds what is wrong with an answer, unless it is the right one or what is wrong with it is known.
    pub(crate) fn wrong(self, answer: Value, why: impl Into<String>) -> Self {
        if answer == self.answer { self } else { self.because(When::Answer(answer), why) }
    }

    /// The same for numbers.
    pub(crate) fn wrong_number(self, answer: u128, why: impl Into<String>) -> Self {
        self.wrong(Value::Number(answer), why)
    }

    /// Adds what is wrong with some answers.
    pub(crate) fn because(mut self, when: When, why: impl Into<String>) -> Self {
        let is_known = self.reasons.iter().any(|reason| reason.when == when);
        if !is_known {
            self.reasons.push(Reason { when, why: why.into() });
        }
        self
    }

    /// Marks a typed answer.
    pub fn mark(&self, typed: &str) -> Marking {
        let value = match self.form.read(typed) {
            Ok(value) => value,
            Err(unclear) => return Marking::Unclear(unclear),
        };
        if value == self.answer {
            return Marking::Right;
        }

        let reasons = self.reasons.iter();
        let applying = reasons.filter(|reason| applies(&reason.when, &value, &self.answer));
        let (loose, exact): (Vec<_>, Vec<_>) =
            applying.partition(|reason| matches!(reason.when, When::SameOffset(_)));
        let reasons = if exact.is_empty() { loose } else { exact };
        let mut why: Vec<String> = reasons.into_iter().map(|reason| reason.why.clone()).collect();
        if why.is_empty() && self.form.read_as_hexadecimal(typed).as_ref() == Some(&self.answer) {
            why.push("It is right in hexadecimal: then it begins with 0x.".into());
        }
        Marking::Wrong(why)
    }

    /// The typical wrong answers, as they are typed, each with what is wrong with it.
    pub fn mistakes(&self) -> impl Iterator<Item = (String, &str)> {
        self.reasons.iter().filter_map(|Reason { when, why }| match when {
            When::Answer(value) => Some((self.form.write(value), &why[..])),
            _ => None,
        })
    }
}

/// Whether a reason is one why this answer is wrong.
fn applies(when: &When, typed: &Value, right: &Value) -> bool {
    match (when, typed, right) {
        (When::Answer(value), typed, _) => value == typed,
        (When::AnyFault, Value::End(typed), _) => *typed != End::Completes,
        (When::AnyPlace, Value::Number(_), _) => true,
        (When::SameOffset(bits), Value::Number(typed), Value::Number(right)) => {
            (typed ^ right).trailing_zeros() >= u32::from(*bits)
        }
        (When::Step(step), Value::Words(typed), Value::Words(right)) => {
            typed.get(*step) != right.get(*step)
        }
        (
            When::Bits(bits),
            Value::End(End::PageFault(typed)),
            Value::End(End::PageFault(right)),
        )
        | (When::Bits(bits), Value::Rights(typed), Value::Rights(right)) => {
            (typed ^ right) & bits != 0
        }
        (When::Element(number), Value::Set(typed), Value::Set(right)) => {
            typed.contains(number) != right.contains(number)
        }
        _ => false,
    }
}
