//! A walker in Rust that speaks the line protocol. It knows 4-level paging, and checks only whether
//! entries are present:
//!
//! ```sh
//! cargo build --package crosswalk-case --example walker
//! crosswalk replay --walker cmd:target/debug/examples/walker
//! ```

use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Faulted, Ignores, Translated, serve};
use mmu_core::memory::TableMemory;
use mmu_core::x86::format::EntryBits;
use mmu_core::{PagingMode, PhysAddr};
use std::io::{self, stdin, stdout};

struct FourLevelWalker;

impl Candidate for FourLevelWalker {
    fn answer(&mut self, case: &Case) -> Answer {
        if case.mode() != PagingMode::FourLevel || case.is_sequence() || case.access.crosses_page()
        {
            return Answer::Silent("it knows single accesses to one page in 4-level paging".into());
        }

        let address = case.access.address;
        let mut table = case.state.cr3 & EntryBits::ADDRESS;
        for shift in [39, 30, 21, 12] {
            let at = PhysAddr::new(table + 8 * address.index(shift, 9));
            let Ok(entry) = case.read_entry(at, 8) else {
                return Answer::Silent("a table is outside memory".into());
            };
            if entry & EntryBits::P.bits() == 0 {
                return Answer::Fault(Faulted::default());
            }
            let is_large = shift < 39 && entry & EntryBits::PS.bits() != 0;
            if is_large || shift == 12 {
                return page(entry, shift, case);
            }
            table = entry & EntryBits::ADDRESS;
        }
        unreachable!("the last level maps a page")
    }
}

/// The access completes, in a page of 2^`shift` bytes that a leaf maps.
fn page(leaf: u64, shift: u8, case: &Case) -> Answer {
    let frame = leaf & EntryBits::ADDRESS & !((1 << shift) - 1);
    Answer::Translated(Translated {
        address: frame | case.access.address.offset(shift),
        ignores: Ignores::RESERVED | Ignores::RIGHTS | Ignores::ADDRESS,
        ..Translated::default()
    })
}

fn main() -> io::Result<()> {
    serve(&mut FourLevelWalker, stdin().lock(), stdout().lock())
}
