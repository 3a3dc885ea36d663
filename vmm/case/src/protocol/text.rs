//! Answers of the line protocol: one JSON object per line.

use super::{Answer, Faulted, Ignores, PageRights, Translated};
use crate::text::EntryText;
use crate::{Hex, TableEntry};
use serde::{Deserialize, Serialize};

/// Maximum number of bytes in an answer, its line feed included.
pub const MAX_ANSWER_BYTES: usize = 1 << 16;

/// An answer as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum AnswerText {
    Translated(TranslatedText),
    Fault(FaultText),
    Silent(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TranslatedText {
    address: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<Hex>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignores: Vec<Ignored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<PageText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryText>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_code: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cr2: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryText>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ignored {
    Present,
    Reserved,
    Rights,
    Address,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executable: Option<bool>,
}

const IGNORED: [(Ignored, Ignores); 4] = [
    (Ignored::Present, Ignores::PRESENT),
    (Ignored::Reserved, Ignores::RESERVED),
    (Ignored::Rights, Ignores::RIGHTS),
    (Ignored::Address, Ignores::ADDRESS),
];

impl Answer {
    /// Reads an answer from its line.
    ///
    /// # Errors
    /// When the line is not an answer; the message says what was expected and what was found.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let text: AnswerText =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
                match error.path().to_string().as_str() {
                    "." => error.inner().to_string(),
                    path => format!("{path}: {}", error.inner()),
                }
            })?;
        deserializer.end().map_err(|error| format!("after the answer: {error}"))?;

        Ok(match text {
            AnswerText::Translated(text) => Self::Translated(text.read()),
            AnswerText::Fault(text) => Self::Fault(text.read()?),
            AnswerText::Silent(why) => Self::Silent(why),
        })
    }

    /// The answer as a line, without the line feed.
    ///
    /// # Panics
    /// Never: JSON can represent every answer.
    #[cfg_attr(not(test), expect(clippy::expect_used, reason = "strings and numbers are JSON"))]
    pub fn to_line(&self) -> String {
        serde_json::to_string(&AnswerText::from(self)).expect("an answer is plain data")
    }
}

impl TranslatedText {
    fn read(self) -> Translated {
        let named = |ignored: &Ignored| IGNORED.iter().find(|(name, _)| name == ignored);
        let ignored = |ignored| named(ignored).map_or(Ignores::empty(), |(_, ignores)| *ignores);
        let rights =
            |PageText { writable, user, executable }| PageRights { writable, user, executable };

        Translated {
            address: self.address.0,
            second: self.second.map(|Hex(address)| address),
            ignores: self.ignores.iter().map(ignored).collect(),
            page: self.page.map(rights),
            entries: read_entries(self.entries),
        }
    }
}

impl FaultText {
    fn read(self) -> Result<Faulted, String> {
        let narrow = |Hex(code)| {
            u32::try_from(code).map_err(|_| "fault.error_code: more than 32 bits".to_owned())
        };

        Ok(Faulted {
            vector: self.vector,
            error_code: self.error_code.map(narrow).transpose()?,
            cr2: self.cr2.map(|Hex(address)| address),
            entries: read_entries(self.entries),
        })
    }
}

fn read_entries(entries: Option<Vec<EntryText>>) -> Option<Vec<TableEntry>> {
    let entry = |text: EntryText| TableEntry { at: text.address.0, value: text.value.0 };
    entries.map(|entries| entries.into_iter().map(entry).collect())
}

impl From<&Answer> for AnswerText {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Translated(translated) => Self::Translated(translated.into()),
            Answer::Fault(fault) => Self::Fault(fault.into()),
            Answer::Silent(why) => Self::Silent(why.clone()),
        }
    }
}

impl From<&Translated> for TranslatedText {
    fn from(translated: &Translated) -> Self {
        let ignored = IGNORED.iter().filter(|(_, flag)| translated.ignores.contains(*flag));
        let rights =
            |PageRights { writable, user, executable }| PageText { writable, user, executable };

        Self {
            address: Hex(translated.address),
            second: translated.second.map(Hex),
            ignores: ignored.map(|(ignored, _)| *ignored).collect(),
            page: translated.page.map(rights),
            entries: write_entries(translated.entries.as_deref()),
        }
    }
}

impl From<&Faulted> for FaultText {
    fn from(fault: &Faulted) -> Self {
        Self {
            vector: fault.vector,
            error_code: fault.error_code.map(|code| Hex(code.into())),
            cr2: fault.cr2.map(Hex),
            entries: write_entries(fault.entries.as_deref()),
        }
    }
}

fn write_entries(entries: Option<&[TableEntry]>) -> Option<Vec<EntryText>> {
    entries.map(|entries| entries.iter().map(EntryText::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_back_as_they_were_written() {
        let lines = [
            r#"{"translated":{"address":"0x201108"}}"#,
            r#"{"translated":{"address":"0x1ffe","second":"0x7000","ignores":["reserved","rights"],"page":{"writable":true},"entries":[{"address":"0x1000","value":"0x2063"}]}}"#,
            r#"{"translated":{"address":"0x0","page":{"writable":false,"user":true,"executable":false},"entries":[]}}"#,
            r#"{"fault":{}}"#,
            r#"{"fault":{"vector":14,"error_code":"0x5","cr2":"0xffff800000000000"}}"#,
            r#"{"silent":"no 5-level paging"}"#,
        ];
        for line in lines {
            assert_eq!(Answer::from_line(line).unwrap().to_line(), line);
        }
    }

    #[test]
    fn a_line_that_is_not_an_answer_is_refused_with_its_place() {
        for (line, problem) in [
            ("", "EOF"),
            ("hello", "expected value"),
            ("{}", "expected value"),
            (r#"{"translated":{}}"#, "missing field `address`"),
            (r#"{"translated":{"address":17}}"#, "translated.address: expected a hex string"),
            (r#"{"translated":{"address":"0x1","ignores":["pigs"]}}"#, "ignores[0]"),
            (r#"{"translated":{"address":"0x1","adress":"0x1"}}"#, "unknown field"),
            (r#"{"fault":{"error_code":"0x100000000"}}"#, "more than 32 bits"),
            (r#"{"fault":{"vector":256}}"#, "256"),
            (r#"{"silent":"a"} {"silent":"b"}"#, "after the answer"),
            (r#"{"mapped":{}}"#, "unknown variant `mapped`"),
        ] {
            let error = Answer::from_line(line).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
