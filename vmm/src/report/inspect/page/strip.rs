//! The picture: regions with their blocks, and the table of what is in each.

use super::block::Block;
use super::finding::checks_in;
use super::region::gap;
use super::table::table_id;
use crate::report::inspect::maps::{flag_letters, short_page_size};
use crate::report::inspect::{class, letters};
use crate::report::style::number::{numbered, size, with_commas};
use crosswalk_inspect::{Audit, TableTree};
use mmu_core::x86::semantics::Rights;
use std::collections::BTreeSet;
use std::ops::Range;

/// The width of the strips in the page, in pixels, on a wide screen.
const STRIP_WIDTH: u32 = 840;

/// How many pixels a step of width has: such that the widest region fills the page, if it has few blocks.
pub(super) fn scale(blocks: &[Block], places: &[Range<usize>]) -> String {
    let width = |place: &Range<usize>| {
        let own = blocks.get(place.clone()).unwrap_or_default();
        own.iter().map(|block| block.width() + 2).sum::<u32>()
    };
    let widest = places.iter().map(width).max().unwrap_or(1).max(1);
    let percent = (100 * STRIP_WIDTH / widest).clamp(100, 450);
    format!("{}.{:02}", percent / 100, percent % 100)
}

/// A region, with what lies before it.
pub(super) struct RegionView {
    pub(super) id: usize,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) about: String,
    /// The gap before it, in words.
    pub(super) gap: Option<String>,
    /// The shares of its classes in the overview, and its width there.
    pub(super) shares: Vec<(&'static str, u32)>,
    pub(super) width: u32,
    pub(super) has_findings: bool,
    pub(super) blocks: Vec<BlockView>,
}

/// A block as it is drawn, and its line in the table.
pub(super) struct BlockView {
    pub(super) id: usize,
    /// The gap before it, in words.
    pub(super) gap: Option<String>,
    /// The classes that draw it.
    pub(super) class: String,
    pub(super) width: u32,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) rights: String,
    pub(super) size: String,
    pub(super) page: String,
    pub(super) flags: String,
    pub(super) frames: String,
    pub(super) marks: Vec<&'static str>,
    /// Where its first entry is, and the id of that table if the page has it.
    pub(super) at: String,
    pub(super) table: Option<String>,
}

impl BlockView {
    /// The block in a sentence: what a pointer that rests on it shows.
    pub(super) fn title(&self) -> String {
        let Self { first, last, rights, size, page, flags, frames, .. } = self;
        let parts = [rights, size, page, flags, frames].map(String::as_str);
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let found = if self.marks.is_empty() {
            String::new()
        } else {
            format!("; found: {}", self.marks.join(", "))
        };
        format!("{first}-{last}: {}{found}", parts.join(", "))
    }
}

/// The regions, as the page shows them.
pub(super) fn regions(
    blocks: &[Block],
    places: &[Range<usize>],
    audit: &Audit,
    tree: &TableTree,
) -> Vec<RegionView> {
    let tables: BTreeSet<u64> = tree.tables.iter().map(|table| table.address.get()).collect();
    let mut regions = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let Some(own) = blocks.get(place.clone()) else { continue };
        let (Some(first), Some(last)) = (own.first(), own.last()) else { continue };
        let before = place.start.checked_sub(1).and_then(|before| blocks.get(before));

        let views = own.iter().enumerate().map(|(index, block)| {
            let before = index.checked_sub(1).and_then(|before| own.get(before));
            let gap = before.map(|before| gap(before, block)).filter(|gap| *gap > 0);
            show(place.start + index, block, gap, audit, &tables)
        });
        let views: Vec<_> = views.collect();
        let count: u64 = own.iter().map(|block| block.count).sum();
        let mapped = own.iter().fold(0_u64, |sum, block| sum.wrapping_add(block.mapped()));
        regions.push(RegionView {
            id: number,
            first: format!("{:#x}", first.first),
            last: format!("{:#x}", last.last),
            about: match mapped {
                0 if own.iter().any(|block| block.is_repeated) => {
                    "tables that were read before and not again".to_owned()
                }
                0 => "nothing is mapped".to_owned(),
                mapped => format!("{} mapped, {}", size(mapped.into()), numbered(count, "range")),
            },
            gap: before.map(|before| gap_in_words(before, first)),
            shares: shares(own),
            width: own.iter().map(Block::width).sum::<u32>().max(1).ilog2().max(1),
            has_findings: views.iter().any(|view| !view.marks.is_empty()),
            blocks: views,
        });
    }
    regions
}

/// The gap between two regions. That of addresses that are not canonical would dwarf all others.
fn gap_in_words(before: &Block, next: &Block) -> String {
    if before.last >> 63 == 0 && next.first >> 63 == 1 {
        return "not canonical".to_owned();
    }
    size(gap(before, next))
}

fn show(
    id: usize,
    block: &Block,
    gap: Option<u128>,
    audit: &Audit,
    tables: &BTreeSet<u64>,
) -> BlockView {
    let rights = block.rights();
    let marks = checks_in(audit, block.first, block.last, block.has_wx());
    let mapped = block.mapped();
    let table = block.at & !0xfff;

    let page = match &block.range {
        Some(range) => {
            format!("{} of {}", numbered(range.pages(), "page"), short_page_size(range.level.shift))
        }
        None if mapped > 0 => format!("{} ranges", with_commas(block.count)),
        None => String::new(),
    };
    let frames = match (&block.range, &block.problem) {
        (Some(range), _) if range.is_contiguous => format!("to {}", range.address),
        (Some(range), _) => format!("scattered, the first to {}", range.address),
        (None, Some(problem)) => problem.clone(),
        (None, None) => "several".to_owned(),
    };
    BlockView {
        id,
        gap: gap.map(size),
        class: classes(block, rights, !marks.is_empty()),
        width: block.width(),
        first: format!("{:#x}", block.first),
        last: format!("{:#x}", block.last),
        rights: match rights {
            Some(rights) => letters(rights),
            None if mapped > 0 => "mixed".to_owned(),
            None if block.is_repeated => "read before".to_owned(),
            None => "nothing".to_owned(),
        },
        size: if mapped > 0 { size(mapped.into()) } else { String::new() },
        page,
        flags: match &block.range {
            Some(range) => flag_letters([range.accessed, range.dirty, range.global]),
            None => String::new(),
        },
        frames,
        marks,
        at: format!("{:#x}", block.at),
        table: tables.contains(&table).then(|| table_id(table)),
    }
}

/// The classes of a block: its rights, who may, how large its pages are, and whether something was found.
fn classes(block: &Block, rights: Option<Rights>, is_found: bool) -> String {
    let mut classes = vec![match rights {
        Some(rights) => class(rights),
        None if block.has_wx() => "wx mixed",
        None if block.mapped() > 0 => "mixed",
        None if block.is_repeated => "again",
        None => "no",
    }];
    if block.is_of_user() {
        classes.push("user");
    }
    classes.push(match block.range.as_ref().map(|range| range.level.shift) {
        Some(30..) => "huge",
        Some(21..) => "large",
        _ => "small",
    });
    if is_found {
        classes.push("found");
    }
    classes.join(" ")
}

/// The widths of all blocks of each class, for the overview.
fn shares(blocks: &[Block]) -> Vec<(&'static str, u32)> {
    let of = |block: &Block| match block.rights() {
        Some(rights) => class(rights),
        None if block.mapped() > 0 => "mixed",
        None if block.is_repeated => "again",
        None => "no",
    };
    let classes = ["r", "w", "x", "wx", "mixed", "again", "no"];
    let share = |name: &'static str| {
        let own = blocks.iter().filter(|block| of(block) == name);
        (name, own.map(Block::width).sum())
    };
    classes.into_iter().map(share).filter(|(_, width)| *width > 0).collect()
}
