//! The paging modes of a run.

use super::failure::Failure;
use crosswalk_machine::{Machine, ModeOffer};
use mmu_core::PagingMode;

/// The requested modes, or all modes if none is requested; each with the reason if the machine does
/// not offer it. Fails if the machine offers none of them.
pub(super) fn requested(
    modes: &[PagingMode],
    machine: &dyn Machine,
) -> Result<Vec<ModeOffer>, Failure> {
    let all = machine.capabilities().modes.iter();
    let requested: Vec<_> =
        all.filter(|(mode, _)| modes.is_empty() || modes.contains(mode)).cloned().collect();

    if !offered(&requested).is_empty() {
        return Ok(requested);
    }

    let reasons: Vec<_> = requested
        .iter()
        .map(|(mode, offer)| {
            let why = offer.as_ref().err().map_or("", String::as_str);
            format!("{mode}: {why}")
        })
        .collect();
    let reasons = reasons.join("; ");
    Err(Failure::machine(format!("none of these modes can be run here: {reasons}")))
}

/// The modes that the machine offers.
pub(super) fn offered(modes: &[ModeOffer]) -> Vec<PagingMode> {
    modes.iter().filter(|(_, offer)| offer.is_ok()).map(|(mode, _)| *mode).collect()
}
