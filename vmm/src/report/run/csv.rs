//! The tables of a run as CSV, one file for each: a line of names, then a line for each row, in UTF-8.
//! Numbers are plain, an empty field is a value that there is not, and every table is in the long form that plotting
//! wants: what distinguishes the rows is in columns, and a count is a column.

use super::conclusion::Conclusion;
use crate::campaign::Summary;
use crate::campaign::coverage::{Missed, why_missed};
use crate::campaign::series::{Point, Stretch};
use crate::campaign::tally::{BitCounts, ModeCounts};
use crate::conformance::score::CandidateScore;
use crate::report::conformance::score;
use crate::report::{RunFacts, date, name_of_end, within_line};
use csv::Writer;
use mmu_core::Rule;
use mmu_core::x86::format::levels;

/// A table in a file of this name.
pub struct Table {
    /// The name of the file.
    pub file: &'static str,
    /// Its content.
    pub text: Vec<u8>,
}

/// The tables of a run.
pub fn tables(facts: &RunFacts<'_>, summary: &Summary) -> Vec<Table> {
    vec![
        run(facts, summary),
        modes(facts, summary),
        accesses(summary),
        provenance(summary),
        rules(facts, summary),
        outcomes(summary),
        choices(summary),
        entry_bits(summary),
        findings(facts, summary),
        series(summary),
        mistakes(facts.candidate),
    ]
}

/// A table of this number of columns while it is filled.
struct Rows<const N: usize>(Writer<Vec<u8>>);

impl<const N: usize> Rows<N> {
    fn new(names: [&str; N]) -> Self {
        let mut rows = Self(Writer::from_writer(Vec::new()));
        rows.add(names.map(str::to_owned));
        rows
    }

    /// Adds a row. Texts may come from walkers, guests and journals: what a terminal obeys is written as its number.
    fn add(&mut self, fields: [String; N]) {
        for field in fields {
            self.0.write_field(within_line(&field).as_bytes()).expect("memory takes all");
        }
        self.0
            .write_record(None::<&[u8]>)
            .expect("every row has as many fields as there are names");
    }

    fn into_table(self, file: &'static str) -> Table {
        let text = self.0.into_inner().expect("memory takes all");
        Table { file, text }
    }
}

/// A value, or an empty field.
fn or_empty<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// What ran and how it ended, in one row: the rows of many runs make a table.
fn run(facts: &RunFacts<'_>, summary: &Summary) -> Table {
    let mut rows = Rows::new([
        "machine",
        "flavour",
        "version",
        "beneath",
        "cpu",
        "host_kernel",
        "max_physical_address",
        "features",
        "generator",
        "seed",
        "walker",
        "verdict",
        "complete",
        "cases",
        "sequences",
        "agreed",
        "diverged",
        "case_set",
        "seconds",
        "cpu_seconds",
    ]);

    let identity = facts.identity;
    let profile = facts.capabilities.profile;
    let features: Vec<_> = profile.features.iter_names().map(|(name, _)| name).collect();
    let tally = &summary.tally;
    rows.add([
        identity.kind.clone(),
        identity.flavour.clone(),
        or_empty(identity.version.as_ref()),
        identity.beneath.clone(),
        identity.cpu.clone(),
        identity.host_kernel.clone(),
        profile.physical_address_bits.to_string(),
        features.join(" "),
        facts.run.generator.name().into(),
        or_empty(facts.run.has_seed().then_some(facts.run.seed)),
        facts.run.walker.to_string(),
        Conclusion::of(facts, summary).name().into(),
        facts.complete.to_string(),
        tally.cases().to_string(),
        tally.sequences().to_string(),
        tally.agreed().to_string(),
        tally.diverged().to_string(),
        format!("{:#018x}", tally.digest),
        seconds(summary.duration.as_secs_f64()),
        seconds(facts.cpu_seconds),
    ]);
    rows.into_table("run.csv")
}

/// A time with the digits that it has.
fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}

fn modes(facts: &RunFacts<'_>, summary: &Summary) -> Table {
    let mut rows = Rows::new([
        "mode",
        "not_run_because",
        "cases",
        "translations",
        "faults",
        "agreed",
        "diverged",
        "unsupported",
        "unproved",
        "sequences",
        "ring0",
        "page_crossing",
        "two_or_more_unusual_bits",
    ]);

    for (mode, offer) in facts.modes {
        let mut counts = summary.tally.modes.get(mode).cloned().unwrap_or_default();
        let counts = counts.named().map(|(_, count)| count.to_string());
        let [
            cases,
            passed,
            faults,
            agreed,
            diverged,
            unrun,
            unproved,
            steps,
            ring0,
            crossing,
            bits,
        ] = counts;
        rows.add([
            mode.name().into(),
            or_empty(offer.as_ref().err()),
            cases,
            passed,
            faults,
            agreed,
            diverged,
            unrun,
            unproved,
            steps,
            ring0,
            crossing,
            bits,
        ]);
    }
    rows.into_table("modes.csv")
}

fn accesses(summary: &Summary) -> Table {
    let named = |counts: &ModeCounts| {
        counts.accesses.iter().map(|(kind, count)| (kind.name(), *count)).collect()
    };
    by_mode(summary, "accesses.csv", "access", named)
}

fn provenance(summary: &Summary) -> Table {
    let named = |counts: &ModeCounts| {
        counts.provenance.iter().map(|(who, count)| (who.name(), *count)).collect()
    };
    by_mode(summary, "provenance.csv", "provenance", named)
}

/// The cases of each mode by something that has names.
fn by_mode(
    summary: &Summary,
    file: &'static str,
    column: &str,
    named: impl Fn(&ModeCounts) -> Vec<(&'static str, u64)>,
) -> Table {
    let mut rows = Rows::new(["mode", column, "cases"]);
    for (mode, counts) in &summary.tally.modes {
        for (name, count) in named(counts) {
            rows.add([mode.name().into(), name.into(), count.to_string()]);
        }
    }
    rows.into_table(file)
}

fn rules(facts: &RunFacts<'_>, summary: &Summary) -> Table {
    let mut rows =
        Rows::new(["rule", "mode", "cases", "example", "missed_by", "missed_because", "meaning"]);

    for rule in Rule::ALL {
        for (mode, _) in facts.modes {
            let hit = summary.tally.rules.get(*rule, *mode);
            let missed = hit.is_none().then(|| why_missed(*rule, *mode, facts.capabilities));
            rows.add([
                rule.id().into(),
                mode.name().into(),
                hit.map_or(0, |hit| hit.count).to_string(),
                or_empty(hit.map(|hit| hit.example)),
                or_empty(missed.as_ref().map(Missed::who)),
                or_empty(missed.as_ref().map(Missed::why)),
                rule.meaning().into(),
            ]);
        }
    }
    rows.into_table("rules.csv")
}

fn outcomes(summary: &Summary) -> Table {
    let mut rows =
        Rows::new(["mode", "provenance", "outcome", "vector", "error_code", "cases", "example"]);
    for ((mode, who, end), hit) in &summary.tally.ends {
        rows.add([
            mode.name().into(),
            who.name().into(),
            name_of_end(*end),
            or_empty(end.map(|(vector, _)| vector)),
            or_empty(end.map(|(_, code)| code)),
            hit.count.to_string(),
            hit.example.to_string(),
        ]);
    }
    rows.into_table("outcomes.csv")
}

fn choices(summary: &Summary) -> Table {
    let mut rows = Rows::new([
        "rule",
        "mode",
        "provenance",
        "ring",
        "access",
        "end",
        "level",
        "member",
        "count",
    ]);
    for (choice, count) in &summary.tally.choices {
        rows.add([
            choice.rule.id().into(),
            choice.mode.name().into(),
            choice.provenance.name().into(),
            choice.ring.cpl().to_string(),
            choice.access.name().into(),
            choice.end.name().into(),
            choice.level.into(),
            choice.member.into(),
            count.to_string(),
        ]);
    }
    rows.into_table("choices.csv")
}

fn entry_bits(summary: &Summary) -> Table {
    let mut rows = Rows::new(["mode", "level", "entry", "bit", "cases", "faults"]);
    for (mode, counts) in &summary.tally.modes {
        for (level, bit, BitCounts { cases, faults }) in counts.entry_bits.iter() {
            let entry = levels(*mode).iter().find(|known| known.number == level);
            rows.add([
                mode.name().into(),
                level.to_string(),
                or_empty(entry.map(|level| level.entry_name)),
                bit.to_string(),
                cases.to_string(),
                faults.to_string(),
            ]);
        }
    }
    rows.into_table("entry_bits.csv")
}

fn findings(facts: &RunFacts<'_>, summary: &Summary) -> Table {
    let mut rows = Rows::new([
        "id",
        "title",
        "kind",
        "known",
        "of_walker",
        "cases",
        "explained_by",
        "mode",
        "action",
        "expected",
        "observed",
        "differences",
        "shown_times",
        "shown_tries",
        "smallest_case",
    ]);

    for finding in &summary.findings {
        let example = finding.example.as_ref();
        let differences = example.map(|example| {
            let differences = example.differences.iter().map(ToString::to_string);
            differences.collect::<Vec<_>>().join("; ")
        });
        let shown = example.and_then(|example| example.shown);
        let differs = example.filter(|example| example.place().is_some());
        rows.add([
            finding.id.clone(),
            finding.title.clone(),
            finding.kind.name().into(),
            finding.known.to_string(),
            (finding.catches_walker && !facts.run.walker.is_reference()).to_string(),
            finding.count.to_string(),
            or_empty(finding.explained_by.as_ref()),
            or_empty(example.map(|example| example.case.mode().name())),
            or_empty(differs.map(|example| example.at + 1)),
            or_empty(example.map(|example| &example.expected)),
            or_empty(example.map(|example| &example.observed)),
            or_empty(differences),
            or_empty(shown.map(|shown| shown.times)),
            or_empty(shown.map(|shown| shown.tries)),
            or_empty(example.map(|example| &example.case)),
        ]);
    }
    rows.into_table("findings.csv")
}

/// How the run went. The rate is that since the point before.
fn series(summary: &Summary) -> Table {
    let mut rows = Rows::new([
        "shard",
        "stretch",
        "started",
        "seconds",
        "cpu_seconds",
        "cases",
        "cases_per_second",
        "rules",
        "outcomes",
        "findings",
        "unknown_findings",
    ]);

    for (number, Stretch { shard, started, points }) in (1..).zip(summary.series.stretches()) {
        let mut before: Option<&Point> = None;
        for point in points {
            let rate = before.and_then(|before| point.rate_since(before));
            rows.add([
                shard.to_string(),
                number.to_string(),
                date::rfc_3339(*started),
                seconds(point.seconds),
                seconds(point.cpu_seconds),
                point.cases.to_string(),
                or_empty(rate.map(|rate| format!("{rate:.1}"))),
                point.rules.to_string(),
                point.outcomes.to_string(),
                point.findings.to_string(),
                point.unknown.to_string(),
            ]);
            before = Some(point);
        }
    }
    rows.into_table("series.csv")
}

/// What a walker that is a program does wrong; nothing for any other.
fn mistakes(candidate: Option<&CandidateScore>) -> Table {
    let mut rows =
        Rows::new(["kind", "what", "cases", "mode", "expected", "answered", "smallest_case"]);

    let failures = candidate.into_iter().flat_map(|score| &score.failures);
    let failures = failures.map(|(what, mistakes)| ("failure", what.clone(), mistakes));
    let wrong = candidate.into_iter().flat_map(score::mistakes);
    let wrong = wrong.map(|(what, mistakes)| ("mistake", what, mistakes));
    for (kind, what, mistakes) in wrong.chain(failures) {
        rows.add([
            kind.into(),
            what,
            mistakes.count.to_string(),
            mistakes.case.mode().name().into(),
            mistakes.expected.clone(),
            mistakes.answered.clone(),
            mistakes.case.to_string(),
        ]);
    }
    rows.into_table("mistakes.csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_hold_anything_and_stays_on_its_line() {
        let mut rows = Rows::new(["one", "two"]);
        rows.add(["a \"b\", c".into(), "line\nbreak \u{1b}[31m".into()]);
        let Table { file, text } = rows.into_table("x.csv");

        assert_eq!(file, "x.csv");
        let expected = "one,two\n\"a \"\"b\"\", c\",line\\u000abreak \\u001b[31m\n";
        assert_eq!(String::from_utf8(text).as_deref(), Ok(expected));
    }
}
