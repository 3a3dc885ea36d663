//! A run for people, as wide as the terminal.

mod findings;

use super::conclusion::{Conclusion, missing};
use crate::campaign::Summary;
use crate::campaign::coverage::why_missed_everywhere;
use crate::campaign::journal::{RunLine, ShardLine};
use crate::campaign::tally::{EndSeen, ModeCounts};
use crate::generate::SequenceUse;
use crate::report::conformance::score;
use crate::report::style::number::{cases, numbered, with_commas};
use crate::report::style::table::{line, new_table, trimmed};
use crate::report::{Resuming, RunFacts, features_not_run, when};
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Capabilities, Identity};
use mmu_core::{PagingMode, Rule};
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

pub(in crate::report) fn describe_identity(
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

/// How much of a run is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The verdict, and what is not forgiven.
    Quiet,
    /// What most people want to know.
    #[default]
    Normal,
    /// Every count, and every choice.
    Verbose,
}

/// The result of a run: the verdict first and last. The heading is what stands between the verdict and the counts.
pub fn summary(facts: &RunFacts<'_>, summary: &Summary, heading: &str, detail: Detail) -> String {
    let mut text = String::new();
    let verdict = Conclusion::of(facts, summary).line(facts, summary);
    if detail == Detail::Quiet {
        findings::describe(&mut text, facts, summary, detail);
        line(&mut text, &verdict);
        return text;
    }

    line(&mut text, &format!("{verdict}\n"));
    text.push_str(heading);
    describe_modes(&mut text, facts, summary, detail);
    describe_choices(&mut text, summary, detail);
    describe_rules(&mut text, facts, summary);
    findings::describe(&mut text, facts, summary, detail);
    describe_totals(&mut text, facts, summary);
    if let Some(words) = what_is_missing(facts, summary) {
        line(&mut text, &words);
    }
    if let Some(score) = facts.candidate {
        score::describe(&mut text, &facts.run.walker.to_string(), score);
    }
    line(&mut text, &verdict);
    text
}

/// A table of the modes that were run, notes on each, and why others were not.
fn describe_modes(text: &mut String, facts: &RunFacts<'_>, summary: &Summary, detail: Detail) {
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
        if counts.cases == 0 && tally.cases() > 0 {
            line(&mut not_run, &format!("{mode} had no case"));
        }
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
        if counts.cases > 0 && detail == Detail::Verbose {
            describe_mode(&mut notes, *mode, &counts, &tally.outcomes(*mode));
        }
    }

    describe_features_not_run(&mut not_run, facts.capabilities);
    let _ = writeln!(text, "{}\n", trimmed(&table));
    text.push_str(&notes);
    text.push_str(&not_run);
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

/// What is missing of a run, and what can be done about it.
fn what_is_missing(facts: &RunFacts<'_>, summary: &Summary) -> Option<String> {
    let missing = missing(facts, summary)?;
    let is_stopped = !facts.complete && facts.jobs.is_some();
    let hint = match facts.resuming {
        _ if !is_stopped => "",
        Resuming::FromJournal => "; --resume continues it",
        Resuming::NoReport => ". With --report DIR, --resume would have continued it",
        Resuming::OfProgram => ". No journal keeps the answers of a program: it cannot be resumed",
        Resuming::Never => "",
    };
    Some(format!("Not complete: {missing}{hint}."))
}

/// The features without which some rules cannot be tried, and why.
pub(in crate::report) fn describe_features_not_run(text: &mut String, capabilities: &Capabilities) {
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

/// How many choices the machine made, and under which rules; in detail each of them.
fn describe_choices(text: &mut String, summary: &Summary, detail: Detail) {
    let choices = &summary.tally.choices;
    let rules: BTreeSet<_> = choices.keys().map(|choice| choice.rule).collect();
    if rules.is_empty() {
        return;
    }

    let kinds = numbered(choices.len() as u64, "kind");
    let names: Vec<_> = rules.into_iter().map(Rule::id).collect();
    let names = names.join(", ");
    if detail < Detail::Verbose {
        return line(text, &format!("choices   {kinds}, under {names}; -v lists them"));
    }

    line(text, &format!("choices   {kinds}, under {names}"));
    let mut table = new_table(&["rule", "mode", "decided by", "when", "choice", "cases"]);
    for (choice, count) in choices {
        table.add_row([
            choice.rule.id(),
            choice.mode.name(),
            choice.provenance.name(),
            &when(choice),
            choice.member,
            &with_commas(*count),
        ]);
    }
    let _ = writeln!(text, "{}\n", trimmed(&table));
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
