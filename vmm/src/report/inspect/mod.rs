//! What is found in memory images: the image itself and its registers ([`image`](self::Inspected)), one
//! walk ([`walk`]), and all mappings ([`maps`]).
//!
//! An image can have millions of pages, so what lists them is written while it is found.

mod image;
pub mod maps;
mod problem;
pub mod walk;

pub use image::Inspected;

use mmu_core::x86::semantics::Rights;

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
