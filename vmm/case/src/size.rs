//! How complicated a case is: what shrinking minimises.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "counts of bits, and numbers of PDPTEs"
)]

use crate::{AccessStep, Action, Case, TableEntry};
use arrayvec::ArrayVec;
use mmu_core::walk::{Step, Trace};
use mmu_core::x86::format::{EntryBits, EntryKind, MAX_LEVELS};
use mmu_core::{AnyMmu, Cr0, Cr4, PagingMode, Ring, Rule, Segment};

/// How complicated a case is. The fields are compared in order, so the first that differs decides.
///
/// ```
/// use crosswalk_case::{Case, size_of_case};
/// use crosswalk_guest::layout::Arena;
/// use mmu_core::{Profile, Ring};
///
/// let plain = Case::plain(Arena::ALL[0], 0, Ring::Three, Profile::default());
/// let mut read_only = plain.clone();
/// read_only.entries[3].value &= !2;
/// assert_eq!(size_of_case(&read_only).unusual_bits, 1);
/// assert!(size_of_case(&plain) < size_of_case(&read_only));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseSize {
    /// Number of actions before the access.
    pub actions: usize,
    /// How complicated these are, all together: accesses like the last one of a case, stores of a table
    /// entry by the bits that they change and by the entries below it, and the others by whether they
    /// are about the access.
    pub steps: u32,
    /// [`Case::unusual_bits`].
    pub unusual_bits: u32,
    /// Whether the access touches two pages.
    pub crosses_page: bool,
    /// Number of entries that the case lists.
    pub entries: usize,
    /// Number of optional features of the control state in use, plus the rank of the access kind, from
    /// 0 for a read.
    pub control: u32,
    /// Bytes that the access touches.
    pub access_bytes: u16,
}

/// The bits of a case that are not those of a plain one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnusualBits {
    /// Of each entry on the path: its level, 1 for the last, and its unusual bits.
    pub entries: ArrayVec<(u8, u64), { 2 * MAX_LEVELS }>,
    /// The number of those that are in no entry on the path.
    pub elsewhere: u32,
}

impl UnusualBits {
    /// Their number.
    pub fn count(&self) -> u32 {
        let in_entries = self.entries.iter().map(|(_, bits)| bits.count_ones()).sum::<u32>();
        self.elsewhere + in_entries
    }
}

/// The size of a case.
pub fn size_of_case(case: &Case) -> CaseSize {
    let state = &case.state;
    let keys_and_cet = Cr4::PKE | Cr4::PKS | Cr4::CET;
    let optional = Cr4::PSE | Cr4::PGE | Cr4::PCIDE | Cr4::SMEP | Cr4::SMAP | keys_and_cet;
    let features_in_use = (state.cr4 & optional).bits().count_ones()
        + u32::from(state.pkru != 0)
        + u32::from(state.pkrs != 0)
        + u32::from(case.access.ac)
        + u32::from(!state.cr0.contains(Cr0::WP))
        + u32::from(state.cr0.contains(Cr0::AM));

    CaseSize {
        actions: case.before.len(),
        steps: case.before.iter().map(|action| steps_of(action, case)).sum(),
        unusual_bits: case.unusual_bits(),
        crosses_page: case.access.crosses_page(),
        entries: case.entries.len(),
        control: features_in_use + case.access.kind as u32,
        access_bytes: case.access.size,
    }
}

/// How complicated an action before the access is.
fn steps_of(action: &Action, case: &Case) -> u32 {
    match action {
        Action::Access(AccessStep { access, .. }) => {
            access.kind as u32
                + u32::from(access.size.max(1)).ilog2()
                + u32::from(access.ring == Ring::Zero)
                + u32::from(access.crosses_page())
                + u32::from(access.segment != Segment::Data)
                + u32::from(access.ac)
        }
        Action::Write(TableEntry { at, value }) => {
            let mut from_it = case.entries.iter().skip_while(|entry| entry.at != *at);
            let initial = from_it.next().map_or(0, |entry| entry.value);
            (initial ^ value).count_ones() + from_it.count() as u32
        }
        Action::Invlpg(address) => u32::from(*address != case.access.address),
        Action::Pkru(pkru) => pkru.count_ones(),
        Action::Invpcid(_) => 2,
        Action::Mov(mov) => 1 + (mov.value() ^ mov.register_in(&case.state)).count_ones(),
        Action::ReloadCr3 | Action::WriteProtect(_) => 1,
    }
}

/// The entries on the paths of one or two walks, each once.
#[derive(Default)]
struct EntriesOnPath(ArrayVec<Step, { 2 * MAX_LEVELS }>);

impl Trace for EntriesOnPath {
    const WANTED: bool = false;

    fn step(&mut self, step: Step) {
        if self.0.iter().all(|known| known.at != step.at) {
            let _ = self.0.try_push(step);
        }
    }

    fn rule(&mut self, _rule: Rule) {}
}

impl Case {
    /// The number of bits in which the entries on the path differ from a plain mapping: one that is
    /// present, writable and accessible to user code at every level, with every other flag 0.
    ///
    /// A, D and addresses do not count. PS counts where no page of that size exists. An address that
    /// is not canonical counts as one bit. In PAE's PDPTEs everything but P and the address counts;
    /// each PDPTE whose memory differs from its register counts as one bit.
    pub fn unusual_bits(&self) -> u32 {
        self.unusual().count()
    }

    /// The unusual bits, by the entries that have them.
    pub fn unusual(&self) -> UnusualBits {
        let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        let uncounted = (EntryBits::A | EntryBits::D).bits();
        let is_canonical = self.canonical_ends() == [true; 2];

        let unusual = |step: &Step| {
            let (expected, ignored) =
                if step.level.has_flags { (plain, uncounted) } else { (EntryBits::P.bits(), 0) };
            let counted = !ignored & !self.address_field(step);
            (step.level.number, (step.entry ^ expected) & counted)
        };
        UnusualBits {
            entries: self.entries_on_path().0.iter().map(unusual).collect(),
            elsewhere: u32::from(!is_canonical) + self.edited_pdptes(),
        }
    }

    /// The number of PAE's PDPTEs whose listed entry differs from the register.
    fn edited_pdptes(&self) -> u32 {
        let edited = self.entries.iter().filter(|entry| {
            self.pdpte_at(entry.at).is_some_and(|pdpte| self.state.pdptes[pdpte] != entry.value)
        });
        edited.count() as u32
    }

    /// The entries that the walks for the access read.
    fn entries_on_path(&self) -> EntriesOnPath {
        let width = if self.has_64_bit_address() { 64 } else { 32 };
        let last = self.access.crosses_page().then(|| self.access.last_byte());
        let mmu = AnyMmu::new(self.state, self.profile);

        let mut entries = EntriesOnPath::default();
        for address in [Some(self.access.address), last].into_iter().flatten() {
            // A walk that faults has a path, too.
            let _ = mmu.walk(self, address.truncated(width), &self.access, &mut entries);
        }
        entries
    }

    /// The bits of an entry that hold its address, and PS where it makes the entry a large leaf.
    fn address_field(&self, step: &Step) -> u64 {
        /// Bits 20:13 of a 4 MiB leaf, which are address bits 39:32 (MODE-5).
        const PSE_36: u64 = 0x001f_e000;

        let field = EntryBits::ADDRESS & !self.profile.bits_above_physical();
        if step.kind != EntryKind::Leaf || step.level.number == 1 {
            return field;
        }

        let large = field & !((1 << step.level.shift) - 1) | EntryBits::PS.bits();
        let uses_pse_36 = self.mode() == PagingMode::Bits32 && step.target.get() >> 32 != 0;
        if uses_pse_36 { large | PSE_36 } else { large }
    }
}
