//! Letters that a terminal, or a reader, takes for something other than they are.

/// Whether a terminal or a page does something other than show a letter: control characters, and marks that turn the
/// direction of writing, so that a text reads as another (Unicode Standard Annex #9).
///
/// ```
/// use crosswalk_case::is_obeyed;
///
/// assert!(is_obeyed('\u{1b}') && is_obeyed('\n') && is_obeyed('\u{202e}'));
/// assert!(!"Größe → 4 KiB".contains(is_obeyed));
/// ```
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
