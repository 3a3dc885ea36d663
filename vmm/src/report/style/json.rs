//! How every document of JSON is written.

use serde::Serialize;

pub(in crate::report) fn to_text(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("a report is plain data") + "\n"
}
