//! `crosswalk exercise`: exercises about virtual memory, asked, printed, or written to be printed.

use super::failure::Failure;
use super::number::{parse_count, parse_seed};
use super::output::{check_replaceable, finish, print, replace_file};
use crate::report::document::{Ending, VerdictWord};
use crate::report::exercise::{self, Sheet};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crosswalk_exercise::{Difficulty, Exercise, Marking, Question, Topic, sheet};
use rustix::fs::{FileType, fstat};
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// The most exercises of a topic.
const MOST: u64 = 1000;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExerciseArguments {
    /// What the exercises are about, or all [default: a list of the topics]
    #[arg(value_name = "TOPIC|all", value_parser = selections(), hide_possible_values = true)]
    topic: Option<Asked>,
    /// Repeat the exercises of this seed
    #[arg(long, value_parser = parse_seed, requires = "topic")]
    seed: Option<u64>,
    /// Number of exercises of each topic [default: 3, one of each level]
    #[arg(long, value_name = "N", value_parser = parse_count, requires = "topic")]
    count: Option<u64>,
    /// How hard they are, 1 to 3 [default: each in turn]
    #[arg(long, value_name = "1|2|3", value_parser = parse_level, requires = "topic")]
    level: Option<Difficulty>,
    /// Print the answers, too, and the way to them
    #[arg(long, requires = "topic", conflicts_with = "json")]
    answers: bool,
    /// Write a sheet to print to this file, with the answers on a page of their own
    #[arg(long, value_name = "FILE", requires = "topic")]
    html: Option<PathBuf>,
    /// Print one JSON document instead of text; it has the answers
    #[arg(long)]
    json: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    One(Topic),
    All,
}

impl Asked {
    const ALL: &'static str = "all";

    /// The topics.
    fn topics(self) -> Vec<Topic> {
        match self {
            Self::One(topic) => vec![topic],
            Self::All => Topic::ALL.to_vec(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::One(topic) => topic.name(),
            Self::All => Self::ALL,
        }
    }
}

/// Accepts the names of topics, and `all`; the error for any other name lists them.
fn selections() -> impl TypedValueParser<Value = Asked> {
    let names = Topic::ALL.map(Topic::name);
    PossibleValuesParser::new(names.into_iter().chain([Asked::ALL])).try_map(|name| {
        if name == Asked::ALL { Ok(Asked::All) } else { name.parse().map(Asked::One) }
    })
}

fn parse_level(text: &str) -> Result<Difficulty, &'static str> {
    let known = Difficulty::ALL.into_iter().find(|known| text == known.number().to_string());
    known.ok_or("expected 1, 2 or 3")
}

impl ExerciseArguments {
    /// The number of exercises of each topic.
    fn count(&self) -> Result<usize, Failure> {
        match self.count.unwrap_or(3) {
            count @ ..=MOST => Ok(count as usize),
            count => {
                Err(Failure::Input(format!("--count: expected at most {MOST}, found {count}")))
            }
        }
    }

    /// The command that prints the same exercises.
    fn command(&self, topic: Asked, seed: u64) -> String {
        let mut command = format!("crosswalk exercise {} --seed {seed}", topic.name());
        if let Some(count) = self.count {
            let _ = write!(command, " --count {count}");
        }
        if let Some(level) = self.level {
            let _ = write!(command, " --level {}", level.number());
        }
        command
    }

    /// Whether answers are wanted at all, and not a sheet.
    const fn may_ask(&self) -> bool {
        !self.answers && !self.json && self.html.is_none()
    }
}

pub(super) fn run(arguments: &ExerciseArguments) -> Result<ExitCode, Failure> {
    let ending: Ending = VerdictWord::Done.into();
    let Some(topic) = arguments.topic else {
        return Ok(finish(arguments.json, ending, exercise::list_document, exercise::list));
    };
    if let Some(path) = &arguments.html {
        check_replaceable(path)?;
    }

    // Short enough to be typed again.
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let exercises = sheet(seed, &topic.topics(), arguments.level, arguments.count()?);
    let command = arguments.command(topic, seed);
    let sheet = Sheet { seed, command: &command, exercises: &exercises };

    if let Some(path) = &arguments.html {
        replace_file(path, exercise::page(&sheet))?;
    }
    if arguments.may_ask()
        && let Some(student) = Student::here()
    {
        ask(&sheet, student);
        return Ok(ending.exit_code());
    }
    Ok(finish(
        arguments.json,
        ending,
        || exercise::document(&sheet),
        || exercise::sheet(&sheet, arguments.answers),
    ))
}

/// Who answers.
struct Student {
    /// Whether answers are typed at a terminal, which shows them, and not read from a file or a pipe.
    is_at_terminal: bool,
    /// The first line of a file or a pipe.
    first: Option<String>,
}

impl Student {
    /// Who answers here, if anybody does: at a terminal, or by a file or a pipe that is not empty.
    fn here() -> Option<Self> {
        let input = io::stdin();
        if input.is_terminal() {
            let is_at_terminal = io::stdout().is_terminal();
            return is_at_terminal.then_some(Self { is_at_terminal, first: None });
        }

        let kind = FileType::from_raw_mode(fstat(&input).ok()?.st_mode);
        let is_piped = matches!(kind, FileType::Fifo | FileType::Socket | FileType::RegularFile);
        let first = if is_piped { next_line() } else { None };
        first.map(|first| Self { is_at_terminal: false, first: Some(first) })
    }

    /// The next answer.
    fn answer(&mut self) -> Option<String> {
        let line = self.first.take().or_else(next_line)?;
        if !self.is_at_terminal {
            print(&format!("{}\n", line.trim_end()));
        }
        Some(line)
    }
}

/// The next line of standard input, as far as anybody reads it.
fn next_line() -> Option<String> {
    const LONGEST: u64 = 1000;

    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let read = input.by_ref().take(LONGEST).read_until(b'\n', &mut line).ok()?;
    if read as u64 == LONGEST && !line.ends_with(b"\n") {
        // The rest of the line is no answer either.
        let _ = input.skip_until(b'\n');
    }
    (read > 0).then(|| String::from_utf8_lossy(&line).trim().to_owned())
}

/// Asks every question, as long as there are answers.
fn ask(sheet: &Sheet<'_>, mut student: Student) {
    let how = "Type an answer, `?` to see it, or `quit`.";
    print(&exercise::heading(sheet, how));

    let (mut right, mut asked) = (0, 0);
    'sheet: for (place, Exercise { questions, .. }) in sheet.exercises.iter().enumerate() {
        print(&exercise::exercise(sheet, place));
        for (place, question) in questions.iter().enumerate() {
            print(&exercise::question(question, place));
            match ask_one(question, &mut student) {
                Reply::Quit => break 'sheet,
                Reply::Right => right += 1,
                Reply::NotRight => {}
            }
            asked += 1;
        }
    }
    print(&format!("{right} of {asked} right.\n"));
}

/// How a question was answered.
enum Reply {
    Right,
    NotRight,
    Quit,
}

fn ask_one(question: &Question, student: &mut Student) -> Reply {
    loop {
        print("     > ");
        let Some(typed) = student.answer() else {
            print("\n");
            return Reply::Quit;
        };
        match typed.as_str() {
            "quit" | "q" | "exit" => return Reply::Quit,
            "?" | "" => {
                print(&exercise::answer(question));
                return Reply::NotRight;
            }
            _ => {}
        }

        let marking = question.mark(&typed);
        print(&exercise::marked(&marking));
        match marking {
            Marking::Right => return Reply::Right,
            // A person types it again. The next line of a file is the answer to the next question.
            Marking::Unclear(_) if student.is_at_terminal => {}
            Marking::Unclear(_) | Marking::Wrong(_) => {
                print(&exercise::answer(question));
                return Reply::NotRight;
            }
        }
    }
}
