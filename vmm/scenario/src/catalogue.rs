//! The scenarios of this crate, and what a scenario is: a file, or a function where a file cannot say it.

use super::driver::{Driver, tables_of_a_process};
use super::error::DriverError;
use super::file::{self, ScenarioFile, ScenarioFileError};
use super::linear_table;
use mmu_core::PagingMode;
use mmu_core::x86::format::Format;
use std::sync::{Arc, LazyLock};

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: String,
    /// What it shows, as a sentence without a full stop.
    pub shows: String,
    script: Script,
}

/// What happens in a scenario.
#[derive(Clone, Debug)]
enum Script {
    /// The steps of a file.
    File(Arc<ScenarioFile>),
    /// A sparse process on a flat table and on others.
    LinearTable,
}

/// The files, the simplest first.
pub(super) const FILES: [(&str, &str); 9] = [
    ("isolation.toml", include_str!("../scenarios/isolation.toml")),
    ("demand-paging.toml", include_str!("../scenarios/demand-paging.toml")),
    ("protection.toml", include_str!("../scenarios/protection.toml")),
    ("sharing.toml", include_str!("../scenarios/sharing.toml")),
    ("copy-on-write.toml", include_str!("../scenarios/copy-on-write.toml")),
    ("reallocation.toml", include_str!("../scenarios/reallocation.toml")),
    ("reclaim.toml", include_str!("../scenarios/reclaim.toml")),
    ("dirty.toml", include_str!("../scenarios/dirty.toml")),
    ("growth.toml", include_str!("../scenarios/growth.toml")),
];

/// Every scenario of this crate, the simplest first.
pub static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    let files = FILES.iter().map(|(name, text)| match Scenario::from_toml(name, text) {
        Ok(scenario) => scenario,
        Err(error) => unreachable!("a scenario of this crate: {error}"),
    });
    let linear = Scenario {
        name: "linear-versus-multilevel".into(),
        shows: "one flat table compared with multi-level tables, for a sparse process".into(),
        script: Script::LinearTable,
    };
    files.chain([linear]).collect()
});

impl Scenario {
    /// The scenario in the text of a file; errors call it `name`.
    ///
    /// ```
    /// use crosswalk_scenario::{Scenario, Setting};
    /// use mmu_core::PagingMode::FourLevel;
    ///
    /// let text = r#"
    /// name = "touch"
    /// shows = "a page that is touched gets a frame"
    /// frames = 16
    ///
    /// [[step]]
    /// start = "A"
    /// regions = [{ kind = "heap", at = 0x8060_0000, pages = 2 }]
    ///
    /// [[step]]
    /// run = "A"
    /// does = "fills a page"
    /// program = [{ fill = 0x8060_0000, pages = 1, by = 0xa }]
    ///
    /// [[step]]
    /// claim = "the other page has none"
    /// that = "frames(A) == 1"
    /// "#;
    /// let scenario = Scenario::from_toml("touch.toml", text).unwrap();
    /// assert!(scenario.run(Setting::new(FourLevel)).unwrap().passed());
    ///
    /// let error = Scenario::from_toml("touch.toml", &text.replace("fill", "full")).unwrap_err();
    /// assert!(error.to_string().starts_with("touch.toml: line 13: "), "{error}");
    /// ```
    ///
    /// # Errors
    /// When the text is no scenario. The error names the line.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, ScenarioFileError> {
        let file = ScenarioFile::read(name, text)?;
        Ok(Self {
            name: file.name.clone(),
            shows: file.shows.clone(),
            script: Script::File(Arc::new(file)),
        })
    }

    /// One of [`SCENARIOS`].
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// The number of frames that it has in a mode.
    pub(super) fn frames(&self, mode: PagingMode) -> usize {
        match &self.script {
            Script::File(file) => file.frames(mode),
            Script::LinearTable => 32 + tables_of_a_process(mode),
        }
    }

    /// Tells the driver what happens.
    pub(super) fn play<F: Format>(&self, driver: &mut Driver<'_, F>) -> Result<(), DriverError> {
        match &self.script {
            Script::File(file) => file::play(file, driver),
            Script::LinearTable => linear_table::linear_versus_multilevel(driver),
        }
    }
}
