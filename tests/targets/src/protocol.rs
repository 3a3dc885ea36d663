//! What a hostile guest leaves in memory after a batch: records, tables, data frames, and anything else.
//! It is read back and judged without a panic, every case has one result, and afterwards the host's
//! memory is as before.
//!
//! Input: the use of the tables, the cases, and what the guest does ([`HostileMachine`]).

use crate::hostile::HostileMachine;
use crate::reader::Reader;
use crosswalk::verdict;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::batch::{Batch, Encoded};
use crosswalk_machine::{Machine, MachineError};
use mmu_core::{AccessKind, Reference, Ring, VirtAddr};
use std::cell::RefCell;

/// The most cases of a batch.
const MAX_CASES: usize = 4;

thread_local! {
    static HOST: RefCell<HostileMachine> = RefCell::new(HostileMachine::new());
}

/// Reads back a batch.
///
/// # Panics
/// When it is not read back as it must be.
pub fn protocol(input: &[u8]) {
    HOST.with_borrow_mut(|machine| {
        let mut input = Reader::new(input);
        let batch = batch(&mut input, machine);
        let cases = batch.cases.len();
        let arena = batch.arena;

        let encoded = Encoded::new(batch, machine.image(), machine.capabilities());
        machine.script = input.rest().to_vec();
        run(machine, encoded, cases);

        for lane in 0..MAX_CASES * 2 {
            let mut found = [0; 0x10];
            let first = arena.data_frames(lane);
            machine.memory().read(first, &mut found);
            assert!(
                (first..).zip(found).all(|(at, byte)| contents::byte(at) == byte),
                "lane {lane}"
            );
        }
    });
}

/// Plain cases, each changed a little.
fn batch(input: &mut Reader<'_>, machine: &HostileMachine) -> Batch {
    let table_use = input.pick(&TableUse::ALL);
    let choices = input.u8();
    let arena = Arena::for_batch(choices.into());
    let count = 1 + usize::from(choices >> 1) % MAX_CASES;
    let profile = machine.capabilities().profile;

    let cases = (0..count).map(|lane| {
        let change = input.u8();
        let ring = if change & 1 == 0 { Ring::Three } else { Ring::Zero };
        let mut case = Case::plain_with(table_use, arena, lane, ring, profile);
        if change & 2 != 0 {
            // The bytes cross a page.
            case.access.address = VirtAddr::new(case.access.address.get() | 0xffe);
        }
        if change & 4 != 0
            && case.access.kind == AccessKind::Read
            && let Some(entry) = case.entries.last_mut()
        {
            entry.value &= !1;
        }
        case
    });
    Batch { arena, cases: cases.collect() }
}

/// Runs the batch until the machine gives up no more, as a campaign does.
fn run(machine: &mut HostileMachine, mut encoded: Encoded, cases: usize) {
    loop {
        let command = encoded.write(machine.memory());
        let mut log = machine.run(command).expect("this machine does not fail");

        let Some((position, why)) = log.gave_up.take() else {
            let read = encoded.read_back(&log, machine.memory(), machine.provenance());
            encoded.restore(machine.memory());
            return judge(&encoded, read, cases);
        };
        encoded.restore(machine.memory());
        let Some(case) = encoded.case_at(position) else { return };
        encoded.leave_out(case, why, machine.image());
    }
}

fn judge(encoded: &Encoded, read: Result<Vec<Attempt>, MachineError>, cases: usize) {
    match read {
        Ok(attempts) => {
            assert_eq!(attempts.len(), cases);
            for (case, attempt) in encoded.batch.cases.iter().zip(&attempts) {
                let _ = verdict::judge(&Reference, case, attempt);
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}
