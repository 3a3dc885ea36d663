//! The text of a case. A case that reads prints on one line and reads back equal. The error of a text
//! that does not read has no control characters, which a terminal would obey.

use crosswalk_case::Case;

/// Reads a case.
///
/// # Panics
/// When it is not read as it must be.
pub fn case(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };

    match Case::from_json(text) {
        Ok(case) => {
            let printed = case.to_json();
            assert!(!printed.contains('\n'), "more than one line: {printed}");

            let again = Case::from_json(&printed).expect("a printed case reads");
            assert_eq!(again, case, "printed as {printed}");
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}
