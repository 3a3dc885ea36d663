//! The program `crosswalk-adapters`: lists the adapters, or answers cases with one of them.

use clap::Parser;
use crosswalk_adapters::{ADAPTERS, Adapter};
use crosswalk_case::protocol::serve::serve;
use serde_json::json;
use std::io::{stdin, stdout};
use std::process::ExitCode;

/// Answers cases with a walker that people use: a case a line on standard input, an answer a line on
/// standard output.
#[derive(Debug, Parser)]
#[command(name = "crosswalk-adapters", version, max_term_width = 80)]
struct CommandLine {
    /// The adapter, or `list` for all of them as JSON
    name: String,
}

fn main() -> ExitCode {
    let CommandLine { name } = CommandLine::parse();
    if name == "list" {
        println!("{}", list());
        return ExitCode::SUCCESS;
    }
    let Some(adapter) = Adapter::named(&name) else {
        let names = ADAPTERS.map(|adapter| adapter.name).join(", ");
        return fail(2, &format!("there is no adapter {name:?}; there are {names}"));
    };
    let mut candidate = match adapter.open() {
        Ok(candidate) => candidate,
        Err(why) => return fail(3, &format!("{name} is not available: {why}")),
    };
    match serve(candidate.as_mut(), stdin().lock(), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(2, &error.to_string()),
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
