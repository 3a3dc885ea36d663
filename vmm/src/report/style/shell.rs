//! Names in commands that people copy into a shell.

use crosswalk_case::is_obeyed;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// One word of a shell's command line that stands for these bytes. What a terminal would obey is written as octal
/// numbers within `$'…'` (POSIX.1-2024, "Dollar-Single-Quotes").
pub(crate) fn shell_word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.contains(is_obeyed) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => in_octal(word.as_bytes()),
    }
}

/// Whether a letter means itself wherever it is in a word.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/._-+:,@%".contains(letter)
}

fn in_octal(word: &[u8]) -> String {
    let mut quoted = "$'".to_owned();
    for chunk in word.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if is_obeyed(letter) || matches!(letter, '\'' | '\\') {
                push_octal(&mut quoted, letter.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                quoted.push(letter);
            }
        }
        push_octal(&mut quoted, chunk.invalid());
    }
    quoted + "'"
}

fn push_octal(quoted: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(quoted, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_something_else() {
        for (word, quoted) in [
            ("kvm:/tmp/guest-1.sock", "kvm:/tmp/guest-1.sock"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$x; d", "'$x; d'"),
            ("~", "'~'"),
            ("l'été", r"'l'\''été'"),
            ("a\nb'\\", r"$'a\012b\047\134'"),
            ("\u{202e}x", r"$'\342\200\256x'"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
        assert_eq!(shell_word(OsStr::from_bytes(b"\xffa\x1b")), r"$'\377a\033'");
    }

    #[test]
    fn a_shell_reads_the_same_bytes() {
        // A POSIX shell of before 2024, such as dash, does not know $'…'.
        let Ok(has_bash) = Command::new("bash").args(["-c", "true"]).status() else {
            println!("skipped: no bash");
            return;
        };
        assert!(has_bash.success());
        for word in
            [&b"a b"[..], b"'$x`y`\"", b"a\nb\x1b[2J\\n0", b"\xff\xfe7", b"*?[a]{b,c}!#&|<>()"]
        {
            let script = format!("printf %s {}", shell_word(OsStr::from_bytes(word)));
            let output = Command::new("bash").args(["-c", &script]).output().expect("it runs");
            assert_eq!(output.stdout, word, "{script}");
        }
    }
}
