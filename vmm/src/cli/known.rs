//! The known findings and the modes that a run works with.

use super::failure::Failure;
use crate::finding::known::{self, KnownFinding};
use crate::walker::WalkerSpec;
use crosswalk_machine::{Identity, Machine, ModeOffer};
use mmu_core::PagingMode;
use std::path::Path;

/// The known findings, and whether they are forgiven. With `none`, and for walkers that are wrong
/// on purpose, they only lend their names.
pub(super) fn known_findings(
    asked: Option<&str>,
    walker: WalkerSpec,
    machine: &Identity,
) -> Result<(Vec<KnownFinding>, bool), Failure> {
    let input = |error: known::KnownError| Failure::Input(error.to_string());
    match asked {
        Some(path) if path != "none" => {
            Ok((known::from_file(Path::new(path)).map_err(input)?, walker.is_reference()))
        }
        asked => {
            let forgives = asked.is_none() && walker.is_reference();
            Ok((known::shipped(&machine.flavour, &machine.beneath).map_err(input)?, forgives))
        }
    }
}

/// Every mode asked for with the reason why it is not run, if it is not.
pub(super) fn modes(
    asked: &[PagingMode],
    machine: &dyn Machine,
) -> Result<Vec<ModeOffer>, Failure> {
    let asked = |mode: &PagingMode| asked.is_empty() || asked.contains(mode);
    let modes: Vec<_> =
        machine.capabilities().modes.iter().filter(|(mode, _)| asked(mode)).cloned().collect();
    if modes.iter().any(|(_, offered)| offered.is_ok()) {
        return Ok(modes);
    }
    let reasons: Vec<_> = modes
        .iter()
        .map(|(mode, offered)| {
            format!("{mode}: {}", offered.as_ref().err().map_or("", String::as_str))
        })
        .collect();
    Err(Failure::Machine(format!("none of these modes can be run here: {}", reasons.join("; "))))
}
