//! A file of known findings. A file that reads can be matched with any verdict.

use crosswalk::campaign::known::KnownFindings;
use crosswalk::finding::known::from_text;
use crosswalk::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation, ObservedFault, Provenance};
use crosswalk_guest::layout::Arena;
use crosswalk_machine::Capabilities;
use mmu_core::{Profile, Ring};

/// Reads a file of known findings.
///
/// # Panics
/// When it is not read as it must be.
pub fn known_findings(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(findings) = from_text("input", text) else { return };

    let case = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default());
    let fault = ObservedFault {
        vector: 14,
        error_code: 0x1d,
        cr2: 0x1000,
        cr2_before: 0,
        rip: None,
        frame: None,
    };
    let attempts = [
        Attempt::Observed(Observation::new(Some(fault), 0, Provenance::KvmWalker)),
        Attempt::Observed(Observation::new(None, 8, Provenance::Tcg)),
        Attempt::Unsupported("it cannot".to_owned()),
    ];

    let known = KnownFindings { findings, are_forgiven: true };
    let capabilities = Capabilities::of_everything(Profile::default());
    let mut found = known.collector(WalkerSpec::Reference, &capabilities);
    for attempt in &attempts {
        let verdict = crosswalk::verdict::judge(&mmu_core::Reference, &case, attempt);
        found.add(&case, attempt, &verdict);
    }
    let total: u64 = found.finish().iter().map(|finding| finding.count).sum();
    assert!(total >= 2, "a fault and a case that did not run are findings: {total}");
}
