//! The fuzz targets of crosswalk, each a function that takes any input and panics if something does not
//! hold that must hold for every input. `tests/fuzz` runs them under libFuzzer; the test here runs each
//! of them on its seeds and on the inputs that once failed.
#![forbid(unsafe_code)]

mod answer;
mod case;
#[cfg(feature = "program")]
mod corpus;
mod differential;
mod guest_words;
#[cfg(feature = "program")]
mod hostile;
#[cfg(feature = "program")]
mod image;
#[cfg(feature = "program")]
mod journal;
#[cfg(feature = "program")]
mod known_findings;
#[cfg(feature = "program")]
mod log;
mod memory_image;
#[cfg(feature = "program")]
mod protocol;
mod reader;
#[cfg(feature = "program")]
mod scenario;
#[cfg(feature = "program")]
mod scenario_file;
mod walk;

pub use answer::answer;
pub use case::case;
pub use differential::differential;
pub use guest_words::guest_words;
pub use memory_image::memory_image;
pub use walk::walk;

#[cfg(feature = "program")]
pub use {
    corpus::corpus, image::image, journal::journal, known_findings::known_findings, log::log,
    protocol::protocol, scenario::scenario, scenario_file::scenario_file,
};

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", answer),
    ("case", case),
    #[cfg(feature = "program")]
    ("corpus", corpus),
    ("differential", differential),
    ("guest_words", guest_words),
    #[cfg(feature = "program")]
    ("image", image),
    #[cfg(feature = "program")]
    ("journal", journal),
    #[cfg(feature = "program")]
    ("known_findings", known_findings),
    #[cfg(feature = "program")]
    ("log", log),
    ("memory_image", memory_image),
    #[cfg(feature = "program")]
    ("protocol", protocol),
    #[cfg(feature = "program")]
    ("scenario", scenario),
    #[cfg(feature = "program")]
    ("scenario_file", scenario_file),
    ("walk", walk),
];

#[cfg(all(test, feature = "program"))]
mod tests {
    use super::{TARGETS, Target};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A folder of `tests/fuzz`, in name order.
    fn entries(folder: &str) -> Vec<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
        let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    fn names(folder: &str) -> BTreeSet<String> {
        let stem =
            |path: &PathBuf| path.file_stem().map(|name| name.to_string_lossy().into_owned());
        entries(folder).iter().filter_map(stem).collect()
    }

    /// Runs a target on every file of a folder. The name of the file is printed first, so that a panic is
    /// preceded by the input that causes it.
    fn run_on(target: Target, folder: &str) -> usize {
        let inputs = entries(folder);
        for input in &inputs {
            println!("{}", input.display());
            target(&fs::read(input).expect("an input can be read"));
        }
        inputs.len()
    }

    #[test]
    fn every_target_holds_on_its_seeds_and_on_what_once_failed() {
        for (name, target) in TARGETS {
            assert_ne!(run_on(*target, &format!("seeds/{name}")), 0, "{name} has no seeds");
        }
        for name in names("regressions") {
            let target = TARGETS.iter().find(|(target, _)| *target == name);
            let (_, target) = target.unwrap_or_else(|| panic!("there is no target {name}"));
            run_on(*target, &format!("regressions/{name}"));
        }
    }

    /// Each target is a program under libFuzzer, and has a row in the README.
    #[test]
    fn every_target_is_run_and_described() {
        let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz_targets"), targets);
        assert_eq!(names("seeds"), targets);

        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/README.md");
        let readme = fs::read_to_string(readme).expect("the README is there");
        for name in targets {
            assert!(
                readme.contains(&format!("\n| `{name}` |")),
                "the README has no row for {name}"
            );
        }
    }

    /// A seed that no longer reads tests nothing.
    #[test]
    fn the_seeds_of_journals_read() {
        for path in entries("seeds/journal") {
            let seed = fs::read(&path).expect("a seed");
            let text = super::journal::text_of(&seed).expect("text");
            let read = text.parse::<crosswalk::campaign::journal::Checkpoint>();
            assert!(read.is_ok(), "{}: {}", path.display(), read.expect_err("an error"));
        }
    }
}
