//! How every report looks: numbers, tables, JSON.

mod colour;
pub(crate) mod date;
pub(super) mod json;
pub(super) mod number;
mod printable;
mod shell;
pub(super) mod table;

pub(crate) use colour::Coloured;
pub(crate) use printable::{printable, within_line};
pub(crate) use shell::shell_word;
pub(crate) use table::in_80_columns;

/// The names of columns in texts.
pub(super) fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}
