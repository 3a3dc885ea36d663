//! A run for people, 80 columns wide.

use crate::campaign::Summary;
use crate::campaign::coverage::why_missed_everywhere;
use crate::campaign::journal::{RunLine, ShardLine};
use crate::campaign::tally::{EndSeen, ModeCounts};
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::generate::SequenceUse;
use crate::report::conformance::score;
use crate::report::style::number::{cases, numbered, with_commas};
use crate::report::style::table::{keep_words, line, new_table, trimmed};
use crate::report::walk::action_in_words;
use crate::report::{BootedOffer, Resuming, RunFacts, features_not_run};
use crosswalk_machine::jail::{JailPart, JailReport};
use crosswalk_machine::{Capabilities, Identity, Machine, ResultClass};
use mmu_core::{PagingMode, Ring, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is about to run, and why on this machine.
///
/// The jail is mentioned where it is not complete.
pub fn heading(
    identity: &Identity,
    capabilities: &Capabilities,
    jail: Option<&JailReport>,
    why: &str,
    cases: &str,
) -> String {
    let mut text = String::new();
    describe_identity(&mut text, identity, capabilities, why);
    if let Some(jail) = jail.filter(|jail| jail.is_partial()) {
        line(&mut text, &format!("jail      {jail}"));
    }
    line(&mut text, &format!("cases     {cases}"));
    text.push('\n');
    text
}

/// The cases of a run, in words.
pub fn describe_cases(run: &RunLine) -> String {
    let mut words = vec![run.generator.name().to_owned()];

    match run.combinations {
        Some(all) => words.push(format!("{} combinations", with_commas(all.0))),
        None if run.has_seed() => words.push(format!("seed {}", run.seed)),
        None => {}
    }

    match run.sequences {
        SequenceUse::Off if run.has_seed() || run.combinations.is_some() => {
            words.push("no sequences".into());
        }
        SequenceUse::Only => words.push("sequences only".into()),
        SequenceUse::Off | SequenceUse::On => {}
    }

    let ShardLine { count, parts } = &run.shard;
    match parts[..] {
        _ if *count == 1 => {}
        [part] => words.push(format!("shard {part}/{count}")),
        _ => words.push(format!("{} of {count} shards", parts.len())),
    }

    words.join(", ")
}

fn describe_identity(
    text: &mut String,
    identity: &Identity,
    capabilities: &Capabilities,
    note: &str,
) {
    let Identity { kind, flavour, beneath, cpu, host_kernel, version } = identity;
    let version = version.as_ref().map_or_else(String::new, |version| format!("{version}, "));
    let what = format!("{kind} ({note}): {version}flavour {flavour}, beneath it {beneath}");
    line(text, &format!("machine   {what}"));
    if identity.has_printed_a_log() {
        let cpu = if cpu.is_empty() { "unknown" } else { cpu.as_str() };
        line(text, &format!("processor {cpu}"));
    } else {
        line(text, &format!("host      {cpu}, Linux {host_kernel}"));
    }

    let profile = capabilities.profile;
    let bits = profile.physical_address_bits;
    let features: Vec<_> = profile.features.iter_names().map(|(name, _)| name).collect();
    let features = features.join(" ");
    let hidden: Vec<_> = capabilities.not_in_cpuid.iter_names().map(|(name, _)| name).collect();
    let obeyed = if hidden.is_empty() {
        String::new()
    } else {
        format!("; obeyed, but not in CPUID: {}", hidden.join(" "))
    };
    line(text, &format!("guest     MAXPHYADDR {bits}, features {features}{obeyed}"));
    if let Some(words) = identity.unknown_flavour() {
        line(text, words);
    }
}

/// The result of a run.
pub fn summary(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let mut text = String::new();
    describe_modes(&mut text, facts, summary);
    describe_choices(&mut text, summary);
    describe_rules(&mut text, facts, summary);
    describe_findings(&mut text, facts, summary);
    describe_totals(&mut text, facts, summary);

    if !facts.complete {
        line(&mut text, &describe_what_is_missing(facts));
    }
    if let Some(score) = facts.candidate {
        score::describe(&mut text, &facts.run.walker.to_string(), score);
    }
    line(&mut text, &verdict(facts, summary));
    text
}

/// A table of the modes that were run, notes on each, and why others were not.
fn describe_modes(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    let tally = &summary.tally;
    let mut table =
        new_table(&["mode", "cases", "passed", "faulted", "agree", "differ", "unrun", "unproved"]);
    let mut notes = String::new();
    let mut not_run = String::new();

    for (mode, offered) in facts.modes {
        if let Err(why) = offered {
            line(&mut not_run, &format!("{mode} was not run: {why}"));
            continue;
        }

        let counts = tally.modes.get(mode).cloned().unwrap_or_default();
        let numbers = [
            counts.cases,
            counts.translations,
            counts.faults,
            counts.agreed,
            counts.diverged,
            counts.unsupported,
            counts.unproved,
        ];
        table.add_row([vec![mode.name().to_owned()], numbers.map(with_commas).to_vec()].concat());
        if counts.cases > 0 {
            describe_mode(&mut notes, *mode, &counts, &tally.outcomes(*mode));
        }
    }

    describe_features_not_run(&mut not_run, facts.capabilities);
    let _ = writeln!(text, "{}\n\n{notes}{not_run}", trimmed(&table));
}

/// The number of cases and how long they took.
fn describe_totals(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    let seconds = summary.duration.as_secs_f64();
    let count = summary.tally.cases();
    let rate = with_commas((count as f64 / seconds) as u64);
    let count = cases(count);
    let cpu = facts.cpu_seconds;
    line(text, &format!("{count} in {seconds:.1} s, {rate} a second, {cpu:.1} s of CPU time."));
}

/// The result in a sentence.
pub(super) fn verdict(facts: &RunFacts<'_>, summary: &Summary) -> String {
    if summary.compared_nothing() {
        return nothing_compared(summary.tally.cases());
    }
    if let Some(score) = facts.candidate {
        return score::verdict(&facts.run.walker.to_string(), score);
    }

    let is_caught = summary.findings.iter().any(|finding| finding.catches_walker);
    let walker = &facts.run.walker;
    match (walker.is_reference(), summary.has_unknown_finding()) {
        (true, false) if !facts.sources.is_empty() => {
            "The recorded machines and the model agree, known findings aside.".into()
        }
        (true, false) => "The machine and the model agree, known findings aside.".into(),
        (true, true) if summary.has_unknown_divergence() => {
            "The machine and the model disagree: see the findings that are not known.".into()
        }
        (true, true) => {
            "The machine did not run every case, for reasons that are not known: see the findings."
                .into()
        }
        (false, _) if is_caught => format!("{walker} is caught: the machine proves it wrong."),
        (false, _) => {
            format!("{walker} is not caught: no case here distinguishes it from the reference.")
        }
    }
}

/// The result of a run in which no case could be judged.
fn nothing_compared(count: u64) -> String {
    match count {
        0 => "Nothing was compared: there was no case.".into(),
        count => format!("Nothing was compared: of {} none could be run.", cases(count)),
    }
}

/// Why a run is not complete.
fn describe_what_is_missing(facts: &RunFacts<'_>) -> String {
    if facts.identity.kind == "image" {
        return "The log ends before its last batch.".into();
    }

    let missing = facts.run.shard.missing();
    if missing.is_empty() || facts.run.shard.parts.len() == 1 {
        let stopped = "The run was stopped before its end";
        return match facts.resuming {
            Resuming::FromJournal => format!("{stopped}; --resume continues it."),
            Resuming::NoReport => {
                format!("{stopped}. With --report DIR, --resume would have continued it.")
            }
            Resuming::OfProgram => {
                format!(
                    "{stopped}. No journal keeps the answers of a program: it cannot be resumed."
                )
            }
            Resuming::Never => format!("{stopped}."),
        };
    }

    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    format!("Not complete: shards {} are missing.", names.join(", "))
}

/// The features without which some rules cannot be tried, and why.
fn describe_features_not_run(text: &mut String, capabilities: &Capabilities) {
    let lacking: Vec<_> = features_not_run(capabilities)
        .into_iter()
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    if !lacking.is_empty() {
        line(text, &format!("not run here: {}", lacking.join(", ")));
    }
}

fn describe_mode(
    text: &mut String,
    mode: PagingMode,
    counts: &ModeCounts,
    outcomes: &BTreeMap<EndSeen, u64>,
) {
    let accesses: Vec<_> = counts
        .accesses
        .iter()
        .map(|(kind, count)| format!("{} {}", with_commas(*count), kind.name()))
        .collect();
    line(text, &format!("{mode}: {}", accesses.join(", ")));

    line(
        text,
        &format!(
            "  {} sequences, {} in ring 0, {} across a page, {} with two or more unusual bits",
            with_commas(counts.sequences),
            with_commas(counts.ring0),
            with_commas(counts.page_crossing),
            with_commas(counts.two_unusual_bits)
        ),
    );

    let kinds = numbered(outcomes.len() as u64, "kind");
    let faults = outcomes.keys().flatten().count();
    if faults > 0 {
        line(text, &format!("  {kinds} of outcome, {faults} of them faults"));
    }

    let deciders: Vec<_> = counts
        .provenance
        .iter()
        .map(|(who, count)| format!("{who} {}", with_commas(*count)))
        .collect();
    line(text, &format!("  decided by: {}", deciders.join(", ")));
}

fn describe_choices(text: &mut String, summary: &Summary) {
    let choices = &summary.tally.choices;
    let rules: BTreeSet<_> = choices.keys().map(|choice| choice.rule).collect();
    if !rules.is_empty() {
        let kinds = numbered(choices.len() as u64, "kind");
        let names: Vec<_> = rules.into_iter().map(Rule::id).collect();
        let names = names.join(", ");
        line(text, &format!("choices   {kinds}, under {names}; --json lists them"));
    }
}

fn describe_rules(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    let modes: Vec<_> = facts.modes.iter().map(|(mode, _)| *mode).collect();
    let missed: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !summary.tally.hits(**rule))
        .map(|rule| (rule.id(), why_missed_everywhere(*rule, &modes, facts.capabilities).who()))
        .collect();

    let all = Rule::ALL.len();
    let hit = all - missed.len();
    line(text, &format!("rules     {hit} of {all} decided something"));
    for (who, words) in [
        ("machine", "not on this machine"),
        ("mode", "not in these modes"),
        ("campaign", "no case is generated for"),
        ("chance", "not met yet"),
    ] {
        let of_it = missed.iter().filter(|(_, by)| *by == who);
        let ids: Vec<_> = of_it.map(|(id, _)| *id).collect();
        if !ids.is_empty() {
            line(text, &format!("  {words}: {}", ids.join(", ")));
        }
    }
    text.push('\n');
}

fn describe_findings(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    if summary.findings.is_empty() {
        return line(text, "No findings.\n");
    }

    let mut table = new_table(&["finding", "kind", "cases", "what"]);
    for finding in &summary.findings {
        let kind = match (finding.kind, finding.known) {
            (Kind::Divergence, true) => "known",
            // It is not forgiven, and nothing shows it either.
            (Kind::Divergence, false) if finding.count == 0 => "-",
            (Kind::Divergence, false) => "DIVERGES",
            (Kind::Choice, _) => "choice",
            (Kind::Unsupported, true) => "unsupported",
            (Kind::Unsupported, false) => "NOT RUN",
            (Kind::Probe, _) => "probe",
            (Kind::Fatal, _) => "fatal",
        };
        let count = if finding.count == 0 { "not met".into() } else { with_commas(finding.count) };
        table.add_row([finding.id.clone(), kind.into(), count, finding.title.clone()]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&table));
    if let (true, Some(words)) = (summary.has_unknown_finding(), facts.identity.unknown_flavour()) {
        line(text, &format!("{words}\n"));
    }

    for finding in &summary.findings {
        // In a mutant's run the machine's own faults are listed, without an example.
        let has_example =
            finding.catches_walker || facts.run.walker.is_reference() || facts.candidate.is_some();
        let is_unknown = matches!(finding.kind, Kind::Divergence | Kind::Unsupported)
            && !finding.known
            && finding.count > 0;
        if is_unknown && has_example {
            describe_example(text, facts, finding);
        }
    }
}

fn describe_example(text: &mut String, facts: &RunFacts<'_>, finding: &Finding) {
    let Some(example) = &finding.example else { return };

    let why = finding.explained_by.as_ref();
    let why = why.map_or_else(String::new, |walker| format!(", explained by {walker}"));
    let bits = match example.case.unusual_bits() {
        0 => "no unusual bit".to_owned(),
        1 => "one unusual bit".to_owned(),
        many => format!("{many} unusual bits"),
    };
    let count = cases(finding.count);
    line(text, &format!("{}: {count}{why}; the smallest has {bits}", finding.id));
    if let Some(shown) = example.shown {
        line(text, &format!("{}: this case shows it {shown} times", finding.id));
    }
    if let Some(place) = example.place() {
        let action = example.case.script().nth(example.at);
        let words =
            action.map_or(place.clone(), |action| format!("{place}: {}", action_in_words(&action)));
        line(text, &format!("{}: it differs at {words}", finding.id));
    }
    line(text, &format!("{}: expected {}", finding.id, example.expected));
    line(text, &format!("{}: observed {}", finding.id, example.observed));
    for difference in &example.differences {
        line(text, &format!("  {difference}"));
    }

    let walker = if finding.catches_walker {
        format!(" --walker {}", facts.run.walker)
    } else {
        String::new()
    };
    // One line, however long: people copy it into a shell.
    let _ = writeln!(text, "  crosswalk explain{walker} '{}'\n", example.case);
}

/// What this host offers: each machine, or why not.
pub fn machines(
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
}
