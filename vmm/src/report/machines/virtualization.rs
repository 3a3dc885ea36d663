//! With what a machine's guest can run guests of its own, and below which second levels.

use crate::report::style::table::line;
use crosswalk_machine::Capabilities;
use crosswalk_machine::nested::Virtualization;
use crosswalk_nested::generate::{SecondLevels, second_levels};
use serde::Serialize;

/// Guests in the guest of a machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct VirtualizationJson {
    /// Whether there can be nested cases.
    available: bool,
    /// Why not.
    reason: Option<String>,
    /// The extension of the processor: `svm` or `vmx`; null if there is none.
    extension: Option<&'static str>,
    /// The second level of translation: `npt` or `ept`; null if there is none.
    second_level: Option<&'static str>,
    /// The formats of its tables, each by the paging mode that has as many levels.
    formats: Vec<&'static str>,
    /// Of EPT: what it can do, by the names that nested cases have.
    capabilities: Vec<String>,
}

/// The same as JSON.
pub(super) fn virtualization(machine: &Capabilities) -> VirtualizationJson {
    let extension = match &machine.virtualization {
        Ok(Virtualization::Svm { .. }) => Some("svm"),
        Ok(Virtualization::Vmx(_)) => Some("vmx"),
        Err(_) => None,
    };
    let none = VirtualizationJson {
        available: false,
        reason: None,
        extension,
        second_level: None,
        formats: Vec::new(),
        capabilities: Vec::new(),
    };
    match second_levels(machine) {
        Err(why) => VirtualizationJson { reason: Some(why.to_string()), ..none },
        Ok(levels) => VirtualizationJson {
            available: true,
            second_level: Some(levels.name()),
            formats: levels.formats.iter().map(|mode| mode.name()).collect(),
            capabilities: levels.capability_names(),
            ..none
        },
    }
}

/// The same in words.
pub(super) fn describe(text: &mut String, machine: &Capabilities) {
    let words = match second_levels(machine) {
        Err(why) => format!("Nested cases cannot be run: {why}."),
        Ok(levels) => in_words(&levels),
    };
    line(text, &words);
}

fn in_words(levels: &SecondLevels) -> String {
    let formats: Vec<&str> = levels.formats.iter().map(|mode| mode.name()).collect();
    let formats = formats.join(", ");
    if levels.ept.is_none() {
        return format!("Nested cases can be run, with SVM and NPT in the format of {formats}.");
    }
    let names = levels.capability_names().join(", ");
    format!("Nested cases can be run, with VMX and EPT of {formats}, which has {names}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{PagingMode, Profile};

    fn machine(virtualization: Result<Virtualization, String>) -> Capabilities {
        let four_level_and_pae = [PagingMode::FourLevel, PagingMode::Pae];
        Capabilities {
            virtualization,
            modes: four_level_and_pae.map(|mode| (mode, Ok(()))).to_vec(),
            nested_modes: vec![(PagingMode::Pae, Err("it walks nothing".into()))],
            ..Capabilities::of_everything(Profile::default())
        }
    }

    fn words(machine: &Capabilities) -> String {
        let mut text = String::new();
        describe(&mut text, machine);
        text
    }

    #[test]
    fn npt_has_the_formats_that_work() {
        let machine = machine(Ok(Virtualization::Svm { nested_paging: true, asids: 16 }));
        let expected = "Nested cases can be run, with SVM and NPT in the format of 4level.\n";
        assert_eq!(words(&machine), expected);
        let json = serde_json::to_value(virtualization(&machine)).unwrap();
        let expected = serde_json::json!({
            "available": true, "reason": null, "extension": "svm", "second_level": "npt",
            "formats": ["4level"], "capabilities": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_missing_is_told() {
        let missing = machine(Err("the processor has neither".into()));
        assert_eq!(words(&missing), "Nested cases cannot be run: the processor has neither.\n");

        let without_npt = machine(Ok(Virtualization::Svm { nested_paging: false, asids: 16 }));
        let json = serde_json::to_value(virtualization(&without_npt)).unwrap();
        assert_eq!((&json["available"], &json["extension"]), (&false.into(), &"svm".into()));
        assert!(json["reason"].as_str().is_some_and(|why| why.contains("8000000Ah")), "{json}");
        assert_eq!(json["second_level"], serde_json::Value::Null);
    }
}
