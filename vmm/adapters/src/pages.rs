//! From single addresses to an access: most libraries translate an address, and an access may touch
//! two pages.

use crate::frames::OUTSIDE;
use crosswalk::walker::Walker;
use crosswalk_case::protocol::{Answer, Faulted, Ignores, PageRights, Translated};
use crosswalk_case::{Case, TableEntry};
use mmu_core::walk::WalkError;
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::x86::state::{CR3_LAM_U48, CR3_LAM_U57};
use mmu_core::{AccessKind, Cr4, Efer, PagingMode, Reference, VirtAddr};

/// What a library says of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundPage {
    /// It is mapped to this one.
    Page { address: u64, rights: Option<PageRights> },
    /// It is not mapped.
    Nothing,
}

/// An answer, or why there is none.
pub(crate) type Said = Result<Answer, String>;

/// Refuses what no library here can be told: other modes than these, sequences, and addresses that
/// are masked before they are translated.
pub(crate) fn check(case: &Case, modes: &[PagingMode]) -> Result<(), String> {
    let mode = case.mode();
    if !modes.contains(&mode) {
        return Err(format!("it does not know the mode {mode}"));
    }
    if case.is_sequence() {
        return Err("it answers single accesses only".into());
    }
    let state = &case.state;
    let masks = state.cr3 & (CR3_LAM_U48 | CR3_LAM_U57) != 0
        || state.cr4.contains(Cr4::LAM_SUP)
        || state.efer.contains(Efer::UAIE);
    let is_data = case.access.kind != AccessKind::Fetch && !case.access.implicit;
    if is_long(mode) && masks && is_data {
        return Err("it does not know linear-address masking (CANON-4)".into());
    }
    Ok(())
}

/// Refuses cases whose memory holds other PDPTEs than the registers do, for those that read memory.
pub(crate) fn check_pdptes(case: &Case) -> Result<(), String> {
    let differs = |entry: &TableEntry| {
        case.pdpte_at(entry.at).is_some_and(|pdpte| case.state.pdptes[pdpte] != entry.value)
    };
    if case.entries.iter().any(differs) {
        return Err("it reads PDPTEs from memory, and the registers hold others".into());
    }
    Ok(())
}

/// Refuses cases whose walk meets a table where there is no memory (OUT-1): for walkers with a memory
/// of their own, which would find something there.
pub(crate) fn check_tables(case: &Case) -> Result<(), String> {
    let leads_outside = |address: u64| {
        let (_, end) = Reference.walk(case, VirtAddr::new(address));
        matches!(end, Err(WalkError::Outside(_)))
    };
    if addresses(case).into_iter().any(leads_outside) { Err(OUTSIDE.into()) } else { Ok(()) }
}

/// Whether the walk meets an entry that is a page of 1 GiB where there are such pages.
pub(crate) fn meets_1_gib(case: &Case) -> bool {
    meets(case, EntryBits::PS, |level| level.shift == 30 && level.has_flags)
}

/// Whether the walk meets an entry of some level with a flag.
pub(crate) fn meets(case: &Case, flag: EntryBits, is_meant: impl Fn(&Level) -> bool) -> bool {
    addresses(case).into_iter().any(|address| {
        let (path, _) = Reference.walk(case, VirtAddr::new(address));
        let mut steps = path.steps.iter();
        steps.any(|step| is_meant(step.level) && step.entry & flag.bits() != 0)
    })
}

/// Puts together what a library says of the access's pages.
pub(crate) fn answer(
    case: &Case,
    ignores: Ignores,
    mut translate: impl FnMut(u64) -> Result<FoundPage, String>,
) -> Said {
    let mut pages = Vec::with_capacity(2);
    for address in addresses(case) {
        match translate(address)? {
            FoundPage::Page { address, rights } => pages.push((address, rights)),
            FoundPage::Nothing => return Ok(Answer::Fault(Faulted::default())),
        }
    }
    let (address, page) = pages[0];
    let mut translated = Translated { address, ignores, page, ..Translated::default() };
    if let Some((second, rights)) = pages.get(1) {
        translated.second = Some(*second);
        translated.page = page.zip(*rights).map(|(one, other)| both(one, other));
    }
    Ok(Answer::Translated(translated))
}

/// Where the access enters its pages of 4 KiB, one or two.
pub(crate) fn addresses(case: &Case) -> Vec<u64> {
    let first = case.access.address.get();
    let next = case.access.address.wrapping_add(case.access.bytes_in_first_page().into()).get();
    let mask = if is_long(case.mode()) { u64::MAX } else { u32::MAX.into() };
    let pages = 1 + usize::from(case.access.crosses_page());
    [first, next].into_iter().take(pages).map(|address| address & mask).collect()
}

const fn is_long(mode: PagingMode) -> bool {
    matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel)
}

/// What two pages allow together.
fn both(one: PageRights, other: PageRights) -> PageRights {
    let and = |one: Option<bool>, other: Option<bool>| Some(one? && other?);
    PageRights {
        writable: and(one.writable, other.writable),
        user: and(one.user, other.user),
        executable: and(one.executable, other.executable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn crossing(mode: PagingMode) -> Case {
        let mut case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default());
        case.access.address = VirtAddr::new(case.access.address.get() & !0xfff | 0xffe);
        case.access.size = 4;
        case
    }

    #[test]
    fn an_access_that_crosses_asks_for_both_pages() {
        let case = crossing(PagingMode::FourLevel);
        let page = |writable| PageRights { writable: Some(writable), ..PageRights::default() };
        let mut asked = Vec::new();
        let said = answer(&case, Ignores::RESERVED, |address| {
            asked.push(address);
            let rights = Some(page(asked.len() == 1));
            Ok(FoundPage::Page { address: 0x5000 * asked.len() as u64, rights })
        });
        let first = case.access.address.get();
        assert_eq!(asked, [first, first + 2]);
        let expected = Translated {
            address: 0x5000,
            second: Some(0xa000),
            ignores: Ignores::RESERVED,
            page: Some(page(false)),
            entries: None,
        };
        assert_eq!(said, Ok(Answer::Translated(expected)));
    }

    #[test]
    fn the_last_page_of_4_gib_is_followed_by_the_first() {
        let mut case = crossing(PagingMode::Bits32);
        case.access.address = VirtAddr::new(0xffff_fffe);
        assert_eq!(addresses(&case), [0xffff_fffe, 0]);
    }

    #[test]
    fn a_second_page_that_is_missing_faults() {
        let mut pages =
            [FoundPage::Page { address: 0, rights: None }, FoundPage::Nothing].into_iter();
        let said = answer(&crossing(PagingMode::FourLevel), Ignores::default(), |_| {
            Ok(pages.next().expect("there are two pages"))
        });
        assert_eq!(said, Ok(Answer::Fault(Faulted::default())));
    }

    #[test]
    fn what_no_library_can_be_told_is_refused() {
        let four_level = [PagingMode::FourLevel];
        let mut case = crossing(PagingMode::FourLevel);
        assert_eq!(check(&case, &four_level), Ok(()));
        assert!(check(&case, &[PagingMode::Pae]).unwrap_err().contains("4level"));
        case.state.cr3 |= CR3_LAM_U48;
        assert!(check(&case, &four_level).unwrap_err().contains("masking"));
        case.access.kind = AccessKind::Fetch;
        assert_eq!(check(&case, &four_level), Ok(()));
        case.before.push(crosswalk_case::Action::ReloadCr3);
        assert!(check(&case, &four_level).unwrap_err().contains("single"));
    }
}
