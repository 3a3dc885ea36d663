//! What is found in memory images: the image itself and its registers ([`Inspected`]), one walk ([`walk`]), all
//! mappings ([`maps`], and [`page`] for a browser), the tables as a [`tree`], who leads to an address
//! ([`reverse`]), what two images map differently ([`difference`]), what should not be ([`audit`]), and what a
//! monitor says ([`check`]).
//!
//! An image can have millions of pages, so what lists them is written while it is found.

pub mod audit;
pub mod check;
pub mod difference;
mod guest;
mod image;
pub mod maps;
pub mod page;
mod problem;
pub mod reverse;
pub mod tree;
pub mod walk;

pub use image::Inspected;

use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use mmu_core::x86::semantics::Rights;
use std::num::NonZero;
use std::thread;

/// Number of threads that share a scan: one for each processor that this program may use.
fn threads() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Says how many entries lead to tables that were left out, if any do.
fn repeated_tables(text: &mut String, count: u64) {
    if let Some(sentence) = tables_met_again(count) {
        line(text, &sentence);
    }
}

/// How many entries lead to tables that were left out, if any do.
fn tables_met_again(count: u64) -> Option<String> {
    let sentence = || {
        let count = with_commas(count);
        format!("Tables met again, and not looked through (--repeats): {count}.")
    };
    (count > 0).then(sentence)
}

/// Says how many parts of tables could not be read, if any could not.
fn unreadable_tables(text: &mut String, count: u64) {
    if count > 0 {
        let count = with_commas(count);
        line(
            text,
            &format!(
                "Tables, or parts of them, that cannot be read: {count}. What they map is unknown."
            ),
        );
    }
}

/// Rights in four letters: who may, and what: `urw-`, `sr-x`.
fn letters(rights: Rights) -> String {
    let letter = |right, yes, no| if rights.contains(right) { yes } else { no };
    [
        letter(Rights::USER, 'u', 's'),
        'r',
        letter(Rights::WRITE, 'w', '-'),
        letter(Rights::EXECUTE, 'x', '-'),
    ]
    .iter()
    .collect()
}

/// The class that colours rights in pages: what may be done; whose page it is does not count.
fn class(rights: Rights) -> &'static str {
    match (rights.contains(Rights::WRITE), rights.contains(Rights::EXECUTE)) {
        (true, true) => "wx",
        (true, false) => "w",
        (false, true) => "x",
        (false, false) => "r",
    }
}
