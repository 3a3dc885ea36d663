//! A walk as one page of HTML without any other file, which walks again in the browser when a bit is flipped.
//! `templates/walk.html` is its form, this module its contents.

use super::json::RunOfCase;
use crate::report::style::module::module_as_text;
use crate::report::style::page::{rendered, script_data};
use askama::Template;
use crosswalk_explain::View;

#[derive(Template)]
#[template(path = "walk.html")]
struct WalkPage<'p> {
    access: String,
    mode: &'static str,
    svg: &'p str,
    machines: Vec<MachineLines>,
    steps: Vec<StepLines>,
    text: String,
    /// The view, as JSON that cannot end its element.
    view: String,
    /// The module, as letters of base64.
    module: String,
}

/// What a machine did.
struct MachineLines {
    name: String,
    verdict: &'static str,
    is_bad: bool,
    lines: Vec<String>,
}

/// A step of a sequence.
struct StepLines {
    action: String,
    lines: Vec<String>,
}

/// The page of a view; `text` is the walk as text.
///
/// # Panics
/// Never: a view is plain data.
pub fn page(view: &View<'_, RunOfCase<'_>>, text: &str) -> String {
    let explained = &view.explained;
    let page = WalkPage {
        access: explained.access.clone(),
        mode: view.picture.mode,
        svg: &view.svg,
        machines: explained.machines.iter().map(machine).collect(),
        steps: explained
            .steps
            .iter()
            .map(|step| StepLines { action: step.action.clone(), lines: step.lines() })
            .collect(),
        text: text.to_owned(),
        view: script_data(view),
        module: module_as_text(),
    };
    rendered(&page)
}

fn machine(run: &RunOfCase<'_>) -> MachineLines {
    let version = run.version.unwrap_or_default();
    let name = format!("{} {} {version}", run.machine, run.flavour);
    let observed = run.observed.iter().map(|observed| match run.provenance {
        Some(provenance) => format!("{observed} (decided by {provenance})"),
        None => observed.clone(),
    });
    let changed = run.changed.iter().map(|entry| {
        format!("entry {:#x}: {:#x} became {:#x}", entry.at.0, entry.before.0, entry.after.0)
    });
    let known = run.findings.iter().map(|id| format!("known: {id}"));

    let lines = observed.chain(run.reason.clone()).chain(changed);
    let lines = lines.chain(run.differences.iter().cloned()).chain(known);
    MachineLines {
        name: name.trim().to_owned(),
        verdict: run.verdict,
        is_bad: run.verdict != "agree" && !run.known,
        lines: lines.collect(),
    }
}
