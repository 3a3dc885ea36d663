//! The walk of a case.

use crosswalk_case::Case;
use crosswalk_explain::View;
use crosswalk_walker::WalkerSpec;
use serde::Serialize;

/// What the page is told.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer<'c> {
    /// The case with its walk by the reference; no machine ran it.
    View(Box<View<'c, ()>>),
    /// Why the text is not a case.
    Error(String),
}

/// Walks the case that a JSON text is. The answer is JSON, too: `{"view": …}`, or `{"error": "…"}` if it is not a case.
pub(crate) fn answer(text: &str) -> String {
    let case = Case::from_json(text);
    let answer = match &case {
        Ok(case) => {
            let view = View::new(case, WalkerSpec::Reference, &|_| None, Vec::new());
            Answer::View(Box::new(view))
        }
        Err(error) => Answer::Error(error.to_string()),
    };
    serde_json::to_string(&answer).expect("an answer is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_case_is_walked_and_what_is_none_is_refused_with_a_reason() {
        let case = r#"{"mode":"unpaged","state":{"cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x0"},
            "entries":[],"access":{"kind":"read","address":"0x1234","size":1,"ring":0}}"#;
        let walked: Value = serde_json::from_str(&answer(case)).unwrap();
        assert_eq!(walked["view"]["picture"]["walks"][0]["end"]["physical"], "0x1234");

        let refused: Value = serde_json::from_str(&answer("{}")).unwrap();
        assert_eq!(refused["error"], "the case: missing field `mode` at line 1 column 2");
    }
}
