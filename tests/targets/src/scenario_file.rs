//! A file of a scenario. One that reads is run in software, and ends in a story.

use crosswalk::scenario::{Scenario, Setting};
use mmu_core::PagingMode::{Bits32, FourLevel};

/// Reads a file of a scenario, and runs it.
///
/// # Panics
/// When it is not read or does not run as it must.
pub fn scenario_file(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let scenario = match Scenario::from_toml("input", text) {
        Ok(scenario) => scenario,
        Err(error) => {
            assert!(error.line <= text.split('\n').count(), "{error}");
            let error = error.to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
            return;
        }
    };

    for mode in [Bits32, FourLevel] {
        let story = scenario.run(Setting::new(mode)).expect("a mode with tables");
        let sentences = story.claims.iter().map(|claim| &claim.claim).chain(&story.problems);
        for sentence in sentences {
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
        }
    }
}
