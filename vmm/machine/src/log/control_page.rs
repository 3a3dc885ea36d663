//! The control page in a log: what the processor says that it is.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use super::reader::{LogError, LogItem, LogReader};
use crate::capabilities::profile_of;
use crate::host;
use crate::virtualization::Virtualization;
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control, PROBE_LIMIT};
use crosswalk_guest::tape::payload::HYPERVISOR_LEAF;
use crosswalk_guest::tape::words::take_word;
use mmu_core::{PagingMode, Profile};
use std::io::BufRead;
use zerocopy::FromBytes;

/// What a log says about the processor on which it was written.
#[derive(Clone, Copy, Debug)]
pub struct LogProcessor(Control);

/// Size of the control page in words.
const PAGE_WORDS: usize = 0x400;

impl LogProcessor {
    /// Reads the control page, which follows the head.
    ///
    /// # Errors
    /// If it is missing or damaged, or the guest failed its self-test.
    pub fn read<R: BufRead>(reader: &mut LogReader<R>) -> Result<Self, LogError> {
        let missing = "the log ends before what it says about the processor";
        let LogItem::Changes { number: 0, bytes, .. } = reader.next_item()? else {
            return Err(reader.error(missing));
        };

        let mut page = vec![0_u32; PAGE_WORDS];
        let mut rest = bytes.as_slice();
        let mut index = 0;
        let damaged = |problem: &str| {
            reader.error(format!("what the log says about the processor is damaged: {problem}"))
        };
        while let Some((place, word)) =
            take_word(&mut rest, &mut index).map_err(|_| damaged("bad words"))?
        {
            let place = page.get_mut(place as usize).ok_or_else(|| damaged("too many words"))?;
            *place = word;
        }

        let page: Vec<u8> = page.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (control, _) = Control::read_from_prefix(&page).map_err(|_| damaged("too short"))?;
        let right = control.modes_walked;
        // A player in 32-bit code has no compiled code to test.
        let is_tested = control.flat_return == 0;
        if is_tested && right != PagingMode::ALL.len() as u64 {
            let problem = format!(
                "the guest failed its self-test: its reference walk is right in {right} of 5 modes"
            );
            return Err(reader.error(problem));
        }
        Ok(Self(control))
    }

    /// The processor, by its CPUID.
    pub fn profile(&self) -> Profile {
        profile_of(|leaf, subleaf| self.leaf(leaf, subleaf))
    }

    /// The name of the processor.
    pub fn name(&self) -> String {
        let brand = (0x8000_0002..=0x8000_0004).filter_map(|number| self.leaf(number, 0));
        host::text_of(&brand.flatten().collect::<Vec<u32>>())
    }

    /// The name of the hypervisor or emulator that shows itself, if one does: `tcg`, `kvm`, ...
    pub fn hypervisor(&self) -> Option<String> {
        let [_, _, features, _] = self.leaf(1, 0)?;
        let [_, signature @ ..] = self.entry(HYPERVISOR_LEAF, 0)?;
        (features >> 31 != 0).then(|| host::name_of_hypervisor(&host::text_of(&signature)))
    }

    /// Whether the guest's descriptor probe found its own descriptor.
    ///
    /// # Errors
    /// If it did not: what that means.
    pub fn implicit_accesses(&self) -> Result<(), String> {
        if self.0.descriptor_limit == u64::from(PROBE_LIMIT) {
            return Ok(());
        }
        Err("a descriptor read in ring 3 did not use the guest's own table".into())
    }

    /// Whether the processor has a paging mode.
    pub fn has_mode(&self, mode: PagingMode) -> bool {
        let [.., standard] = self.leaf(1, 0).unwrap_or_default();
        let [.., structured, _] = self.leaf(7, 0).unwrap_or_default();
        let [.., extended] = self.leaf(0x8000_0001, 0).unwrap_or_default();
        match mode {
            PagingMode::Unpaged | PagingMode::Bits32 => true,
            PagingMode::Pae => standard >> 6 & 1 != 0,
            PagingMode::FourLevel => extended >> 29 & 1 != 0,
            PagingMode::FiveLevel => structured >> 16 & 1 != 0,
            PagingMode::Linear => false,
        }
    }

    /// With what the processor can run guests.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn virtualization(&self) -> Result<Virtualization, String> {
        Virtualization::detect(|leaf, subleaf| self.leaf(leaf, subleaf), &self.0.vmx_msrs)
    }

    /// Whether the processor has CLFLUSH.
    pub fn has_clflush(&self) -> bool {
        self.leaf(1, 0).is_some_and(|[_, _, _, edx]| edx >> 19 & 1 != 0)
    }

    /// The registers of a leaf; `None` above the highest, where CPUID returns those of another leaf.
    fn leaf(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        let [highest, ..] = self.entry(leaf & 0x8000_0000, 0)?;
        self.entry(leaf, subleaf).filter(|_| leaf <= highest)
    }

    fn entry(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        let index = CPUID_LEAVES.iter().position(|known| *known == (leaf, subleaf))?;
        self.0.cpuid.get(index).copied()
    }
}
