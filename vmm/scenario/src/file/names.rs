//! The names that a file defines, in the order in which it does.

use super::words::is_taken;

/// What a value is. Only values of one kind are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Frame,
    Ending,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Frame => "a frame",
            Self::Ending => "how an access ended",
        }
    }
}

/// What a name is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    /// An address.
    Place(u64),
    /// A result, by its index.
    Variable(usize, Kind),
}

/// The maximum number of names of a file.
const MAX_NAMES: usize = 200;

/// The letters of processes.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='Z';

/// The names that are known so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The addresses that have names.
    places: Vec<(String, u64)>,
    /// The results of steps.
    variables: Vec<(String, Kind)>,
    /// The shared objects, and their pages.
    objects: Vec<(String, u64)>,
    /// The number of processes that were started.
    processes: usize,
}

impl Names {
    /// Adds a place.
    pub(super) fn add_place(&mut self, name: &str, address: u64) -> Result<(), String> {
        self.check_new(name)?;
        self.places.push((name.to_owned(), address));
        Ok(())
    }

    /// Adds a variable, and returns its index. A later step may use the name again for a value of the same kind.
    pub(super) fn add_variable(&mut self, name: &str, kind: Kind) -> Result<usize, String> {
        if let Some(place) = self.variables.iter().position(|(known, _)| known == name) {
            let is_same = self.variables.get(place).is_some_and(|(_, known)| *known == kind);
            return if is_same {
                Ok(place)
            } else {
                Err(format!("`{name}` is something else already"))
            };
        }
        self.check_new(name)?;
        self.variables.push((name.to_owned(), kind));
        Ok(self.variables.len().saturating_sub(1))
    }

    /// Adds an object.
    pub(super) fn add_object(&mut self, name: &str, pages: u64) -> Result<(), String> {
        self.check_new(name)?;
        self.objects.push((name.to_owned(), pages));
        Ok(())
    }

    /// Adds the process that is started now, whose letter must be the next.
    pub(super) fn add_process(&mut self, letter: &str) -> Result<char, String> {
        let next = LETTERS.clone().nth(self.processes);
        let next = next.ok_or("expected at most 26 processes, A to Z")?;
        if letter != next.to_string() {
            let found = letter.escape_debug();
            return Err(format!(
                "the next process is {next}, found `{found}`: letters go in order"
            ));
        }
        self.processes = self.processes.saturating_add(1);
        Ok(next)
    }

    fn check_new(&self, name: &str) -> Result<(), String> {
        let is_part =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts_well || !name.chars().all(is_part) || name.len() > 40 {
            let found = name.escape_debug();
            return Err(format!(
                "expected a name of small letters, digits and hyphens, found `{found}`"
            ));
        }

        if self.places.len().saturating_add(self.variables.len()) >= MAX_NAMES {
            return Err(format!("expected at most {MAX_NAMES} places and results"));
        }
        let known = self.places.iter().map(|(known, _)| known);
        let known = known.chain(self.variables.iter().map(|(known, _)| known));
        let mut known = known.chain(self.objects.iter().map(|(known, _)| known));
        if is_taken(name) || known.any(|known| known == name) {
            return Err(format!("the name `{name}` is taken"));
        }
        Ok(())
    }

    /// The place or the variable of this name.
    pub(super) fn value(&self, name: &str) -> Option<Named> {
        if let Some((_, address)) = self.places.iter().find(|(known, _)| known == name) {
            return Some(Named::Place(*address));
        }
        let variable = self.variables.iter().position(|(known, _)| known == name)?;
        let (_, kind) = self.variables.get(variable)?;
        Some(Named::Variable(variable, *kind))
    }

    /// The index of an object, and its pages.
    pub(super) fn object(&self, name: &str) -> Option<(usize, u64)> {
        let object = self.objects.iter().position(|(known, _)| known == name)?;
        self.objects.get(object).map(|(_, pages)| (object, *pages))
    }

    /// The number of objects.
    pub(super) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// The number of variables.
    pub(super) fn variables(&self) -> usize {
        self.variables.len()
    }

    /// Whether a process of this letter has been started.
    pub(super) fn is_started(&self, letter: char) -> bool {
        LETTERS.clone().take(self.processes).any(|known| known == letter)
    }
}
