//! Unicorn: `vmem_translate`, the walk of the processor that it emulates. The code is from a QEMU of
//! some years ago.
//!
//! For ring 0 it claims everything but the error code. Unicorn cannot easily be put into ring 3, so
//! for accesses by ring 3 only presence and reserved bits are claimed.

use crate::frames::{FRAME_SIZE, contents};
use crate::memory::high_frames;
use crate::pages::{self, PageLookup, Reply};
use crate::reached;
use crate::registers::WalkRegisters;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use crosswalk_guest::layout::LOW_MEMORY_END;
use crosswalk_guest::tables;
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::{AccessKind, Cr0, Cr4, Efer, Features, PagingMode, Ring, Vendor};
use std::fmt;
use unicorn_engine::{Arch, Mode, Prot, RegisterX86, Unicorn, X86CpuModel, uc_error};

/// MAXPHYADDR of Unicorn's processors, whatever the model.
const PHYSICAL_ADDRESS_BITS: u8 = 40;
/// The number of the MSR `IA32_EFER`.
const EFER: u32 = 0xc000_0080;
const RFLAGS_ALWAYS_SET: u64 = 1 << 1;
const RFLAGS_AC: u64 = 1 << 18;

/// The candidate: one processor for long mode, and one that never enters it.
pub struct UnicornEngine {
    long: Unicorn<'static, ()>,
    legacy: Unicorn<'static, ()>,
}

impl fmt::Debug for UnicornEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnicornEngine").finish_non_exhaustive()
    }
}

impl UnicornEngine {
    /// Creates both processors.
    ///
    /// # Errors
    /// When Unicorn refuses.
    pub fn new() -> Result<Self, String> {
        Ok(Self { long: processor(Mode::MODE_64)?, legacy: processor(Mode::MODE_32)? })
    }

    fn try_answer(&mut self, case: &Case) -> Reply {
        pages::check(case, &PagingMode::ALL)?;
        pages::check_pdptes(case)?;
        pages::check_tables(case)?;
        check_profile(case)?;

        let is_long = case.state.efer.contains(Efer::LMA);
        let unicorn = if is_long { &mut self.long } else { &mut self.legacy };
        let high = high_frames(case);
        for frame in &high {
            unicorn.mem_map(*frame, FRAME_SIZE, Prot::ALL).map_err(failed)?;
        }

        let reply = translate(unicorn, case);

        let zeros = &[0; 8][..tables::entry_bytes(case.mode()) as usize];
        for entry in contents(case) {
            unicorn.mem_write(entry.at, zeros).map_err(failed)?;
        }
        for frame in high {
            unicorn.mem_unmap(frame, FRAME_SIZE).map_err(failed)?;
        }
        reply
    }
}

impl Candidate for UnicornEngine {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

fn failed(error: uc_error) -> String {
    format!("Unicorn: {error:?}")
}

/// A processor with every feature that Unicorn has.
fn processor(mode: Mode) -> Result<Unicorn<'static, ()>, String> {
    let mut unicorn = Unicorn::new(Arch::X86, mode).map_err(failed)?;
    unicorn.ctl_set_cpu_model(X86CpuModel::ICELAKE_SERVER as i32).map_err(failed)?;
    unicorn.mem_map(0, LOW_MEMORY_END, Prot::ALL).map_err(failed)?;
    Ok(unicorn)
}

/// Refuses cases that depend on a processor that Unicorn cannot emulate.
fn check_profile(case: &Case) -> Result<(), String> {
    let profile = case.profile;
    let from = profile.physical_address_bits.min(PHYSICAL_ADDRESS_BITS);
    let above = ((1 << 52) - 1) & !((1 << from) - 1);
    if profile.physical_address_bits != PHYSICAL_ADDRESS_BITS
        && contents(case).iter().any(|entry| entry.value & above != 0)
    {
        return Err("its processor has 40 physical address bits".into());
    }

    if !profile.features.contains(Features::PAGE_1GB) && reached::one_gib_page(case) {
        return Err("its processor has 1 GiB pages".into());
    }

    let is_pml4e_or_above = |level: &Level| level.number > 3;
    if profile.vendor == Vendor::Amd && reached::flag(case, EntryBits::G, is_pml4e_or_above) {
        return Err("its processor is Intel's, and ignores G in a PML4E (CODE-7)".into());
    }
    Ok(())
}

fn translate(unicorn: &mut Unicorn<'static, ()>, case: &Case) -> Reply {
    let bytes = tables::entry_bytes(case.mode()) as usize;
    for entry in contents(case) {
        unicorn.mem_write(entry.at, &entry.value.to_le_bytes()[..bytes]).map_err(failed)?;
    }

    let checks_rights = can_check_rights(case);
    load_registers(unicorn, case, checks_rights).map_err(failed)?;
    let protection = match case.access.kind {
        _ if !checks_rights => Prot::READ,
        AccessKind::Read | AccessKind::Clflush => Prot::READ,
        AccessKind::Write | AccessKind::ReadModifyWrite => Prot::WRITE,
        AccessKind::Fetch => Prot::EXEC,
    };

    let mut ignores = Ignores::empty();
    ignores.set(Ignores::RIGHTS, !checks_rights);
    // PAE's PDPTEs are checked when they are loaded, and Unicorn loads none.
    ignores.set(Ignores::ADDRESS, case.mode() == PagingMode::Pae);
    pages::answer(case, ignores, |address| match unicorn.vmem_translate(address, protection) {
        Ok(address) => Ok(PageLookup::Mapped { address, rights: None }),
        Err(uc_error::READ_PROT | uc_error::WRITE_PROT | uc_error::FETCH_PROT) => {
            Ok(PageLookup::NotMapped)
        }
        Err(error) => Err(failed(error)),
    })
}

/// Whether Unicorn can perform the access with the rights that it has in the case.
fn can_check_rights(case: &Case) -> bool {
    let unknown = Cr4::PKE | Cr4::PKS | Cr4::CET;
    case.access.ring == Ring::Zero
        && !case.access.implicit
        && !case.access.shadow_stack
        && !case.state.cr4.intersects(unknown)
}

/// Loads the control state and EFLAGS.AC. Where rights are not checked, it leaves out SMEP and SMAP,
/// which could deny the supervisor's read.
fn load_registers(
    unicorn: &mut Unicorn<'static, ()>,
    case: &Case,
    checks_rights: bool,
) -> Result<(), uc_error> {
    let WalkRegisters { cr0, cr3, mut cr4, efer } = WalkRegisters::of(&case.state);
    if checks_rights {
        cr4 |= case.state.cr4 & (Cr4::SMEP | Cr4::SMAP);
    }

    // Out of paging, and of long mode with it; then back in, which sets LMA.
    unicorn.reg_write(RegisterX86::CR0, (cr0 - Cr0::PG).bits())?;
    unicorn.reg_write(RegisterX86::CR4, cr4.bits())?;
    // The layout of C's uc_x86_msr: the number, four bytes of padding, the value.
    let mut msr = [0; 16];
    msr[..4].copy_from_slice(&EFER.to_le_bytes());
    msr[8..].copy_from_slice(&efer.bits().to_le_bytes());
    unicorn.reg_write_long(RegisterX86::MSR, &msr)?;
    unicorn.reg_write(RegisterX86::CR3, cr3)?;
    unicorn.reg_write(RegisterX86::CR0, cr0.bits())?;

    let ac = if case.access.ac { RFLAGS_AC } else { 0 };
    unicorn.reg_write(RegisterX86::EFLAGS, RFLAGS_ALWAYS_SET | ac)?;
    unicorn.ctl_flush_tlb()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, plain, set_entry,
        with_each_entry_absent, write,
    };
    use mmu_core::Profile;

    fn candidate() -> UnicornEngine {
        UnicornEngine::new().expect("Unicorn is linked in")
    }

    /// The processor that Unicorn emulates.
    fn profile() -> Profile {
        Profile { physical_address_bits: PHYSICAL_ADDRESS_BITS, ..Profile::default() }
    }

    #[test]
    fn it_answers_in_every_mode_and_in_any_order() {
        let mut candidate = candidate();
        let there_and_back = PagingMode::ALL.into_iter().chain(PagingMode::ALL.into_iter().rev());
        for mode in there_and_back {
            for ring in Ring::ALL {
                let mut case = write(mode);
                case.profile = profile();
                case.access.ring = ring;
                assert_right(&mut candidate, &case);
                for absent in with_each_entry_absent(&case) {
                    assert_right(&mut candidate, &absent);
                }
            }
        }
    }

    #[test]
    fn rights_and_reserved_bits_of_the_supervisor() {
        let mut candidate = candidate();
        for entry in 0..4 {
            let mut case = write(PagingMode::FourLevel);
            case.profile = profile();
            case.access.ring = Ring::Zero;

            let mut reserved = case.clone();
            reserved.entries[entry].value |= 1 << 51;
            assert_right(&mut candidate, &reserved);

            case.entries[entry].value &= !2;
            assert_right(&mut candidate, &case);
            case.access.kind = AccessKind::Fetch;
            case.entries[entry].value |= 1 << 63;
            assert_right(&mut candidate, &case);
        }

        let mut smap = plain(PagingMode::FourLevel);
        smap.profile = profile();
        smap.access.ring = Ring::Zero;
        smap.state.cr4 |= Cr4::SMAP;
        assert_right(&mut candidate, &smap);
        smap.access.ac = true;
        assert_right(&mut candidate, &smap);
    }

    #[test]
    fn large_pages_and_high_addresses() {
        let mut candidate = candidate();
        for level in [2, 3] {
            let mut large = plain(PagingMode::FourLevel);
            large.profile = profile();
            // P, W, U, PS, and PAT in bit 12, which is not part of the address.
            set_entry(&mut large, level, 0x34_4000_0000 | 0x1087);
            assert_right(&mut candidate, &large);
        }

        let mut high = plain(PagingMode::FourLevel);
        high.profile = profile();
        high.entries[2].value = 0x3_4567_8007;
        high.entries[3].at = 0x3_4567_8000 + (high.entries[3].at & 0xfff);
        assert_right(&mut candidate, &high);
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let mut candidate = candidate();
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            assert_notices_tables_outside_memory(&mut candidate, mode, |case| {
                case.profile = profile();
            });
        }
    }
}
