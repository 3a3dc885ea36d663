//! Colours of rights and verdicts on a terminal. Texts are made without; the four letters of rights, and the badge
//! at the beginning of a verdict, are coloured when a line is written. Without colours every byte stays what it is.

use crate::report::run::conclusion::Conclusion;
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;
use std::io::{self, Write};

/// What stands before the rights of a path in words.
const SO_FAR: &str = "       so far: ";

/// The badge of a run for which there was no machine.
const NO_MACHINE: &str = "NO MACHINE";

/// Writes lines, with the rights and verdicts in them coloured.
#[derive(Debug)]
pub(crate) struct Coloured<W: Write> {
    out: W,
    is_on: bool,
    /// A line of which the end has not come yet.
    line: Vec<u8>,
}

impl<W: Write> Coloured<W> {
    /// A writer that colours if `is_on`.
    pub(crate) const fn new(out: W, is_on: bool) -> Self {
        Self { out, is_on, line: Vec::new() }
    }

    /// Writes the lines that are whole.
    fn write_lines(&mut self) -> io::Result<()> {
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            match std::str::from_utf8(&line) {
                Ok(line) => self.out.write_all(colour(line).as_bytes())?,
                Err(_) => self.out.write_all(&line)?,
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Coloured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_on {
            return self.out.write(bytes);
        }
        self.line.extend_from_slice(bytes);
        self.write_lines()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.line);
        self.out.write_all(&rest)?;
        self.out.flush()
    }
}

/// A line with its rights, or its verdict, coloured.
fn colour(line: &str) -> String {
    if let Some((badge, style)) = badge_of(line) {
        let rest = line.strip_prefix(badge).unwrap_or_default();
        return format!("{style}{badge}{style:#}{rest}");
    }
    if let Some(words) = line.strip_prefix(SO_FAR) {
        let words = words.trim_end();
        let (can_write, can_execute) =
            (words.contains(", writable"), words.ends_with(", executable"));
        let style = style(can_write, can_execute);
        return format!("{SO_FAR}{style}{words}{style:#}\n");
    }

    let mut coloured = String::with_capacity(line.len() + 16);
    for word in line.split_inclusive(' ') {
        let letters = word.trim_end();
        match style_of_letters(letters) {
            Some(style) => {
                let rest = word.strip_prefix(letters).unwrap_or_default();
                let _ = write!(coloured, "{style}{letters}{style:#}{rest}");
            }
            None => coloured.push_str(word),
        }
    }
    coloured
}

/// The badge with which a line begins, if it is a verdict, and its style.
fn badge_of(line: &str) -> Option<(&'static str, Style)> {
    let begins_with = |badge| line.strip_prefix(badge).is_some_and(|rest| rest.starts_with("  "));
    if begins_with(NO_MACHINE) {
        return Some((NO_MACHINE, AnsiColor::Yellow.on_default().bold()));
    }

    let conclusion =
        Conclusion::ALL.into_iter().find(|conclusion| begins_with(conclusion.badge()))?;
    let colour = match conclusion {
        Conclusion::Agree => AnsiColor::Green,
        Conclusion::NothingToDo | Conclusion::Incomplete => AnsiColor::Yellow,
        Conclusion::Diverge | Conclusion::NothingCompared => AnsiColor::Red,
    };
    Some((conclusion.badge(), colour.on_default().bold()))
}

/// The style of a word if it is the four letters of rights.
fn style_of_letters(word: &str) -> Option<Style> {
    match word.as_bytes() {
        [b'u' | b's', b'r', write @ (b'w' | b'-'), execute @ (b'x' | b'-')] => {
            Some(style(*write == b'w', *execute == b'x'))
        }
        _ => None,
    }
}

/// What can be written and executed stands out.
const fn style(can_write: bool, can_execute: bool) -> Style {
    let colour = match (can_write, can_execute) {
        (true, true) => return AnsiColor::Red.on_default().bold(),
        (true, false) => AnsiColor::Blue,
        (false, true) => AnsiColor::Green,
        (false, false) => AnsiColor::Cyan,
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(is_on: bool, pieces: &[&str]) -> String {
        let mut out = Coloured::new(Vec::new(), is_on);
        for piece in pieces {
            out.write_all(piece.as_bytes()).expect("memory has room");
        }
        out.flush().expect("memory has room");
        String::from_utf8(out.out).expect("text")
    }

    #[test]
    fn the_letters_of_rights_are_coloured() {
        assert_eq!(
            written(true, &["0x1000 4K ur", "wx AD- 0xe000\nsr-x\n", "urw- at"]),
            "0x1000 4K \u{1b}[1m\u{1b}[31murwx\u{1b}[0m AD- 0xe000\n\u{1b}[32msr-x\u{1b}[0m\nurw- at"
        );
        assert_eq!(
            written(true, &["       so far: user, writable, not executable\n"]),
            "       so far: \u{1b}[34muser, writable, not executable\u{1b}[0m\n"
        );
    }

    #[test]
    fn verdicts_are_coloured_where_a_line_begins() {
        assert_eq!(
            written(true, &["INCOMPLETE  The rest agrees.\n", "x AGREE  y\n"]),
            "\u{1b}[1m\u{1b}[33mINCOMPLETE\u{1b}[0m  The rest agrees.\nx AGREE  y\n"
        );
        assert_eq!(written(true, &["AGREEMENT  is\n"]), "AGREEMENT  is\n");
    }

    #[test]
    fn nothing_else_changes() {
        for text in ["urwx\n", "no end urwx", "Rights: u user or s supervisor\n", ""] {
            assert_eq!(written(false, &[text]), text);
        }
        for text in ["a urwxy, surw- (urwx)\n", "Größe urw\n"] {
            assert_eq!(written(true, &[text]), text);
        }
    }
}
