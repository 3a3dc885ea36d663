//! Litmus tests on machines: several processors run the actions of a test at once, many times, each time with other
//! delays.
//!
//! A guest of its own does this: a loop for each processor, made for the test; a page of code in ring 0 for faults
//! and for what ring 3 cannot do. The files: `layout` says where everything is, `assembler` and `program` make the
//! loops, `service` what only ring 0 can do, `kernel` the code of ring 0, `image` puts all into memory; `on_kvm` and
//! `on_qemu` run it.

mod assembler;
mod image;
mod kernel;
mod layout;
mod on_kvm;
mod on_qemu;
mod program;
mod service;

pub use on_kvm::LitmusKvm;
pub use on_qemu::run_on_qemu;

use crate::MachineError;
use layout::{
    MAX_ITERATIONS, OBSERVED_SLOTS, RECORD_SIZE, RESULT_SIZE, RESULTS, RESULTS_SIZE, SLOTS,
};
use mmu_core::PagingMode;
use mmu_core::litmus::{Action, ActionResult, LitmusOutcome, LitmusTest};
use mmu_core::x86::profile::Features;
use mmu_core::x86::state::{Cr4, Efer};
use std::collections::BTreeMap;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The longest run of a test.
pub const MAX_LITMUS_ITERATIONS: u32 = MAX_ITERATIONS;

/// How often each outcome was seen.
pub type OutcomeCounts = BTreeMap<LitmusOutcome, SeenOutcome>;

/// How often an outcome was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenOutcome {
    /// How often.
    pub count: u64,
    /// In which iteration for the first time: the place of its delays in [`LitmusPlan::delays`].
    pub first: u32,
}

/// How a test is run.
#[derive(Clone, Debug)]
pub struct LitmusPlan {
    /// Each processor's delays before its first action, in turns of a loop, one for each time that the test is run.
    /// At most [`MAX_LITMUS_ITERATIONS`].
    pub delays: Vec<Vec<u32>>,
    /// How long a processor may take from one barrier to the next: from one part of an iteration to another, which
    /// takes microseconds, if the host has nothing else to do.
    pub patience: Duration,
}

impl LitmusPlan {
    fn iterations(&self) -> u32 {
        let shortest = self.delays.iter().map(Vec::len).min().unwrap_or(0);
        (shortest as u32).min(MAX_ITERATIONS)
    }
}

/// The word that stands for code in a frame: executed, it returns this number, and it is read as it is.
///
/// ```
/// use crosswalk_machine::litmus::{code_word, number_of};
/// assert_eq!(code_word(10).to_le_bytes(), [0xb8, 10, 0, 0, 0, 0x41, 0xff, 0xe3]); // mov eax, 10; jmp r11
/// assert_eq!(number_of(code_word(10)), Some(10));
/// ```
pub const fn code_word(number: u32) -> u64 {
    0xe3ff_4100_0000_00b8 | (number as u64) << 8
}

/// The number that a word returns when it is executed, if it is such a word.
pub const fn number_of(word: u64) -> Option<u32> {
    let number = (word >> 8) as u32;
    if word == code_word(number) { Some(number) } else { None }
}

/// Why a test cannot be run on a processor with these features, if it cannot.
pub fn why_not(test: &LitmusTest, features: Features) -> Option<String> {
    let actions: Vec<&Action> = test
        .programs
        .iter()
        .flat_map(|program| program.actions.iter().chain(&program.handler))
        .collect();
    let sets = |bit: Cr4| {
        let is_set =
            |action: &&&Action| matches!(action, Action::WriteCr4(cr4) if cr4.contains(bit));
        test.state.cr4.contains(bit) || actions.iter().any(|action| is_set(&action))
    };
    let lacks = |feature, name: &str| {
        (!features.contains(feature)).then(|| format!("its processor has no {name}"))
    };

    if test.programs.len() > 2 {
        return Some("it has more than two processors".into());
    }
    if test.state.mode() != PagingMode::FourLevel {
        return Some("the harness runs in 4-level paging".into());
    }
    let results = |actions: &[Action]| actions.iter().filter(|action| action.is_observed()).count();
    let most = test.programs.iter().map(|program| results(&program.actions)).max().unwrap_or(0);
    if most > SLOTS - OBSERVED_SLOTS || test.observed.len() > OBSERVED_SLOTS {
        return Some("it has more results than there is room for".into());
    }
    let uses_invpcid = actions.iter().any(|action| matches!(action, Action::Invpcid(..)));
    let needed = [
        (uses_invpcid, Features::INVPCID, "INVPCID"),
        (sets(Cr4::PCIDE), Features::PCID, "PCIDs"),
        (sets(Cr4::PKE), Features::PKU, "protection keys"),
        (sets(Cr4::SMEP), Features::SMEP, "SMEP"),
        (sets(Cr4::SMAP), Features::SMAP, "SMAP"),
    ];
    let lacking = needed.into_iter().filter(|(is_needed, ..)| *is_needed);
    if let Some(why) = lacking.into_iter().find_map(|(_, feature, name)| lacks(feature, name)) {
        return Some(why);
    }
    // The harness has key 0.
    let denies_key_0 =
        |action: &&Action| matches!(action, Action::WritePkru(pkru) if pkru & 3 != 0);
    if actions.iter().any(denies_key_0) {
        return Some("its PKRU denies key 0, which the harness has".into());
    }
    if test.state.efer.contains(Efer::TCE) {
        return Some("EFER.TCE is not set on machines yet".into());
    }
    None
}

/// Counts the outcomes in the guest's memory. What the guest wrote there is not trusted to mean anything.
fn counts(
    memory: &GuestMemoryMmap,
    test: &LitmusTest,
    iterations: u32,
) -> Result<OutcomeCounts, MachineError> {
    let mut counts = OutcomeCounts::new();
    let mut record = vec![0_u8; RECORD_SIZE as usize];
    for iteration in 0..iterations {
        let mut outcome = LitmusOutcome { results: Vec::new(), memory: Vec::new() };
        for (number, program) in test.programs.iter().enumerate() {
            let at = RESULTS + RESULTS_SIZE * number as u64 + RECORD_SIZE * u64::from(iteration);
            memory.read_slice(&mut record, GuestAddress(at)).map_err(MachineError::host_memory)?;
            let observed = program.actions.iter().filter(|action| action.is_observed());
            let results = observed.enumerate().map(|(slot, action)| result(&record, slot, action));
            outcome.results.push(results.collect());
            if number == 0 {
                let slots = (SLOTS - OBSERVED_SLOTS..).zip(&test.observed);
                outcome.memory =
                    slots.map(|(slot, bits)| word(&record, slot, 0) & bits.mask).collect();
            }
        }
        let first = SeenOutcome { count: 0, first: iteration };
        counts.entry(outcome).or_insert(first).count += 1;
    }
    Ok(counts)
}

/// A word of a record.
fn word(record: &[u8], slot: usize, part: usize) -> u64 {
    let at = slot * RESULT_SIZE as usize + 8 * part;
    record[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

/// The result of an action, as the model has it.
fn result(record: &[u8], slot: usize, action: &Action) -> ActionResult {
    let (value, code) = (word(record, slot, 0), word(record, slot, 1));
    if code != u64::MAX {
        return ActionResult::Fault(code as u32);
    }
    match action {
        Action::Write(..) => ActionResult::Wrote,
        Action::Fetch(_) => ActionResult::Value(code_word(value as u32)),
        _ => ActionResult::Value(value),
    }
}
