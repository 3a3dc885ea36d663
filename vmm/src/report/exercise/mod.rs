//! Exercises: as a sheet of text or to print, as JSON, and piece by piece while they are answered.

pub(super) mod json;
mod page;
mod text;

pub use json::{document, list_document};
pub use page::page;
pub use text::{answer, exercise, heading, list, marked, question, sheet};

use crosswalk_exercise::Exercise;

/// A sheet of exercises.
pub struct Sheet<'e> {
    /// The seed that gives it.
    pub seed: u64,
    /// The command that prints it again.
    pub command: &'e str,
    /// The exercises.
    pub exercises: &'e [Exercise],
}

/// The label of a question by its place: a, b, c.
fn label(place: usize) -> char {
    char::from(b'a' + (place % 26) as u8)
}
