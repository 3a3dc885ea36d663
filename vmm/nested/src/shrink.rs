//! Makes the example of a finding as plain as it can be: every entry that need not be unusual is made usual, as long as
//! the machine still shows the same.

use crate::NestedCase;
use crate::batch::run_alone;
use crate::tally::{Judge, LOST, NestedFinding, NestedTally, Shown, Signature};
use crosswalk_case::TableEntry;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::nested::SecondLevel;
use mmu_core::x86::format::EntryBits;

/// How often an example is run to see whether it always shows the finding.
const RUNS: u32 = 10;
/// The same if the guest has to be started again each time.
const RUNS_OF_LOSS: u32 = 2;
/// P, RW and US of page tables; R, W and X of EPT.
const RIGHTS: u64 = 0x7;

/// Shrinks the examples of all findings, and counts how often they show what they are about.
///
/// # Errors
/// If the guest or the machine fails.
pub fn examine(
    judge: Judge<'_>,
    machine: &mut dyn Machine,
    tally: &mut NestedTally,
) -> Result<(), MachineError> {
    for (signature, finding) in &mut tally.findings {
        shrink(judge, machine, signature, finding)?;
    }
    Ok(())
}

/// Shrinks the example of a finding.
fn shrink(
    judge: Judge<'_>,
    machine: &mut dyn Machine,
    signature: &Signature,
    finding: &mut NestedFinding,
) -> Result<(), MachineError> {
    let mut smallest = finding.example.case.clone();
    let (_, seen) = finding.example.ends;
    let is_lost = seen == LOST;
    let simpler = if is_lost { Vec::new() } else { simpler_values(&smallest) };
    for simpler in simpler {
        let mut candidate = smallest.clone();
        simpler.apply(&mut candidate);
        if candidate != smallest && shows(judge, machine, signature, &candidate)?.is_some() {
            smallest = candidate;
        }
    }

    let runs = if is_lost { RUNS_OF_LOSS } else { RUNS };
    let mut shown = 0;
    for _ in 0..runs {
        if let Some(example) = shows(judge, machine, signature, &smallest)? {
            shown += 1;
            finding.example = example;
        }
    }
    finding.example.case = smallest;
    finding.shows = Some((shown, runs));
    Ok(())
}

/// A change that makes a case plainer.
struct Simpler {
    is_guest: bool,
    index: usize,
    keep: u64,
    set: u64,
}

impl Simpler {
    fn apply(&self, case: &mut NestedCase) {
        let entries =
            if self.is_guest { &mut case.guest_entries } else { &mut case.nested_entries };
        if let Some(TableEntry { value, .. }) = entries.get_mut(self.index) {
            *value = *value & self.keep | self.set;
        }
    }
}

/// For each entry: the value with only address and rights, then single bits.
fn simpler_values(case: &NestedCase) -> Vec<Simpler> {
    let is_ept = matches!(case.second, SecondLevel::Ept(_));
    let mut all = Vec::new();
    for (is_guest, entries) in [(true, &case.guest_entries), (false, &case.nested_entries)] {
        let keep = EntryBits::ADDRESS | EntryBits::PS.bits() | if is_ept { 0x438 } else { 0 };
        for (index, entry) in entries.iter().enumerate() {
            if entry.value & RIGHTS != 0 && (is_guest || entry.value & RIGHTS != 0x1) {
                all.push(Simpler { is_guest, index, keep, set: RIGHTS });
            }
            all.push(Simpler { is_guest, index, keep: !0, set: RIGHTS });
            for bit in [5, 6, 8, 9, 63] {
                all.push(Simpler { is_guest, index, keep: !(1 << bit), set: 0 });
            }
        }
    }
    all
}

/// Runs a case alone, and returns what differs if that has the signature.
fn shows(
    judge: Judge<'_>,
    machine: &mut dyn Machine,
    signature: &Signature,
    case: &NestedCase,
) -> Result<Option<Shown>, MachineError> {
    let attempt = run_alone(case, machine, judge.provenance)?;
    let Some(shown) = Shown::of(judge, case, &attempt) else { return Ok(None) };
    Ok((Signature::of(judge, &shown, &attempt) == *signature).then_some(shown))
}
