//! Words of 32 or 64 bits as fields that can be read: entries, registers, error codes.

use crosswalk_case::Hex;
use serde::Serialize;

/// A word with its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Word {
    /// What it is: `PTE`, `CR0`, `error code`.
    pub name: String,
    /// The number of its bits.
    pub width: u8,
    /// Its value.
    pub value: Hex,
    /// Its fields, from the highest bit to the lowest; together they are all of its bits.
    pub fields: Vec<Field>,
}

/// Bits of a word that are one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The manuals' name, such as `R/W`.
    pub name: String,
    /// What it is.
    pub kind: FieldKind,
    /// Its highest bit.
    pub high: u8,
    /// Its lowest bit.
    pub low: u8,
    /// Its value, moved to bit 0.
    pub value: Hex,
    /// What this value means; empty where that is nothing.
    pub meaning: String,
    /// Whether the walk stops because of it.
    pub is_wrong: bool,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Each bit has a meaning.
    Flag,
    /// The address of a table or of a page.
    Address,
    /// A number.
    Number,
    /// The translation does not look at it.
    Ignored,
    /// It must be 0.
    Reserved,
}

/// The parts of a word before it has a value: which field each bit belongs to.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Of each bit: the name of its field and what that is.
    bits: Vec<(&'static str, FieldKind)>,
}

impl Layout {
    /// A word of which every bit is ignored.
    pub(super) fn new(width: u8, name: &'static str) -> Self {
        Self { bits: vec![(name, FieldKind::Ignored); usize::from(width)] }
    }

    /// Makes these bits a field, or several where others lie between them.
    pub(super) fn set(&mut self, mask: u64, name: &'static str, kind: FieldKind) {
        for (bit, place) in self.bits.iter_mut().enumerate() {
            if mask >> bit & 1 == 1 {
                *place = (name, kind);
            }
        }
    }

    /// The word with a value; `meaning` says what each field with its value means, `wrong` are the bits that stop the
    /// walk.
    pub(super) fn word(
        &self,
        name: &str,
        value: u64,
        wrong: u64,
        meaning: impl Fn(&str, u64) -> String,
    ) -> Word {
        let mut fields: Vec<Field> = Vec::new();
        for (bit, &(name, kind)) in self.bits.iter().enumerate().rev() {
            let bit = bit as u8;
            match fields.last_mut() {
                Some(above) if above.name == name && above.kind == kind => above.low = bit,
                _ => fields.push(Field {
                    name: name.into(),
                    kind,
                    high: bit,
                    low: bit,
                    value: Hex(0),
                    meaning: String::new(),
                    is_wrong: false,
                }),
            }
        }

        for field in &mut fields {
            let mask = u64::MAX >> (63 - (field.high - field.low));
            let own = value >> field.low & mask;
            field.value = Hex(own);
            field.meaning = meaning(&field.name, own);
            field.is_wrong = wrong >> field.low & mask != 0;
        }
        Word { name: name.into(), width: self.bits.len() as u8, value: Hex(value), fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_are_one_thing_are_one_field() {
        let mut layout = Layout::new(8, "ignored");
        layout.set(0b0011_0000, "address", FieldKind::Address);
        layout.set(0b0000_0001, "P", FieldKind::Flag);
        let word =
            layout.word("tiny", 0b0110_0001, 0b0100_0000, |name, value| format!("{name}{value}"));

        let fields = word.fields.iter();
        let drawn: Vec<_> =
            fields.map(|f| (f.high, f.low, f.meaning.as_str(), f.is_wrong)).collect();
        assert_eq!(
            drawn,
            [
                (7, 6, "ignored1", true),
                (5, 4, "address2", false),
                (3, 1, "ignored0", false),
                (0, 0, "P1", false)
            ]
        );
    }
}
