//! A second implementation of 32-bit and PAE paging, written from the prose of the manual alone and
//! compared with the walk on random entries. It uses none of the crate's formats and rules:
//! registers are numbers, and every sentence of the manual is a line (SDM "32-Bit Paging", "PAE
//! Paging", "Determination of Access Rights", "Page-Fault Exceptions", "Accessed and Dirty Flags").

use super::{access_to_one_page, vendor as any_vendor};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Outcome;
use crate::walk::Mmu;
use crate::walk::tests::state_of;
use crate::x86::format::{Bits32, Format, Pae};
use crate::x86::profile::{Features, Profile, Vendor};
use crate::x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};
use proptest::prelude::*;

const fn bit(value: u64, number: u32) -> bool {
    value >> number & 1 == 1
}

/// The bits `high` to `low` of a value.
const fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & ((1 << (high - low + 1)) - 1)
}

/// The outcome of an access: the physical address, and whether D is set in the entry that maps the
/// page; or the error code.
type OracleOutcome = Result<(u64, bool), u32>;

/// The processor and the registers as numbers, and the access.
struct Given<'a> {
    cr0: u64,
    cr4: u64,
    efer: u64,
    maxphyaddr: u32,
    pse36: bool,
    pat: bool,
    access: &'a Access,
}

impl Given<'_> {
    fn new<'a>(state: &ControlState, profile: &Profile, access: &'a Access) -> Given<'a> {
        Given {
            cr0: state.cr0.bits(),
            cr4: state.cr4.bits(),
            efer: state.efer.bits(),
            maxphyaddr: profile.physical_address_bits.into(),
            pse36: profile.features.contains(Features::PSE36),
            pat: profile.features.contains(Features::PAT),
            access,
        }
    }

    fn user_mode(&self) -> bool {
        self.access.ring == Ring::Three && !self.access.implicit
    }

    fn writes(&self) -> bool {
        matches!(self.access.kind, AccessKind::Write | AccessKind::ReadModifyWrite)
    }

    fn fetches(&self) -> bool {
        self.access.kind == AccessKind::Fetch
    }

    /// "Page-Fault Exceptions": the error code.
    fn code(&self, present: bool, reserved: bool) -> u32 {
        let smep = bit(self.cr4, 20);
        let pae_and_nxe = bit(self.cr4, 5) && bit(self.efer, 11);

        u32::from(present)
            | u32::from(self.writes()) << 1
            | u32::from(self.user_mode()) << 2
            | u32::from(reserved) << 3
            | u32::from(self.fetches() && (smep || pae_and_nxe)) << 4
    }

    /// "Determination of Access Rights", given the entries that have rights.
    fn permitted(&self, entries: &[u64]) -> bool {
        let user_address = entries.iter().all(|entry| bit(*entry, 2));
        let writable = entries.iter().all(|entry| bit(*entry, 1));
        let no_code = bit(self.efer, 11) && entries.iter().any(|entry| bit(*entry, 63));
        let wp = bit(self.cr0, 16);
        let execution_prevention = bit(self.cr4, 20);
        let access_prevention = bit(self.cr4, 21);

        if self.user_mode() {
            user_address && (!self.writes() || writable) && (!self.fetches() || !no_code)
        } else if self.fetches() {
            let denied = execution_prevention && user_address;
            !denied && !no_code
        } else {
            let denied =
                access_prevention && user_address && (self.access.implicit || !self.access.ac);
            !denied && (!self.writes() || writable || !wp)
        }
    }

    /// The outcome of an access to the page at this address, given the entries that have rights.
    fn outcome(&self, entries: &[u64], address: u64) -> OracleOutcome {
        if self.permitted(entries) {
            Ok((address, self.writes()))
        } else {
            Err(self.code(true, false))
        }
    }
}

/// "32-Bit Paging": entries of four bytes.
fn outcome_in_32_bit_paging(given: &Given<'_>, linear: u64, pde: u64, pte: u64) -> OracleOutcome {
    let pse = bit(given.cr4, 4);

    if !bit(pde, 0) {
        return Err(given.code(false, false));
    }
    if pse && bit(pde, 7) {
        return outcome_of_4_mib_page(given, linear, pde);
    }

    if !bit(pte, 0) {
        return Err(given.code(false, false));
    }

    // "If the PAT is not supported ... bit 7 is reserved."
    if pse && !given.pat && bit(pte, 7) {
        return Err(given.code(true, true));
    }

    given.outcome(&[pde, pte], bits(pte, 31, 12) << 12 | bits(linear, 11, 0))
}

fn outcome_of_4_mib_page(given: &Given<'_>, linear: u64, pde: u64) -> OracleOutcome {
    // "If the PSE-36 mechanism is not supported, bits 21:13 are reserved"; if it is, bits
    // 21:(M-19), where M is the minimum of 40 and MAXPHYADDR.
    let m = given.maxphyaddr.min(40);
    let lowest_reserved = if given.pse36 { m - 19 } else { 13 };

    // "If the PAT is not supported ... bit 12 is reserved."
    let pat_is_reserved = !given.pat && bit(pde, 12);
    if bits(pde, 21, lowest_reserved) != 0 || pat_is_reserved {
        return Err(given.code(true, true));
    }

    // "Bits 39:32 are bits 20:13 of the PDE; bits 31:22 are bits 31:22; bits 21:0 are from the
    // original linear address."
    let address = bits(pde, 20, 13) << 32 | bits(pde, 31, 22) << 22 | bits(linear, 21, 0);
    given.outcome(&[pde], address)
}

/// "PAE Paging": entries of eight bytes.
fn outcome_in_pae_paging(
    given: &Given<'_>,
    linear: u64,
    pdpte: u64,
    pde: u64,
    pte: u64,
) -> OracleOutcome {
    let nxe = bit(given.efer, 11);
    // "If the P flag of a PDE or a PTE is 1, bits 62:MAXPHYADDR are reserved; if IA32_EFER.NXE = 0,
    // the XD flag is reserved."
    let malformed = |entry: u64| bits(entry, 62, given.maxphyaddr) != 0 || (!nxe && bit(entry, 63));

    if !bit(pdpte, 0) || !bit(pde, 0) {
        return Err(given.code(false, false));
    }

    if bit(pde, 7) {
        // "If the P flag and the PS flag of a PDE are both 1, bits 20:13 are reserved."
        // "If the PAT is not supported ... bit 12 is reserved."
        if malformed(pde) || bits(pde, 20, 13) != 0 || (!given.pat && bit(pde, 12)) {
            return Err(given.code(true, true));
        }
        return given.outcome(&[pde], bits(pde, 51, 21) << 21 | bits(linear, 20, 0));
    }

    if malformed(pde) {
        return Err(given.code(true, true));
    }

    if !bit(pte, 0) {
        return Err(given.code(false, false));
    }

    // "If the PAT is not supported ... bit 7 is reserved."
    if malformed(pte) || (!given.pat && bit(pte, 7)) {
        return Err(given.code(true, true));
    }

    given.outcome(&[pde, pte], bits(pte, 51, 12) << 12 | bits(linear, 11, 0))
}

/// Memory in which every frame has the PTE in slot 1 and the PDE in slot 2.
struct TwoSlots {
    pte: u64,
    pde: u64,
}

impl TableMemory for TwoSlots {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        match at.get() % 0x1000 / u64::from(bytes) {
            1 => Ok(self.pte),
            2 => Ok(self.pde),
            _ => Err(OutsideMemory(at)),
        }
    }
}

/// The outcome of the crate's walk in the oracle's terms, and the number of entries in which A is
/// set.
fn outcome_of_walk<F: Format>(
    state: ControlState,
    profile: Profile,
    memory: &TwoSlots,
    access: &Access,
) -> Result<(OracleOutcome, usize), TestCaseError> {
    let prediction = Mmu::<F>::new(state, profile).predict(memory, access).unwrap();
    prop_assert_eq!(prediction.alternatives.len(), 1);

    let only = &prediction.alternatives[0];
    let accessed = only.updates.iter().filter(|update| bit(update.must_set, 5)).count();
    let outcome = match &only.outcome {
        Outcome::Translated(spans) => {
            let dirty = only.updates.last().is_some_and(|update| bit(update.must_set, 6));
            Ok((spans[0].address.get(), dirty))
        }
        Outcome::Fault(fault) => {
            prop_assert_eq!(fault.cr2, Some(access.address));
            Err(fault.error_code)
        }
    };
    Ok((outcome, accessed))
}

prop_compose! {
    /// Registers and a processor for either mode.
    fn machine()(
        [wp, nxe] in any::<[bool; 2]>(),
        [smep, smap, pse] in any::<[bool; 3]>(),
        [pse36, pat] in any::<[bool; 2]>(),
        physical_address_bits in prop::sample::select(vec![32_u8, 36, 39, 40, 41, 46, 52]),
    ) -> (ControlState, Profile) {
        let mut state = state_of(PagingMode::Bits32, 0x1000);
        state.cr0.set(Cr0::WP, wp);
        state.efer.set(Efer::NXE, nxe);
        for (on, bit) in [(smep, Cr4::SMEP), (smap, Cr4::SMAP), (pse, Cr4::PSE)] {
            state.cr4.set(bit, on);
        }

        let mut features = Features::all();
        features.set(Features::PSE36, pse36);
        features.set(Features::PAT, pat);

        let profile = Profile {
            vendor: Vendor::Intel,
            physical_address_bits,
            features,
            ..Profile::default()
        };

        (state, profile)
    }
}

/// An entry that is mostly present with every right. Each bit of `noise` is set in one case of
/// sixteen.
fn entry(noise: u64) -> impl Strategy<Value = u64> {
    let flags = prop_oneof![1 => Just(0_u64), 15 => Just(7)];
    let address = any::<u64>().prop_map(|address| address & 0xffc0_0000);
    (flags, address, any::<[u64; 4]>(), any::<bool>()).prop_map(
        move |(flags, address, [a, b, c, d], large)| {
            let noise = a & b & c & d & noise;
            (flags ^ (noise & 7)) | address | noise & !7 | if large { 0x80 } else { 0 }
        },
    )
}

/// The access moved to the page with index 1 at the last level and 2 at the one above, and its
/// address.
fn at_page(access: Access, shift: u8) -> (Access, u64) {
    let linear = (2 << shift) + 0x1000 + access.address.offset(12);
    (Access { address: VirtAddr::new(linear), ..access }, linear)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn the_walk_of_32_bit_paging_follows_the_prose(
        pde in entry(0xffff_ffff), pte in entry(0xffff_ffff), (state, profile) in machine(),
        access in access_to_one_page(),
    ) {
        let (access, linear) = at_page(access, 22);
        let given = Given::new(&state, &profile, &access);
        let expected = outcome_in_32_bit_paging(&given, linear, pde, pte);

        let memory = TwoSlots { pte, pde };
        let (outcome, accessed) = outcome_of_walk::<Bits32>(state, profile, &memory, &access)?;
        prop_assert_eq!(outcome, expected);

        let large = bit(state.cr4.bits(), 4) && bit(pde, 7);
        prop_assert_eq!(accessed, if expected.is_err() { 0 } else if large { 1 } else { 2 });
    }

    #[test]
    fn the_walk_of_pae_paging_follows_the_prose(
        present in prop::bool::weighted(0.95), pde in entry(!0), pte in entry(!0),
        (mut state, profile) in machine(), access in access_to_one_page(),
    ) {
        state.cr4 |= Cr4::PAE;
        let pdpte = 0x5000 | u64::from(present);
        state.pdptes = [pdpte, 0, 0, 0];

        let (access, linear) = at_page(access, 21);
        let given = Given::new(&state, &profile, &access);
        let expected = outcome_in_pae_paging(&given, linear, pdpte, pde, pte);

        let memory = TwoSlots { pte, pde };
        let (outcome, accessed) = outcome_of_walk::<Pae>(state, profile, &memory, &access)?;
        prop_assert_eq!(outcome, expected);
        prop_assert_eq!(accessed, if expected.is_err() { 0 } else if bit(pde, 7) { 1 } else { 2 });
    }

    #[test]
    fn the_vendor_does_not_change_a_translation_in_32_bit_paging(
        pde in entry(0xffff_ffff), pte in entry(0xffff_ffff), (state, profile) in machine(),
        vendor in any_vendor(), access in access_to_one_page(),
    ) {
        let (access, _) = at_page(access, 22);
        let memory = TwoSlots { pte, pde };
        let intel = Mmu::<Bits32>::new(state, profile).predict(&memory, &access).unwrap();
        let other = Mmu::<Bits32>::new(state, Profile { vendor, ..profile }).predict(&memory, &access).unwrap();
        prop_assert_eq!(&intel.alternatives[0].outcome, &other.alternatives[0].outcome);
    }
}
