//! How many pages, frames and bits.

use crate::answer::Form;
use crate::answer::Value::Number;
use crate::chance::Chance;
use crate::exercise::{Exercise, Fact, Question};
use crate::topic::{Difficulty, Topic};
use crate::wording::{counted, power, size};
use crosswalk_geometry::{Geometry, Parameters};

pub(super) fn make(difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    let (address_bits, offset_bits, physical_bits) = match difficulty {
        Difficulty::Basic => {
            let offset_bits = chance.few(4..=12);
            let address_bits = offset_bits + chance.few(3..=14);
            (address_bits, offset_bits, address_bits)
        }
        Difficulty::Moderate => {
            let offset_bits = chance.few(8..=14);
            let address_bits = chance.few(offset_bits + 4..=36);
            (address_bits, offset_bits, chance.few(offset_bits + 3..=34))
        }
        Difficulty::Hard => {
            let offset_bits = chance.pick(&[12, 12, 13, 14, 16, 21]);
            (chance.pick(&[32, 36, 39, 42, 48, 57, 64]), offset_bits, chance.few(32..=52))
        }
    };
    let parameters = Parameters {
        address_bits,
        page_bytes: 1 << offset_bits,
        physical_bits: Some(physical_bits),
        entry_bytes: None,
    };
    let geometry = Geometry::new(&parameters).expect("a page fits into both spaces");

    let mut facts = vec![
        Fact::new("virtual addresses", counted(address_bits.into(), "bit")),
        Fact::new("page size", size(geometry.page_bytes())),
    ];
    let questions = match difficulty {
        Difficulty::Basic => vec![offset(&geometry), pages(&geometry)],
        Difficulty::Moderate => {
            facts.push(Fact::new("physical memory", size(1 << physical_bits)));
            vec![pages(&geometry), frames(&geometry), frame_number(&geometry)]
        }
        Difficulty::Hard => {
            let flags = chance.few(1..=12);
            facts.push(Fact::new("physical addresses", counted(physical_bits.into(), "bit")));
            facts.push(Fact::new(
                "entry",
                format!("frame number and {}, rounded up to 1, 2, 4, 8 … bytes", flag_bits(flags)),
            ));
            vec![page_number(&geometry), frame_number(&geometry), entry(&geometry, flags)]
        }
    };
    Exercise {
        topic: Topic::Pages,
        difficulty,
        story: Vec::new(),
        facts,
        tables: Vec::new(),
        questions,
    }
}

fn flag_bits(flags: u32) -> String {
    match flags {
        1 => "1 bit of flags".into(),
        flags => format!("{flags} bits of flags"),
    }
}

fn offset(geometry: &Geometry) -> Question {
    let bits = geometry.offset_bits();
    let page = power(geometry.page_bytes());
    Question::new("How many bits has the offset in a page?", Form::Count, Number(bits.into()))
        .work(format!("A page has {page} bytes, and 2^{bits} is {page}: {bits} bits number them."))
        .wrong_number(
            geometry.page_number_bits().into(),
            "Those are the bits above the offset: they select the page.",
        )
        .wrong_number(
            geometry.address_bits().into(),
            "That is the whole address. The offset only has to tell the bytes of one page apart.",
        )
        .wrong_number(
            geometry.page_bytes(),
            "That is the number of bytes in a page. The offset has as many bits as it takes to number them.",
        )
}

fn page_number(geometry: &Geometry) -> Question {
    let (bits, offset) = (geometry.address_bits(), geometry.offset_bits());
    let number = geometry.page_number_bits();
    Question::new("How many bits has a page number?", Form::Count, Number(number.into()))
        .work(format!("A page has 2^{offset} bytes, so the lowest {offset} bits are the offset."))
        .work(format!("{bits} bits of address - {offset} of offset = {number}."))
        .wrong_number(offset.into(), "Those are the bits of the offset.")
        .wrong_number(bits.into(), "That is the whole address, the offset included.")
        .wrong_number(
            geometry.frame_number_bits().into(),
            "Those are the bits of a frame number: they come from the physical addresses.",
        )
}

fn pages(geometry: &Geometry) -> Question {
    let (bits, offset) = (geometry.address_bits(), geometry.offset_bits());
    let number = geometry.page_number_bits();
    let pages = geometry.pages();
    Question::new("How many pages has the address space?", Form::Count, Number(pages))
        .work(format!(
            "2^{bits} bytes / 2^{offset} bytes a page = 2^({bits} - {offset}) = 2^{number} = {pages}."
        ))
        .wrong_number(number.into(), format!("That is the exponent: there are 2^{number} pages."))
        .wrong_number(
            1 << offset,
            "That is the number of bytes in a page: divide the address space by it.",
        )
        .wrong_number(1 << bits, "That is the number of bytes, not of pages: divide by the page size.")
        .wrong_number(
            geometry.frames(),
            "That is the number of frames: pages come from the virtual addresses.",
        )
}

fn frames(geometry: &Geometry) -> Question {
    let (bits, offset) = (geometry.physical_bits(), geometry.offset_bits());
    let frames = geometry.frames();
    let number = geometry.frame_number_bits();
    Question::new("How many frames has physical memory?", Form::Count, Number(frames))
        .work(format!(
            "{} = 2^{bits} bytes; / 2^{offset} bytes a frame = 2^({bits} - {offset}) = 2^{number} = {frames}.",
            size(1 << bits)
        ))
        .wrong_number(
            geometry.pages(),
            "That is the number of pages: frames come from the physical memory.",
        )
        .wrong_number(number.into(), format!("That is the exponent: there are 2^{number} frames."))
        .wrong_number(1 << bits, "That is the number of bytes: a frame is as large as a page.")
}

fn frame_number(geometry: &Geometry) -> Question {
    let (bits, offset) = (geometry.physical_bits(), geometry.offset_bits());
    let number = geometry.frame_number_bits();
    Question::new("How many bits has a frame number?", Form::Count, Number(number.into()))
        .work(format!(
            "A physical address has {bits} bits, of which {offset} are the offset: {bits} - {offset} = {number}."
        ))
        .wrong_number(
            geometry.page_number_bits().into(),
            "Those are the bits of a page number: a frame number comes from the physical addresses.",
        )
        .wrong_number(
            bits.into(),
            "That is a whole physical address. The offset is not translated, so it is not in the number.",
        )
        .wrong_number(geometry.frames(), "That is the number of frames: how many bits number them?")
        .wrong_number(offset.into(), "Those are the bits of the offset.")
}

fn entry(geometry: &Geometry, flags: u32) -> Question {
    let number = geometry.frame_number_bits();
    let needed = number + flags;
    let exact = needed.div_ceil(8);
    let bytes = exact.next_power_of_two();
    Question::new("How many bytes has an entry?", Form::Bytes, Number(bytes.into()))
        .work(format!("{number} bits of frame number + {} = {needed} bits.", flag_bits(flags)))
        .work(format!(
            "That takes {}, rounded up: {bytes}.",
            counted(exact.into(), "byte")
        ))
        .wrong_number(needed.into(), "Those are the bits: 8 of them are a byte.")
        .wrong_number(exact.into(), "It has to be rounded up to a power of two.")
        .wrong_number(
            number.div_ceil(8).next_power_of_two().into(),
            "Room for the flags is missing: an entry has more than the frame number.",
        )
        .wrong_number(
            (geometry.page_number_bits() + flags).div_ceil(8).next_power_of_two().into(),
            "That has the page number in it. The page number is the index; the entry has the frame number.",
        )
}
