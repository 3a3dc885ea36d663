//! The answer of a walker, a line of the walker protocol. An answer that reads prints on one line and
//! reads back equal.

use crosswalk_case::protocol::Answer;

/// Reads an answer.
///
/// # Panics
/// When it is not read as it must be.
pub fn answer(bytes: &[u8]) {
    let Ok(line) = str::from_utf8(bytes) else { return };

    if let Ok(answer) = Answer::from_line(line) {
        let printed = answer.to_line();
        assert!(!printed.contains('\n'), "more than one line: {printed}");

        let again = Answer::from_line(&printed).expect("a printed answer reads");
        assert_eq!(again, answer, "printed as {printed}");
    }
}
