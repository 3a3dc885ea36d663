//! Bochs as a program: where it is, its version, and its processors.

use super::BochsError;
use crate::jail::find_program;
use crate::{MachineError, Version};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Its names: Debian's `bochs` is a script around the first.
const NAMES: [&str; 2] = ["bochs-bin", "bochs"];

/// A Bochs that this program can use.
#[derive(Clone, Debug)]
pub struct BochsProgram {
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// The names of its processors.
    pub models: Vec<String>,
    /// Whether it has a debugger, which waits for commands.
    pub(super) has_debugger: bool,
}

impl BochsProgram {
    /// Finds the Bochs in `PATH`, and asks it for its processors.
    ///
    /// # Errors
    /// If there is none, or it does not answer as Bochs does.
    pub fn find() -> Result<Self, MachineError> {
        let path = NAMES.iter().find_map(|name| find_program(name).ok());
        let path = path.ok_or_else(|| {
            MachineError::Unavailable("no bochs in PATH: is Bochs installed?".into())
        })?;

        let text = ask(&path, &["--help", "cpu"])?;
        // Those with a debugger have options for it.
        let has_debugger = ask(&path, &["--help"])?.contains("-dbglog");
        parse(&text)
            .map(|(version, models)| Self { path, version, models, has_debugger })
            .ok_or_else(|| {
                MachineError::Unavailable(
                    "the bochs in PATH names no version or no processors".into(),
                )
            })
    }

    /// Checks that there is a processor with this name.
    pub(super) fn check_model(&self, name: &str) -> Result<(), BochsError> {
        if self.models.iter().any(|model| model == name) {
            return Ok(());
        }
        Err(BochsError::NoModel { name: name.to_owned(), models: self.models.clone() })
    }
}

/// What a Bochs answers.
fn ask(program: &Path, arguments: &[&str]) -> Result<String, MachineError> {
    let answer = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(MachineError::host("asking Bochs for its processors"))?;
    Ok(String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned())
}

/// The version and the processors in an answer.
fn parse(text: &str) -> Option<(Version, Vec<String>)> {
    let version = text.split("Bochs x86 Emulator ").nth(1).and_then(Version::at_start_of)?;
    let listed = text.split("Supported CPU models:").nth(1)?;

    let is_name = |line: &&str| {
        !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let lines = listed.lines().map(str::trim).skip_while(|line| line.is_empty());
    let models: Vec<_> = lines.take_while(is_name).map(str::to_owned).collect();
    (!models.is_empty()).then_some((version, models))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_processors_are_read() {
        let text = "00000000000i[      ] LTDL_LIBRARY_PATH not set.\nSupported CPU models:\n\nbx_generic\n\
                    pentium\n\n00000000000i[SIM   ] quit_sim called with exit code 0\n======\n       \
                    Bochs x86 Emulator 2.7\n";
        let (version, models) = parse(text).unwrap();
        assert_eq!(
            (version.short(), models),
            ("2.7".into(), vec!["bx_generic".into(), "pentium".into()])
        );

        for text in ["", "Bochs x86 Emulator 2.7", "Supported CPU models:\n\npentium\n"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
