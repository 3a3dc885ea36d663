//! The command of a user's walker, as `--walker cmd:COMMAND` names it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A program and its arguments, written as words of a POSIX shell. No shell takes part: nothing but quotes and
/// backslashes has a meaning.
///
/// ```
/// use crosswalk::campaign::command::WalkerCommand;
/// let command: WalkerCommand = "node 'my walker.mjs' --strict".parse()?;
/// assert_eq!(command.program().to_str(), Some("node"));
/// assert_eq!(command.arguments(), ["my walker.mjs", "--strict"]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct WalkerCommand {
    /// As the user wrote it.
    text: String,
    /// The program, and its arguments.
    words: Vec<String>,
}

impl WalkerCommand {
    /// The program: a path, or a name that is looked up in PATH.
    pub fn program(&self) -> &Path {
        Path::new(self.words.first().map_or("", String::as_str))
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

impl FromStr for WalkerCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match shlex::split(text) {
            Some(words) if !words.is_empty() => Ok(Self { text: text.to_owned(), words }),
            Some(_) => Err("expected a program after cmd:".into()),
            None => {
                Err("expected words of a shell after cmd:, found a quote without its end".into())
            }
        }
    }
}

impl fmt::Display for WalkerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
