//! Reports for people, 80 columns wide.

use crate::campaign::Summary;
use crate::campaign::coverage::why_missed_everywhere;
use crate::campaign::journal::{RunLine, ShardLine};
use crate::campaign::tally::{EndSeen, ModeCounts};
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::report::conformance::score;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use crate::report::{RunFacts, features_not_run};
use crosswalk_machine::{Capabilities, Identity, Machine, ResultClass};
use mmu_core::{PagingMode, Ring, Rule};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is going to run, before it does, and why on this machine.
pub fn heading(identity: &Identity, capabilities: &Capabilities, why: &str, cases: &str) -> String {
    let mut text = String::new();
    describe_identity(&mut text, identity, capabilities, why);
    line(&mut text, &format!("cases     {cases}"));
    text.push('\n');
    text
}

/// Which cases a run has.
pub fn describe_cases(run: &RunLine) -> String {
    let mut words = vec![run.generator.name().to_owned()];
    match run.combinations {
        Some(all) => words.push(format!("{} combinations", with_commas(all))),
        None if run.has_seed() => words.push(format!("seed {}", run.seed)),
        None => {}
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
    let profile = capabilities.profile;
    let version = version.as_ref().map_or_else(String::new, |version| format!("{version}, "));
    let what = format!("{kind} ({note}): {version}flavour {flavour}, beneath it {beneath}");
    line(text, &format!("machine   {what}"));
    line(text, &format!("host      {cpu}, Linux {host_kernel}"));
    let extra: Vec<_> = capabilities.not_in_cpuid.iter_names().map(|(name, _)| name).collect();
    let extra = if extra.is_empty() {
        String::new()
    } else {
        format!("; obeyed, but not in CPUID: {}", extra.join(" "))
    };
    let features: Vec<_> = profile.features.iter_names().map(|(name, _)| name).collect();
    let bits = profile.physical_address_bits;
    let features = features.join(" ");
    line(text, &format!("guest     MAXPHYADDR {bits}, features {features}{extra}"));
}

/// What came of a run.
pub fn summary(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let tally = &summary.tally;
    let mut table =
        new_table(&["mode", "cases", "passed", "faulted", "agree", "differ", "unrun", "unproved"]);
    let mut notes = String::new();
    let mut not_run = String::new();
    for (mode, offered) in facts.modes {
        let counts = tally.modes.get(mode).cloned().unwrap_or_default();
        match offered {
            Ok(()) => {
                let ModeCounts { cases, translations, faults, agreed, .. } = counts;
                let ModeCounts { diverged, unsupported, unproved, .. } = counts;
                let numbers =
                    [cases, translations, faults, agreed, diverged, unsupported, unproved];
                let numbers = numbers.map(with_commas);
                table.add_row([vec![mode.name().to_owned()], numbers.to_vec()].concat());
                if cases > 0 {
                    describe_mode(&mut notes, *mode, &counts, &tally.outcomes(*mode));
                }
            }
            Err(why) => line(&mut not_run, &format!("{mode} was not run: {why}")),
        }
    }
    describe_features_not_run(&mut not_run, facts.capabilities);
    let mut text = format!("{}\n\n{notes}{not_run}\n", trimmed(&table));
    describe_choices(&mut text, summary);
    describe_rules(&mut text, facts, summary);
    describe_findings(&mut text, facts, summary);
    let seconds = summary.duration.as_secs_f64();
    let (cases, cpu) = (tally.cases(), facts.cpu_seconds);
    let rate = with_commas((cases as f64 / seconds) as u64);
    let cases = with_commas(cases);
    line(
        &mut text,
        &format!("{cases} cases in {seconds:.1} s, {rate} a second, {cpu:.1} s of CPU time."),
    );
    if !facts.complete {
        line(&mut text, &describe_what_is_missing(facts));
    }
    if let Some(score) = facts.candidate {
        score::describe(&mut text, &facts.run.walker.to_string(), score);
    }
    line(&mut text, &verdict(facts, summary));
    text
}

/// The result in a sentence.
pub(super) fn verdict(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let caught = summary.findings.iter().any(|finding| finding.catches_walker);
    if let Some(score) = facts.candidate {
        return score::verdict(&facts.run.walker.to_string(), score);
    }
    let walker = &facts.run.walker;
    match (walker.is_reference(), summary.has_unknown_divergence()) {
        (true, false) if !facts.sources.is_empty() => {
            "The recorded machines and the model agree, known findings aside.".into()
        }
        (true, false) => "The machine and the model agree, known findings aside.".into(),
        (true, true) => {
            "The machine and the model disagree: see the findings that are not known.".into()
        }
        (false, _) if caught => format!("{walker} is caught: the machine proves it wrong."),
        (false, _) => format!("{walker} is not caught: no case here tells it from the reference."),
    }
}

/// Why a run is not complete.
fn describe_what_is_missing(facts: &RunFacts<'_>) -> String {
    let missing = facts.run.shard.missing();
    if missing.is_empty() || facts.run.shard.parts.len() == 1 {
        return "The run was stopped before its end; --resume goes on.".into();
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    format!("Not complete: shards {} are missing.", missing.join(", "))
}

/// Features without which part of the rules cannot be tried, and why.
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
            "  {} in ring 0, {} across a page, {} with two or more unusual bits",
            with_commas(counts.ring0),
            with_commas(counts.page_crossing),
            with_commas(counts.two_unusual_bits)
        ),
    );
    let most = outcomes.len();
    let faults = outcomes.keys().flatten().count();
    if faults > 0 {
        line(text, &format!("  {most} kinds of outcome, {faults} of them faults"));
    }
    let provenance = counts.provenance.iter();
    let provenance: Vec<_> =
        provenance.map(|(who, count)| format!("{who} {}", with_commas(*count))).collect();
    line(text, &format!("  decided by: {}", provenance.join(", ")));
}

fn describe_choices(text: &mut String, summary: &Summary) {
    let rules: std::collections::BTreeSet<_> =
        summary.tally.choices.keys().map(|choice| choice.rule.id()).collect();
    if !rules.is_empty() {
        let names: Vec<_> = rules.into_iter().collect();
        let members = summary.tally.choices.len();
        let names = names.join(", ");
        line(text, &format!("choices   {members} kinds, under {names}; --json lists them"));
    }
}

fn describe_rules(text: &mut String, facts: &RunFacts<'_>, summary: &Summary) {
    let modes: Vec<_> = facts.modes.iter().map(|(mode, _)| *mode).collect();
    let missed = Rule::ALL.iter().filter(|rule| !summary.tally.hits(**rule));
    let missed: Vec<_> = missed
        .map(|rule| (rule.id(), why_missed_everywhere(*rule, &modes, facts.capabilities).who()))
        .collect();
    let (hit, all) = (Rule::ALL.len() - missed.len(), Rule::ALL.len());
    line(text, &format!("rules     {hit} of {all} decided something"));
    for (who, words) in [
        ("machine", "not on this machine"),
        ("mode", "not in these modes"),
        ("campaign", "no case is made for"),
        ("chance", "not met yet"),
    ] {
        let ids = missed.iter().filter(|(_, by)| *by == who).map(|(id, _)| *id);
        let ids: Vec<_> = ids.collect();
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
            (Kind::Divergence, false) => "DIVERGES",
            (Kind::Choice, _) => "choice",
            (Kind::Unsupported, _) => "unsupported",
            (Kind::Probe, _) => "probe",
        };
        let count = if finding.count == 0 { "not met".into() } else { with_commas(finding.count) };
        table.add_row([finding.id.clone(), kind.into(), count, finding.title.clone()]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&table));
    for finding in &summary.findings {
        // In a mutant's run the machine's own faults are listed, not told again.
        let wanted =
            finding.catches_walker || facts.run.walker.is_reference() || facts.candidate.is_some();
        if finding.kind == Kind::Divergence && !finding.known && finding.count > 0 && wanted {
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
    let count = with_commas(finding.count);
    line(text, &format!("{}: {count} cases{why}; the smallest has {bits}", finding.id));
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
    // One line, however long: it is to be copied into a shell.
    let _ = writeln!(text, "  crosswalk explain{walker} '{}'\n", example.case);
}

/// What this host offers: each machine, or why not.
pub fn machines(offers: &[(&str, Result<&dyn Machine, &str>)]) -> String {
    let mut text = String::new();
    for (kind, offer) in offers {
        match offer {
            Err(why) => line(&mut text, &format!("{kind}: not available: {why}")),
            Ok(machine) => describe_machine(&mut text, *machine),
        }
    }
    text
}

fn describe_machine(text: &mut String, machine: &dyn Machine) {
    let capabilities = machine.capabilities();
    describe_identity(text, machine.identity(), capabilities, "available");
    text.push('\n');
    let mut table = new_table(&["who decides", "translations", "page faults", "address faults"]);
    for (name, ring) in [("ring 0", Ring::Zero), ("ring 3", Ring::Three)] {
        let who = |class| machine.provenance().of(ring, class).name().to_owned();
        table.add_row([
            name.to_owned(),
            who(ResultClass::Translation),
            who(ResultClass::PageFault),
            who(ResultClass::AddressFault),
        ]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&table));
    let mut table = new_table(&["mode", "offered", "why not"]);
    for (mode, offered) in &capabilities.modes {
        let (offered, why) = match offered {
            Ok(()) => ("yes", ""),
            Err(why) => ("no", why.as_str()),
        };
        table.add_row([mode.name(), offered, why]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&table));
    describe_features_not_run(text, capabilities);
    if let Err(why) = &capabilities.implicit_accesses {
        line(text, &format!("Implicit supervisor accesses cannot be tested: {why}."));
    }
}
