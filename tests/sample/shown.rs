//! The output that a page shows, compared with what a command printed.

use super::measured::{self, HOST};
use std::ops::Range;

/// Stands for lines that are left out.
const LEFT_OUT: &str = "...";
/// Stands for the part of a line that is left out.
const CUT: char = '…';
/// The widest line that is shown in full.
const WIDTH: usize = 80;

/// What a page shows of an output.
pub(crate) struct ShownOutput {
    lines: Vec<String>,
    /// Blank lines that separate it from the next command.
    blank: usize,
}

impl ShownOutput {
    pub(crate) fn new(lines: &[&str]) -> Self {
        let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        let blank = lines.len() - end;
        Self { lines: lines[..end].iter().map(|line| (*line).to_owned()).collect(), blank }
    }

    /// As the contents of a file.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// The first thing that was not printed so, if there is one.
    pub(crate) fn difference(&self, printed: &str) -> Option<String> {
        let printed = lines(printed);
        let pieces = self.pieces();
        let mut from = 0;
        for (i, piece) in pieces.iter().enumerate() {
            match locate(piece, &printed, from, i == 0, i + 1 == pieces.len()) {
                Some(found) => from = found.end,
                None => return Some(explain(piece, &printed[from..])),
            }
        }
        None
    }

    /// The same parts of a new output. A line that has not changed stays as it was.
    pub(crate) fn blessed(&self, printed: &str) -> Vec<String> {
        let printed = lines(printed);
        let pieces = self.pieces();
        let mut blessed = Vec::new();
        let mut from = 0;
        for (i, piece) in pieces.iter().enumerate() {
            let (is_first, is_last) = (i == 0, i + 1 == pieces.len());
            let found = locate(piece, &printed, from, is_first, is_last)
                .unwrap_or_else(|| guess(piece, &printed, from, is_first, is_last));
            if !is_first {
                blessed.push(LEFT_OUT.to_owned());
            }
            for line in &printed[found.clone()] {
                let old = piece.iter().find(|shown| is_same(shown, line));
                blessed.push(old.cloned().unwrap_or_else(|| cut(line)));
            }
            from = found.end;
        }
        blessed.extend(std::iter::repeat_n(String::new(), self.blank));
        blessed
    }

    /// What is shown in one piece, between lines that are left out.
    fn pieces(&self) -> Vec<&[String]> {
        self.lines.split(|line| line == LEFT_OUT).collect()
    }
}

/// The lines of an output, without the blank ones at its end. A line that names the host may be so
/// long that it was broken, and is mended.
fn lines(printed: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in printed.trim_end().lines() {
        match lines.last_mut() {
            Some(host) if host.starts_with(HOST) && line.starts_with("  ") => {
                host.push(' ');
                host.push_str(line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Where a piece stands in an output: the first piece at its start, the last at its end.
fn locate(
    piece: &[String],
    printed: &[String],
    from: usize,
    is_first: bool,
    is_last: bool,
) -> Option<Range<usize>> {
    let last_start = printed.len().checked_sub(piece.len())?;
    let starts = match (is_first, is_last) {
        (true, true) if last_start > 0 => return None,
        (true, _) => 0..=0,
        (false, true) => last_start.max(from)..=last_start,
        (false, false) => from..=last_start,
    };
    let is_there = |start: &usize| {
        piece.iter().zip(&printed[*start..]).all(|(shown, line)| is_same(shown, line))
    };
    starts.into_iter().find(is_there).map(|start| start..start + piece.len())
}

/// Where a piece that has changed most likely stands: between the lines most like its first and last.
fn guess(
    piece: &[String],
    printed: &[String],
    from: usize,
    is_first: bool,
    is_last: bool,
) -> Range<usize> {
    let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return from..from };
    let start = if is_first { from } else { from + most_alike(first, &printed[from..]) };
    let end = if is_last {
        printed.len()
    } else {
        (start + most_alike(last, &printed[start..]) + 1).min(printed.len())
    };
    start..end
}

/// The index of the line that has most words in common with another.
fn most_alike(line: &str, printed: &[String]) -> usize {
    let wanted = measured::without(line);
    let wanted: Vec<_> = wanted.split_whitespace().collect();
    let alike = |other: &String| {
        let other = measured::without(other);
        let words: Vec<_> = other.split_whitespace().collect();
        let common = words.iter().filter(|word| wanted.contains(word)).count();
        1000 * common / words.len().max(wanted.len()).max(1)
    };
    let index = (0..printed.len()).rev().max_by_key(|i| alike(&printed[*i]));
    index.unwrap_or(0)
}

/// Whether a page may show a printed line so.
fn is_same(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (measured::without(shown), measured::without(printed));
    match shown.split_once(CUT) {
        None => shown == printed,
        Some((start, end)) => {
            printed.len() >= start.len() + end.len()
                && printed.starts_with(start)
                && printed.ends_with(end)
        }
    }
}

/// A line as it is shown: of one that is too wide, which is a case, the first field.
fn cut(line: &str) -> String {
    match line.split_once(',') {
        Some((start, _)) if line.chars().count() > WIDTH && line.ends_with("}'") => {
            format!("{start},{CUT}}}'")
        }
        _ => line.to_owned(),
    }
}

/// Which line of a piece was not printed, and what was instead.
fn explain(piece: &[String], printed: &[String]) -> String {
    let is_missing = |shown: &&String| !printed.iter().any(|line| is_same(shown, line));
    let Some(missing) = piece.iter().find(is_missing) else {
        return format!(
            "  these lines were printed, but not together:\n    {}",
            piece.join("\n    ")
        );
    };
    let nearest = printed.get(most_alike(missing, printed)).map_or("nothing", String::as_str);
    format!("  the page shows     {missing}\n  the program prints {nearest}")
}

#[cfg(test)]
mod tests {
    use super::ShownOutput;

    const OUTPUT: &str = "one 1\ntwo 2\nthree 3\nfour 4\n5 cases in 0.3 s\n";

    fn difference(shown: &str) -> Option<String> {
        ShownOutput::new(&shown.lines().collect::<Vec<_>>()).difference(OUTPUT)
    }

    #[test]
    fn lines_are_left_out_only_where_the_page_says_so() {
        for right in [
            "one 1\ntwo 2\nthree 3\nfour 4\n5 cases in 7.5 s",
            "one 1\n...\nfour 4\n5 cases in 0.3 s\n\n",
            "...\nthree 3\n...",
            "on…1\n...",
        ] {
            assert_eq!(difference(right), None, "{right}");
        }
        for wrong in [
            "one 1\ntwo 2",
            "two 2\n...",
            "...\nthree 3",
            "...\ntwo 2\nfour 4\n...",
            "...\nthree 3\n...\ntwo 2\n...",
            "...\n6 cases in 0.3 s",
        ] {
            assert!(difference(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_new_output_is_written_where_the_old_one_was() {
        let shown = ShownOutput::new(&["...", "three 4", "four 4", "...", "5 cases in 7.5 s", ""]);
        let blessed = shown.blessed(OUTPUT);
        assert_eq!(blessed, ["...", "three 3", "four 4", "...", "5 cases in 7.5 s", ""]);
    }
}
