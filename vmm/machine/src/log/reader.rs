//! Reading the lines of a log among any others. See [`crosswalk_guest::tape`] for what they are. Nothing of it is
//! trusted: whatever a file has, as much memory is used as one batch can change.
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

use crate::MachineError;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tape::changes::{ARENA_WORDS, DATA_WORDS, TABLE_WORDS};
use crosswalk_guest::tape::nested::NESTED_WORDS;
use crosswalk_guest::tape::{Checksum, FIRST_CHARACTER, LINE_BYTES, Token};
use std::io::{self, BufRead, Read};

/// What a line says is wrong with a log.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LogError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl From<LogError> for MachineError {
    fn from(LogError { line, problem }: LogError) -> Self {
        Self::Log { line, problem }
    }
}

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// What a batch changed.
    Changes {
        /// The number of the batch; 0 is the control page.
        number: u32,
        /// The digest of the tape up to this batch.
        digest: u32,
        /// The changes.
        bytes: Vec<u8>,
    },
    /// A batch was skipped.
    Skipped {
        /// Its number.
        number: u32,
        /// What the machine lacks.
        lacking: u32,
    },
    /// The log is over.
    End(LogEnd),
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// As it should.
    Complete,
    /// In the middle: the machine died or hangs, or the log was cut off.
    CutOff {
        /// The batch that was under way, if the log says so.
        during: Option<u32>,
    },
    /// The machine started again.
    Restart {
        /// The batch that was under way, if the log says so.
        during: Option<u32>,
    },
    /// The machine has no memory at an address that images use.
    NoMemory(u32),
}

/// The longest head: the text of some ten thousand cases.
const MAX_HEAD: u64 = 16 << 20;
/// The longest line that can be one of a log, but for the head.
const MAX_LINE: u64 = 4096;
/// The most that a machine prints between two lines of a log: firmware and a loader do not come near it.
const MAX_BETWEEN: u64 = 256 << 20;
/// The most bytes that a batch can have changed: every word, and what was kept of every fault.
const MAX_CHANGES: usize =
    (ARENA_WORDS + TABLE_WORDS + 4 * DATA_WORDS + NESTED_WORDS) as usize * 10 + Arena::RECORDS * 64;

/// Reads a log, line by line.
#[derive(Debug)]
pub struct LogReader<R> {
    source: R,
    /// The number of the last line that was read.
    line: u64,
    /// The batch that was announced.
    during: Option<u32>,
    /// How the log ended.
    end: Option<LogEnd>,
}

/// A line that belongs to a log.
struct LogLine {
    token: Token,
    /// What follows the token.
    rest: Vec<u8>,
}

impl<R: BufRead> LogReader<R> {
    /// Reads from the start of a text.
    pub const fn new(source: R) -> Self {
        Self { source, line: 0, during: None, end: None }
    }

    /// The number of the last line that was read.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The batch that was announced last and has not ended.
    pub const fn during(&self) -> Option<u32> {
        self.during
    }

    /// An error about the last line that was read.
    pub fn error(&self, problem: impl Into<String>) -> LogError {
        LogError { line: self.line, problem: problem.into() }
    }

    /// The text of the head.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn head(&mut self) -> Result<String, LogError> {
        while let Some(line) = self.next_line(MAX_HEAD)? {
            if line.token == Token::Head {
                return self.read_head(&line.rest);
            }
            if line.token == Token::Start {
                return Err(self.error("the start of the log is missing: expected its head first"));
            }
        }
        Err(self.error("this is not a log of an image: expected a line with cw#, found none"))
    }

    fn read_head(&self, rest: &[u8]) -> Result<String, LogError> {
        let damaged = || self.error("the head is damaged: its checksum is not that of its text");
        let (digits, text) = rest.split_at_checked(8).ok_or_else(damaged)?;
        let text = text.strip_prefix(b" ").ok_or_else(damaged)?;
        if read_number(digits) != Some(Checksum::of(text).0) {
            return Err(damaged());
        }
        String::from_utf8(text.to_vec()).map_err(|_| damaged())
    }

    /// The next thing of the log.
    ///
    /// # Errors
    /// If a line is damaged or missing.
    pub fn next_item(&mut self) -> Result<LogItem, LogError> {
        if let Some(end) = self.end {
            return Ok(LogItem::End(end));
        }

        let mut bytes = Vec::new();
        let mut checksum = Checksum::EMPTY;
        while let Some(LogLine { token, rest }) = self.next_line(MAX_LINE)? {
            match token {
                Token::Head => return Ok(self.ended(LogEnd::Restart { during: self.during })),
                Token::Start => {
                    let [number] = self.numbers(&rest)?;
                    self.during = Some(number);
                    bytes.clear();
                    checksum = Checksum::EMPTY;
                }
                Token::Data => {
                    let added = self.read_data(&rest, &mut bytes)?;
                    debug_assert!(added <= LINE_BYTES);
                }
                Token::End => {
                    let [number, len, sum, digest] = self.numbers(&rest)?;
                    // The last group may have been filled up.
                    if bytes.len().wrapping_sub(len as usize) > 2 {
                        let found = bytes.len();
                        let problem = format!(
                            "batch {number} is damaged: expected {len} bytes, found {found}"
                        );
                        return Err(self.error(problem));
                    }
                    bytes.truncate(len as usize);
                    for byte in &bytes {
                        checksum.add(*byte);
                    }
                    if sum != checksum.0 {
                        let problem = format!(
                            "batch {number} is damaged: expected the checksum {sum:08x}, found {:08x}",
                            checksum.0
                        );
                        return Err(self.error(problem));
                    }
                    if self.during.take() != Some(number) {
                        return Err(self.error(format!("the start of batch {number} is missing")));
                    }
                    return Ok(LogItem::Changes { number, digest, bytes });
                }
                Token::Skipped => {
                    let [number, lacking] = self.numbers(&rest)?;
                    return Ok(LogItem::Skipped { number, lacking });
                }
                Token::NoMemory => {
                    let [address] = self.numbers(&rest)?;
                    return Ok(self.ended(LogEnd::NoMemory(address)));
                }
                Token::Last => return Ok(self.ended(LogEnd::Complete)),
            }
        }
        Ok(self.ended(LogEnd::CutOff { during: self.during }))
    }

    const fn ended(&mut self, end: LogEnd) -> LogItem {
        self.end = Some(end);
        LogItem::End(end)
    }

    /// Exactly so many numbers.
    fn numbers<const N: usize>(&self, text: &[u8]) -> Result<[u32; N], LogError> {
        let mut numbers = [0; N];
        let mut digits = text.chunks(8);
        let is_exact = N.checked_mul(8) == Some(text.len());

        for number in &mut numbers {
            let read = digits.next().and_then(read_number).filter(|_| is_exact);
            *number = read.ok_or_else(|| {
                self.error(format!("the line is damaged: expected {N} numbers of 8 digits"))
            })?;
        }
        Ok(numbers)
    }

    /// Adds the bytes of a line. Returns their number.
    fn read_data(&self, text: &[u8], bytes: &mut Vec<u8>) -> Result<usize, LogError> {
        let damaged = |problem: &str| Err(self.error(format!("the line is damaged: {problem}")));
        let before = bytes.len();
        if !text.len().is_multiple_of(4) || text.len() / 4 > LINE_BYTES / 3 {
            return damaged("expected groups of four characters, 16 at most");
        }

        for four in text.chunks_exact(4) {
            let mut group = 0_u32;
            for character in four {
                let value = character.wrapping_sub(FIRST_CHARACTER);
                if value > 0x3f {
                    return damaged("expected characters from '0' to 'o'");
                }
                group = group << 6 | u32::from(value);
            }
            let [_, three @ ..] = group.to_be_bytes();
            bytes.extend(three);
        }

        if bytes.len() > MAX_CHANGES {
            return damaged("no batch changes as much");
        }
        Ok(bytes.len().saturating_sub(before))
    }

    /// The next line that belongs to the log, without what is before it on the line; `None` at the end.
    fn next_line(&mut self, limit: u64) -> Result<Option<LogLine>, LogError> {
        let mut text = Vec::new();
        let mut passed = 0_u64;
        loop {
            if passed > MAX_BETWEEN {
                let mebibytes = MAX_BETWEEN >> 20;
                return Err(self.error(format!("expected a line of a log within {mebibytes} MiB")));
            }
            text.clear();
            self.line = self.line.saturating_add(1);
            let read = (&mut self.source).take(limit).read_until(b'\n', &mut text);
            if read.map_err(|error| self.error(format!("cannot be read: {error}")))? == 0 {
                return Ok(None);
            }
            passed = passed.saturating_add(text.len() as u64);
            let is_whole = text.last() == Some(&b'\n');
            if !is_whole {
                // It is too long, or the text ends in it.
                let rest = self
                    .skip_line(&mut passed)
                    .map_err(|error| self.error(format!("cannot be read: {error}")))?;
                if rest == Rest::IsLong {
                    continue;
                }
            }

            if let Some(line) = log_line(&text, is_whole) {
                return Ok(Some(line));
            }
        }
    }

    /// Skips the rest of a line, but no more than may lie between two lines of a log.
    fn skip_line(&mut self, passed: &mut u64) -> io::Result<Rest> {
        let mut rest = Rest::IsEmpty;
        while *passed <= MAX_BETWEEN {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                return Ok(rest);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end.saturating_add(1));
            self.source.consume(used);
            *passed = passed.saturating_add(used as u64);
            rest = Rest::IsLong;
            if end.is_some() {
                return Ok(rest);
            }
        }
        Ok(rest)
    }
}

/// What is behind the part of a line that was read.
#[derive(PartialEq)]
enum Rest {
    IsEmpty,
    IsLong,
}

/// The line of a log in a line of text. What the text ends in the middle of is none.
fn log_line(text: &[u8], is_whole: bool) -> Option<LogLine> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);

    let is_token = |window: &[u8]| Token::ALL.iter().any(|token| window == token.text());
    let head = text.windows(3).position(|window| window == Token::Head.text());
    // Data have no such characters, so the last is the right one; a head may have anything.
    let start = head.or_else(|| text.windows(3).rposition(is_token))?;
    let line = text.get(start..)?;
    let (token, rest) = line.split_at_checked(3)?;
    let token = Token::ALL.into_iter().find(|known| token == known.text())?;

    let is_sure = is_whole || token == Token::Last;
    is_sure.then(|| LogLine { token, rest: rest.to_vec() })
}

fn read_number(digits: &[u8]) -> Option<u32> {
    let is_digits = digits.len() == 8 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_digits)?;
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests;
