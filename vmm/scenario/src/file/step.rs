//! The steps of a scenario.

use super::FileError;
use super::error::line_of;
use super::expression::{Condition, Sum, condition, sum};
use super::names::{Kind, Names};
use super::programs::program;
use super::region::{FileRegion, image_from, own_page, page, region, rights};
use super::table::{Fields, Value, list, number, text, unexpected, word};
use super::{MAX_ACCESSES, MAX_FRAMES, MAX_REGION_PAGES, MAX_SENTENCE, word_address};
use crate::program::Program;
use crosswalk_guest::system::MAX_RUNS;
use mmu_core::space::{Backing, MAX_OBJECT_PAGES, MAX_OBJECTS, Protection};
use mmu_core::{AccessKind, VirtAddr};
use toml::de::DeValue;

/// The maximum number of regions that a process can add to those of the supervisor.
const MAX_REGIONS: usize = 8;

/// One more than the pages that an object can have.
const END_OF_OBJECT_PAGES: u64 = MAX_OBJECT_PAGES as u64 + 1;

/// A step, and when it is done.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The number of its line.
    pub(super) line: usize,
    /// It is left out unless all of these hold.
    pub(super) when: Vec<Condition>,
    pub(super) action: Action,
}

/// What a step does. Results go to the variables of these indices.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Start(Vec<FileRegion>),
    Fork(char),
    End(char),
    Map(char, FileRegion),
    Unmap(char, VirtAddr),
    Protect(char, VirtAddr, Protection),
    Grow { process: char, heap: VirtAddr, pages: u64, result: Option<usize> },
    Object { pages: u64, backing: Backing },
    Reclaim { frames: usize, result: Option<usize> },
    Run { programs: Vec<FileRun>, result: Option<usize> },
    Try { process: char, kind: AccessKind, address: u64, result: Option<usize> },
    Halfway,
    Remember(Vec<(usize, Sum)>),
    Claim { sentence: Vec<Piece>, that: Vec<Condition> },
}

/// A program, and who runs it.
#[derive(Clone, Debug)]
pub(super) struct FileRun {
    pub(super) process: char,
    pub(super) does: String,
    pub(super) program: Program,
}

/// A piece of a sentence.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Words(String),
    Value(Sum),
}

/// The key that says what a step does.
const ACTIONS: [&str; 15] = [
    "start", "fork", "end", "map", "unmap", "protect", "grow", "object", "reclaim", "run",
    "together", "try", "halfway", "remember", "claim",
];

impl Step {
    pub(super) fn read(
        value: &Value<'_>,
        source: &str,
        names: &mut Names,
    ) -> Result<Self, FileError> {
        let fields = Fields::of("a step", value)?;
        let mut given = ACTIONS.into_iter().filter(|key| fields.has(key));
        let (Some(key), None) = (given.next(), given.next()) else {
            let problem = format!("expected a step with one of {}", ACTIONS.join(", "));
            return Err(FileError::new(value.span(), problem));
        };

        let when = fields.get("when");
        if let Some(when) = when
            && (["start", "fork", "object", "remember"].contains(&key) || fields.has("result"))
        {
            let problem = format!(
                "a step with `when` may be left out, and nothing can depend on it: no `{key}`, no `result`"
            );
            return Err(FileError::new(when.span(), problem));
        }
        let when = when.map_or(Ok(Vec::new()), |value| conditions(value, names))?;

        let action = Action::read(key, &fields, names)?;
        fields.end()?;
        Ok(Self { line: line_of(source, &value.span()), when, action })
    }

    /// How many accesses it makes, or frames it reclaims; 1 for any other step.
    pub(super) fn work(&self) -> usize {
        match &self.action {
            Action::Run { programs, .. } => accesses(programs),
            Action::Reclaim { frames, .. } => *frames,
            _ => 1,
        }
    }

    pub(super) const fn is_claim(&self) -> bool {
        matches!(self.action, Action::Claim { .. })
    }
}

impl Action {
    fn read(key: &'static str, fields: &Fields<'_>, names: &mut Names) -> Result<Self, FileError> {
        let value = fields.need(key)?;
        Ok(match key {
            "start" => {
                new_process(value, names)?;
                let value = fields.need("regions")?;
                let list = list(value)?;
                if list.len() > MAX_REGIONS {
                    let problem =
                        format!("expected at most {MAX_REGIONS} regions, found {}", list.len());
                    return Err(FileError::new(value.span(), problem));
                }
                let regions = list.iter().map(|value| region(value, names));
                Self::Start(regions.collect::<Result<_, _>>()?)
            }
            "fork" => {
                let parent = process(value, names)?;
                new_process(fields.need("child")?, names)?;
                Self::Fork(parent)
            }
            "end" => Self::End(process(value, names)?),
            "map" => Self::Map(process(value, names)?, region(fields.need("region")?, names)?),
            "unmap" => Self::Unmap(process(value, names)?, own_page(fields.need("at")?, names)?),
            "protect" => {
                let at = own_page(fields.need("at")?, names)?;
                Self::Protect(process(value, names)?, at, rights(fields.need("rights")?)?)
            }
            "grow" => Self::Grow {
                process: process(value, names)?,
                heap: page(fields.need("at")?, names)?,
                pages: number(fields.need("pages")?, 1..MAX_REGION_PAGES + 1)?,
                result: result(fields, Kind::Number, names)?,
            },
            "object" => object(value, fields, names)?,
            "reclaim" => Self::Reclaim {
                frames: number(value, 1..MAX_FRAMES + 1)? as usize,
                result: result(fields, Kind::Number, names)?,
            },
            "run" => Self::Run {
                programs: vec![run(fields, names)?],
                result: result(fields, Kind::Number, names)?,
            },
            "together" => {
                let programs = together(value, names)?;
                Self::Run { programs, result: result(fields, Kind::Number, names)? }
            }
            "try" => attempt(value, fields, names)?,
            "halfway" => Self::Halfway,
            "remember" => remember(value, names)?,
            _ => Self::Claim {
                sentence: sentence(value, names)?,
                that: conditions(fields.need("that")?, names)?,
            },
        })
    }
}

/// A process that was started.
fn process(value: &Value<'_>, names: &Names) -> Result<char, FileError> {
    let name = value.get_ref().as_str().unwrap_or_default();
    let mut letters = name.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if names.is_started(letter) => Ok(letter),
        _ => Err(FileError::new(
            value.span(),
            "expected the letter of a process that an earlier step starts, such as \"A\"",
        )),
    }
}

/// The letter of the process that is started now.
fn new_process(value: &Value<'_>, names: &mut Names) -> Result<char, FileError> {
    let name = value.get_ref().as_str().unwrap_or_default();
    names.add_process(name).map_err(|problem| FileError::new(value.span(), problem))
}

/// The variable for the result of a step, if it is wanted.
fn result(fields: &Fields<'_>, kind: Kind, names: &mut Names) -> Result<Option<usize>, FileError> {
    let Some(value) = fields.get("result") else { return Ok(None) };
    let name = value.get_ref().as_str().unwrap_or_default();
    let variable = names.add_variable(name, kind);
    variable.map(Some).map_err(|problem| FileError::new(value.span(), problem))
}

/// A shared object.
fn object(value: &Value<'_>, fields: &Fields<'_>, names: &mut Names) -> Result<Action, FileError> {
    if names.objects() >= MAX_OBJECTS {
        return Err(FileError::new(
            value.span(),
            format!("expected at most {MAX_OBJECTS} shared objects"),
        ));
    }
    let pages = number(fields.need("pages")?, 1..END_OF_OBJECT_PAGES)?;
    let image = fields.get("image").map(|value| image_from(value, pages)).transpose()?;

    let name = value.get_ref().as_str().unwrap_or_default();
    names.add_object(name, pages).map_err(|problem| FileError::new(value.span(), problem))?;
    Ok(Action::Object { pages, backing: image.unwrap_or(Backing::Zero) })
}

/// A program that a process runs.
fn run(fields: &Fields<'_>, names: &Names) -> Result<FileRun, FileError> {
    Ok(FileRun {
        process: process(fields.need("run")?, names)?,
        does: text(fields.need("does")?, MAX_SENTENCE)?,
        program: program(fields.need("program")?, fields.get("turns"), names)?,
    })
}

/// Several programs that run in turn.
fn together(value: &Value<'_>, names: &Names) -> Result<Vec<FileRun>, FileError> {
    let list = list(value)?;
    if list.is_empty() || list.len() > MAX_RUNS {
        return Err(FileError::new(value.span(), format!("expected 1 to {MAX_RUNS} programs")));
    }

    let mut programs: Vec<FileRun> = Vec::new();
    for value in list {
        let fields = Fields::of("a program", value)?;
        let program = run(&fields, names)?;
        fields.end()?;
        if programs.iter().any(|other| other.process == program.process) {
            return Err(FileError::new(value.span(), format!("{} runs already", program.process)));
        }
        programs.push(program);
    }

    if accesses(&programs) > MAX_ACCESSES {
        let problem = format!("expected at most {MAX_ACCESSES} accesses at a time");
        return Err(FileError::new(value.span(), problem));
    }
    Ok(programs)
}

/// How many accesses programs make.
fn accesses(programs: &[FileRun]) -> usize {
    let steps = programs.iter().flat_map(|run| &run.program.steps);
    steps.filter(|step| step.access().is_some()).count()
}

/// An access that may not be allowed.
fn attempt(value: &Value<'_>, fields: &Fields<'_>, names: &mut Names) -> Result<Action, FileError> {
    let kinds =
        [("read", AccessKind::Read), ("write", AccessKind::Write), ("execute", AccessKind::Fetch)];
    let at = fields.need("at")?;
    let address = word_address(at, names)?;
    Ok(Action::Try {
        process: process(value, names)?,
        kind: word(fields.need("access")?, &kinds)?,
        address,
        result: result(fields, Kind::Ending, names)?,
    })
}

/// Values of now, for later.
fn remember(value: &Value<'_>, names: &mut Names) -> Result<Action, FileError> {
    let fields = Fields::of("what to remember", value)?;
    let mut all = Vec::new();
    for (name, value) in fields.entries() {
        let error = |problem| FileError::new(value.span(), problem);
        let expression = expression(value)?;
        let sum = sum(expression, names).map_err(error)?;
        let variable = names.add_variable(name, sum.kind).map_err(error)?;
        all.push((variable, sum));
    }
    Ok(Action::Remember(all))
}

fn expression<'t>(value: &'t Value<'t>) -> Result<&'t str, FileError> {
    match value.get_ref() {
        DeValue::String(text) if text.len() <= MAX_SENTENCE => Ok(text),
        DeValue::String(_) => {
            Err(FileError::new(value.span(), format!("expected at most {MAX_SENTENCE} characters")))
        }
        _ => Err(unexpected("an expression in quotes, such as \"frames(A) == 4\"", value)),
    }
}

/// One condition, or a list of them.
fn conditions(value: &Value<'_>, names: &Names) -> Result<Vec<Condition>, FileError> {
    let one = |value: &Value<'_>| {
        let text = expression(value)?;
        condition(text, names).map_err(|problem| FileError::new(value.span(), problem))
    };
    let DeValue::Array(list) = value.get_ref() else { return Ok(vec![one(value)?]) };
    if list.is_empty() || list.len() > 16 {
        return Err(FileError::new(value.span(), "expected 1 to 16 conditions"));
    }
    list.iter().map(one).collect()
}

/// A sentence with values in braces: `"{frames(A)} pages are in memory"`.
fn sentence(value: &Value<'_>, names: &Names) -> Result<Vec<Piece>, FileError> {
    let sentence = text(value, MAX_SENTENCE)?;
    let mut pieces = Vec::new();
    let mut rest = sentence.as_str();
    while let Some((words, behind)) = rest.split_once('{') {
        let (inside, after) = behind.split_once('}').ok_or_else(|| {
            FileError::new(value.span(), "a brace is open: expected `}` behind the value")
        })?;

        let sum = sum(inside, names).map_err(|problem| FileError::new(value.span(), problem))?;
        if sum.kind != Kind::Number {
            return Err(FileError::new(value.span(), "expected a number in the braces"));
        }
        pieces.push(Piece::Words(words.to_owned()));
        pieces.push(Piece::Value(sum));
        rest = after;
    }
    pieces.push(Piece::Words(rest.to_owned()));
    Ok(pieces)
}
