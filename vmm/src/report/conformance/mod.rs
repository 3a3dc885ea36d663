//! Which rules walkers get right, as text, as JSON, and as a page of Markdown; and the score of one
//! walker.

pub(super) mod json;
mod markdown;
pub(super) mod score;
mod text;

pub use json::document;
pub use markdown::page;
pub use text::text;

use crate::conformance::{Aspect, Cell, Column, Mistake, Table, rows};
use crate::report::style::number::with_commas;

/// The result that a cell shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CellResult {
    Right,
    Wrong,
    /// It is right, but only where one that knows nothing of the rule is right as well.
    OneSided,
    Silent,
    NotAsked,
}

impl CellResult {
    pub(super) const fn of(cell: Option<&Cell>) -> Self {
        match cell {
            Some(Cell { wrong: 1.., .. }) => Self::Wrong,
            Some(Cell { one_sided: true, .. }) => Self::OneSided,
            Some(Cell { right: 1.., .. }) => Self::Right,
            Some(Cell { silent: 1.., .. }) => Self::Silent,
            _ => Self::NotAsked,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::OneSided | Self::Silent => "does not say",
            Self::NotAsked => "not asked",
        }
    }
}

/// The known mistakes that at least one walker was asked about.
fn shown(table: &Table) -> Vec<Aspect> {
    let is_asked = |mistake: &Aspect| {
        table.columns.iter().any(|column| column.marks.cells.contains_key(mistake))
    };
    rows().into_iter().filter(is_asked).collect()
}

/// A walker with its version.
fn full_name(column: &Column) -> String {
    let walker = &column.walker;
    let version = walker.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
    format!("{}{version}", walker.name)
}

/// How often a walker was asked, or why not.
fn remark(column: &Column) -> String {
    if let Some(why) = &column.walker.unavailable {
        return format!("not asked: {why}");
    }

    match &column.failure {
        None => format!("{} cases", with_commas(column.asked)),
        Some((_, why)) => {
            let failed = with_commas(column.failed);
            let asked = with_commas(column.asked);
            format!("{asked} cases, {failed} without an answer: {why}")
        }
    }
}

/// The mistakes of a walker: the known mistake each is, how often it was made, and its simplest case.
fn mistakes(column: &Column) -> impl Iterator<Item = (Aspect, u64, &Mistake)> {
    column
        .marks
        .cells
        .iter()
        .filter_map(|(row, cell)| Some((*row, cell.wrong, cell.mistake.as_ref()?)))
}
