//! QEMU's monitor command `gva2gpa`: the walk by which its monitor and its debug stub read memory,
//! which is not the walk of the processor that it emulates.
//!
//! It checks whether entries are present and, in long mode, whether the address is canonical; it
//! checks neither rights nor reserved bits. The virtual machine never runs.

mod gdb;
mod monitor;
mod process;
mod program;

use crate::frames::contents;
use crate::memory::{erase, write};
use crate::pages::{self, PageLookup, Reply};
use crate::registers::WalkRegisters;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use gdb::{Gdb, Register};
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode};
use process::{MEMORY_SIZE, MonitoredProcess};
use program::installed_version;
use std::io;

/// The faults that it does not look for.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS);

/// QEMU, with a virtual machine that is stopped.
#[derive(Debug)]
pub struct QemuGva2gpa {
    process: MonitoredProcess,
    /// What the processor's registers hold; `None` when it is not known.
    loaded: Option<WalkRegisters>,
}

/// The version of the QEMU that is installed, or `none`.
pub fn version() -> String {
    installed_version().unwrap_or_else(|_| "none".into())
}

impl QemuGva2gpa {
    /// Starts QEMU.
    ///
    /// # Errors
    /// When there is no QEMU or it cannot be used; the error says why.
    pub fn new() -> Result<Self, String> {
        installed_version()?;
        let process =
            MonitoredProcess::start().map_err(|error| format!("QEMU cannot be used: {error}"))?;
        Ok(Self { process, loaded: None })
    }

    fn try_answer(&mut self, case: &Case) -> Reply {
        pages::check(case, &PagingMode::ALL)?;
        pages::check_pdptes(case)?;
        pages::check_tables(case)?;
        if contents(case).iter().any(|entry| entry.at >= MEMORY_SIZE) {
            return Err("it has entries past the memory of this machine".into());
        }

        write(self.process.memory(), case, |at| at)?;
        let reply = self.translate(case);
        erase(self.process.memory(), case, |at| at)?;
        reply
    }

    fn translate(&mut self, case: &Case) -> Reply {
        self.load(&case.state)?;

        let mut ignores = IGNORES;
        // PAE's PDPTEs are checked when they are loaded, and the command loads none.
        ignores.set(Ignores::ADDRESS, case.mode() == PagingMode::Pae);
        pages::answer(case, ignores, |address| {
            let printed = self
                .process
                .monitor()
                .command(&format!("gva2gpa {address:#x}"))
                .map_err(|error| format!("QEMU's monitor: {error}"))?;
            parse(printed.trim()).ok_or_else(|| format!("QEMU's monitor prints {printed:?}"))
        })
    }

    /// Loads the control state through the debug stub.
    fn load(&mut self, state: &ControlState) -> Result<(), String> {
        let wanted = WalkRegisters::of(state);
        if wanted.cr3 >> 32 != 0 {
            return Err("QEMU's debug stub takes 32 bits of CR3 outside 64-bit code".into());
        }

        let loaded = self.loaded.take();
        let only_cr3_differs =
            loaded.is_some_and(|loaded| WalkRegisters { cr3: wanted.cr3, ..loaded } == wanted);
        let gdb = self.process.gdb();
        if only_cr3_differs {
            by_stub(gdb.store(Register::Cr3, wanted.cr3))?;
        } else {
            store_all(gdb, &wanted)?;
            check_kept(gdb, &wanted)?;
        }

        self.loaded = Some(wanted);
        Ok(())
    }
}

/// Stores all registers: out of paging, and of long mode with it; then back in, which sets LMA.
fn store_all(gdb: &mut Gdb, wanted: &WalkRegisters) -> Result<(), String> {
    let WalkRegisters { cr0, cr3, cr4, efer } = wanted;
    for (register, value) in [
        (Register::Cr0, (*cr0 - Cr0::PG).bits()),
        (Register::Cr4, cr4.bits()),
        (Register::Efer, efer.bits()),
        (Register::Cr3, *cr3),
        (Register::Cr0, cr0.bits()),
    ] {
        by_stub(gdb.store(register, value))?;
    }
    Ok(())
}

/// Checks that QEMU has the registers that were stored, and is in long mode if they say so.
fn check_kept(gdb: &mut Gdb, wanted: &WalkRegisters) -> Result<(), String> {
    let mut load = |register| by_stub(gdb.load(register));
    let cr0 = load(Register::Cr0)?;
    let cr4 = load(Register::Cr4)?;
    let efer = Efer::from_bits_retain(load(Register::Efer)?);

    let kept = WalkRegisters {
        cr0: Cr0::from_bits_retain(cr0),
        cr3: wanted.cr3,
        cr4: Cr4::from_bits_retain(cr4),
        efer: efer - Efer::LMA,
    };
    if kept != *wanted || efer.contains(Efer::LMA) != wanted.efer.contains(Efer::LME) {
        return Err(format!("QEMU does not keep the control state, but has {kept:x?}"));
    }
    Ok(())
}

/// A result of the debug stub, with errors as reasons for no answer.
fn by_stub<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("QEMU's debug stub: {error}"))
}

/// Reads what the command prints.
fn parse(printed: &str) -> Option<PageLookup> {
    if printed == "Unmapped" {
        return Some(PageLookup::NotMapped);
    }
    let address = u64::from_str_radix(printed.strip_prefix("gpa: 0x")?, 16).ok()?;
    Some(PageLookup::Mapped { address, rights: None })
}

impl Candidate for QemuGva2gpa {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, plain, set_entry, silence,
        with_each_entry_absent, write,
    };
    use crosswalk_test_support::skip;
    use mmu_core::VirtAddr;

    /// The candidate, unless there is no QEMU here.
    fn candidate() -> Option<QemuGva2gpa> {
        QemuGva2gpa::new().map_err(|why| skip("qemu", &why)).ok()
    }

    #[test]
    fn it_answers_in_every_mode_and_in_any_order() {
        let Some(mut candidate) = candidate() else { return };
        let there_and_back = PagingMode::ALL.into_iter().chain(PagingMode::ALL.into_iter().rev());
        for mode in there_and_back {
            let case = write(mode);
            assert_right(&mut candidate, &case);
            for absent in with_each_entry_absent(&case) {
                assert_right(&mut candidate, &absent);
            }
        }
    }

    #[test]
    fn large_pages_and_high_addresses() {
        let Some(mut candidate) = candidate() else { return };
        for level in [2, 3] {
            let mut large = plain(PagingMode::FourLevel);
            // P, W, U, PS, and PAT in bit 12, which is not part of the address.
            set_entry(&mut large, level, 0x1234_4000_0000 | 0x1087);
            assert_right(&mut candidate, &large);
        }

        let mut case = plain(PagingMode::FourLevel);
        case.entries[2].value = 0x3_4567_8007;
        case.entries[3].at = 0x3_4567_8000 + (case.entries[3].at & 0xfff);
        assert_right(&mut candidate, &case);

        // The same page in the upper half, then at an address that is not canonical.
        case.entries[0].at += 256 * 8;
        case.access.address = VirtAddr::new(case.access.address.get() | 0xffff_8000_0000_0000);
        assert_right(&mut candidate, &case);
        case.access.address = VirtAddr::new(case.access.address.get() & !(1 << 50));
        assert_right(&mut candidate, &case);
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let Some(mut candidate) = candidate() else { return };
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            assert_notices_tables_outside_memory(&mut candidate, mode, |_| ());
        }
    }

    #[test]
    fn once_qemu_has_ended_there_is_a_reason_and_no_answer() {
        let Some(mut candidate) = candidate() else { return };
        let case = plain(PagingMode::FourLevel);
        assert_right(&mut candidate, &case);
        candidate.process.kill();
        assert!(silence(&mut candidate, &case).starts_with("QEMU's debug stub"));
    }
}
