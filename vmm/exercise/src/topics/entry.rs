//! Which entry: an address split into indices.

use crate::answer::Form;
use crate::answer::Value::Number;
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question};
use crate::topic::{Difficulty, Topic};
use crate::toy;
use crate::wording::listed;
use mmu_core::VirtAddr;
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Level, Pae};

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match (difficulty, chance.of(0..=3)) {
        (Difficulty::Basic, 0) => of_toy::<toy::Two14>(difficulty, chance),
        (Difficulty::Basic, 1) => of_toy::<toy::Two20>(difficulty, chance),
        (Difficulty::Basic, _) => of_toy::<toy::Two16>(difficulty, chance),
        (Difficulty::Moderate, 0) => of_toy::<toy::Three20>(difficulty, chance),
        (Difficulty::Moderate, 1) => of::<Pae>("PAE paging", difficulty, chance),
        (Difficulty::Moderate, _) => of::<Bits32>("32-bit paging", difficulty, chance),
        (Difficulty::Hard, 0) => of::<FiveLevel>("5-level paging", difficulty, chance),
        (Difficulty::Hard, _) => of::<FourLevel>("4-level paging", difficulty, chance),
    }
}

fn of_toy<F: Format>(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    of::<F>("a textbook's format", difficulty, chance)
}

fn of<F: Format>(format: &str, difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let highest = if F::ADDRESS_BITS == 64 { u64::MAX } else { (1 << F::ADDRESS_BITS) - 1 };
    let drawn = VirtAddr::new(chance.of(0x100..=highest));
    // In long mode an address repeats its highest bit.
    let address = if F::IS_LONG_MODE { drawn.sign_extended(F::ADDRESS_BITS) } else { drawn };
    let offset_bits = F::LEVELS[F::LEVELS.len() - 1].shift;

    let split =
        F::LEVELS.iter().map(|level| format!("{} for the {}", level.index_bits, level.entry_name));
    let mut facts = vec![
        Fact::new("format", format),
        Fact::new("index bits", format!("{}, from the highest down", listed(split))),
        Fact::new("offset bits", offset_bits.to_string()),
        Fact::new("virtual address", format!("{:#x}", address.get())),
    ];
    let mut questions: Vec<_> = F::LEVELS.iter().map(|level| index::<F>(level, address)).collect();

    if difficulty == Difficulty::Basic {
        questions.push(offset(address, offset_bits));
    } else {
        let level = &F::LEVELS[chance.of(0..=F::LEVELS.len() as u64 - 1) as usize];
        // Tables of toys lie in frames of their own, too.
        let table = chance.of(1..=0xff) << 12;
        facts.push(Fact::new("entry", format!("{} bytes", F::ENTRY_BYTES)));
        facts.push(Fact::new(
            "table",
            format!("the one with the {} is at {table:#x}", level.entry_name),
        ));
        questions.push(place_of_entry::<F>(level, address, table));
    }
    Exercise {
        topic: Topic::Entry,
        difficulty,
        story: Vec::new(),
        facts,
        tables: Vec::new(),
        questions,
    }
}

/// Which entry of a table is used.
fn index<F: Format>(level: &Level, address: VirtAddr) -> Question {
    let of = |level: &Level| address.index(level.shift, level.index_bits);
    let (first, last) = (level.shift, level.shift + level.index_bits - 1);
    let right = of(level);

    let text = format!("What is the index of the {}?", level.entry_name);
    let mut question = Question::new(text, Form::Count, Number(right.into())).work(format!(
        "The index is bits {last}:{first} of the address: {:#x} >> {first}, cut to {} bits, is {right} ({right:#x}).",
        address.get(),
        level.index_bits
    ));
    for other in F::LEVELS.iter().filter(|other| other.number != level.number) {
        let direction = if other.number < level.number { "below" } else { "above" };
        question = question.wrong_number(
            of(other).into(),
            format!(
                "That is the index of the {}, a level {direction}: its bits are others.",
                other.entry_name
            ),
        );
    }
    let shifted = address.truncated(F::ADDRESS_BITS).get() >> first;
    question
        .wrong_number(
            shifted.into(),
            "The bits above the index belong to the levels above: cut them off.",
        )
        .wrong_number(
            (right * u64::from(F::ENTRY_BYTES)).into(),
            "That is where the entry lies in its table, in bytes. Its index counts entries.",
        )
        .wrong_number(
            address.index(level.shift.saturating_sub(1), level.index_bits).into(),
            format!("The bits are shifted by one: the lowest bit of the index is bit {first}."),
        )
        .wrong_number(
            address.index(level.shift + 1, level.index_bits).into(),
            format!("The bits are shifted by one: the lowest bit of the index is bit {first}."),
        )
        .wrong_number(address.get().into(), "That is the whole address.")
}

fn offset(address: VirtAddr, offset_bits: u8) -> Question {
    let right = address.offset(offset_bits);
    Question::new("What is the offset in the page?", Form::Hexadecimal, Number(right.into()))
        .work(format!("It is the lowest {offset_bits} bits of {:#x}: {right:#x}.", address.get()))
        .wrong_number(
            (address.get() >> offset_bits).into(),
            "That is the page number: the bits above the offset.",
        )
        .wrong_number(address.get().into(), "That is the whole address.")
        .wrong_number(
            (address.get() - right).into(),
            "That is where the page begins. The offset is the rest.",
        )
}

/// At which physical address an entry is.
fn place_of_entry<F: Format>(level: &Level, address: VirtAddr, table: u64) -> Question {
    let index = address.index(level.shift, level.index_bits);
    let bytes = u64::from(F::ENTRY_BYTES);
    let right = table + index * bytes;
    let text = format!("At which physical address is the {}?", level.entry_name);

    let mut question = Question::new(text, Form::Hexadecimal, Number(right.into()))
        .work(format!("The table is at {table:#x}, and the index is {index}."))
        .work(format!("{table:#x} + {index} * {bytes} bytes = {right:#x}."))
        .wrong_number(
            (table + index).into(),
            format!("The index counts entries of {bytes} bytes: multiply it."),
        )
        .wrong_number(table.into(), "That is where the table begins: add index * size of an entry.")
        .wrong_number(
            (index * bytes).into(),
            "That is the place in the table: add where the table is.",
        );
    for other in F::LEVELS.iter().filter(|other| other.number != level.number) {
        let index = address.index(other.shift, other.index_bits);
        question = question.wrong_number(
            (table + index * bytes).into(),
            format!("That is with the index of the {}.", other.entry_name),
        );
    }
    question
}
