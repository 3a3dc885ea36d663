//! The program `crosswalk-adapters`: lists the adapters, or answers cases with one of them.
#![forbid(unsafe_code)]

use crosswalk_adapters::{ADAPTERS, Adapter};
use crosswalk_case::protocol::serve;
use serde_json::json;
use std::io::{stdin, stdout};
use std::process::ExitCode;

const HELP: &str = "\
Answers cases with a walker that people use: one case per line on standard
input, one answer per line on standard output

Usage: crosswalk-adapters <NAME>

Arguments:
  <NAME>  The adapter, or `list` for all of them as JSON

Options:
  -h, --help     Print help
  -V, --version  Print version";

/// Bad usage or bad input, as everywhere in crosswalk.
const BAD_INPUT: u8 = 2;
/// The walker that was asked for is not available.
const UNAVAILABLE: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.display().to_string()).collect();

    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["-h" | "--help"] => println!("{HELP}"),
        ["-V" | "--version"] => println!("crosswalk-adapters {}", env!("CARGO_PKG_VERSION")),
        ["list"] => println!("{}", list()),
        [name] if !name.starts_with('-') => return answer_with(name),
        _ => return fail(BAD_INPUT, "expected the name of one adapter, or list; see --help"),
    }
    ExitCode::SUCCESS
}

/// Answers the cases on standard input with the walker of one adapter.
fn answer_with(name: &str) -> ExitCode {
    let Some(adapter) = Adapter::named(name) else {
        let names = ADAPTERS.map(|adapter| adapter.name).join(", ");
        return fail(BAD_INPUT, &format!("there is no adapter {name:?}; there are {names}"));
    };
    let mut candidate = match adapter.open() {
        Ok(candidate) => candidate,
        Err(why) => return fail(UNAVAILABLE, &format!("{name} is not available: {why}")),
    };

    match serve(candidate.as_mut(), stdin().lock(), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(BAD_INPUT, &error.to_string()),
    }
}

/// Every adapter, and whether it works here.
fn list() -> serde_json::Value {
    let describe = |adapter: Adapter| {
        let reason = adapter.open().err();
        json!({
            "name": adapter.name,
            "version": adapter.version(),
            "what": adapter.what,
            "available": reason.is_none(),
            "reason": reason,
        })
    };
    ADAPTERS.map(describe).into_iter().collect()
}

fn fail(code: u8, problem: &str) -> ExitCode {
    eprintln!("crosswalk-adapters: {problem}");
    ExitCode::from(code)
}
