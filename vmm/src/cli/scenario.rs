//! `crosswalk scenario`: processes on the virtual memory system, and what becomes of their pages.

use super::print;
use crate::report::scenario;
use crate::scenario::story::Story;
use crate::scenario::{SCENARIOS, run as play};
use clap::builder::PossibleValuesParser;
use mmu_core::PagingMode;
use mmu_core::space::Duties;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "They run on the software MMU only: nothing is compared with a machine yet."
)]
pub(super) struct Arguments {
    /// Which scenario [default: list them]
    #[arg(value_name = "NAME|all", value_parser = names(), hide_possible_values = true)]
    name: Option<String>,
    /// The paging mode: 32bit, pae, 4level or 5level
    #[arg(long, value_name = "MODE", default_value = "4level", value_parser = mode)]
    mode: PagingMode,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The names of scenarios, and `all`.
fn names() -> PossibleValuesParser {
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    PossibleValuesParser::new(names.chain(["all"]))
}

fn mode(text: &str) -> Result<PagingMode, &'static str> {
    let with_tables = PagingMode::ALL.into_iter().filter(|mode| *mode != PagingMode::Unpaged);
    { with_tables }.find(|mode| mode.name() == text).ok_or("expected 32bit, pae, 4level or 5level")
}

/// 0 when every claim of every scenario holds, else 1.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Some(name) = &arguments.name else {
        print(&if arguments.json { scenario::json_list() } else { scenario::list() });
        return ExitCode::SUCCESS;
    };
    let wanted = SCENARIOS.iter().filter(|known| name == "all" || known.name == name);
    let stories: Vec<_> =
        wanted.filter_map(|known| play(known.name, arguments.mode, Duties::all())).collect();
    print(&if arguments.json { scenario::json(&stories) } else { scenario::text(&stories) });
    let passed = stories.iter().all(Story::passed);
    ExitCode::from(u8::from(!passed))
}
