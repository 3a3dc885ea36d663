//! Unicorn: `vmem_translate`, the walk of the processor that it emulates. It is QEMU's of some years
//! ago.
//!
//! An access of ring 0 is judged whole, but for the error code. For ring 3 Unicorn cannot easily be
//! put into that ring, so only presence and reserved bits are claimed.

use crate::frames::contents;
use crate::memory::high_frames;
use crate::pages::{self, FoundPage, Said};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores};
use crosswalk_guest::layout::LOW_MEMORY_END;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, ControlState, Cr0, Cr4, Efer, Features, PagingMode, Ring, Vendor};
use std::fmt;
use unicorn_engine::{Arch, Mode, Prot, RegisterX86, Unicorn, X86CpuModel, uc_error};

const FRAME_SIZE: u64 = 0x1000;
/// What it takes for MAXPHYADDR, whatever the processor.
const PHYSICAL_ADDRESS_BITS: u8 = 40;
const EFER: u32 = 0xc000_0080;
const RFLAGS_AC: u64 = 1 << 18;

/// The candidate: a processor in long mode and one that never was there.
pub struct UnicornEngine {
    long: Unicorn<'static, ()>,
    legacy: Unicorn<'static, ()>,
}

impl fmt::Debug for UnicornEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnicornEngine").finish_non_exhaustive()
    }
}

fn failed(error: uc_error) -> String {
    format!("Unicorn: {error:?}")
}

impl UnicornEngine {
    /// Makes both processors.
    ///
    /// # Errors
    /// When Unicorn refuses.
    pub fn new() -> Result<Self, String> {
        Ok(Self { long: processor(Mode::MODE_64)?, legacy: processor(Mode::MODE_32)? })
    }

    fn say(&mut self, case: &Case) -> Said {
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
        let said = say(unicorn, case);
        for entry in contents(case) {
            unicorn.mem_write(entry.at, &[0; 8][..entry_bytes(case)]).map_err(failed)?;
        }
        for frame in high {
            unicorn.mem_unmap(frame, FRAME_SIZE).map_err(failed)?;
        }
        said
    }
}

impl Candidate for UnicornEngine {
    fn answer(&mut self, case: &Case) -> Answer {
        self.say(case).unwrap_or_else(Answer::Silent)
    }
}

/// A processor with as many features as Unicorn has.
fn processor(mode: Mode) -> Result<Unicorn<'static, ()>, String> {
    let mut unicorn = Unicorn::new(Arch::X86, mode).map_err(failed)?;
    unicorn.ctl_set_cpu_model(X86CpuModel::ICELAKE_SERVER as i32).map_err(failed)?;
    unicorn.mem_map(0, LOW_MEMORY_END, Prot::ALL).map_err(failed)?;
    Ok(unicorn)
}

/// Refuses cases that hang on a processor that Unicorn cannot be.
fn check_profile(case: &Case) -> Result<(), String> {
    let profile = case.profile;
    let from = profile.physical_address_bits.min(PHYSICAL_ADDRESS_BITS);
    let above = ((1 << 52) - 1) & !((1 << from) - 1);
    if profile.physical_address_bits != PHYSICAL_ADDRESS_BITS
        && contents(case).iter().any(|entry| entry.value & above != 0)
    {
        return Err("its processor has 40 physical address bits".into());
    }
    if !profile.features.contains(Features::PAGE_1GB) && pages::meets_1_gib(case) {
        return Err("its processor has 1 GiB pages".into());
    }
    if profile.vendor == Vendor::Amd && pages::meets(case, EntryBits::G, |level| level.number > 3) {
        return Err("its processor is Intel's, and ignores G in a PML4E (CODE-7)".into());
    }
    Ok(())
}

fn say(unicorn: &mut Unicorn<'static, ()>, case: &Case) -> Said {
    for entry in contents(case) {
        let bytes = entry.value.to_le_bytes();
        unicorn.mem_write(entry.at, &bytes[..entry_bytes(case)]).map_err(failed)?;
    }
    let judges = judges_rights(case);
    load(unicorn, &case.state, judges).map_err(failed)?;
    let protection = match case.access.kind {
        _ if !judges => Prot::READ,
        AccessKind::Read | AccessKind::Clflush => Prot::READ,
        AccessKind::Write | AccessKind::ReadModifyWrite => Prot::WRITE,
        AccessKind::Fetch => Prot::EXEC,
    };
    let mut ignores = Ignores::empty();
    ignores.set(Ignores::RIGHTS, !judges);
    // PAE's PDPTEs are checked when they are loaded, and it loads none.
    ignores.set(Ignores::ADDRESS, case.mode() == PagingMode::Pae);
    pages::answer(case, ignores, |address| match unicorn.vmem_translate(address, protection) {
        Ok(address) => Ok(FoundPage::Page { address, rights: None }),
        Err(uc_error::READ_PROT | uc_error::WRITE_PROT | uc_error::FETCH_PROT) => {
            Ok(FoundPage::Nothing)
        }
        Err(error) => Err(failed(error)),
    })
}

/// Whether Unicorn can make the access as it is.
fn judges_rights(case: &Case) -> bool {
    let unknown = Cr4::PKE | Cr4::PKS | Cr4::CET;
    case.access.ring == Ring::Zero
        && !case.access.implicit
        && !case.access.shadow_stack
        && !case.state.cr4.intersects(unknown)
}

/// Loads the control state; without what keeps the supervisor from reading, where its rights do not
/// matter.
fn load(
    unicorn: &mut Unicorn<'static, ()>,
    state: &ControlState,
    judges: bool,
) -> Result<(), uc_error> {
    let cr0 = state.cr0 & (Cr0::PE | Cr0::ET | Cr0::WP | Cr0::PG);
    let mut cr4 = state.cr4 & (Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::LA57);
    if judges {
        cr4 |= state.cr4 & (Cr4::SMEP | Cr4::SMAP);
    }
    let long = state.efer.contains(Efer::LMA);
    let mut efer = state.efer & Efer::NXE;
    efer.set(Efer::LME, long);
    let cr3 = match state.mode() {
        PagingMode::Pae | PagingMode::Bits32 => state.cr3 & 0xffff_ffe0,
        _ => state.cr3 & EntryBits::ADDRESS,
    };
    unicorn.reg_write(RegisterX86::CR0, (cr0 - Cr0::PG).bits())?;
    unicorn.reg_write(RegisterX86::CR4, cr4.bits())?;
    // The structure of C: the number, and after four bytes of nothing the value.
    let mut msr = [0; 16];
    msr[..4].copy_from_slice(&EFER.to_le_bytes());
    msr[8..].copy_from_slice(&efer.bits().to_le_bytes());
    unicorn.reg_write_long(RegisterX86::MSR, &msr)?;
    unicorn.reg_write(RegisterX86::CR3, cr3)?;
    unicorn.reg_write(RegisterX86::CR0, cr0.bits())?;
    let flags = 2 | if state.ac { RFLAGS_AC } else { 0 };
    unicorn.reg_write(RegisterX86::EFLAGS, flags)?;
    unicorn.ctl_flush_tlb()
}

fn entry_bytes(case: &Case) -> usize {
    crate::frames::entry_bytes(case) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::OUTSIDE;
    use crate::testing::{is_right, leaf, plain, silence, with_tables_everywhere, write};
    use mmu_core::Profile;

    fn candidate() -> UnicornEngine {
        UnicornEngine::new().expect("it is linked")
    }

    fn profile() -> Profile {
        Profile { physical_address_bits: PHYSICAL_ADDRESS_BITS, ..Profile::default() }
    }

    #[test]
    fn it_answers_in_every_mode_and_in_any_order() {
        let mut candidate = candidate();
        let there_and_back = PagingMode::ALL.into_iter().chain(PagingMode::ALL.into_iter().rev());
        for mode in there_and_back {
            for ring in [Ring::Zero, Ring::Three] {
                let mut case = write(mode);
                (case.profile, case.access.ring) = (profile(), ring);
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
    }

    #[test]
    fn rights_and_reserved_bits_of_the_supervisor() {
        let mut candidate = candidate();
        for entry in 0..4 {
            let mut case = write(PagingMode::FourLevel);
            (case.profile, case.access.ring) = (profile(), Ring::Zero);
            let mut reserved = case.clone();
            reserved.entries[entry].value |= 1 << 51;
            assert!(is_right(&mut candidate, &reserved), "entry {entry}");
            case.entries[entry].value &= !2;
            assert!(is_right(&mut candidate, &case), "entry {entry}");
            case.access.kind = AccessKind::Fetch;
            case.entries[entry].value |= 1 << 63;
            assert!(is_right(&mut candidate, &case), "entry {entry}");
        }
        let mut case = plain(PagingMode::FourLevel);
        (case.profile, case.access.ring) = (profile(), Ring::Zero);
        case.state.cr4 |= Cr4::SMAP;
        assert!(is_right(&mut candidate, &case));
        case.state.ac = true;
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn large_pages_and_high_addresses() {
        let mut candidate = candidate();
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            case.profile = profile();
            // P, W, U, PS, and PAT at bit 12, which is no address.
            leaf(&mut case, level, 0x34_4000_0000 | 0x1087);
            assert!(is_right(&mut candidate, &case), "level {level}");
        }
        let mut case = plain(PagingMode::FourLevel);
        case.profile = profile();
        case.entries[2].value = 0x3_4567_8007;
        case.entries[3].at = 0x3_4567_8000 + (case.entries[3].at & 0xfff);
        assert!(is_right(&mut candidate, &case));
    }

    #[test]
    fn tables_may_lie_anywhere() {
        let mut candidate = candidate();
        for mode in [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel] {
            for mut case in with_tables_everywhere(mode) {
                case.profile.physical_address_bits = 52;
                assert_eq!(silence(&mut candidate, &case), OUTSIDE);
            }
            let case = Case { profile: profile(), ..plain(mode) };
            assert!(is_right(&mut candidate, &case));
        }
    }
}
