//! The virtual memory system in a hostile guest: whatever it answers to requests, and whatever it leaves
//! in memory, a scenario ends in a story.
//!
//! Input: the scenario, the mode, and for each request what the guest does ([`HostileMachine`]).

use crate::hostile::HostileMachine;
use crate::reader::Reader;
use crosswalk::scenario::{MachineSide, SCENARIOS, Setting, run_on};
use mmu_core::PagingMode;
use std::cell::RefCell;

thread_local! {
    static MACHINE: RefCell<HostileMachine> = RefCell::new(HostileMachine::new());
}

/// Runs a scenario.
///
/// # Panics
/// When it does not end as it must.
pub fn scenario(input: &[u8]) {
    MACHINE.with_borrow_mut(|machine| {
        let mut input = Reader::new(input);
        let names = SCENARIOS.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>();
        let name = input.pick(&names);
        let mode = input.pick(&PagingMode::ALL[1..]);
        machine.script = input.rest().to_vec();

        let side = MachineSide { machine, loose_pdptes: None };
        match run_on(side, name, Setting::new(mode)) {
            Some(Ok(story)) => {
                let comparison = story.comparison.expect("there is a machine");
                if let Some(divergence) = comparison.divergence {
                    let line = divergence.to_string();
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
            }
            Some(Err(error)) => {
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
            None => panic!("there is a scenario {name}, and {mode} has page tables"),
        }
    });
}
