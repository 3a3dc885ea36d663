//! The tree of a case's tables: every entry that is not 0, below the entry that leads to it. A table that
//! several entries lead to is drawn below the first of them, once for each level that it serves: so the
//! drawing is never larger than the tables are.

use crosswalk_case::Case;
use crosswalk_explain::words::page_size;
use mmu_core::x86::format::{
    self, Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Level, Pae, levels,
};
use mmu_core::x86::semantics::Semantics;
use mmu_core::{PagingMode, PhysAddr, Reference, Regime, VirtAddr};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The column before which the words about an entry end, so that its address fits 80 columns behind them.
const WORDS_END: usize = 55;

/// Draws the tree of a case without a sequence, such as the [last access](crosswalk_explain::steps::last_access) of one.
pub fn draw(case: &Case) -> String {
    let regime = Regime::new(case.state, case.profile);
    let mut tree = Tree { case, regime, drawn: BTreeSet::new(), text: String::new() };
    let root = format::root(&tree.regime);

    let _ = writeln!(tree.text, "{} tables from {root}", case.mode());
    if levels(case.mode()).is_empty() {
        tree.text.push_str("(no tables: linear addresses are physical)\n");
    }
    tree.table(root, levels(case.mode()), 0, "");
    tree.text
}

struct Tree<'c> {
    case: &'c Case,
    regime: Regime,
    /// The tables that have been drawn, each with the number of levels below it.
    drawn: BTreeSet<(PhysAddr, usize)>,
    text: String,
}

impl Tree<'_> {
    /// Draws the entries of one table, whose linear addresses start at `linear`. It goes no deeper than
    /// the format, so tables that lead back to themselves end as they do in a walk.
    fn table(&mut self, table: PhysAddr, levels: &[Level], linear: u64, indent: &str) {
        let Some((level, below)) = levels.split_first() else { return };
        self.drawn.insert((table, below.len()));

        let entries = self.entries(table, level);
        for (i, (index, value)) in entries.iter().enumerate() {
            let is_last = i + 1 == entries.len();
            let (branch, under) = if is_last { ("└─", "   ") } else { ("├─", "│  ") };

            let (kind, target) = format::decode(&self.regime, level, *value);
            let flags = EntryBits::from_bits_retain(*value);
            let is_present = flags.contains(EntryBits::P);
            let reserved = reserved_bits(&self.regime, level, kind, *value);
            let is_used = is_present && reserved == 0;
            let leads_on = is_used && kind == EntryKind::Table && !below.is_empty();
            let is_drawn = leads_on && self.drawn.contains(&(target, below.len() - 1));
            let leads = match kind {
                _ if !is_present => "not present".to_owned(),
                // Here a walk stops, whatever the rest of the entry says.
                _ if reserved != 0 => format!("reserved bits {reserved:#x}"),
                EntryKind::Table if is_drawn => format!("table {target}, as above,"),
                EntryKind::Table => format!("table {target}"),
                EntryKind::Leaf => format!("{} page {target}", page_size(level.shift)),
            };
            let name = level.entry_name;
            let rights = match level.has_flags && is_used {
                true if is_drawn => describe_briefly(flags),
                true => describe(flags),
                false => "",
            };
            let line = format!("{indent}{branch} {name} {index}: {leads} {rights}");
            let line = line.trim_end();
            let start = self.canonical(linear | index << level.shift);
            if line.chars().count() > WORDS_END {
                let _ = writeln!(self.text, "{line}");
                let _ =
                    writeln!(self.text, "{:<WORDS_END$} from {start}", format!("{indent}{under}"));
            } else {
                let _ = writeln!(self.text, "{line:<WORDS_END$} from {start}");
            }

            if leads_on && !is_drawn {
                self.table(target, below, start.get(), &format!("{indent}{under}"));
            }
        }
    }

    /// The entries of a table that are not 0, as index and value, lowest first. PAE's first level is in
    /// registers.
    fn entries(&self, table: PhysAddr, level: &Level) -> Vec<(u64, u64)> {
        if !level.has_flags {
            let registers = (0..).zip(self.case.state.pdptes);
            return registers.filter(|(_, value)| *value != 0).collect();
        }

        let bytes = if self.case.mode() == PagingMode::Bits32 { 4 } else { 8 };
        let size = bytes << level.index_bits;
        let inside = |at: u64| at.checked_sub(table.get()).filter(|offset| *offset < size);

        let listed = self.case.entries.iter().filter(|entry| entry.value != 0);
        let mut entries: Vec<_> =
            listed.filter_map(|entry| Some((inside(entry.at)? / bytes, entry.value))).collect();
        entries.sort_unstable();
        entries
    }

    /// The address that a walk would need, with bit 47 or 56 repeated above.
    fn canonical(&self, linear: u64) -> VirtAddr {
        match self.case.mode() {
            PagingMode::FourLevel => VirtAddr::new(linear).sign_extended(48),
            PagingMode::FiveLevel => VirtAddr::new(linear).sign_extended(57),
            _ => VirtAddr::new(linear),
        }
    }
}

/// The reserved bits that are set in an entry.
fn reserved_bits(regime: &Regime, level: &Level, kind: EntryKind, entry: u64) -> u64 {
    fn of<F: Format>(regime: &Regime, level: &Level, kind: EntryKind) -> u64 {
        Reference.reserved_bits::<F>(level, kind, regime)
    }

    let reserved = match regime.state.mode() {
        PagingMode::Unpaged | PagingMode::Linear => 0,
        PagingMode::Bits32 => of::<Bits32>(regime, level, kind),
        PagingMode::Pae => of::<Pae>(regime, level, kind),
        PagingMode::FourLevel => of::<FourLevel>(regime, level, kind),
        PagingMode::FiveLevel => of::<FiveLevel>(regime, level, kind),
    };
    entry & reserved
}

fn describe(flags: EntryBits) -> &'static str {
    match (flags.contains(EntryBits::US), flags.contains(EntryBits::RW)) {
        (true, true) => "user, writable",
        (true, false) => "user, read-only",
        (false, true) => "supervisor, writable",
        (false, false) => "supervisor, read-only",
    }
}

/// The same where little of the line is left.
fn describe_briefly(flags: EntryBits) -> &'static str {
    match (flags.contains(EntryBits::US), flags.contains(EntryBits::RW)) {
        (true, true) => "user, rw",
        (true, false) => "user, ro",
        (false, true) => "supervisor, rw",
        (false, false) => "supervisor, ro",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages of one table, and a page directory that is its own table.
    const CASE: &str = r#"{"mode":"32bit",
        "state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x0","efer":"0x0"},
        "entries":[{"address":"0x1004","value":"0x2007"},{"address":"0x1ffc","value":"0x1003"},
            {"address":"0x2008","value":"0x9005"},{"address":"0x200c","value":"0xa006"}],
        "access":{"kind":"read","address":"0x402000","size":1,"ring":3}}"#;

    #[test]
    fn every_entry_hangs_under_its_table() {
        let drawn = draw(&Case::from_json(CASE).unwrap());
        let squeezed: Vec<_> = drawn
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            squeezed,
            [
                "32bit tables from 0x1000",
                "├─ PDE 1: table 0x2000 user, writable from 0x400000",
                "│ ├─ PTE 2: 4 KiB page 0x9000 user, read-only from 0x402000",
                "│ └─ PTE 3: not present from 0x403000",
                "└─ PDE 1023: table 0x1000 supervisor, writable from 0xffc00000",
                "├─ PTE 1: 4 KiB page 0x2000 user, writable from 0xffc01000",
                "└─ PTE 1023: 4 KiB page 0x1000 supervisor, writable from 0xfffff000",
            ]
        );
    }

    /// A PML4E with PS is reserved (CODE-5), and the walk ends there, although it has the address of a table. Below
    /// the other one, lines are as long as they can be.
    #[test]
    fn a_tree_ends_where_a_walk_ends_and_fits_80_columns() {
        let case = r#"{"mode":"4level",
            "state":{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620","efer":"0xd00"},
            "entries":[{"address":"0x440008","value":"0x441087"},{"address":"0x440ff8","value":"0x441007"},
                {"address":"0x441ff8","value":"0x442007"},{"address":"0x442ff8","value":"0x443007"},
                {"address":"0x443ff8","value":"0x7ffffff001"}],
            "access":{"kind":"read","address":"0x0","size":1,"ring":3}}"#;
        let drawn = draw(&Case::from_json(case).unwrap());
        let lines: Vec<_> = drawn.lines().collect();
        assert!(lines[1].starts_with("├─ PML4E 1: reserved bits 0x80  "), "{drawn}");
        assert!(lines[1].ends_with(" from 0x8000000000"), "{drawn}");
        assert!(lines[2].starts_with("└─ PML4E 511: table 0x441000 user, writable"), "{drawn}");
        assert!(lines[3].starts_with("   └─ PDPTE 511: table 0x442000"), "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.contains("from 0xfffffffffffff000"), "{drawn}");
    }

    /// Every entry of a PML4 leads to the PML4 itself. As a tree without end it had 512 to the power of
    /// 4 lines.
    #[test]
    fn a_table_is_drawn_once_for_each_level() {
        let entry =
            |index| format!(r#"{{"address":"{:#x}","value":"0x440007"}}"#, 0x44_0000 + 8 * index);
        let entries: Vec<_> = (0..512).map(entry).collect();
        let case = format!(
            r#"{{"mode":"4level","state":{{"cr0":"0x80010011","cr3":"0x440000","cr4":"0x620",
            "efer":"0xd00"}},"entries":[{}],
            "access":{{"kind":"read","address":"0x0","size":1,"ring":3}}}}"#,
            entries.join(",")
        );

        let drawn = draw(&Case::from_json(&case).unwrap());
        assert_eq!(drawn.lines().count(), 1 + 4 * 512);
        assert_eq!(drawn.lines().filter(|line| line.contains("as above")).count(), 3 * 511);
    }
}
