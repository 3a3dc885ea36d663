//! Texts as wide as the terminal: lines that break, and tables.

use super::printable::within_line;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, Width};
use std::fmt::Write;
use std::sync::OnceLock;

/// The width of texts that nobody told the width of a terminal: those in files, and in tests.
const DEFAULT_WIDTH: u16 = 80;

/// Lines of words are not longer than this: the eye would lose the next one.
const LONGEST_LINE: u16 = 100;

/// The width of the terminal in columns, once it is known.
static WIDTH: OnceLock<u16> = OnceLock::new();

/// Sets the width of everything that is printed, in columns, before anything is. Widths in which no table can be
/// read are not taken as they are.
pub(crate) fn set_width(columns: u16) {
    let _ = WIDTH.set(columns.clamp(40, 240));
}

/// The width of tables.
fn width() -> u16 {
    *WIDTH.get().unwrap_or(&DEFAULT_WIDTH)
}

/// Whether tables have room for columns that are left out in 80.
pub(in crate::report) fn is_wide() -> bool {
    width() >= 120
}

/// An empty table with this header. Columns of counts are aligned to the right.
pub(in crate::report) fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width())
        .set_header(header);
    for (column, name) in table.column_iter_mut().zip(header) {
        let is_number = ["cases", "passed", "faulted", "agree", "differ"];
        if is_number.contains(name) || name.starts_with("un") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Makes no column but the first so narrow that a word of it breaks.
pub(in crate::report) fn keep_words(table: &mut Table) {
    /// A blank on each side.
    const PADDING: u16 = 2;

    let widths: Vec<_> = table.column_max_content_widths();
    for (column, width) in table.column_iter_mut().zip(widths).skip(1) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + PADDING)));
    }
}

/// A table as text, without the blanks at the end of its lines.
pub(in crate::report) fn trimmed(table: &Table) -> String {
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Lines, each broken at blanks so that it fits, with nothing that a terminal obeys.
pub(crate) fn broken(lines: &str) -> String {
    let mut text = String::new();
    for words in lines.lines() {
        line(&mut text, words);
    }
    text
}

/// Adds a line, broken at blanks so that it fits; its continuation is indented. A line break at the end
/// of the words adds an empty line; within them it is shown as what it is.
pub(in crate::report) fn line(text: &mut String, words: &str) {
    let (words, end) = match words.strip_suffix('\n') {
        Some(words) => (within_line(words), "\n\n"),
        None => (within_line(words), "\n"),
    };

    let longest = usize::from(width().min(LONGEST_LINE)) - 1;
    let indent = words.len() - words.trim_start().len();
    let mut column = 0;
    for word in words.trim_start().split_inclusive(' ') {
        let length = word.trim_end().chars().count();

        if column == 0 {
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if column + length > longest {
            while text.ends_with(' ') {
                text.pop();
            }
            let hanging = indent + 2;
            let _ = write!(text, "\n{}", " ".repeat(hanging));
            column = hanging;
        }

        text.push_str(word);
        column += word.chars().count();
    }
    text.push_str(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_later_columns_stay_whole() {
        let mut table =
            new_table(&["who decides", "translations", "page faults", "address faults"]);
        let word = "processor-on-shadow-tables";
        table.add_row(["ring 0, compatibility mode", word, "kvm-emulator", "kvm-emulator"]);
        assert!(!trimmed(&table).contains(word), "nothing is to be kept");

        keep_words(&mut table);
        let text = trimmed(&table);
        assert!(
            text.contains(word) && text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn long_lines_are_broken_before_column_80() {
        let mut text = String::new();
        line(&mut text, &"word ".repeat(40));
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() < 80), "{text}");
    }
}
