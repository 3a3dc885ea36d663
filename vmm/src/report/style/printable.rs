//! Text for a terminal. Names and reasons come from guests, journals, corpora and other programs, and a
//! terminal obeys the control characters in them.

use crosswalk_case::is_obeyed;
use std::borrow::Cow;
use std::fmt::Write;

/// The text with every character that a terminal might obey replaced by its number, as in `\u001b`. In
/// a JSON document that is the same string. Lines stay lines.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |letter| letter != '\n' && is_obeyed(letter))
}

/// The same for words within a line, which cannot begin another one.
pub(crate) fn within_line(words: &str) -> Cow<'_, str> {
    escape(words, is_obeyed)
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }

    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_escaped(letter) {
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_nothing_to_obey() {
        // A colour, the same with the one-byte CSI, a bell, a line that overwrites itself, and a name
        // that is written from the right.
        let hostile = "\u{1b}[32mok\u{9b}0m\u{7}\rall agree\u{202e}eerga\u{7f}\n";
        let shown = r"\u001b[32mok\u009b0m\u0007\u000dall agree\u202eeerga\u007f";
        assert_eq!(printable(hostile), format!("{shown}\n"));
        assert_eq!(within_line("a\nb"), r"a\u000ab");
    }

    #[test]
    fn text_and_json_stay_what_they_are() {
        let text = "Größe │ 4 KiB → 0x1000\n";
        assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));

        let name = "a\u{9b}\u{202e}\u{1b}\nb";
        let document = serde_json::to_string_pretty(&[name]).expect("a string is plain data");
        let shown: Vec<String> = serde_json::from_str(&printable(&document)).expect("JSON");
        assert_eq!(shown, [name]);
    }
}
