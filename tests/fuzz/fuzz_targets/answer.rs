//! The answer of a walker, a line of the walker protocol. An answer that reads prints on one line and
//! reads back equal.
#![no_main]
#![forbid(unsafe_code)]

use crosswalk_case::protocol::Answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    if let Ok(answer) = Answer::from_line(line) {
        let printed = answer.to_line();
        assert!(!printed.contains('\n'), "more than one line: {printed}");

        let again = Answer::from_line(&printed).expect("a printed answer reads");
        assert_eq!(again, answer, "printed as {printed}");
    }
});
