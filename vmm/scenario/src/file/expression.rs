//! Expressions: what a claim compares. `frame(A, heap) == frame(B, heap)`, `copies - before == 1`.
//!
//! ```text
//! condition = sum ("==" | "!=" | "<" | "<=" | ">" | ">=") sum
//! sum       = term {("+" | "-") term}
//! term      = number | name | function "(" argument {"," argument} ")"
//! ```
//!
//! A name has small letters, digits and hyphens, so a minus stands between blanks. Everything is checked before
//! the scenario runs: names are known, and what is compared is of one kind.

use super::names::{Kind, Named, Names};
use super::words::{COUNTS, Count, ENDINGS, MADE, NOWHERE, REGION_KINDS, ending};
use mmu_core::space::RegionKind;
use std::iter::Peekable;
use std::str::Chars;

/// The maximum number of terms of an expression.
const MAX_TERMS: usize = 32;

/// A comparison that holds or does not.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) left: Sum,
    pub(super) relation: Relation,
    pub(super) right: Sum,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Relation {
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    /// Whether it is between these.
    pub(super) const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// Terms that are added, or taken away where the flag is set.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    pub(super) terms: Vec<(bool, Term)>,
    pub(super) kind: Kind,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// A number, also that of an address, of no frame, or of an ending.
    Constant(i64),
    /// What a step has left in a variable.
    Variable(usize),
    Count(Count),
    /// The frame of a page.
    Frame(char, Box<Sum>),
    /// The number of processes that map the frame of a page.
    Sharers(char, Box<Sum>),
    /// Whether a process maps a frame.
    Has(char, Box<Sum>),
    /// The number of frames that hold pages of a process.
    Frames(char),
    /// The number of frames of its tables.
    Tables(char),
    /// The number of pages of its regions of a kind.
    Pages(char, RegionKind),
}

/// A condition.
pub(super) fn condition(text: &str, names: &Names) -> Result<Condition, String> {
    let mut reader = Reader::new(text, names);
    let left = reader.sum()?;
    let relation = reader.relation()?;
    let right = reader.sum()?;
    reader.end()?;

    if left.kind != right.kind {
        return Err(format!("{} cannot be compared with {}", left.kind.name(), right.kind.name()));
    }
    let is_ordered = !matches!(relation, Relation::Equal | Relation::Unequal);
    if is_ordered && left.kind != Kind::Number {
        return Err(format!("{} is compared by == or != only", left.kind.name()));
    }
    Ok(Condition { left, relation, right })
}

/// A value.
pub(super) fn sum(text: &str, names: &Names) -> Result<Sum, String> {
    let mut reader = Reader::new(text, names);
    let sum = reader.sum()?;
    reader.end()?;
    Ok(sum)
}

/// Reads an expression from left to right.
struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    names: &'t Names,
    terms: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, names: &'t Names) -> Self {
        Self { rest: text.chars().peekable(), names, terms: 0 }
    }

    fn skip_blanks(&mut self) {
        while self.rest.next_if(|letter| *letter == ' ').is_some() {}
    }

    /// What follows, for errors.
    fn found(&self) -> String {
        let rest: String = self.rest.clone().take(20).collect();
        if rest.is_empty() { "the end".into() } else { format!("`{}`", rest.escape_debug()) }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_blanks();
        match self.rest.peek() {
            None => Ok(()),
            Some(_) => Err(format!("expected the end, found {}", self.found())),
        }
    }

    fn sign(&mut self, sign: char) -> bool {
        self.skip_blanks();
        self.rest.next_if_eq(&sign).is_some()
    }

    fn need(&mut self, sign: char) -> Result<(), String> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(format!("expected `{sign}`, found {}", self.found()))
    }

    fn relation(&mut self) -> Result<Relation, String> {
        self.skip_blanks();
        let rest: String = self.rest.clone().take(2).collect();
        let known = Relation::ALL.iter().find(|(sign, _)| rest.starts_with(sign));
        let Some((sign, relation)) = known else {
            return Err(format!("expected ==, !=, <, <=, > or >=, found {}", self.found()));
        };

        for _ in sign.chars() {
            self.rest.next();
        }
        Ok(*relation)
    }

    fn sum(&mut self) -> Result<Sum, String> {
        let (first, kind) = self.term()?;
        let mut terms = vec![(false, first)];
        loop {
            let is_negative = match (self.sign('+'), self.sign('-')) {
                (true, false) => false,
                (false, true) => true,
                (false, false) => return Ok(Sum { terms, kind }),
                (true, true) => return Err("expected a number or a name after +".into()),
            };
            let (term, other) = self.term()?;
            if kind != Kind::Number || other != Kind::Number {
                return Err("only numbers can be added".into());
            }
            terms.push((is_negative, term));
        }
    }

    fn term(&mut self) -> Result<(Term, Kind), String> {
        self.terms = self.terms.saturating_add(1);
        if self.terms > MAX_TERMS {
            return Err(format!("expected at most {MAX_TERMS} numbers and names"));
        }

        self.skip_blanks();
        let is_part =
            |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-' || *letter == '_';
        let mut word = String::new();
        while let Some(letter) = self.rest.next_if(is_part) {
            word.push(letter);
        }

        if word.is_empty() {
            return Err(format!("expected a number or a name, found {}", self.found()));
        }
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            return Ok((Term::Constant(constant(&word)?), Kind::Number));
        }
        if self.sign('(') {
            let call = self.call(&word)?;
            self.need(')')?;
            return Ok(call);
        }
        self.name(&word)
    }

    /// The value of a name.
    fn name(&self, name: &str) -> Result<(Term, Kind), String> {
        if let Some((_, count)) = COUNTS.iter().find(|(word, _)| *word == name) {
            return Ok((Term::Count(*count), Kind::Number));
        }
        if let Some((_, invalid)) = ENDINGS.iter().find(|(word, _)| *word == name) {
            return Ok((Term::Constant(ending(Some(*invalid))), Kind::Ending));
        }

        match name {
            "nowhere" => Ok((Term::Constant(NOWHERE), Kind::Frame)),
            "made" => Ok((Term::Constant(MADE), Kind::Ending)),
            _ => match self.names.value(name) {
                Some(Named::Place(address)) => Ok((Term::Constant(address as i64), Kind::Number)),
                Some(Named::Variable(variable, kind)) => Ok((Term::Variable(variable), kind)),
                None => Err(format!(
                    "`{name}` is not known here: expected a count, a place, or the name of an earlier result"
                )),
            },
        }
    }

    /// The value of a function, up to its closing bracket.
    fn call(&mut self, function: &str) -> Result<(Term, Kind), String> {
        let process = self.process()?;
        let term = match function {
            "frames" => Term::Frames(process),
            "tables" => Term::Tables(process),
            "frame" => {
                return Ok((Term::Frame(process, self.argument(Kind::Number)?), Kind::Frame));
            }
            "sharers" => Term::Sharers(process, self.argument(Kind::Number)?),
            "has" => Term::Has(process, self.argument(Kind::Frame)?),
            "pages" => Term::Pages(process, self.region_kind()?),
            _ => {
                let known = "frame, frames, tables, sharers, has or pages";
                return Err(format!("there is no function `{function}`: expected {known}"));
            }
        };
        Ok((term, Kind::Number))
    }

    /// The letter of a process that has been started.
    fn process(&mut self) -> Result<char, String> {
        self.skip_blanks();
        let found = self.found();
        let letter = self.rest.next().filter(|letter| self.names.is_started(*letter));
        letter.ok_or_else(|| {
            format!("expected the letter of a process that was started, found {found}")
        })
    }

    fn argument(&mut self, kind: Kind) -> Result<Box<Sum>, String> {
        self.need(',')?;
        let sum = self.sum()?;
        if sum.kind != kind {
            return Err(format!("expected {}, found {}", kind.name(), sum.kind.name()));
        }
        Ok(Box::new(sum))
    }

    fn region_kind(&mut self) -> Result<RegionKind, String> {
        self.need(',')?;
        self.skip_blanks();
        let mut word = String::new();
        while let Some(letter) = self.rest.next_if(char::is_ascii_lowercase) {
            word.push(letter);
        }
        let known = REGION_KINDS.iter().find(|(name, _)| *name == word);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            let names = REGION_KINDS.map(|(name, _)| name).join(", ");
            format!("expected the kind of a region: {names}")
        })
    }
}

/// A number as TOML writes them.
pub(super) fn constant(word: &str) -> Result<i64, String> {
    let digits = word.replace('_', "");
    let number = match digits.strip_prefix("0x") {
        Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    number.map_err(|_| {
        format!("expected a number, such as 4 or 0x8060_0000, found `{}`", word.escape_debug())
    })
}

impl Sum {
    /// The value, if it is the same whatever the system does.
    pub(super) fn constant(&self) -> Option<i64> {
        self.terms.iter().try_fold(0_i64, |sum, (is_negative, term)| {
            let Term::Constant(number) = term else { return None };
            if *is_negative { sum.checked_sub(*number) } else { sum.checked_add(*number) }
        })
    }
}
