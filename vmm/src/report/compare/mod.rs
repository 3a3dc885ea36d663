//! Machines beside the manuals and beside each other, as text, as JSON, and as a page of Markdown; and two reports
//! side by side ([`reports`]).

pub(super) mod json;
mod markdown;
pub mod nested;
pub mod reports;
mod text;

pub use json::document;
pub use markdown::page;
pub use text::text;

use crate::conformance::machines::{MachineColumn, MachineTable};
use crate::conformance::{Aspect, rows};
use crate::report::conformance::CellResult;
use crosswalk_machine::{Identity, Version};
use mmu_core::Rule;
use std::collections::BTreeSet;

/// What a cell says about a machine and a rule, in words.
const fn name_of(result: CellResult) -> &'static str {
    match result {
        CellResult::Right => "right",
        CellResult::Wrong => "wrong",
        CellResult::OneSided | CellResult::Silent => "cannot say",
        CellResult::NotAsked => "not run",
    }
}

/// The aspects that a case of some machine was about, in the order of the rules.
fn shown(table: &MachineTable) -> Vec<Aspect> {
    let has = |aspect: &Aspect| {
        table.machines.iter().any(|machine| machine.marks.cells.contains_key(aspect))
    };
    let chooses = |rule: &Rule| machines_choose(table, *rule);

    let mut all: BTreeSet<Aspect> = rows().into_iter().filter(has).collect();
    let rules = Rule::ALL.iter().copied();
    all.extend(rules.filter(|rule| has(&Aspect::Rule(*rule)) || chooses(rule)).map(Aspect::Rule));
    all.into_iter().collect()
}

/// Whether a machine takes other members of a choice than another one.
fn machines_choose(table: &MachineTable, rule: Rule) -> bool {
    table.machines.iter().any(|machine| differs_by_choice(table, machine, rule))
}

fn differs_by_choice(table: &MachineTable, machine: &MachineColumn, rule: Rule) -> bool {
    table.machines.iter().any(|other| machine.chooses_otherwise(rule, other))
}

/// Names of the machines, no two of which are the same.
fn names(table: &MachineTable) -> Vec<String> {
    let lines = table.machines.iter().map(|machine| machine.line.read());
    let machines: Vec<_> = lines.map(|line| line.expect("it was read with the corpus")).collect();

    let plain: Vec<_> = machines.iter().map(|(identity, _)| plain_name(identity)).collect();
    let with_bits: Vec<_> = machines
        .iter()
        .zip(&plain)
        .map(|((_, capabilities), name)| {
            let bits = capabilities.profile.physical_address_bits;
            let same = plain.iter().filter(|other| *other == name).count();
            if same > 1 { format!("{name}, {bits} bits") } else { name.clone() }
        })
        .collect();

    let is_taken = |index: usize| {
        with_bits.iter().take(index).filter(|other| **other == with_bits[index]).count()
    };
    let numbered = (0..with_bits.len()).map(|index| match is_taken(index) {
        0 => with_bits[index].clone(),
        earlier => format!("{} ({})", with_bits[index], earlier + 1),
    });
    numbered.collect()
}

/// What a machine is, in a few words: `tcg, QEMU 7.2.22`, `svm-npt on tcg, Linux 6.1.0`, or `bochs, Bochs 2.7,` and
/// the name that the processor gives itself, if it does.
pub fn plain_name(identity: &Identity) -> String {
    let Identity { flavour, beneath, host_kernel, version, .. } = identity;
    let kernel = Version::at_start_of(host_kernel);
    let kernel = kernel.map_or_else(|| host_kernel.clone(), |version| version.to_string());

    match version {
        // Of these there are many processors.
        Some(emulator) if identity.has_printed_a_log() && !identity.cpu.is_empty() => {
            let words: Vec<_> = identity.cpu.split_whitespace().collect();
            format!("{flavour}, {emulator}, {}", words.join(" "))
        }
        Some(emulator) => format!("{flavour}, {emulator}"),
        None if matches!(&**beneath, "tcg" | "bochs") => {
            format!("{flavour} on {beneath}, Linux {kernel}")
        }
        None => format!("{flavour}, Linux {kernel}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kvm_on_an_emulator_is_named_with_it() {
        let name = |flavour: &str, beneath: &str| {
            plain_name(&Identity {
                kind: "kvm".into(),
                flavour: flavour.into(),
                beneath: beneath.into(),
                cpu: "any".into(),
                host_kernel: "6.1.0-57-cloud-amd64".into(),
                version: None,
            })
        };
        assert_eq!(name("vmx-shadow", "bochs"), "vmx-shadow on bochs, Linux 6.1.0");
        assert_eq!(name("svm-npt", "tcg"), "svm-npt on tcg, Linux 6.1.0");
        assert_eq!(name("vmx-ept", "bare"), "vmx-ept, Linux 6.1.0");
    }
}
