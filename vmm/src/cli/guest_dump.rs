//! A dump of the guest after a case, for `walk`, `maps`, and whatever else reads dumps.

use super::failure::Failure;
use super::output::replace_file;
use crate::report::{shell_word, within_line};
use crosswalk_case::Case;
use crosswalk_inspect::{CpuNote, DumpRange, write_dump};
use crosswalk_machine::Machine;
use mmu_core::{ControlState, VirtAddr};
use std::path::Path;

/// The L bit of a code segment, in the upper half of its descriptor (SDM "Segment Descriptors").
const CS_L: u32 = 1 << 21;

/// Writes the memory of a machine that has just run a case, with the registers of the case's last access. The tables
/// are as the machine left them; the data frames have their original contents again.
pub(super) fn write(path: &Path, machine: &dyn Machine, case: &Case) -> Result<String, Failure> {
    let state = last_state(case);
    let is_64_bit = state.mode().is_long_mode();
    let cpu = CpuNote {
        rip: 0,
        cs_flags: if is_64_bit { CS_L } else { 0 },
        cr0: state.cr0.bits(),
        cr3: state.cr3,
        cr4: state.cr4.bits(),
    };

    let memory = machine.memory();
    let ranges = memory.ranges_in_use().into_iter().map(|(start, len)| DumpRange { start, len });
    let ranges: Vec<_> = ranges.collect();
    let mut bytes = Vec::new();
    write_dump(&mut bytes, is_64_bit, &[cpu], &ranges, |at, bytes| memory.read(at, bytes))
        .map_err(|error| Failure::machine(format!("{}: {error}", path.display())))?;
    replace_file(path, &bytes)?;

    // One line, however long: people copy it into a shell.
    let (name, word) = (path.display().to_string(), shell_word(path));
    let (address, efer) = (walked_address(case), state.efer.bits());
    let name = within_line(&name);
    Ok(format!("dump      {name}: crosswalk walk {word} {address} --efer {efer:#x}\n"))
}

/// The address of a case's last access as it is walked: without the bits that are ignored outside long mode.
pub(super) fn walked_address(case: &Case) -> VirtAddr {
    let address = case.access.address;
    if last_state(case).mode().is_long_mode() { address } else { address.truncated(32) }
}

/// The registers that the last access of a case meets.
pub(super) fn last_state(case: &Case) -> ControlState {
    case.accesses().last().map_or(case.state, |last| last.state)
}
