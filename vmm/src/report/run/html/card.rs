//! What is wrong, as cards: the walker's mistakes, then the findings.

use super::walk::{ShownExample, show, show_failure, show_mistake};
use crate::campaign::Summary;
use crate::campaign::journal::RunLine;
use crate::campaign::known::KnownSource;
use crate::conformance::score::{CandidateScore, Mistakes};
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::report::RunFacts;
use crate::report::conformance::score;
use crate::report::style::number::{cases, with_commas};

/// A finding, or a kind of mistake that the walker makes.
pub(super) struct Card {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) badge: Badge,
    pub(super) count: String,
    pub(super) explained_by: Option<String>,
    pub(super) mode: Option<&'static str>,
    pub(super) example: Option<ShownExample>,
}

/// What a card is, in a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Badge {
    /// The walker is wrong.
    Wrong,
    /// The machine differs from the manuals, and that is not known.
    New,
    /// The same, in a run that forgives nothing: it may be known.
    Diverges,
    /// Cases were not run for a reason that is not known.
    NotRun,
    Known,
    /// What the machine does wrong itself, in a run that is about a wrong walker.
    OfMachine,
    Choice,
    Unsupported,
    Probe,
    Fatal,
    /// It is known, and no case of this run shows it.
    NotMet,
}

impl Badge {
    fn of(finding: &Finding, run: &RunLine) -> Self {
        match (finding.kind, finding.known) {
            _ if finding.count == 0 => Self::NotMet,
            _ if finding.catches_walker => Self::Wrong,
            (Kind::Divergence, false) if !run.walker.judge().is_reference() => Self::OfMachine,
            (Kind::Divergence, false) if matches!(run.known, KnownSource::Unforgiven) => {
                Self::Diverges
            }
            (Kind::Divergence, false) => Self::New,
            (Kind::Unsupported, false) => Self::NotRun,
            (Kind::Divergence, true) => Self::Known,
            (Kind::Choice, _) => Self::Choice,
            (Kind::Unsupported, true) => Self::Unsupported,
            (Kind::Probe, _) => Self::Probe,
            (Kind::Fatal, _) => Self::Fatal,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Wrong => "wrong walker",
            Self::New => "new",
            Self::Diverges => "diverges",
            Self::NotRun => "not run",
            Self::Known => "known",
            Self::OfMachine => "of the machine",
            Self::Choice => "choice",
            Self::Unsupported => "unsupported",
            Self::Probe => "probe",
            Self::Fatal => "fatal",
            Self::NotMet => "not met",
        }
    }

    /// Its colour: `bad`, `warn` or `note`.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Wrong | Self::New | Self::Diverges => "bad",
            Self::NotRun | Self::Unsupported | Self::Fatal => "warn",
            _ => "note",
        }
    }

    /// Its group, as the page's filter has it.
    pub(super) const fn group(self) -> &'static str {
        match self {
            Self::Wrong | Self::New | Self::Diverges | Self::NotRun => "unknown",
            Self::NotMet => "absent",
            _ => "known",
        }
    }

    /// Whether its card is open to begin with.
    pub(super) fn is_open(self) -> bool {
        self.group() == "unknown"
    }
}

/// The score of a walker that is a program.
pub(super) struct Score {
    pub(super) walker: String,
    /// How many answers are what.
    pub(super) counts: Vec<(String, &'static str)>,
    /// What it does not say, and how often.
    pub(super) silences: Vec<(String, String)>,
}

/// The score of the run's program, if it has one.
pub(super) fn score_of(facts: &RunFacts<'_>) -> Option<Score> {
    let score = facts.candidate?;
    let met = score::counts(score).into_iter().filter(|(count, _)| *count > 0);
    let mut silences: Vec<_> = score.silences.iter().collect();
    silences.sort_by_key(|(_, count)| std::cmp::Reverse(**count));

    Some(Score {
        walker: facts.run.walker.to_string(),
        counts: met.map(|(count, what)| (with_commas(count), what)).collect(),
        silences: silences
            .into_iter()
            .map(|(why, count)| (with_commas(*count), why.clone()))
            .collect(),
    })
}

/// The cards of a run: what the walker does wrong, what the machine does, and what is known.
pub(super) fn cards(facts: &RunFacts<'_>, summary: &Summary) -> Vec<Card> {
    let mut cards: Vec<_> = summary.findings.iter().map(|finding| card(finding, facts)).collect();
    cards.sort_by_key(|card| card.badge);

    let mistakes = facts.candidate.map(|score| mistakes(score, facts)).unwrap_or_default();
    mistakes.into_iter().chain(cards).collect()
}

fn card(finding: &Finding, facts: &RunFacts<'_>) -> Card {
    let example = finding.example.as_ref();
    let count = match finding.count {
        0 => "in no case of this run".to_owned(),
        count => cases(count),
    };

    Card {
        id: finding.id.clone(),
        title: finding.title.clone(),
        badge: Badge::of(finding, facts.run),
        count,
        explained_by: finding.explained_by.clone().filter(|_| !finding.catches_walker),
        mode: example.map(|example| example.case.mode().name()),
        example: example.map(|example| show(finding, example, facts.run.walker.judge())),
    }
}

/// Each kind of mistake that a program makes, the most frequent first, and each kind of failure.
fn mistakes(score: &CandidateScore, facts: &RunFacts<'_>) -> Vec<Card> {
    let walker = facts.run.walker.to_string();
    let card = |title: String, mistakes: &Mistakes, example| Card {
        id: String::new(),
        title,
        badge: Badge::Wrong,
        count: cases(mistakes.count),
        explained_by: None,
        mode: Some(mistakes.case.mode().name()),
        example: Some(example),
    };

    let wrong = score::mistakes(score).map(|(title, mistakes)| {
        (mistakes.count, card(title, mistakes, show_mistake(mistakes, &walker)))
    });
    let failures = score.failures.iter().map(|(what, mistakes)| {
        let title = format!("no answer: {what}");
        (mistakes.count, card(title, mistakes, show_failure(mistakes, &walker)))
    });
    let mut all: Vec<_> = wrong.chain(failures).collect();
    all.sort_by_key(|(count, _)| std::cmp::Reverse(*count));

    let numbered = (1..).zip(all);
    numbered.map(|(number, (_, card))| Card { id: format!("W{number}"), ..card }).collect()
}
