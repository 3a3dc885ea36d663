//! A case with its walk, drawn: the address split into indices, a box for each entry on the path, and where
//! the walker and the machine part.

use crate::conformance::score::Mistakes;
use crate::finding::{Example, Finding};
use crate::walker::{Walker, WalkerSpec};
use crosswalk_case::Case;
use crosswalk_explain::address::{self, pages, split};
use crosswalk_explain::steps::{CachedDrawing, StepDrawing, last_access, steps};
use crosswalk_explain::words::{end_in_words, flags, step_in_words};
use mmu_core::walk::{Path, Step};
use mmu_core::{PagingMode, Reference, VirtAddr};

/// A case that shows a finding.
pub(super) struct ShownExample {
    /// Which action of a sequence differs.
    pub(super) place: Option<String>,
    /// How often the case shows the finding.
    pub(super) shown: Option<String>,
    /// Who says what about it.
    pub(super) sides: [Side; 2],
    pub(super) differences: Vec<String>,
    pub(super) access: String,
    /// The steps of a sequence.
    pub(super) steps: Vec<ShownStep>,
    /// The walks for each page that the access touches.
    pub(super) pages: Vec<DrawnPage>,
    /// What repeats it.
    pub(super) command: String,
}

/// The outcome of a case as one side has it: the manuals, a machine or a walker.
pub(super) struct Side {
    pub(super) who: String,
    pub(super) verb: &'static str,
    pub(super) outcome: String,
    pub(super) is_wrong: bool,
}

/// A step of a sequence.
pub(super) struct ShownStep {
    pub(super) action: String,
    pub(super) outcomes: String,
    pub(super) dropped: String,
    pub(super) cached: Vec<CachedDrawing>,
    /// `fails` if it is the step that differs.
    pub(super) class: &'static str,
}

/// The walk for one page.
pub(super) struct DrawnPage {
    pub(super) address: String,
    pub(super) fields: Vec<AddressField>,
    /// The entries that all sides read, with the same result.
    pub(super) steps: Vec<DrawnStep>,
    /// What comes after them: one branch for each side where they part, else one for all.
    pub(super) branches: Vec<Branch>,
}

/// The end of a walk.
pub(super) struct Branch {
    /// Whose it is, if the sides part here.
    pub(super) who: Option<String>,
    pub(super) steps: Vec<DrawnStep>,
    /// How the walk ends, if that is known.
    pub(super) end: Option<String>,
    /// What becomes of the access, if the sides part here.
    pub(super) outcome: Option<String>,
    /// `ends` or `fails`.
    pub(super) class: &'static str,
}

/// A part of the address.
pub(super) struct AddressField {
    pub(super) bits: String,
    pub(super) value: String,
    pub(super) name: String,
}

/// An entry on the path.
pub(super) struct DrawnStep {
    pub(super) name: &'static str,
    pub(super) at: String,
    pub(super) value: String,
    pub(super) flags: String,
    pub(super) class: &'static str,
}

/// A finding's example, as the page shows it. `walker` is the built-in walker of the run.
pub(super) fn show(finding: &Finding, example: &Example, walker: WalkerSpec) -> ShownExample {
    let side = |who: String, verb, outcome: &str, is_wrong| Side {
        who,
        verb,
        outcome: outcome.to_owned(),
        is_wrong,
    };

    // The walker that does what the wrong side does, if there is one.
    let (sides, wrong_walker) = if finding.catches_walker {
        let sides = [
            side("the machine".into(), "did", &example.observed, false),
            side(format!("the walker, {walker},"), "expected", &example.expected, true),
        ];
        (sides, Some(walker))
    } else {
        let explained = finding.explained_by.as_ref().and_then(|walker| walker.parse().ok());
        let explained = explained.filter(|walker: &WalkerSpec| !walker.is_reference());
        let who = explained.map_or_else(
            || "the machine".to_owned(),
            |walker| format!("the machine, as {walker} would,"),
        );
        // Where both end alike, something else differs.
        let observed = match &example.differences[..] {
            [first, ..] if example.observed == example.expected => {
                format!("{}; {first}", example.observed)
            }
            _ => example.observed.clone(),
        };
        let sides = [
            side("the model".into(), "expected", &example.expected, false),
            side(who, "did", &observed, !example.differences.is_empty()),
        ];
        (sides, explained)
    };

    let option = if finding.catches_walker { format!(" --walker {walker}") } else { String::new() };
    ShownExample {
        place: example.place(),
        shown: example.shown.map(|shown| shown.to_string()),
        differences: example.differences.iter().map(ToString::to_string).collect(),
        command: format!("crosswalk explain{option} '{}'", example.case),
        ..show_case(&example.case, sides, wrong_walker, example.place().map(|_| example.at))
    }
}

/// The simplest case of a kind of mistake that a program makes. How it walked is not known.
pub(super) fn show_mistake(mistakes: &Mistakes, walker: &str) -> ShownExample {
    let Mistakes { case, expected, answered, .. } = mistakes;
    let sides = [
        Side {
            who: "the machine and the manuals".into(),
            verb: "say",
            outcome: expected.clone(),
            is_wrong: false,
        },
        Side {
            who: format!("the walker, {walker},"),
            verb: "answered",
            outcome: answered.clone(),
            is_wrong: true,
        },
    ];
    show_case(case, sides, None, None)
}

/// The simplest case to which a program has no answer. It is drawn as the model walks it.
pub(super) fn show_failure(mistakes: &Mistakes, walker: &str) -> ShownExample {
    let Mistakes { case, expected, answered, .. } = mistakes;
    let side = |who: &str, verb, outcome: &str, is_wrong| Side {
        who: who.to_owned(),
        verb,
        outcome: outcome.to_owned(),
        is_wrong,
    };
    let sides = [
        side("the run", "expected", expected, false),
        side(&format!("of the walker, {walker},"), "came", answered, true),
    ];

    let last = case.accesses().pop();
    let pages = draw_pages(last.as_ref().unwrap_or(case), None, None);
    ShownExample { pages, ..show_case(case, sides, None, None) }
}

fn show_case(
    case: &Case,
    sides: [Side; 2],
    wrong_walker: Option<WalkerSpec>,
    differs_at: Option<usize>,
) -> ShownExample {
    let steps =
        if case.is_sequence() { steps(case, WalkerSpec::Reference, &|_| None) } else { Vec::new() };
    // The last access is drawn on the tables as all before it left them.
    let last = &last_access(case);

    ShownExample {
        place: None,
        shown: None,
        differences: Vec::new(),
        access: step_in_words(&last.access_step()),
        steps: steps
            .into_iter()
            .enumerate()
            .map(|(at, step)| show_step(step, differs_at == Some(at)))
            .collect(),
        pages: draw_pages(last, Some(&sides), wrong_walker.map(WalkerSpec::walker)),
        sides,
        command: format!("crosswalk explain '{case}'"),
    }
}

fn show_step(step: StepDrawing, differs: bool) -> ShownStep {
    ShownStep {
        action: step.action,
        outcomes: step.outcomes.join(", or "),
        dropped: step.dropped.join(", "),
        cached: step.cached,
        class: if differs { "fails" } else { "" },
    }
}

/// The walks for all pages of an access. The sides part where their walks do, or else at the end.
fn draw_pages(
    case: &Case,
    sides: Option<&[Side; 2]>,
    wrong: Option<&dyn Walker>,
) -> Vec<DrawnPage> {
    if case.canonical_ends() != [true; 2] {
        return vec![draw_unwalked(case, sides)];
    }

    let pages = pages(case);
    let mut walks: Vec<_> =
        pages.iter().map(|(part, page)| Walks::of(part, *page, wrong)).collect();

    let parting = walks.iter().position(Walks::part).or(walks.len().checked_sub(1));
    walks
        .drain(..)
        .enumerate()
        .map(|(number, walks)| walks.draw(sides.filter(|_| Some(number) == parting)))
        .collect()
}

/// An access whose address is not canonical: the model does not look at the tables.
fn draw_unwalked(case: &Case, sides: Option<&[Side; 2]>) -> DrawnPage {
    let address = case.access.address;
    let branch = |side: &Side| Branch {
        who: Some(side.name()),
        steps: Vec::new(),
        end: (!side.is_wrong).then(|| "no walk: the address is not canonical".into()),
        outcome: Some(side.outcome.clone()),
        class: side.class(),
    };

    DrawnPage {
        address: format!("{:#x}", address.get()),
        fields: fields(case.mode(), address, None),
        steps: Vec::new(),
        branches: sides.into_iter().flatten().map(branch).collect(),
    }
}

fn fields(mode: PagingMode, address: VirtAddr, path: Option<&Path>) -> Vec<AddressField> {
    let parts = split(mode, address, path).into_iter();
    let field = |part: address::AddressField| AddressField {
        bits: part.range(),
        value: part.value,
        name: part.name,
    };
    parts.map(field).collect()
}

impl Side {
    /// Who it is, without the comma before a verb.
    fn name(&self) -> String {
        self.who.trim_end_matches(',').to_owned()
    }

    const fn class(&self) -> &'static str {
        if self.is_wrong { "fails" } else { "ends" }
    }
}

/// The walks of both sides for one page.
struct Walks<'c> {
    case: &'c Case,
    page: VirtAddr,
    right: Walked,
    /// That of the side that is wrong, if it is known.
    wrong: Option<Walked>,
}

/// A walk that was made: its entries and its end.
struct Walked {
    path: Path,
    end: String,
    is_ok: bool,
}

impl Walked {
    fn by(walker: &dyn Walker, case: &Case, page: VirtAddr) -> Self {
        let (path, end) = walker.walk(case, page);
        Self { path, end: end_in_words(&end), is_ok: end.is_ok() }
    }
}

impl<'c> Walks<'c> {
    fn of(case: &'c Case, page: VirtAddr, wrong: Option<&dyn Walker>) -> Self {
        Self {
            case,
            page,
            right: Walked::by(&Reference, case, page),
            wrong: wrong.map(|walker| Walked::by(walker, case, page)),
        }
    }

    /// Whether they differ.
    fn part(&self) -> bool {
        let is_same = |wrong: &Walked| {
            wrong.path.steps == self.right.path.steps && wrong.end == self.right.end
        };
        self.wrong.as_ref().is_some_and(|wrong| !is_same(wrong))
    }

    /// The drawing, with a branch for each side if they are to part here.
    fn draw(&self, sides: Option<&[Side; 2]>) -> DrawnPage {
        let right = &self.right.path.steps[..];
        let wrong = self.wrong.as_ref().map_or(right, |wrong| &wrong.path.steps[..]);
        let common = right.iter().zip(wrong).take_while(|(one, other)| one == other).count();
        let draw_all = |steps: &[Step]| -> Vec<DrawnStep> {
            steps.iter().map(|step| draw_step(self.case, step)).collect()
        };

        let branches = match sides {
            None => vec![Branch {
                who: None,
                steps: Vec::new(),
                end: Some(self.right.end.clone()),
                outcome: None,
                class: if self.right.is_ok { "ends" } else { "fails" },
            }],
            Some(sides) => {
                let walks = [Some(&self.right), self.wrong.as_ref()];
                let branch = |(side, walked): (&Side, Option<&Walked>)| Branch {
                    who: Some(side.name()),
                    steps: walked.map_or_else(Vec::new, |it| draw_all(&it.path.steps[common..])),
                    end: walked.map(|walked| walked.end.clone()),
                    outcome: Some(side.outcome.clone()),
                    class: side.class(),
                };
                sides.iter().zip(walks).map(branch).collect()
            }
        };

        DrawnPage {
            address: format!("{:#x}", self.page.get()),
            fields: fields(self.case.mode(), self.page, Some(&self.right.path)),
            steps: draw_all(&right[..common]),
            branches,
        }
    }
}

fn draw_step(case: &Case, step: &Step) -> DrawnStep {
    let digits = if case.mode() == PagingMode::Bits32 { 10 } else { 18 };

    DrawnStep {
        name: step.level.entry_name,
        at: format!("at {:#x}", step.at.get()),
        value: format!("{:#0digits$x}", step.entry),
        flags: flags(&case.state, step),
        class: if step.error.is_some() { "fails" } else { "" },
    }
}
