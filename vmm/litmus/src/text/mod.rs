//! The text form of a test.
//!
//! ```text
//! litmus shoot-down
//! about A remapped page, after both processors have invalidated it.
//! page x = A
//!
//! P0           | P1
//! pte x = B    | wait f = 1
//! invlpg x     | invlpg x
//! f = 1        | g = 1
//! wait g = 1   | read x
//! read x       |
//!
//! allowed: b b
//! ```
//!
//! A line each: its name, what it is about, what is mapped when it begins, a column of actions for each processor,
//! and what is claimed of it. `#` begins a comment. The guide has the whole grammar.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod action;
mod entry;
mod setting;
#[cfg(test)]
mod tests;
mod words;

use crate::outcome::{Observation, Observed, ObservedEntry};
use crate::places::{Page, Table};
use crate::test::{Claim, Litmus};
use action::Parsed;
use mmu_core::litmus::{LitmusTest, Observed as ObservedBits, Program};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Profile, Ring};
use setting::Setting;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use words::Words;

/// More of anything than a test needs, and few enough that its text is read at once.
const MAX_BYTES: usize = 1 << 16;
const MAX_PROCESSORS: usize = 4;
const MAX_ACTIONS: usize = 32;

/// Why a text is not a test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LitmusTextError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong there, and what is expected.
    pub problem: String,
}

impl LitmusTextError {
    fn new(line: usize, problem: impl fmt::Display) -> Self {
        // The message quotes its input, whose control characters must not reach a terminal.
        let problem = problem.to_string().replace(char::is_control, "\u{fffd}");
        Self { line, problem }
    }
}

/// What has been read of a test.
#[derive(Default)]
struct Reader {
    name: Option<String>,
    about: String,
    setting: Setting,
    setting_lines: Vec<String>,
    columns: Vec<Column>,
    observed: Vec<ObservedEntry>,
    claims: Vec<Claim>,
    /// Whether the columns have begun, and whether they have ended.
    in_columns: bool,
    after_columns: bool,
}

/// What has been read of one processor.
#[derive(Clone, Default)]
struct Column {
    actions: Vec<String>,
    handler: Vec<String>,
    program: Program,
    results: Vec<Observed>,
}

impl FromStr for Litmus {
    type Err = LitmusTextError;

    fn from_str(text: &str) -> Result<Self, LitmusTextError> {
        if text.len() > MAX_BYTES {
            return Err(LitmusTextError::new(1, format!("a test has at most {MAX_BYTES} bytes")));
        }

        let mut reader = Reader::default();
        let mut last = 1;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                reader.line(line).map_err(|problem| LitmusTextError::new(last, problem))?;
            }
        }
        reader.finish().map_err(|problem| LitmusTextError::new(last, problem))
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.in_columns && !self.after_columns {
            if !is_after_columns(line) {
                return self.row(line);
            }
            self.after_columns = true;
        }
        if self.after_columns {
            return self.after(line);
        }

        if line.split('|').next().is_some_and(|cell| cell.trim() == "P0") {
            return self.heads(line);
        }
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first {
            "litmus" if self.name.is_none() => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                if rest.is_empty() || rest.len() > 60 || !rest.chars().all(is_name) {
                    return Err(format!(
                        "expected a name of letters, digits, - and _; found {rest:?}"
                    ));
                }
                self.name = Some(rest.into());
                Ok(())
            }
            _ if self.name.is_none() => {
                Err(format!("expected `litmus NAME` first; found {line:?}"))
            }
            "about" => {
                self.about = rest.trim().into();
                Ok(())
            }
            _ => {
                self.setting.read(&mut Words::new(line))?;
                self.setting_lines.push(line.into());
                Ok(())
            }
        }
    }

    /// The line `P0 | P1`.
    fn heads(&mut self, line: &str) -> Result<(), String> {
        let heads: Vec<&str> = line.split('|').map(str::trim).collect();
        if heads.len() > MAX_PROCESSORS {
            return Err(format!("a test has at most {MAX_PROCESSORS} processors"));
        }
        for (number, head) in heads.iter().enumerate() {
            if *head != format!("P{number}") {
                return Err(format!(
                    "expected P{number} at the head of the column; found {head:?}"
                ));
            }
        }

        self.in_columns = true;
        self.columns = vec![Column::default(); heads.len()];
        Ok(())
    }

    /// A line of actions.
    fn row(&mut self, line: &str) -> Result<(), String> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.len() > self.columns.len() {
            return Err(format!(
                "{} columns, but the test has {}",
                cells.len(),
                self.columns.len()
            ));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            if cell.is_empty() {
                continue;
            }
            let Parsed { action, observed } = action::read(cell, &self.setting)?;
            if column.actions.len() == MAX_ACTIONS {
                return Err(format!("a processor has at most {MAX_ACTIONS} actions"));
            }
            column.actions.push(cell.into());
            column.program.actions.push(action);
            column.results.extend(observed);
        }
        Ok(())
    }

    /// A line after the columns.
    fn after(&mut self, line: &str) -> Result<(), String> {
        let (head, rest) = line.split_once(':').ok_or_else(|| {
            format!(
                "expected `handler`, `observe`, `allowed` or `choice`, and a colon; found {line:?}"
            )
        })?;
        let mut words = Words::new(head);
        match words.next()? {
            "handler" => {
                let number = words.processor(self.columns.len())?;
                words.end()?;
                self.handler(number, rest)
            }
            "observe" => self.observe(&mut words, rest),
            "allowed" => {
                words.end()?;
                self.claim(BTreeSet::new(), rest)
            }
            "choice" => {
                let mut choices = BTreeSet::new();
                while let Some(choice) = words.optional() {
                    choices.insert(choice.to_string());
                }
                self.claim(choices, rest)
            }
            other => Err(format!(
                "expected `handler`, `observe`, `allowed` or `choice`; found {other:?}"
            )),
        }
    }

    /// `handler P1: invlpg x; g = 1`
    fn handler(&mut self, number: usize, actions: &str) -> Result<(), String> {
        let column = self.columns.get_mut(number).ok_or("there is no such processor")?;
        for cell in actions.split(';').map(str::trim).filter(|cell| !cell.is_empty()) {
            let Parsed { action, observed } = action::read(cell, &self.setting)?;
            if observed.is_some_and(|observed| observed != Observed::Not) {
                return Err(format!("the results of a handler are not observed: {cell}"));
            }
            if column.handler.len() == MAX_ACTIONS {
                return Err(format!("a handler has at most {MAX_ACTIONS} actions"));
            }
            column.handler.push(cell.into());
            column.program.handler.push(action);
        }
        Ok(())
    }

    /// `observe x: a d`, with the table in which the entry is.
    fn observe(&mut self, words: &mut Words<'_>, flags: &str) -> Result<(), String> {
        let page = words.page()?;
        let table = if words.skip("in") { words.table()? } else { Table::FIRST };
        words.end()?;

        let mut observed = EntryBits::empty();
        for flag in flags.split_whitespace() {
            observed |= match flag {
                "a" => EntryBits::A,
                "d" => EntryBits::D,
                "p" => EntryBits::P,
                other => return Err(format!("expected a, d or p; found {other:?}")),
            };
        }
        if observed.is_empty() {
            return Err("expected the flags to observe: a, d, p".into());
        }
        self.observed.push(ObservedEntry { at: page.pte(table), flags: observed });
        Ok(())
    }

    fn claim(&mut self, choices: BTreeSet<String>, outcomes: &str) -> Result<(), String> {
        let outcomes = outcomes
            .split(',')
            .map(|outcome| outcome.split_whitespace().collect::<Vec<_>>().join(" "));
        let outcomes = outcomes.filter(|outcome| !outcome.is_empty()).collect();
        if self.claims.iter().any(|claim| claim.choices == choices) {
            return Err("a second claim about the same choices".into());
        }
        self.claims.push(Claim { choices, outcomes });
        Ok(())
    }

    fn finish(self) -> Result<Litmus, String> {
        let name = self.name.ok_or("expected `litmus NAME`")?;
        if !self.in_columns {
            return Err("expected the columns of actions, which begin with `P0`".into());
        }
        let observed = self.observed.iter();
        let observed =
            observed.map(|entry| ObservedBits { at: entry.at, mask: entry.flags.bits() });
        let programs = self.columns.iter().map(|column| column.program.clone());
        let model = LitmusTest {
            memory: self.setting.memory(),
            state: self.setting.state(),
            profile: Profile { vendor: self.setting.vendor(), ..self.setting.profile() },
            ring: if self.setting.is_supervisor() { Ring::Zero } else { Ring::Three },
            programs: programs.collect(),
            observed: observed.collect(),
        };
        let results = self.columns.iter().map(|column| column.results.clone()).collect();
        Ok(Litmus {
            name,
            about: self.about,
            columns: self.columns.iter().map(|column| column.actions.clone()).collect(),
            handlers: self.columns.into_iter().map(|column| column.handler).collect(),
            setting: self.setting_lines,
            claims: self.claims,
            model,
            observation: Observation { results, entries: self.observed },
        })
    }
}

/// Whether a line comes after the columns.
fn is_after_columns(line: &str) -> bool {
    let head = line.split_once(':').map(|(head, _)| head);
    let word = head.and_then(|head| head.split_whitespace().next());
    matches!(word, Some("handler" | "observe" | "allowed" | "choice"))
}

/// Every page, for messages.
fn page_names() -> String {
    Page::all().map(|page| page.name().to_string()).collect::<Vec<_>>().join(", ")
}
