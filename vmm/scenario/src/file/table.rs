//! Tables of TOML with the places of all that is in them.

use super::FileError;
use crosswalk_case::is_obeyed;
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it is in the text.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A table that is read key by key. At the end no key may be left.
pub(super) struct Fields<'t> {
    /// What the table is, for errors: `a step`.
    what: &'static str,
    place: Range<usize>,
    table: &'t DeTable<'t>,
    /// The keys that were asked for.
    known: RefCell<Vec<&'static str>>,
}

impl<'t> Fields<'t> {
    pub(super) fn new(what: &'static str, place: Range<usize>, table: &'t DeTable<'t>) -> Self {
        Self { what, place, table, known: RefCell::new(Vec::new()) }
    }

    /// The table that a value is.
    pub(super) fn of(what: &'static str, value: &'t Value<'t>) -> Result<Self, FileError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(Self::new(what, value.span(), table)),
            other => Err(FileError::new(
                value.span(),
                format!("expected {what}, a table, found {}", other.type_str()),
            )),
        }
    }

    /// Where the table is.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<&'t Value<'t>> {
        self.known.borrow_mut().push(key);
        self.table.iter().find(|(known, _)| known.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.keys().any(|known| known.get_ref().as_ref() == key)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, key: &'static str) -> Result<&'t Value<'t>, FileError> {
        self.get(key).ok_or_else(|| {
            FileError::new(self.place(), format!("{} needs `{key}`, which is missing", self.what))
        })
    }

    /// The keys with their values, in the order of their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, &'t Value<'t>)> {
        self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), value))
    }

    /// Checks that every key was asked for.
    pub(super) fn end(self) -> Result<(), FileError> {
        let known = self.known.into_inner();
        let unknown = self.table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown else { return Ok(()) };

        let problem = format!(
            "{} of this kind has no `{}`: expected {}",
            self.what,
            key.get_ref().escape_debug(),
            known.join(", ")
        );
        Err(FileError::new(key.span(), problem))
    }
}

/// A text of at most so many characters, which a terminal can show.
pub(super) fn text(value: &Value<'_>, most: usize) -> Result<String, FileError> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(unexpected("a text in quotes", value));
    };
    if text.is_empty() || text.chars().count() > most || text.contains(is_obeyed) {
        let problem = format!(
            "expected a text of 1 to {most} characters, without control characters and marks of direction"
        );
        return Err(FileError::new(value.span(), problem));
    }
    Ok(text.clone().into_owned())
}

/// A number in a range.
pub(super) fn number(value: &Value<'_>, range: Range<u64>) -> Result<u64, FileError> {
    let DeValue::Integer(integer) = value.get_ref() else {
        return Err(unexpected("a number", value));
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let last = range.end.saturating_sub(1);
        let limits = if last > 0xffff {
            format!("{:#x} to {last:#x}", range.start)
        } else {
            format!("{} to {last}", range.start)
        };
        FileError::new(value.span(), format!("expected a number from {limits}"))
    })
}

/// A list.
pub(super) fn list<'t>(value: &'t Value<'t>) -> Result<&'t [Value<'t>], FileError> {
    match value.get_ref() {
        DeValue::Array(list) => Ok(list),
        _ => Err(unexpected("a list", value)),
    }
}

/// One of several words.
pub(super) fn word<T: Copy>(
    value: &Value<'_>,
    words: &[(&'static str, T)],
) -> Result<T, FileError> {
    let found = value.get_ref().as_str();
    let known = words.iter().find(|(word, _)| Some(*word) == found);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        FileError::new(value.span(), format!("expected {}", names.join(", ")))
    })
}

/// An error about a value of another kind.
pub(super) fn unexpected(expected: &str, value: &Value<'_>) -> FileError {
    let found = value.get_ref().type_str();
    FileError::new(value.span(), format!("expected {expected}, found {found}"))
}
