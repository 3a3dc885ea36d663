//! The meaningful bits of an entry, as digits: what each changes about a plain entry.

use crosswalk_machine::Capabilities;
use mmu_core::PagingMode;
use mmu_core::x86::format::{EntryBits, Leaf, Level};

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryPart {
    Present,
    Writable,
    User,
    ExecuteDisable,
    /// Address bits that the processor does not have.
    AboveAddress,
    Accessed,
    /// PS in an entry that points to a table or maps 4 KiB, PAT in a large leaf.
    PageSize,
    /// Address bits below the size of a large page.
    Alignment,
    Dirty,
    Caching,
    Global,
    /// Bits 11:9.
    Ignored,
    /// Bits 58:52.
    HighIgnored,
    Key,
}

/// One digit of an entry: for each value the bits that are flipped. The first value flips none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    pub(super) part: EntryPart,
    pub(super) values: Vec<u64>,
}

/// The protection key of an entry that has one; 0 is that of the guest's own pages.
pub(super) const KEY: u32 = 10;

/// Bits 11:9 of an entry, which are ignored.
pub(super) const IGNORED: u64 = 0xe00;
/// Bits 58:52 of an entry in long mode, which are ignored.
const HIGH_IGNORED: u64 = 0x7f << 52;

/// Where in a walk an entry is used.
#[derive(Clone, Copy)]
pub(super) struct VariedEntry {
    /// The level of its table.
    pub(super) level: &'static Level,
    /// Whether it maps the page.
    pub(super) is_leaf: bool,
    /// Whether CR4.PSE is 1.
    pub(super) pse: bool,
}

/// What can be unusual about an entry.
pub(super) fn digits(mode: PagingMode, place: VariedEntry, machine: &Capabilities) -> Vec<Digit> {
    let VariedEntry { level, is_leaf, pse } = place;
    let is_narrow = mode == PagingMode::Bits32;
    let is_large = is_leaf && level.number > 1;
    let is_long_mode = mode.is_long_mode();

    let mut digits = Vec::new();
    let mut add = |part, masks: &[u64]| {
        let mut values = vec![0];
        values.extend(masks.iter().filter(|mask| **mask != 0));
        values.dedup();
        digits.push(Digit { part, values });
    };
    let bit = |bit: u8| 1_u64 << bit;

    add(EntryPart::Present, &[EntryBits::P.bits()]);
    add(EntryPart::Writable, &[EntryBits::RW.bits()]);
    add(EntryPart::User, &[EntryBits::US.bits()]);
    if !is_narrow {
        add(EntryPart::ExecuteDisable, &[EntryBits::XD.bits()]);
        // The lowest and the highest (CODE-4).
        let low = machine.profile.physical_address_bits;
        let high = if is_long_mode { 51 } else { 62 };
        add(EntryPart::AboveAddress, &if low <= high { [bit(low), bit(high)] } else { [0; 2] });
    }

    add(EntryPart::Accessed, &[EntryBits::A.bits()]);
    // In 32-bit paging, PS would turn the address of a table into that of a page outside memory
    // (MODE-5).
    let leads_outside = is_narrow && !is_leaf && pse;
    if !leads_outside {
        let large_pat = EntryBits::LARGE_PAT.bits();
        add(EntryPart::PageSize, &[if is_large { large_pat } else { EntryBits::PS.bits() }]);
    }
    if is_large {
        // In a 4 MiB page most of these are address bits (MODE-5); the highest never is.
        let high = bit(level.shift - 1);
        add(EntryPart::Alignment, &if is_narrow { [high, 0] } else { [bit(13), high] });
    }

    add(EntryPart::Dirty, &[EntryBits::D.bits()]);
    add(EntryPart::Caching, &[(EntryBits::PWT | EntryBits::PCD).bits()]);
    add(EntryPart::Global, &[EntryBits::G.bits()]);
    add(EntryPart::Ignored, &[IGNORED]);
    if is_long_mode {
        add(EntryPart::HighIgnored, &[HIGH_IGNORED]);
        add(EntryPart::Key, &[EntryBits::with_key(KEY)]);
    }
    digits
}

/// The main digits, with two values each, for two entries that vary at the same time.
pub(super) fn main_digits(mut digits: Vec<Digit>) -> Vec<Digit> {
    let is_main = |part: EntryPart| {
        matches!(
            part,
            EntryPart::Present
                | EntryPart::Writable
                | EntryPart::User
                | EntryPart::ExecuteDisable
                | EntryPart::AboveAddress
                | EntryPart::Accessed
        )
    };

    let has_alignment = digits.iter().any(|digit| digit.part == EntryPart::Alignment);
    let size = if has_alignment { EntryPart::Alignment } else { EntryPart::PageSize };
    digits.retain(|digit| is_main(digit.part) || digit.part == size);
    for digit in &mut digits {
        digit.values.truncate(2);
    }
    digits
}

/// Whether an entry of this level can map a page with this CR4.PSE, whatever the features.
pub(super) const fn can_be_leaf(level: &Level, pse: bool) -> bool {
    match level.leaf {
        Leaf::Never => false,
        Leaf::Always => true,
        Leaf::IfPageSizeBit(_, cr4) => cr4.is_empty() || pse,
    }
}
