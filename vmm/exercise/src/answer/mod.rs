//! Answers: what they look like, and how they are read and written.

mod read;

use std::collections::BTreeSet;
use std::fmt;
use thiserror::Error;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number: of anything, of bytes, or an address.
    Number(u128),
    /// There is no such address: the access faults.
    Nowhere,
    /// How an access ends.
    End(End),
    /// Rights: 1 to write, 2 for the user, 4 to execute, as [`mmu_core::x86::semantics::Rights`] has them.
    Rights(u32),
    /// Words, by their number.
    Words(Vec<usize>),
    /// Numbers in any order.
    Set(BTreeSet<u64>),
}

/// How an access ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It completes.
    Completes,
    /// A page fault with this error code.
    PageFault(u32),
    /// A general-protection fault: the address is not canonical.
    GeneralProtection,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole number.
    Count,
    /// A size in bytes.
    Bytes,
    /// A number in hexadecimal, such as an address.
    Hexadecimal,
    /// A physical address, or `fault`.
    Place,
    /// How an access ends.
    End,
    /// The rights of a path.
    Rights,
    /// One of these words for each of so many steps.
    Words(&'static [&'static str], usize),
    /// Numbers, or `none`.
    Set,
}

/// The words of a question that has yes or no for an answer.
pub(crate) const YES_OR_NO: &[&str] = &["no", "yes"];

/// The flags of an error code, from bit 0 up.
const CODE_FLAGS: [&str; 5] = ["P", "W", "U", "RSVD", "I"];

/// An answer that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {0}")]
pub struct Unclear(pub String);

impl Form {
    /// What is expected, in words.
    pub fn expectation(&self) -> String {
        match self {
            Self::Count => "a number, such as 4096, 2^12, 4 Ki or 0x1000".into(),
            Self::Bytes => "a size, such as 4096, 4 KiB or 2^12".into(),
            Self::Hexadecimal => "a number in hexadecimal, such as 0x1f or 1f".into(),
            Self::Place => "a physical address in hexadecimal, such as 0x1f00, or `fault`".into(),
            Self::End => {
                "`none`, #GP, or a page fault such as #PF(P|W|U), or its code as a number".into()
            }
            Self::Rights => "whose page it is and what is allowed, such as `user rw-`".into(),
            Self::Words(words, 1) => words.join(" or "),
            Self::Words(words, count) => {
                format!(
                    "{count} words, each {}; their first letters are enough",
                    words.join(" or ")
                )
            }
            Self::Set => "numbers one by one, such as 2 5 7, or `none`".into(),
        }
    }

    /// An answer as it is printed.
    pub fn write(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Hexadecimal | Self::Place, Value::Number(number)) => format!("{number:#x}"),
            (Self::Bytes, Value::Number(number)) => crate::wording::size(*number),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Nowhere) => "fault".into(),
            (_, Value::End(end)) => end.to_string(),
            (_, Value::Rights(rights)) => rights_in_letters(*rights),
            (Self::Words(words, _), Value::Words(numbers)) => {
                let words = numbers.iter().filter_map(|number| words.get(*number).copied());
                words.collect::<Vec<_>>().join(" ")
            }
            (_, Value::Words(numbers)) => format!("{numbers:?}"),
            (_, Value::Set(numbers)) if numbers.is_empty() => "none".into(),
            (_, Value::Set(numbers)) => {
                let numbers = numbers.iter().map(u64::to_string);
                numbers.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// Reads a typed answer as a person types it: in upper or lower case, with units, with or without 0x.
    ///
    /// # Errors
    /// What is expected, if it cannot be read.
    pub fn read(&self, typed: &str) -> Result<Value, Unclear> {
        read::read(*self, typed).ok_or_else(|| Unclear(self.expectation()))
    }

    /// A typed number as if it were in hexadecimal.
    pub(crate) fn read_as_hexadecimal(&self, typed: &str) -> Option<Value> {
        let is_number = matches!(self, Self::Count | Self::Bytes);
        is_number.then(|| read::read(Self::Hexadecimal, typed)).flatten()
    }
}

/// `user rw-`: whose page it is, and what is allowed besides reading.
pub(crate) fn rights_in_letters(rights: u32) -> String {
    let whose = if rights & 2 != 0 { "user" } else { "supervisor" };
    let write = if rights & 1 != 0 { 'w' } else { '-' };
    let execute = if rights & 4 != 0 { 'x' } else { '-' };
    format!("{whose} r{write}{execute}")
}

/// `#PF(P|W|U)`, `#GP(0)`, `none`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completes => f.write_str("none"),
            Self::GeneralProtection => f.write_str("#GP(0)"),
            Self::PageFault(0) => f.write_str("#PF(0)"),
            Self::PageFault(code) => {
                let names = (0..5).filter(|bit| code >> bit & 1 != 0);
                let names: Vec<_> = names.filter_map(|bit| CODE_FLAGS.get(bit).copied()).collect();
                write!(f, "#PF({})", names.join("|"))
            }
        }
    }
}
