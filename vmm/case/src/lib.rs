//! Cases and observations of address translation: what crosswalk tries on a machine, and what it sees
//! there. This crate needs no machine, so tools that generate, store or answer cases can use it alone.
//!
//! - [`Case`] is control state, table entries and one access, with a text form in JSON;
//! - [`observation`] is what a machine did with a case, and who decided it;
//! - [`protocol`] is how a walker in any language answers cases, one line for each;
//! - `lines`, with the feature of this name, are those of a corpus, compressed or not.
#![forbid(unsafe_code)]
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

mod action;
mod decimal;
mod hex;
mod instruction;
mod letter;
#[cfg(feature = "lines")]
pub mod lines;
mod memory;
pub mod observation;
mod plain;
pub mod protocol;
mod several;
mod size;
mod text;

pub use action::{AccessStep, Action, Invpcid};
pub use decimal::Decimal;
pub use hex::Hex;
pub use letter::is_obeyed;
pub use plain::{plain_state, shared_entries};
pub use several::{MAX_PARTS, Moved, Operands, SAVED_AREA, SAVED_REGISTERS};
pub use size::{CaseSize, UnusualBits, size_of_case};
pub use text::{CaseError, FullProfile};

use crosswalk_guest::stub::Form;
use crosswalk_guest::tables::TableUse;
use crosswalk_guest::{high, layout};
use mmu_core::{Access, ControlState, PagingMode, Profile};

/// One table entry of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Its physical address: a multiple of its size, which is 4 bytes in 32-bit paging, else 8.
    pub at: u64,
    /// Its value.
    pub value: u64,
}

/// One case: control state, table entries, and an access. With actions before the access it is a
/// *sequence*.
///
/// Entries that it does not list are 0, except PAE's PDPTEs: in memory they equal the registers that
/// were loaded from them.
///
/// ```
/// use crosswalk_case::Case;
/// use mmu_core::PagingMode;
///
/// let text = r#"{"mode":"4level",
///     "state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","efer":"0xd00"},
///     "entries":[{"address":"0x1000","value":"0x2007"}],
///     "access":{"kind":"read","address":"0x1234","size":8,"ring":3}}"#;
/// let case = Case::from_json(text)?;
/// assert_eq!(case.mode(), PagingMode::FourLevel);
/// assert_eq!(case.entries[0].value, 0x2007);
///
/// // The text form has every field, and reads back as the same case.
/// assert_eq!(Case::from_json(&case.to_json())?, case);
///
/// let error = Case::from_json(&text.replace("read", "peek")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"access.kind: expected one of read, write, rmw, fetch, clflush, found "peek""#
/// );
/// # Ok::<(), crosswalk_case::CaseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The processor that it is meant for.
    pub profile: Profile,
    /// The initial control registers.
    pub state: ControlState,
    /// The initial table entries, root first; each address occurs at most once.
    pub entries: Vec<TableEntry>,
    /// The actions before the access; most cases have none.
    pub before: Vec<Action>,
    /// The access.
    pub access: Access,
    /// The instruction that performs the access.
    pub form: Form,
    /// The value that the instruction stores or adds; the address of its source, if it has one.
    pub value: u64,
}

/// The bits of CR3 that are the address of the table of PDPTEs in PAE paging: 31:5 (MODE-8).
const PDPT_ADDRESS: u64 = 0xffff_ffe0;

impl Case {
    /// The paging mode that the control state selects.
    pub fn mode(&self) -> PagingMode {
        self.state.mode()
    }

    /// What decides how the case uses the tables of an arena.
    pub fn table_use(&self) -> TableUse {
        let mode = self.mode();
        TableUse { mode, compatibility: mode.is_long_mode() && self.access.compatibility }
    }

    /// Whether the linear address of the access has 64 bits: in long mode, but not in compatibility
    /// mode (MODE-1). Otherwise it has 32.
    pub fn has_64_bit_address(&self) -> bool {
        self.mode().is_long_mode() && self.access.has_64_bit_address()
    }

    /// Whether the first and the last byte of the access have canonical addresses. An address of 32
    /// bits always is.
    pub fn canonical_ends(&self) -> [bool; 2] {
        let bits = match self.mode() {
            _ if !self.has_64_bit_address() => return [true; 2],
            PagingMode::FiveLevel => 57,
            _ => 48,
        };
        [self.access.address, self.access.last_byte()].map(|byte| byte.is_canonical(bits))
    }

    /// The index of the PDPTE at a physical address, in PAE paging.
    pub fn pdpte_at(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(self.state.cr3 & PDPT_ADDRESS)?;
        let is_pdpte = self.mode() == PagingMode::Pae && offset < 4 * 8 && offset.is_multiple_of(8);
        is_pdpte.then_some(offset as usize / 8)
    }

    /// The data memory behind a physical address, on this case's processor
    /// (`crosswalk_guest::high`).
    pub fn data_behind(&self, address: u64) -> Option<u64> {
        high::data_behind(address, self.profile.physical_address_bits)
    }

    /// Whether there is neither data memory nor anything else at a physical address.
    pub fn is_outside(&self, address: u64) -> bool {
        layout::is_above_the_layout(address) && self.data_behind(address).is_none()
    }
}
