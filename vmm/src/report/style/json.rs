//! How every JSON document is written.

use serde::Serialize;

/// A document as indented JSON, with a line break at its end.
pub(in crate::report) fn to_text(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("a report is plain data") + "\n"
}
