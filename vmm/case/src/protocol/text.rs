//! The line protocol, answers: one JSON object a line. `docs/guide/src/walker-protocol.md` has it in full.

use super::{Answer, Faulted, Ignores, PageRights, Translated};
use crate::{EntryText, Hex, TableEntry};
use serde::{Deserialize, Serialize};

/// The longest answer in bytes.
pub const LONGEST: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum AnswerText {
    Translated(TranslatedText),
    Fault(AnsweredFaultText),
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
struct AnsweredFaultText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_code: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cr2: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryText>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
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
    /// When it is no answer: what is expected, and what was found, in words.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let text: AnswerText = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
        deserializer.end().map_err(|error| format!("after the answer: {error}"))?;
        text.read()
    }

    /// The answer on one line, without its end.
    ///
    /// # Panics
    /// Never: an answer has nothing that JSON cannot hold.
    pub fn to_line(&self) -> String {
        serde_json::to_string(&AnswerText::from(self)).expect("an answer is plain data")
    }
}

impl AnswerText {
    fn read(self) -> Result<Answer, String> {
        let entries = |entries: Option<Vec<EntryText>>| {
            let entry = |text: EntryText| TableEntry { at: text.address.0, value: text.value.0 };
            entries.map(|entries| entries.into_iter().map(entry).collect())
        };
        Ok(match self {
            Self::Translated(text) => {
                let ignored = |ignored: &Ignored| IGNORED[*ignored as usize].1;
                Answer::Translated(Translated {
                    address: text.address.0,
                    second: text.second.map(|Hex(address)| address),
                    ignores: text.ignores.iter().map(ignored).collect(),
                    page: text.page.map(|PageText { writable, user, executable }| PageRights {
                        writable,
                        user,
                        executable,
                    }),
                    entries: entries(text.entries),
                })
            }
            Self::Fault(text) => {
                let code = text.error_code.map(|Hex(code)| u32::try_from(code));
                let code = code.transpose().map_err(|_| "fault.error_code: more than 32 bits")?;
                Answer::Fault(Faulted {
                    vector: text.vector,
                    error_code: code,
                    cr2: text.cr2.map(|Hex(address)| address),
                    entries: entries(text.entries),
                })
            }
            Self::Silent(why) => Answer::Silent(why),
        })
    }
}

impl From<&Answer> for AnswerText {
    fn from(answer: &Answer) -> Self {
        let entries = |entries: &Option<Vec<TableEntry>>| {
            entries.as_ref().map(|entries| entries.iter().map(EntryText::from).collect())
        };
        match answer {
            Answer::Translated(translated) => {
                let ignored = IGNORED.iter().filter(|(_, flag)| translated.ignores.contains(*flag));
                Self::Translated(TranslatedText {
                    address: Hex(translated.address),
                    second: translated.second.map(Hex),
                    ignores: ignored.map(|(ignored, _)| *ignored).collect(),
                    page: translated.page.map(|PageRights { writable, user, executable }| {
                        PageText { writable, user, executable }
                    }),
                    entries: entries(&translated.entries),
                })
            }
            Answer::Fault(fault) => Self::Fault(AnsweredFaultText {
                vector: fault.vector,
                error_code: fault.error_code.map(|code| Hex(code.into())),
                cr2: fault.cr2.map(Hex),
                entries: entries(&fault.entries),
            }),
            Answer::Silent(why) => Self::Silent(why.clone()),
        }
    }
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
    fn what_is_no_answer_is_told_with_its_place() {
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
