//! The text of a case. A case that reads prints on one line and reads back equal. The error of a text
//! that does not read has no control characters, which a terminal would obey.
#![no_main]
#![forbid(unsafe_code)]

use crosswalk_case::Case;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Case::from_json(text) {
        Ok(case) => {
            let printed = case.to_json();
            assert!(!printed.contains('\n'), "more than one line: {printed}");

            let again = Case::from_json(&printed).expect("a printed case reads");
            assert_eq!(again, case, "printed as {printed}");
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
});
