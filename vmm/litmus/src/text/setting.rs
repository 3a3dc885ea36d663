//! What is there when a test begins: pages, tables, registers, the processors.

use super::entry;
use super::words::Words;
use crate::places::{Flag, Frame, Page, ROOT, Table};
use mmu_core::x86::profile::Features;
use mmu_core::x86::state::{ControlState, Cr0, Cr4, Efer};
use mmu_core::{PhysAddr, Profile, Vendor};
use std::collections::BTreeMap;

/// The setting of a test.
pub(super) struct Setting {
    /// The PTEs that are not 0, by their address.
    ptes: BTreeMap<u64, u64>,
    first_pde: u64,
    state: ControlState,
    vendor: Vendor,
    has_cet: bool,
    is_supervisor: bool,
    is_pae: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            ptes: BTreeMap::new(),
            first_pde: Table::FIRST.pde(),
            state: ControlState::four_level(ROOT),
            vendor: Vendor::Intel,
            has_cet: false,
            is_supervisor: false,
            is_pae: false,
        }
    }
}

impl Setting {
    /// Reads a line.
    pub(super) fn read(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        match words.next()? {
            "page" => {
                let page = words.page()?;
                let table = if words.skip("in") { words.table()? } else { Table::FIRST };
                words.expect("=")?;
                // A page may map the table of the first tree itself.
                let pte = if words.skip("table") {
                    Table::FIRST.address() | entry::flags(words)?.bits()
                } else {
                    entry::pte(words)?
                };
                self.ptes.insert(page.pte(table).get(), pte);
            }
            "pde" => {
                words.expect("=")?;
                self.first_pde = entry::pde(words)?;
            }
            "cr0" => self.state.cr0 = cr0(words, self.state.cr0)?,
            "cr4" => self.state.cr4 = cr4(words, self.state.cr4)?,
            "efer" => self.state.efer = efer(words, self.state.efer)?,
            "vendor" => {
                self.vendor = match words.next()? {
                    "intel" => Vendor::Intel,
                    "amd" => Vendor::Amd,
                    other => return Err(format!("expected intel or amd; found {other:?}")),
                }
            }
            "mode" => {
                words.expect("pae")?;
                self.is_pae = true;
            }
            "cet" => self.has_cet = true,
            "supervisor" => self.is_supervisor = true,
            other => {
                return Err(format!(
                    "expected page, pde, mode, cr0, cr4, efer, vendor, cet, supervisor, or the columns, which begin \
                     with P0; found {other:?}"
                ));
            }
        }
        words.end()
    }

    /// The control state at the beginning.
    pub(super) fn state(&self) -> ControlState {
        if !self.is_pae {
            return self.state;
        }
        let (pdpt, entry) = Table::first_pdpte();
        let ControlState { cr0, cr4, .. } = self.state;
        ControlState { cr0, cr4, ..ControlState::pae(pdpt, [self.pdpte(entry), 0, 0, 0]) }
    }

    /// A PDPTE in the mode of the test: with PAE paging it has no rights and no A.
    pub(super) const fn pdpte(&self, entry: u64) -> u64 {
        if self.is_pae { entry & !0x26 } else { entry }
    }

    /// The processors' vendor.
    pub(super) const fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// What the processors have.
    pub(super) fn profile(&self) -> Profile {
        let mut profile = Profile { features: Features::all(), ..Profile::default() };
        profile.features.set(Features::CET_SS, self.has_cet);
        profile
    }

    /// Whether accesses are made in ring 0.
    pub(super) const fn is_supervisor(&self) -> bool {
        self.is_supervisor
    }

    /// The root of a tree: of the first one, or of that above a table.
    pub(super) fn root(&self, words: &mut Words<'_>) -> Result<u64, String> {
        if words.skip("first") {
            return Ok(self.state().cr3);
        }
        if self.is_pae {
            Err("with PAE paging there is one tree".into())
        } else {
            Ok(words.table()?.tree()[0].0)
        }
    }

    /// Every word of memory.
    #[allow(clippy::arithmetic_side_effects, reason = "the addresses are those of the layout")]
    pub(super) fn memory(&self) -> Vec<(PhysAddr, u64)> {
        let mut memory = BTreeMap::new();
        for table in Table::all() {
            memory.extend(table.tree());
            for page in Page::all() {
                let at = page.pte(table).get();
                memory.insert(at, self.ptes.get(&at).copied().unwrap_or(0));
            }
        }
        memory.insert(Table::FIRST.place_of_pde().get(), self.first_pde);
        memory.extend([Table::second_pde()]);
        let (pdpt, pdpte) = Table::first_pdpte();
        memory.extend([(pdpt, self.pdpte(pdpte)), (pdpt + 8, 0), (pdpt + 16, 0), (pdpt + 24, 0)]);
        for frame in Frame::all() {
            memory.insert(frame.address(), frame.content());
            for page in Page::all() {
                memory.insert(frame.large_address() + page.address().get(), frame.content());
            }
        }
        memory.extend(Flag::all().map(|flag| (flag.at().get(), 0)));
        memory.into_iter().map(|(at, word)| (PhysAddr::new(at), word)).collect()
    }
}

/// A register with bits set (`+nxe`) and cleared (`-nxe`). In a setting a bit without a sign is set.
macro_rules! register_words {
    ($name:ident, $type:ident: $($word:literal => $bit:ident),+) => {
        pub(super) fn $name(words: &mut Words<'_>, mut value: $type) -> Result<$type, String> {
            while let Some(word) = words.optional() {
                let bit = match word.trim_start_matches(['+', '-']) {
                    $($word => $type::$bit,)+
                    _ => return Err(format!("expected {}; found {word:?}", [$($word),+].join(", "))),
                };
                value.set(bit, !word.starts_with('-'));
            }
            Ok(value)
        }
    };
}

register_words!(cr0, Cr0: "wp" => WP);
register_words!(cr4, Cr4: "pge" => PGE, "pcide" => PCIDE, "smep" => SMEP, "smap" => SMAP, "pke" => PKE);
register_words!(efer, Efer: "nxe" => NXE, "tce" => TCE);
