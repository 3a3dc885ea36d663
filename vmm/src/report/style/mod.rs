//! How every report looks: numbers, tables, counts in JSON.

mod colour;
pub(super) mod count;
pub(crate) mod date;
pub(super) mod module;
pub(super) mod number;
pub(super) mod page;
mod printable;
pub(super) mod ranges;
mod shell;
pub(super) mod table;

pub(crate) use colour::Coloured;
pub(crate) use printable::{printable, within_line};
pub(crate) use shell::shell_word;
pub(crate) use table::{broken, set_width};

/// The names of columns in texts.
pub(super) fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}
