//! `crosswalk findings`: the known findings of machines.

use super::failure::Failure;
use super::output::finish;
use crate::finding::known::{self, KnownFinding};
use crate::report::document::VerdictWord;
use crate::report::findings;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct FindingsArguments {
    /// A flavour of machine, such as tcg, or the id of a finding, such as T20, which is described in full
    /// [default: all]
    #[arg(value_name = "FLAVOUR|ID")]
    names: Vec<String>,
    /// List this file of known findings instead of those that come with the program
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &FindingsArguments) -> Result<ExitCode, Failure> {
    let all = match &arguments.known {
        Some(path) => vec![(path.display().to_string(), known::from_file(path)?)],
        None => known::all_shipped()?
            .into_iter()
            .map(|(flavour, known)| (flavour.to_owned(), known))
            .collect(),
    };
    let names = &arguments.names;
    for name in names {
        let is_known = |(flavour, known): &(String, Vec<KnownFinding>)| {
            flavour == name || known.iter().any(|known| known.id == *name)
        };
        if !all.iter().any(is_known) {
            let flavours: Vec<_> = all.iter().map(|(flavour, _)| flavour.as_str()).collect();
            let flavours = flavours.join(", ");
            let problem =
                format!("{name}: expected the id of a known finding, or one of {flavours}");
            return Err(Failure::Input(problem));
        }
    }

    let is_wanted = |flavour: &String, known: &KnownFinding| {
        names.is_empty() || names.iter().any(|name| name == flavour || *name == known.id)
    };
    let wanted: Vec<_> = all
        .into_iter()
        .map(|(flavour, mut known)| {
            known.retain(|known| is_wanted(&flavour, known));
            (flavour, known)
        })
        .filter(|(_, known)| !known.is_empty())
        .collect();

    let by_id = |(_, known): &(String, Vec<KnownFinding>)| {
        known.iter().all(|known| names.contains(&known.id))
    };
    let is_by_id = !names.is_empty() && wanted.iter().all(by_id);
    let text = || if is_by_id { findings::descriptions(&wanted) } else { findings::text(&wanted) };
    let ending = VerdictWord::Done.into();
    Ok(finish(arguments.json, ending, || findings::document(&wanted), text))
}
