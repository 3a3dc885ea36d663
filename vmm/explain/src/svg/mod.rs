//! A walk as one picture in SVG: the parts of the address above the tables that they index, each entry with its flags
//! and what it leaves of the rights, the page with the byte, and how it ends.
//!
//! It is drawn from left to right. What a step of the walk shows is a group with `data-walk` and `data-step`, so that a
//! page can light them one by one; the last group of a picture, of the outcomes, has the number of all walks.

mod canvas;

use crate::picture::{EndPicture, EntryPicture, FieldKind, Picture, WalkPicture, Word};
use crate::words::page_size;
use canvas::Canvas;

const MARGIN: f64 = 20.0;
const COLUMN: f64 = 178.0;
/// The width of tables and of the boxes above them.
const BOX: f64 = 118.0;
const TABLE_HEIGHT: f64 = 168.0;
const SLOT_HEIGHT: f64 = 22.0;
/// The places of a walk's rows below its top.
const FIELDS: f64 = 8.0;
const TABLES: f64 = 112.0;
const BELOW: f64 = TABLES + TABLE_HEIGHT + 22.0;
/// The height of a walk with its end.
const WALK_HEIGHT: f64 = BELOW + 112.0;
/// The space between two walks.
const GAP: f64 = 40.0;
/// The height of a line.
const LINE: f64 = 24.0;

/// What is drawn besides the walks.
pub(crate) struct Words<'w> {
    /// The access.
    pub(crate) access: &'w str,
    /// Where the tables begin.
    pub(crate) first_table: u64,
    /// Each outcome that is allowed.
    pub(crate) outcomes: Vec<String>,
}

/// Draws a picture.
pub(crate) fn draw(picture: &Picture, words: &Words<'_>) -> String {
    let width = width(picture, words);
    let mut canvas = Canvas::default();
    let mut top = 52.0;

    canvas.text(MARGIN, 28.0, "start title", words.access);
    canvas.text(MARGIN, 48.0, "start note", &format!("{} paging", picture.mode));
    for (number, walk) in picture.walks.iter().enumerate() {
        top += if number > 0 { GAP } else { 0.0 };
        let mut drawing = Drawing { canvas: &mut canvas, number, top, walk };
        drawing.draw(words.first_table);
        top += height(walk);
    }

    canvas.begin(picture.walks.len(), 0, 0);
    for (outcome, code) in words.outcomes.iter().zip(&picture.error_codes) {
        top += draw_outcome(&mut canvas, top, outcome, code.as_ref());
    }
    canvas.end();
    canvas
        .finish([width, top + 8.0], &format!("{}: {}", words.access, words.outcomes.join(", or ")))
}

/// The width of a picture: that of its tables, or of its longest text.
fn width(picture: &Picture, words: &Words<'_>) -> f64 {
    // At most so many pixels are a letter wide.
    const TITLE: f64 = 10.0;
    const END: f64 = 8.2;

    let columns = picture.walks.iter().map(columns).max().unwrap_or(1).max(4);
    let tables = COLUMN * (columns - 1) as f64 + BOX + MARGIN;
    let ends = picture.walks.iter().map(|walk| END * walk.end.words.len() as f64);
    let outcomes = words.outcomes.iter().map(|outcome| TITLE * (outcome.len() + 2) as f64);
    let title = TITLE * words.access.len() as f64;
    2.0 * MARGIN + ends.chain(outcomes).fold(tables.max(title), f64::max).ceil()
}

/// The number of columns of a walk: CR3, a table for each index, and the page.
fn columns(walk: &WalkPicture) -> usize {
    indices(walk) + 2
}

fn indices(walk: &WalkPicture) -> usize {
    walk.parts.iter().filter(|part| !matches!(&part.name[..], "sign" | "offset")).count()
}

/// The height of a walk: with tables or memory, or of the address alone.
fn height(walk: &WalkPicture) -> f64 {
    if has_page(walk) || !walk.entries.is_empty() { WALK_HEIGHT } else { TABLES }
}

/// Whether it comes to a page, or to memory without paging.
fn has_page(walk: &WalkPicture) -> bool {
    walk.end.page.is_some() || walk.end.physical.is_some()
}

/// An outcome, with its error code bit by bit. Returns its height.
fn draw_outcome(canvas: &mut Canvas, top: f64, outcome: &str, code: Option<&Word>) -> f64 {
    let is_good = outcome.starts_with("completed");
    let (sign, class) =
        if is_good { ("\u{2713}", "start end good") } else { ("\u{25b2}", "start end bad") };
    canvas.text(MARGIN, top + LINE, class, &format!("{sign} {outcome}"));
    let Some(code) = code else { return LINE + 12.0 };

    for (number, field) in code.fields.iter().enumerate() {
        let x = MARGIN + 56.0 * number as f64;
        let is_set = field.value.0 != 0;
        let class = if is_set { "lost" } else { "lacks" };
        canvas.rectangle([x, top + LINE + 12.0, 52.0, 40.0], class);
        canvas.text(x + 26.0, top + LINE + 28.0, "note", &field.name);
        let class = if is_set { "code strong bad" } else { "code" };
        canvas.text(x + 26.0, top + LINE + 46.0, class, if is_set { "1" } else { "0" });
    }
    LINE + 64.0
}

/// The drawing of one walk.
struct Drawing<'d> {
    canvas: &'d mut Canvas,
    number: usize,
    top: f64,
    walk: &'d WalkPicture,
}

impl Drawing<'_> {
    fn draw(&mut self, first_table: u64) {
        let walk = self.walk;
        let last = indices(walk) + 1;

        self.canvas.begin(self.number, 0, 0);
        let address = format!("{} at {:#x}", walk.access, walk.address.0);
        if self.number > 0 {
            self.canvas.text(MARGIN, self.top - 4.0, "start note", &address);
        }
        for part in walk.parts.iter().filter(|part| part.name == "sign") {
            self.field(0, &part.name, (part.high, part.low), &part.value);
        }
        if !walk.entries.is_empty() {
            self.root(first_table);
        }
        self.canvas.end();

        let others = walk.parts.iter().filter(|part| part.name != "sign");
        for (number, part) in (1..).zip(others) {
            let is_offset = part.name == "offset";
            let place = if is_offset { last } else { number };
            let colour = if is_offset { 6 } else { number };
            self.canvas.begin(self.number, 0, colour);
            self.field(place, &part.name, (part.high, part.low), &part.value);
            self.canvas.end();
        }

        for (number, entry) in (1..).zip(&walk.entries) {
            self.canvas.begin(self.number, number, number);
            self.entry(number, entry);
            self.canvas.end();
        }

        self.canvas.begin(self.number, walk.entries.len() + 1, 6);
        if has_page(walk) {
            self.page(last, &walk.end);
        }
        let y = height(walk) - 8.0;
        let class =
            if walk.end.kind == "reached" { "start good strong" } else { "start bad strong" };
        self.canvas.text(MARGIN, self.top + y, class, &walk.end.words);
        self.canvas.end();
    }

    /// The left edge of a column's boxes.
    fn left(column: usize) -> f64 {
        MARGIN + COLUMN * column as f64
    }

    fn middle(column: usize) -> f64 {
        Self::left(column) + BOX / 2.0
    }

    /// A part of the address.
    fn field(&mut self, column: usize, name: &str, (high, low): (u8, u8), value: &str) {
        let (x, y) = (Self::middle(column), self.top + FIELDS);
        self.canvas.rectangle([Self::left(column), y, BOX, 52.0], "field");
        self.canvas.text(x, y + 20.0, "name", &format!("{name} {high}:{low}"));
        self.canvas.text(x, y + 42.0, "value", value);
    }

    /// CR3, which leads to the first table.
    fn root(&mut self, first_table: u64) {
        let y = self.top + TABLES + 40.0;
        let left = Self::left(0);
        self.canvas.rectangle([left, y, BOX, 48.0], "field");
        self.canvas.text(Self::middle(0), y + 20.0, "name", "CR3");
        self.canvas.text(Self::middle(0), y + 38.0, "code", &format!("{first_table:#x}"));
        self.leads_to(1, y + 24.0, 0);
    }

    /// An arrow from a box in a column to what begins in the next one.
    fn leads_to(&mut self, column: usize, from: f64, before: usize) {
        let start = Self::left(before) + BOX;
        let middle = start + 30.0;
        let end = Self::left(column);
        let y = self.top + TABLES + 12.0;
        if (y - from).abs() < 8.0 {
            self.canvas.arrow(&[(start, from), (end, from)]);
        } else {
            self.canvas.arrow(&[(start, from), (middle, from), (middle, y), (end, y)]);
        }
    }

    /// Where in a box of a column something lies, by its share of the whole.
    fn slot(&self, share: f64) -> f64 {
        self.top + TABLES + share.clamp(0.0, 1.0) * (TABLE_HEIGHT - SLOT_HEIGHT)
    }

    /// An entry in its table.
    fn entry(&mut self, column: usize, entry: &EntryPicture) {
        let (left, x) = (Self::left(column), Self::middle(column));
        let slot = self.slot(entry.index as f64 / (entry.entries - 1) as f64);

        self.canvas.arrow(&[(x, self.top + FIELDS + 54.0), (x, self.top + TABLES - 20.0)]);
        let place = if entry.in_register { "in registers" } else { "table" };
        let table = format!("{place} {:#x}", entry.table.0);
        self.canvas.text(x, self.top + TABLES - 6.0, "note", &table);
        self.canvas.rectangle([left, self.top + TABLES, BOX, TABLE_HEIGHT], "table");
        let class = if entry.problem.is_some() { "slot wrong" } else { "slot" };
        self.canvas.rectangle([left, slot, BOX, SLOT_HEIGHT], class);
        self.canvas.text(x, slot + 16.0, "name", &format!("{} {}", entry.word.name, entry.index));

        let y = self.top + BELOW;
        let digits = 2 + 2 * entry.bytes as usize;
        self.canvas.text(x, y, "code", &format!("{:#0digits$x}", entry.word.value.0));
        for (row, flags) in flags(&entry.word).chunks(5).enumerate() {
            self.canvas.text(x, y + 18.0 + 15.0 * row as f64, "code", &flags.join(" "));
        }
        match entry.problem {
            Some(problem) => {
                self.canvas.text(x, y + 62.0, "bad strong", &format!("\u{2715} {problem}"));
            }
            None if entry.in_register => {}
            None => self.rights(left, y + 48.0, entry),
        }

        if entry.leads_to != "nowhere" {
            let is_page = entry.leads_to == "page";
            let next = if is_page { indices(self.walk) + 1 } else { column + 1 };
            self.leads_to(next, slot + SLOT_HEIGHT / 2.0, column);
        }
    }

    /// What the path allows.
    fn rights(&mut self, left: f64, y: f64, entry: &EntryPicture) {
        let mut x = left - 20.0;
        for right in &entry.rights {
            let width = 20.0 + 5.8 * right.name.len() as f64;
            let (edge, class) = match (right.has, right.lost) {
                (true, _) => ("has", "kept"),
                (false, true) => ("lost", "taken"),
                (false, false) => ("lacks", "gone"),
            };
            self.canvas.rectangle([x, y, width, 19.0], edge);
            self.canvas.text(x + width / 2.0, y + 14.0, class, right.name);
            x += width + 4.0;
        }
    }

    /// The page, and the byte in it.
    fn page(&mut self, column: usize, end: &EndPicture) {
        let (left, x) = (Self::left(column), Self::middle(column));
        let offset = self
            .walk
            .parts
            .last()
            .map_or(0, |part| self.walk.address.0 & (u64::MAX >> (63 - part.high)));
        let bytes = end.page_bytes.unwrap_or(1 << 32);
        let slot = self.slot(offset as f64 / bytes as f64);

        self.canvas.arrow(&[(x, self.top + FIELDS + 54.0), (x, self.top + TABLES - 20.0)]);
        let size = end.page_bytes.map(|bytes| page_size(bytes.trailing_zeros() as u8));
        let name = size.map_or_else(|| "memory".into(), |size| format!("{size} page"));
        self.canvas.text(x, self.top + TABLES - 6.0, "note", &name);
        let is_reached = end.kind == "reached";
        let class = if is_reached { "table" } else { "wrong" };
        self.canvas.rectangle([left, self.top + TABLES, BOX, TABLE_HEIGHT], class);
        self.canvas.rectangle(
            [left, slot, BOX, SLOT_HEIGHT],
            if is_reached { "slot" } else { "slot wrong" },
        );
        let word = if is_reached { "the byte" } else { "\u{2715} denied" };
        self.canvas.text(x, slot + 16.0, if is_reached { "name" } else { "bad strong" }, word);

        let y = self.top + BELOW;
        if let Some(page) = end.page {
            self.canvas.text(x, y, "code", &format!("{:#x}", page.0));
            self.canvas.text(x, y + 18.0, "code", &format!("+ {offset:#x}"));
        }
        if let Some(physical) = end.physical {
            self.canvas.text(x, y + 40.0, "code strong", &format!("= {:#x}", physical.0));
        }
    }
}

/// The flags of an entry that are set.
fn flags(word: &Word) -> Vec<&str> {
    let set = word
        .fields
        .iter()
        .rev()
        .filter(|field| field.kind == FieldKind::Flag && field.value.0 != 0);
    set.map(|field| field.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::Case;
    use crosswalk_walker::WalkerSpec;

    fn picture(cr3: &str, address: &str) -> String {
        let text = format!(
            r#"{{"mode":"32bit","state":{{"cr0":"0x80010011","cr3":"{cr3}","cr4":"0x0","efer":"0x0"}},
                "entries":[{{"address":"0x1ffc","value":"0x2007"}},{{"address":"0x2ffc","value":"0x3005"}}],
                "access":{{"kind":"read","address":"{address}","size":4,"ring":3}}}}"#
        );
        let case = Case::from_json(&text).expect("a case");
        crate::View::<()>::new(&case, WalkerSpec::Reference, &|_| None, Vec::new()).svg
    }

    /// The y of the box around a text.
    fn height_of(svg: &str, text: &str) -> f64 {
        let line = svg.lines().find(|line| line.contains(text)).expect("the text is drawn");
        let after = line.split(" y=\"").nth(1).expect("a place");
        after.split('"').next().and_then(|y| y.parse().ok()).expect("a number")
    }

    #[test]
    fn an_entry_is_where_its_index_is_in_its_table() {
        // The last entry of each table, and the first byte of the page.
        let svg = picture("0x1000", "0xfffff000");
        let last = 52.0 + TABLES + TABLE_HEIGHT - SLOT_HEIGHT + 16.0;
        assert!((height_of(&svg, ">PDE 1023<") - last).abs() < 0.01, "{svg}");
        assert!((height_of(&svg, ">PTE 1023<") - last).abs() < 0.01, "{svg}");
        assert!((height_of(&svg, ">the byte<") - (52.0 + TABLES + 16.0)).abs() < 0.01, "{svg}");
        assert!(
            svg.contains(">= 0x3000<") && svg.contains(">\u{2713} completed: 4 bytes at 0x3000<"),
            "{svg}"
        );
    }

    /// What lights up step by step is one group after the other, and the outcome comes after every walk.
    #[test]
    fn every_step_has_a_group() {
        let groups = |svg: &str| {
            let begins = svg.lines().filter(|line| line.starts_with("<g class=\"part"));
            let steps =
                begins.filter_map(|line| line.split_once("data-walk=").map(|(_, rest)| rest));
            let mut steps: Vec<_> = steps.map(|rest| rest.replace(" data-step=", " ")).collect();
            steps.dedup();
            steps
        };
        let walked = groups(&picture("0x1000", "0xfffff000"));
        assert_eq!(
            walked,
            ["\"0\" \"0\">", "\"0\" \"1\">", "\"0\" \"2\">", "\"0\" \"3\">", "\"1\" \"0\">"]
        );
        let stopped = picture("0x5000", "0x0");
        assert_eq!(groups(&stopped).len(), 4, "{stopped}");
        assert!(
            stopped.contains(">\u{2715} not present<") && stopped.contains("#PF(U)"),
            "{stopped}"
        );
    }
}
