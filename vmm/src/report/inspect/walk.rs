//! One walk through the tables of an image: for people, and as JSON.

use super::image::InspectedJson;
use super::{Inspected, letters};
use crate::report::document::Document;
use crate::report::style::number::size;
use crate::report::style::table::line;
use crate::report::walk::{draw_address, draw_path};
use crosswalk_case::Hex;
use crosswalk_explain::words::flags;
use crosswalk_inspect::ReadError;
use mmu_core::walk::{Path, Step, WalkError};
use mmu_core::x86::format::{EntryKind, Level};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{Access, AccessError, AccessKind, AnyMmu, Ring, Translation, VirtAddr};
use serde::Serialize;

/// A walk, and what accesses to the address do.
#[derive(Debug)]
pub struct InspectedWalk<'i> {
    inspected: &'i Inspected,
    address: VirtAddr,
    path: Path,
    end: Option<Result<Translation, WalkError<ReadError>>>,
    accesses: Vec<(Access, String)>,
}

/// The accesses that are shown if the user names none.
const ACCESSES: [(AccessKind, Ring); 6] = [
    (AccessKind::Read, Ring::Zero),
    (AccessKind::Write, Ring::Zero),
    (AccessKind::Fetch, Ring::Zero),
    (AccessKind::Read, Ring::Three),
    (AccessKind::Write, Ring::Three),
    (AccessKind::Fetch, Ring::Three),
];

impl<'i> InspectedWalk<'i> {
    /// Walks to an address, for one access or for all.
    pub fn new(
        inspected: &'i Inspected,
        address: VirtAddr,
        access: Option<(AccessKind, Ring)>,
    ) -> Self {
        let mmu = inspected.mmu();
        let memory = inspected.source.memory();

        let asked = access.map_or_else(|| ACCESSES.to_vec(), |access| vec![access]);
        let accesses = asked.into_iter().map(|(kind, ring)| {
            let access = Access::new(kind, address, 1, ring);
            let outcome = match mmu.probe(memory, &access) {
                Ok(translated) => format!("completes at {}", translated.address()),
                Err(AccessError::Fault(fault)) => fault.to_string(),
                Err(error) => error.to_string(),
            };
            (access, outcome)
        });
        let accesses = accesses.collect();

        // The path is that of the first access; rights are judged when it is complete.
        let (kind, ring) = access.unwrap_or((AccessKind::Read, Ring::Zero));
        let first = Access::new(kind, address, 1, ring);
        let mut path = Path::default();
        let is_walked = is_canonical(&mmu, address);
        let end = is_walked.then(|| mmu.walk(memory, address, &first, &mut path));
        Self { inspected, address, path, end, accesses }
    }

    /// The walk for people.
    pub fn text(&self) -> String {
        let Self { inspected, address, path, end, accesses } = self;
        let state = &inspected.derived.state;
        let mut text = String::new();
        inspected.describe(&mut text);

        match end {
            Some(end) => {
                draw_address(&mut text, state.mode(), *address, Some(path));
                draw_path(&mut text, state, path, end);
            }
            None => line(&mut text, "The address is not canonical: it is not walked (CANON-1).\n"),
        }
        for (access, outcome) in accesses {
            let ring = if access.ring == Ring::Three { "user" } else { "supervisor" };
            let name = access.kind.name();
            line(&mut text, &format!("{:<17} {outcome}", format!("{ring} {name}")));
        }
        text
    }

    /// The walk as a JSON document.
    pub fn document(&self) -> impl Document {
        let Self { inspected, address, path, end, accesses } = self;
        let found = end.and_then(Result::ok);

        WalkDocument {
            image: inspected.json(),
            address: Hex(address.get()),
            path: path.steps.iter().map(|step| self.step_json(step)).collect(),
            physical: found.map(|found| Hex(found.address.get())),
            page: found.and_then(|found| found.level).map(page_size),
            rights: found.map(|found| letters(found.rights)),
            accesses: accesses
                .iter()
                .map(|(access, outcome)| access_json(access, outcome))
                .collect(),
        }
    }

    fn step_json(&self, step: &Step) -> StepJson {
        StepJson {
            level: step.level.entry_name,
            at: Hex(step.at.get()),
            entry: Hex(step.entry),
            flags: flags(&self.inspected.derived.state, step),
            leads_to: match (step.error, step.kind) {
                (Some(_), _) => "nowhere",
                (None, EntryKind::Table) => "table",
                (None, EntryKind::Leaf) => "page",
            },
            target: step.error.is_none().then(|| Hex(step.target.get())),
            rights: step.error.is_none().then(|| letters(step.rights)),
            error: step.error.map(|error| match error {
                EntryError::NotPresent => "not present".to_owned(),
                EntryError::Reserved(bits) => format!("reserved bits {bits:#x}"),
            }),
        }
    }
}

/// Whether a walk begins at all.
fn is_canonical(mmu: &AnyMmu, address: VirtAddr) -> bool {
    match mmu {
        AnyMmu::FourLevel(_) => address.is_canonical(48),
        AnyMmu::FiveLevel(_) => address.is_canonical(57),
        _ => address.get() >> 32 == 0,
    }
}

fn page_size(level: &Level) -> String {
    size(1 << level.shift)
}

fn access_json(access: &Access, outcome: &str) -> AccessJson {
    AccessJson {
        access: access.kind.name(),
        user: access.ring == Ring::Three,
        outcome: outcome.to_owned(),
    }
}

/// An address followed through page tables: `walk`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct WalkDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// The linear address.
    address: Hex,
    /// The entries, the first one first.
    path: Vec<StepJson>,
    /// Where it leads; null if it leads nowhere.
    physical: Option<Hex>,
    /// The size of the page, in words.
    page: Option<String>,
    /// What the path allows, in four letters, such as `urw-` or `sr-x`.
    rights: Option<String>,
    /// What accesses do.
    accesses: Vec<AccessJson>,
}

impl Document for WalkDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// An entry on the path.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StepJson {
    /// Its name, such as `PTE`.
    level: &'static str,
    /// Its physical address.
    at: Hex,
    /// The entry.
    entry: Hex,
    /// Its flags, in words.
    flags: String,
    /// `table`, `page` or `nowhere`.
    leads_to: &'static str,
    /// Where it leads.
    target: Option<Hex>,
    /// What the path up to it allows, in letters.
    rights: Option<String>,
    /// Why it leads nowhere.
    error: Option<String>,
}

/// An access to the address.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AccessJson {
    /// `read`, `write` or `fetch`.
    access: &'static str,
    /// Whether user code makes it.
    user: bool,
    /// What it does, in words.
    outcome: String,
}
