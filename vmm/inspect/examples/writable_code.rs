//! Finds all pages of a memory image that are both writable and executable, by the rights of their whole paths, and
//! counts the bytes with each kind of rights. All processors take part.
//!
//! ```sh
//! cargo run --release --package crosswalk-inspect --example writable_code -- guest.elf [CR3]
//! ```

use crosswalk_inspect::{
    Found, ImageOptions, Limits, MemoryImage, PageRange, PageRanges, ScanPiece, StateOptions,
};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, Profile};
use std::convert::Infallible;
use std::error::Error;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

/// What a piece of the address space has.
#[derive(Default)]
struct Part {
    /// For each kind of rights, the number of bytes with them.
    bytes: [u64; 8],
    /// Pages that are writable and executable, those next to each other as one.
    writable_code: Vec<PageRange>,
}

/// What one thread does with a piece.
fn look_at(piece: ScanPiece<'_>) -> Part {
    let mut part = Part::default();
    let mut ranges = PageRanges::new();

    for found in piece {
        let Found::Page(page) = found else { continue };
        part.bytes[usize::from(page.rights.bits())] += 1 << page.level.shift;
        if page.rights.contains(Rights::WRITE | Rights::EXECUTE) {
            part.writable_code.extend(PageRange::of(&page).and_then(|page| ranges.push(page)));
        }
    }
    part.writable_code.extend(ranges.finish());
    part
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("expected the name of a memory image")?;
    let cr3 =
        arguments.next().map(|digits| u64::from_str_radix(digits.trim_start_matches("0x"), 16));

    let image = MemoryImage::open(Path::new(&name), &ImageOptions::default())?;
    let options = StateOptions { cr3: cr3.transpose()?, ..StateOptions::default() };
    let mmu = AnyMmu::new(image.control_state(&options)?.state, Profile::default());
    let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);

    // The parts come in the order of addresses, while the threads look at the next ones.
    let mut bytes = [0_u64; 8];
    let mut ranges = PageRanges::new();
    let pieces = image.scan(&mmu, Limits::default()).pieces();
    let ControlFlow::<Infallible>::Continue(()) =
        pieces.in_parallel_until(threads, look_at, |part| {
            for (sum, more) in bytes.iter_mut().zip(part.bytes) {
                *sum += more;
            }
            // A range may go on in the next part.
            part.writable_code.into_iter().filter_map(|range| ranges.push(range)).for_each(show);
            ControlFlow::Continue(())
        });
    ranges.finish().into_iter().for_each(show);

    for (bits, bytes) in (0..).zip(bytes).filter(|(_, bytes)| *bytes > 0) {
        println!("{:>12} KiB {}", bytes >> 10, letters(Rights::from_bits_truncate(bits)));
    }
    Ok(())
}

/// Prints pages that are writable and executable.
fn show(range: PageRange) {
    let (first, last, rights) = (range.first, range.last, letters(range.rights));
    println!("{first}-{last} {rights}: {} pages", range.pages());
}

fn letters(rights: Rights) -> String {
    let letter = |right, letter| if rights.contains(right) { letter } else { '-' };
    [letter(Rights::USER, 'u'), letter(Rights::WRITE, 'w'), letter(Rights::EXECUTE, 'x')]
        .iter()
        .collect()
}
