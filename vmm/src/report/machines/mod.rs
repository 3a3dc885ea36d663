//! What this host offers: for people here, and as JSON.

pub mod json;
mod virtualization;

use crate::report::BootedOffer;
use crate::report::run::text::{describe_features_not_run, describe_identity};
use crate::report::style::table::{keep_words, line, new_table, trimmed};
use crosswalk_machine::jail::{JailPart, JailReport};
use crosswalk_machine::{Machine, ResultClass};
use mmu_core::Ring;
use std::fmt::Write;

/// What this host offers: each machine, or why not.
pub fn text(
    offers: &[(&str, Result<&dyn Machine, &str>)],
    booted: &[BootedOffer],
    walkers: &JailReport,
) -> String {
    let mut text = String::new();
    for (kind, offer) in offers {
        if !text.is_empty() {
            text.push('\n');
        }
        match offer {
            Err(why) => line(&mut text, &format!("{kind}: not available: {why}")),
            Ok(machine) => describe_machine(&mut text, *machine),
        }
    }

    text.push('\n');
    for BootedOffer { kind, found } in booted {
        match found {
            Err(why) => line(&mut text, &format!("{kind}: not available: {why}")),
            Ok((name, models)) => {
                let models = match models.as_slice() {
                    [] => String::new(),
                    models => format!("; --cpu takes {}", models.join(", ")),
                };
                let words = format!("{name} boots images of `check`{models}");
                line(&mut text, &format!("machine   {kind} (available): {words}"));
            }
        }
    }

    describe_jails(&mut text, offers, walkers);
    text
}

/// Who is in jail, with what.
fn describe_jails(
    text: &mut String,
    offers: &[(&str, Result<&dyn Machine, &str>)],
    walkers: &JailReport,
) {
    let guests = offers.iter().filter_map(|(kind, offer)| Some((*kind, offer.ok()?.jail())));
    let inmates: Vec<_> = guests.chain([("cmd:", walkers)]).collect();
    if let Some((_, JailReport::Off)) = inmates.first() {
        line(text, "No guest and no program is in jail: --no-jail.");
        return;
    }

    let mut table = new_table(&["jail of", "part", "in force", "how, or why not"]);
    for (kind, jail) in inmates {
        for JailPart { name, state } in jail.parts() {
            let in_force = if state.is_ok() { "yes" } else { "no" };
            let (Ok(words) | Err(words)) = state;
            table.add_row([kind, name, in_force, words]);
        }
    }
    let _ = writeln!(text, "\n{}", trimmed(&table));
}

fn describe_machine(text: &mut String, machine: &dyn Machine) {
    let capabilities = machine.capabilities();
    describe_identity(text, machine.identity(), capabilities, "available");
    text.push('\n');

    let mut deciders = new_table(&["who decides", "translations", "page faults", "address faults"]);
    let compatible = capabilities.compatibility.is_ok();
    for (name, ring, compatibility) in [
        ("ring 0", Ring::Zero, false),
        ("ring 3", Ring::Three, false),
        ("ring 0, compatibility mode", Ring::Zero, true),
        ("ring 3, compatibility mode", Ring::Three, true),
    ] {
        if compatibility && !compatible {
            continue;
        }
        let who = |class| machine.provenance().of(ring, compatibility, class).name().to_owned();
        deciders.add_row([
            name.to_owned(),
            who(ResultClass::Translation),
            who(ResultClass::PageFault),
            who(ResultClass::AddressFault),
        ]);
    }
    keep_words(&mut deciders);
    let _ = writeln!(text, "{}\n", trimmed(&deciders));

    let mut modes = new_table(&["mode", "offered", "why not"]);
    for (mode, offered) in &capabilities.modes {
        let (offered, why) = match offered {
            Ok(()) => ("yes", ""),
            Err(why) => ("no", why.as_str()),
        };
        modes.add_row([mode.name(), offered, why]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&modes));

    describe_features_not_run(text, capabilities);
    if let Err(why) = &capabilities.implicit_accesses {
        line(text, &format!("Implicit supervisor accesses cannot be tested: {why}."));
    }
    if let Err(why) = &capabilities.compatibility {
        line(text, &format!("Compatibility mode cannot be tested: {why}."));
    }
    virtualization::describe(text, capabilities);
}
