//! QEMU's monitor command `gva2gpa`: the walk by which its monitor and its debug stub read memory,
//! which is not the walk of the processor that it emulates.
//!
//! It looks whether entries are present and, in long mode, whether the address is canonical; not at
//! rights nor reserved bits. The virtual machine is never run.

mod gdb;
mod monitor;
mod process;

use crate::frames::contents;
use crate::memory::{erase, write};
use crate::pages::{self, FoundPage, Said};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use crosswalk_machine::qemu::installed_version;
use gdb::Register;
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode};
use process::{MEMORY_SIZE, MonitoredProcess};

/// What it does not look for.
const IGNORES: Ignores = Ignores::RESERVED.union(Ignores::RIGHTS);

/// QEMU, with one virtual machine that stands still.
#[derive(Debug)]
pub struct QemuGva2gpa {
    process: MonitoredProcess,
    loaded: Option<WalkRegisters>,
}

/// The control registers, as far as the walk hangs on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WalkRegisters {
    cr0: u64,
    cr3: u64,
    cr4: u64,
    /// Without LMA, which follows from the others.
    efer: u64,
}

/// The version of the QEMU that is installed.
pub fn version() -> String {
    installed_version().map_or_else(|_| "none".into(), |version| version.to_string())
}

impl QemuGva2gpa {
    /// Starts QEMU.
    ///
    /// # Errors
    /// When there is none or it cannot be used, and why.
    pub fn new() -> Result<Self, String> {
        installed_version().map_err(|error| error.to_string())?;
        let process =
            MonitoredProcess::start().map_err(|error| format!("QEMU cannot be used: {error}"))?;
        Ok(Self { process, loaded: None })
    }

    fn say(&mut self, case: &Case) -> Said {
        pages::check(case, &PagingMode::ALL)?;
        pages::check_pdptes(case)?;
        pages::check_tables(case)?;
        if contents(case).iter().any(|entry| entry.at >= MEMORY_SIZE) {
            return Err("it has entries past the memory of this machine".into());
        }
        write(self.process.memory(), case, |at| at)?;
        let said = self.translate(case);
        erase(self.process.memory(), case, |at| at)?;
        said
    }

    fn translate(&mut self, case: &Case) -> Said {
        self.load(&case.state)?;
        let mut ignores = IGNORES;
        // PAE's PDPTEs are checked when they are loaded, and it loads none.
        ignores.set(Ignores::ADDRESS, case.mode() == PagingMode::Pae);
        pages::answer(case, ignores, |address| {
            let said = self.process.monitor().command(&format!("gva2gpa {address:#x}"));
            let said = said.map_err(|error| format!("QEMU's monitor: {error}"))?;
            read(said.trim()).ok_or_else(|| format!("QEMU's monitor says {said:?}"))
        })
    }

    /// Loads the control state through the debug stub.
    fn load(&mut self, state: &ControlState) -> Result<(), String> {
        let wanted = WalkRegisters::of(state);
        if wanted.cr3 >> 32 != 0 {
            return Err("QEMU's debug stub takes 32 bits of CR3 outside 64-bit code".into());
        }
        let loaded = self.loaded.take();
        let gdb = self.process.gdb();
        let failed = |error: std::io::Error| format!("QEMU's debug stub: {error}");
        if loaded.map(|loaded| WalkRegisters { cr3: wanted.cr3, ..loaded }) == Some(wanted) {
            gdb.store(Register::Cr3, wanted.cr3).map_err(failed)?;
            self.loaded = Some(wanted);
            return Ok(());
        }
        // Out of paging, and of long mode with it; then back in, which sets LMA.
        for (register, value) in [
            (Register::Cr0, wanted.cr0 & !Cr0::PG.bits()),
            (Register::Cr4, wanted.cr4),
            (Register::Efer, wanted.efer),
            (Register::Cr3, wanted.cr3),
            (Register::Cr0, wanted.cr0),
        ] {
            gdb.store(register, value).map_err(failed)?;
        }
        let mut kept = |register| gdb.load(register).map_err(failed);
        let (cr0, cr4, efer) = (kept(Register::Cr0)?, kept(Register::Cr4)?, kept(Register::Efer)?);
        let is_long = Efer::from_bits_retain(efer).contains(Efer::LMA);
        let efer = efer & !Efer::LMA.bits();
        let kept = WalkRegisters { cr0, cr4, efer, ..wanted };
        if kept != wanted || is_long != state.efer.contains(Efer::LMA) {
            return Err(format!("QEMU does not keep the control state, but has {kept:x?}"));
        }
        self.loaded = Some(wanted);
        Ok(())
    }
}

impl WalkRegisters {
    fn of(state: &ControlState) -> Self {
        let cr0 = state.cr0 & (Cr0::PE | Cr0::ET | Cr0::WP | Cr0::PG);
        let cr4 = state.cr4 & (Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::LA57);
        // Outside long mode LME stays out, lest paging bring it in.
        let mut efer = state.efer & (Efer::LME | Efer::NXE);
        efer.set(Efer::LME, state.efer.contains(Efer::LMA));
        let cr3 = match state.mode() {
            PagingMode::Pae | PagingMode::Bits32 => state.cr3 & 0xffff_ffe0,
            _ => state.cr3 & mmu_core::x86::format::EntryBits::ADDRESS,
        };
        Self { cr0: cr0.bits(), cr3, cr4: cr4.bits(), efer: efer.bits() }
    }
}

/// What the command prints.
fn read(said: &str) -> Option<FoundPage> {
    if said == "Unmapped" {
        return Some(FoundPage::Nothing);
    }
    let address = u64::from_str_radix(said.strip_prefix("gpa: 0x")?, 16).ok()?;
    Some(FoundPage::Page { address, rights: None })
}

impl Candidate for QemuGva2gpa {
    fn answer(&mut self, case: &Case) -> Answer {
        self.say(case).unwrap_or_else(Answer::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::OUTSIDE;
    use crate::testing::{is_right, leaf, plain, silence, skip, with_tables_everywhere, write};
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
            assert!(is_right(&mut candidate, &case), "{mode}");
            for entry in 0..case.entries.len() {
                let mut absent = case.clone();
                absent.entries[entry].value &= !1;
                if let Some(pdpte) = case.pdpte_at(case.entries[entry].at) {
                    absent.state.pdptes[pdpte] &= !1;
                }
                assert!(is_right(&mut candidate, &absent), "{mode}, entry {entry}");
            }
        }
    }

    #[test]
    fn large_pages_and_high_addresses() {
        let Some(mut candidate) = candidate() else { return };
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS, and PAT at bit 12, which is no address.
            leaf(&mut case, level, 0x1234_4000_0000 | 0x1087);
            assert!(is_right(&mut candidate, &case), "level {level}");
        }
        let mut case = plain(PagingMode::FourLevel);
        case.entries[2].value = 0x3_4567_8007;
        case.entries[3].at = 0x3_4567_8000 + (case.entries[3].at & 0xfff);
        assert!(is_right(&mut candidate, &case));
        // The same page in the upper half.
        case.entries[0].at += 256 * 8;
        case.access.address = VirtAddr::new(case.access.address.get() | 0xffff_8000_0000_0000);
        assert!(is_right(&mut candidate, &case));
        case.access.address = VirtAddr::new(case.access.address.get() & !(1 << 50));
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn tables_may_lie_anywhere() {
        let Some(mut candidate) = candidate() else { return };
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            for mut case in with_tables_everywhere(mode) {
                case.profile.physical_address_bits = 52;
                assert_eq!(silence(&mut candidate, &case), OUTSIDE);
            }
            assert!(is_right(&mut candidate, &plain(mode)));
        }
    }

    #[test]
    fn when_qemu_is_gone_there_is_a_reason_and_no_answer() {
        let Some(mut candidate) = candidate() else { return };
        let case = plain(PagingMode::FourLevel);
        assert!(is_right(&mut candidate, &case));
        candidate.process.kill();
        assert!(silence(&mut candidate, &case).starts_with("QEMU's debug stub"));
    }
}
