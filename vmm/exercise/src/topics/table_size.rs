//! How large tables are: flat, and of several levels.

use crate::answer::Form;
use crate::answer::Value::Number;
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question};
use crate::topic::{Difficulty, Topic};
use crate::wording::{counted, power, size};
use crosswalk_geometry::{Cost, Geometry, Levels, Parameters, Placement};

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match difficulty {
        Difficulty::Basic => flat(chance),
        Difficulty::Moderate | Difficulty::Hard => levels(difficulty, chance),
    }
}

fn geometry(address_bits: u32, offset_bits: u32, entry_bytes: u32) -> Geometry {
    let parameters = Parameters {
        address_bits,
        page_bytes: 1 << offset_bits,
        // Small enough for the smallest entries.
        physical_bits: Some((offset_bits + 7).min(64)),
        entry_bytes: Some(entry_bytes),
    };
    Geometry::new(&parameters).expect("a page fits, and so does a frame number of 7 bits")
}

fn given(geometry: &Geometry) -> Vec<Fact> {
    vec![
        Fact::new("virtual addresses", counted(geometry.address_bits().into(), "bit")),
        Fact::new("page size", size(geometry.page_bytes())),
        Fact::new("entry", size(geometry.entry_bytes().into())),
    ]
}

/// One entry for each page.
fn flat(chance: &mut Chance) -> Exercise {
    let offset_bits = chance.few(8..=14);
    let address_bits = offset_bits + chance.few(4..=24);
    let geometry = geometry(address_bits, offset_bits, chance.pick(&[1, 2, 4, 8]));

    let mut facts = given(&geometry);
    facts.push(Fact::new("table", "flat: one entry for each page"));
    Exercise {
        topic: Topic::TableSize,
        difficulty: Difficulty::Basic,
        story: Vec::new(),
        facts,
        tables: Vec::new(),
        questions: vec![flat_entries(&geometry), flat_size(&geometry), per_byte(&geometry)],
    }
}

fn flat_entries(geometry: &Geometry) -> Question {
    let (bits, offset) = (geometry.address_bits(), geometry.offset_bits());
    let pages = geometry.pages();
    Question::new("How many entries has the table?", Form::Count, Number(pages))
        .work(format!("One for each page: 2^{bits} / 2^{offset} = {}.", power(pages)))
        .wrong_number(1 << bits, "That would be one for each byte. A table has one for each page.")
        .wrong_number(geometry.flat_table_bytes(), "That is its size in bytes.")
        .wrong_number(
            geometry.page_number_bits().into(),
            "That is the exponent: so many bits number the pages.",
        )
}

fn flat_size(geometry: &Geometry) -> Question {
    let pages = geometry.pages();
    let entry = geometry.entry_bytes();
    let bytes = geometry.flat_table_bytes();
    Question::new("How large is the flat table?", Form::Bytes, Number(bytes))
        .work(format!(
            "{} * {} = {bytes} bytes = {}.",
            counted(pages, "entry"),
            size(entry.into()),
            size(bytes)
        ))
        .wrong_number(pages, "That is the number of entries: each takes more than a byte.")
        .wrong_number(8 * bytes, "Those are bits.")
        .wrong_number(
            geometry.page_bytes() * u128::from(entry),
            "That would be an entry for each byte of one page. There is one for each page.",
        )
        .wrong_number(
            u128::from(entry) << geometry.address_bits(),
            "That would be an entry for each byte of the address space. There is one for each page.",
        )
}

fn per_byte(geometry: &Geometry) -> Question {
    let bits = geometry.address_bits();
    let entry = u128::from(geometry.entry_bytes());
    let bytes = entry << bits;
    Question::new(
        "And how large would it be with such an entry for each byte?",
        Form::Bytes,
        Number(bytes),
    )
    .work(format!("2^{bits} entries * {} = {}.", size(entry), size(bytes)))
    .wrong_number(geometry.flat_table_bytes(), "That is the table with an entry for each page.")
    .wrong_number(1 << bits, "That is the number of entries.")
}

/// Tables that exist only where pages are in use.
fn levels(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let (geometry, index_bits) = if difficulty == Difficulty::Hard {
        let count = chance.few(3..=5);
        let index_bits: Vec<u32> = (0..count).map(|_| chance.few(6..=10)).collect();
        let offset_bits = chance.few(12..=14);
        let address_bits = offset_bits + index_bits.iter().sum::<u32>();
        (geometry(address_bits.min(64), offset_bits, 8), index_bits)
    } else {
        let index_bits = vec![chance.few(4..=10), chance.few(4..=10)];
        let offset_bits = chance.few(8..=12);
        let address_bits = offset_bits + index_bits[0] + index_bits[1];
        (geometry(address_bits, offset_bits, chance.pick(&[2, 4, 8])), index_bits)
    };
    let levels = geometry.levels(&index_bits).expect("the bits are those of the page number");
    let pages_of_last = 1_u128 << index_bits[index_bits.len() - 1];
    let (pages, placement) = in_use(difficulty, pages_of_last, &geometry, chance);
    let cost = levels.cost(pages, placement).expect("so many pages exist");

    let bits: Vec<String> = index_bits.iter().map(u32::to_string).collect();
    let mut facts = given(&geometry);
    facts.push(Fact::new("index bits", format!("{}, the root first", bits.join(", "))));
    let used = counted(pages, "page");
    facts.push(Fact::new(
        "in use",
        match placement {
            Placement::Aligned => format!("{used} in one piece, from address 0 up"),
            Placement::Across => {
                format!(
                    "{used} in one piece, the first of them the last one of the root's first entry"
                )
            }
            Placement::Scattered => format!("{used}, as far apart as possible"),
        },
    ));
    facts.push(Fact::new("tables", "only where a page below is in use, and always the root"));
    Exercise {
        topic: Topic::TableSize,
        difficulty,
        story: Vec::new(),
        facts,
        tables: Vec::new(),
        questions: vec![
            table_count(&levels, pages, placement, &cost),
            total_size(&geometry, &levels, &cost),
            flat_size(&geometry),
        ],
    }
}

/// How many pages are in use, and where.
fn in_use(
    difficulty: Difficulty,
    pages_of_last: u128,
    geometry: &Geometry,
    chance: &mut Chance,
) -> (u128, Placement) {
    let placement = match difficulty {
        Difficulty::Hard => chance.pick(&[Placement::Scattered, Placement::Across]),
        _ => Placement::Aligned,
    };
    let pages = match placement {
        Placement::Scattered => chance.of(2..=60).into(),
        // Sometimes exactly what tables hold, and sometimes one more.
        _ => pages_of_last * u128::from(chance.of(1..=6)) + u128::from(chance.of(0..=2)),
    };
    (pages.min(geometry.pages() / 2), placement)
}

fn table_count(levels: &Levels, pages: u128, placement: Placement, cost: &Cost) -> Question {
    let total: u128 = cost.tables.iter().sum();
    let mut question =
        Question::new("How many tables are there, the root included?", Form::Count, Number(total));

    let mut mapped: u128 = 1;
    let depth = levels.index_bits().len();
    for (level, (bits, tables)) in levels.index_bits().iter().zip(&cost.tables).enumerate().rev() {
        mapped <<= bits;
        let name =
            if level == 0 { "the root".to_owned() } else { format!("level {}", depth - level) };
        question = question.work(match (level, placement) {
            (0, _) => "The root is one table.".to_owned(),
            (_, Placement::Scattered) => format!(
                "A table of {name} maps {}. As far apart as possible, {pages} pages are below {tables} of them.",
                counted(mapped, "page")
            ),
            _ => format!(
                "A table of {name} maps {}: {pages} pages are below {tables} of them.",
                counted(mapped, "page")
            ),
        });
    }

    let sum: Vec<String> = cost.tables.iter().map(u128::to_string).collect();
    let last = cost.tables[depth - 1];
    question = question
        .work(format!("{} = {total}.", sum.join(" + ")))
        .wrong_number(total - 1, "The root counts, too.")
        .wrong_number(last, "Those are the tables of the last level alone.")
        .wrong_number(pages, "That is the number of pages. Pages that are close share a table.");
    if let Some(aligned) = levels.cost(pages, Placement::Aligned) {
        question = question.wrong_number(
            aligned.tables.iter().sum(),
            "So few it would be if the pages were where tables begin.",
        );
    }
    let all = levels.cost(1_u128 << levels.index_bits().iter().sum::<u32>(), Placement::Aligned);
    match all {
        Some(all) => question.wrong_number(
            all.tables.iter().sum(),
            "So many it would be if every page were in use. Where nothing is in use there is no table.",
        ),
        None => question,
    }
}

fn total_size(geometry: &Geometry, levels: &Levels, cost: &Cost) -> Question {
    let mut question =
        Question::new("How many bytes do they take in all?", Form::Bytes, Number(cost.bytes));
    let entry = geometry.entry_bytes();
    let mut entries = 0;
    for ((bits, bytes), tables) in
        levels.index_bits().iter().zip(levels.table_bytes()).zip(&cost.tables)
    {
        entries += tables << bits;
        question = question.work(format!(
            "{} of 2^{bits} entries * {} = {}.",
            counted(*tables, "table"),
            size(entry.into()),
            size(tables * bytes)
        ));
    }
    question
        .work(match size(cost.bytes) {
            size if size == format!("{} bytes", cost.bytes) => format!("Together {size}."),
            size => format!("Together {} bytes = {size}.", cost.bytes),
        })
        .wrong_number(entries, "Those are the entries: each takes more than a byte.")
        .wrong_number(
            geometry.flat_table_bytes(),
            "That is the flat table: tables of several levels exist only where pages are in use.",
        )
        .wrong_number(
            cost.bytes - (u128::from(entry) << levels.index_bits()[0]),
            "The root takes memory, too.",
        )
        .wrong_number(
            cost.tables.iter().sum::<u128>() * geometry.page_bytes(),
            "A table is as large as its entries make it, which is not always a page.",
        )
}
