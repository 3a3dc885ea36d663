//! memflow: its x86 architectures, through `VirtualTranslate::virt_to_phys`.
//!
//! It says where an address leads, and whether the page can be written and executed; not whether
//! user code may access it, nor whether reserved bits are set.

use crate::frames::{EntryFrames, OUTSIDE};
use crate::pages::{self, PageLookup, Reply};
use ::memflow::architecture::x86::{X86VirtualTranslate, x32, x32_pae, x64};
use ::memflow::cglue::{CTup2, CTup3};
use ::memflow::error::{Error, ErrorKind, ErrorOrigin};
use ::memflow::mem::mem_data::{PhysicalReadMemOps, PhysicalWriteMemOps, opt_call};
use ::memflow::mem::{
    DirectTranslate, PhysicalMemory, PhysicalMemoryMetadata, VirtualDma, VirtualTranslate,
};
use ::memflow::types::{Address, PageType};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate, Ignores, PageRights};
use mmu_core::{Cr4, PagingMode};
use std::fmt;

/// The version of the library.
pub const VERSION: &str = "0.2.4";

/// Bytes of scratch memory that the library's walk gets.
const SCRATCH: usize = 1 << 20;

/// The candidate.
pub struct Memflow {
    memory: VirtualDma<MemflowMemory, DirectTranslate, X86VirtualTranslate>,
}

impl fmt::Debug for Memflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memflow").finish_non_exhaustive()
    }
}

impl Default for Memflow {
    fn default() -> Self {
        let translator = x64::new_translator(Address::NULL);
        let scratch = DirectTranslate::with_capacity(SCRATCH);
        let memory = MemflowMemory(EntryFrames::default());
        Self { memory: VirtualDma::with_vat(memory, x64::ARCH, translator, scratch) }
    }
}

impl Candidate for Memflow {
    fn answer(&mut self, case: &Case) -> Answer {
        self.try_answer(case).unwrap_or_else(Answer::Silent)
    }
}

impl Memflow {
    fn try_answer(&mut self, case: &Case) -> Reply {
        pages::check(case, &[PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel])?;
        pages::check_pdptes(case)?;
        let translator = translator(case)?;
        if case.access.shadow_stack {
            return Err("it does not know shadow stacks".into());
        }

        self.memory.set_translator(translator);
        self.memory.phys_mem().0.load(case);

        let mut ignores = Ignores::RESERVED;
        // PAE's PDPTEs are checked when they are loaded, and the library loads none.
        ignores.set(Ignores::ADDRESS, case.mode() == PagingMode::Pae);
        pages::answer(case, ignores, |address| {
            let lookup = self.translate(address);
            let led_outside = self.memory.phys_mem_ref().0.led_outside();
            if led_outside { Err(OUTSIDE.into()) } else { Ok(lookup) }
        })
    }

    fn translate(&mut self, address: u64) -> PageLookup {
        let Ok(physical) = self.memory.virt_to_phys(Address::from(address)) else {
            return PageLookup::NotMapped;
        };

        let kind = physical.page_type();
        let rights = Some(PageRights {
            writable: Some(kind.contains(PageType::WRITEABLE)),
            user: None,
            executable: Some(!kind.contains(PageType::NOEXEC)),
        });
        PageLookup::Mapped { address: physical.address().to_umem(), rights }
    }
}

/// The library's translator for the case's mode and root table.
fn translator(case: &Case) -> Result<X86VirtualTranslate, String> {
    let root = Address::from(case.state.cr3);
    Ok(match case.mode() {
        PagingMode::Bits32 if !case.state.cr4.contains(Cr4::PSE) => {
            return Err("it has no setting for CR4.PSE=0".into());
        }
        PagingMode::Bits32 => x32::new_translator(root),
        PagingMode::Pae => x32_pae::new_translator(root),
        _ => x64::new_translator(root),
    })
}

/// Physical memory, as the library reads it.
struct MemflowMemory(EntryFrames);

impl PhysicalMemory for MemflowMemory {
    fn phys_read_raw_iter(
        &mut self,
        PhysicalReadMemOps { inp, mut out, .. }: PhysicalReadMemOps<'_, '_, '_, '_>,
    ) -> ::memflow::error::Result<()> {
        for CTup3(address, meta, mut data) in inp {
            self.0.read(address.to_umem(), &mut data);
            opt_call(out.as_deref_mut(), CTup2(meta, data));
        }
        Ok(())
    }

    fn phys_write_raw_iter(
        &mut self,
        _: PhysicalWriteMemOps<'_, '_, '_, '_>,
    ) -> ::memflow::error::Result<()> {
        Err(Error(ErrorOrigin::PhysicalMemory, ErrorKind::NotSupported))
    }

    fn metadata(&self) -> PhysicalMemoryMetadata {
        PhysicalMemoryMetadata {
            max_address: Address::from((1_u64 << 52) - 1),
            real_size: 1 << 52,
            readonly: true,
            ideal_batch_size: u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_notices_tables_outside_memory, assert_right, assert_wrong, plain, set_entry,
        silence, with_each_entry_absent, write,
    };
    use mmu_core::{AccessKind, Ring};

    const MODES: [PagingMode; 3] = [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel];

    #[test]
    fn present_and_absent_pages() {
        let mut candidate = Memflow::default();
        for mode in MODES {
            let mut case = write(mode);
            case.state.cr4 |= Cr4::PSE;
            assert_right(&mut candidate, &case);
            for absent in with_each_entry_absent(&case).into_iter().skip(1) {
                assert_right(&mut candidate, &absent);
            }
        }
    }

    #[test]
    fn nx_at_any_level_forbids_execution() {
        let mut candidate = Memflow::default();
        for entry in 0..4 {
            let mut case = plain(PagingMode::FourLevel);
            case.access.kind = AccessKind::Fetch;
            assert_right(&mut candidate, &case);
            case.entries[entry].value |= 1 << 63;
            assert_right(&mut candidate, &case);
        }
    }

    #[test]
    fn known_r_w_is_ored_over_the_levels() {
        let mut candidate = Memflow::default();
        for entry in 0..4 {
            // A supervisor write, which U/S does not affect.
            let mut case = write(PagingMode::FourLevel);
            case.access.ring = Ring::Zero;
            case.entries[entry].value &= !2;
            assert_wrong(&mut candidate, &case);
        }

        let mut read_only = write(PagingMode::FourLevel);
        read_only.entries.iter_mut().for_each(|entry| entry.value &= !2);
        assert_right(&mut candidate, &read_only);
    }

    #[test]
    fn known_the_pat_bit_stays_in_large_addresses() {
        let mut candidate = Memflow::default();
        for level in [2, 3] {
            let mut case = plain(PagingMode::FourLevel);
            // P, W, U, PS; then PAT in bit 12, which is not part of the address.
            set_entry(&mut case, level, 0x4000_0087);
            assert_right(&mut candidate, &case);
            set_entry(&mut case, level, 0x4000_1087);
            assert_wrong(&mut candidate, &case);
        }
    }

    #[test]
    fn known_pae_addresses_end_at_36_bits() {
        let mut candidate = Memflow::default();
        let mut case = plain(PagingMode::Pae);
        set_entry(&mut case, 1, 0x8_4000_0007);
        assert_right(&mut candidate, &case);
        set_entry(&mut case, 1, 0x18_4000_0007);
        assert_wrong(&mut candidate, &case);
    }

    #[test]
    fn tables_outside_memory_are_noticed() {
        let mut candidate = Memflow::default();
        for mode in MODES {
            assert_notices_tables_outside_memory(&mut candidate, mode, |case| {
                case.state.cr4 |= Cr4::PSE;
            });
        }
    }

    #[test]
    fn modes_that_the_library_has_no_setting_for_are_refused() {
        let mut candidate = Memflow::default();
        assert!(silence(&mut candidate, &plain(PagingMode::FiveLevel)).contains("mode"));
        assert!(silence(&mut candidate, &plain(PagingMode::Bits32)).contains("PSE"));
    }
}
