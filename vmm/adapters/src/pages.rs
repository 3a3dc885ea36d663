//! From single addresses to an access: most libraries translate one address, and an access may touch
//! two pages.

use crate::frames::OUTSIDE;
use crosswalk_case::protocol::{Answer, Faulted, Ignores, PageRights, Translated};
use crosswalk_case::{Case, TableEntry};
use mmu_core::walk::{Path, WalkError};
use mmu_core::x86::semantics::AlignmentCheck;
use mmu_core::x86::state::{CR3_LAM_U48, CR3_LAM_U57};
use mmu_core::{
    AccessKind, AnyMmu, Cr4, Efer, PagingMode, Reference, Regime, Semantics, Translation, VirtAddr,
};

/// A library's translation of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageLookup {
    /// The address is mapped to a physical address; the page has these rights, if the library says.
    Mapped { address: u64, rights: Option<PageRights> },
    /// The address is not mapped.
    NotMapped,
}

/// An answer, or the reason for none, which becomes [`Answer::Silent`].
pub(crate) type Reply = Result<Answer, String>;

/// Refuses cases that no library here can be asked about: other modes than these, sequences, and
/// addresses that are masked or checked before they are translated.
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
    if case.has_64_bit_address() && masks && is_data {
        return Err("it does not know linear-address masking (CANON-4)".into());
    }
    if mode.is_long_mode() && state.cr4.contains(Cr4::LASS) {
        return Err("it does not know linear-address space separation (CANON-5)".into());
    }

    let regime = Regime::new(*state, case.profile);
    if Reference.alignment_check(&case.access, &regime) != AlignmentCheck::Passes {
        return Err("it does not check alignment (ALIGN-1)".into());
    }
    Ok(())
}

/// Refuses cases whose PDPTEs in memory differ from the registers: for walkers that read memory.
pub(crate) fn check_pdptes(case: &Case) -> Result<(), String> {
    let differs = |entry: &TableEntry| {
        case.pdpte_at(entry.at).is_some_and(|pdpte| case.state.pdptes[pdpte] != entry.value)
    };
    if case.entries.iter().any(differs) {
        return Err("it reads PDPTEs from memory, and the registers hold others".into());
    }
    Ok(())
}

/// Refuses cases whose walk reaches a table where there is no memory (OUT-1): for walkers with
/// memory of their own, which would find something there.
pub(crate) fn check_tables(case: &Case) -> Result<(), String> {
    let leads_outside = |address| matches!(walk(case, address).1, Err(WalkError::Memory(_)));
    if addresses(case).into_iter().any(leads_outside) { Err(OUTSIDE.into()) } else { Ok(()) }
}

/// The reference walk for one address of a single access.
pub(crate) fn walk(case: &Case, address: u64) -> (Path, Result<Translation, WalkError>) {
    let mut path = Path::default();
    let mmu = AnyMmu::new(case.state, case.profile);
    let end = mmu.walk(case, VirtAddr::new(address), &case.access, &mut path);
    (path, end)
}

/// Combines a library's translations of the access's pages into an answer.
pub(crate) fn answer(
    case: &Case,
    ignores: Ignores,
    mut translate: impl FnMut(u64) -> Result<PageLookup, String>,
) -> Reply {
    let mut pages = Vec::with_capacity(2);
    for address in addresses(case) {
        match translate(address)? {
            PageLookup::Mapped { address, rights } => pages.push((address, rights)),
            PageLookup::NotMapped => return Ok(Answer::Fault(Faulted::default())),
        }
    }

    let (address, page) = pages[0];
    let mut translated = Translated { address, ignores, page, ..Translated::default() };
    if let Some((second, rights)) = pages.get(1) {
        translated.second = Some(*second);
        translated.page = page.zip(*rights).map(|(first, second)| both(first, second));
    }
    Ok(Answer::Translated(translated))
}

/// The linear address of the access's first byte on each of its 4 KiB pages, one or two.
pub(crate) fn addresses(case: &Case) -> Vec<u64> {
    let access = &case.access;
    let first = access.address.get();
    let second = access.address.wrapping_add(access.bytes_in_first_page().into()).get();

    let mask = if case.has_64_bit_address() { u64::MAX } else { u32::MAX.into() };
    let pages = 1 + usize::from(access.crosses_page());
    [first, second].into_iter().take(pages).map(|address| address & mask).collect()
}

/// The rights that two pages have in common.
fn both(first: PageRights, second: PageRights) -> PageRights {
    let and = |first: Option<bool>, second: Option<bool>| Some(first? && second?);
    PageRights {
        writable: and(first.writable, second.writable),
        user: and(first.user, second.user),
        executable: and(first.executable, second.executable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plain;

    /// A read of 4 bytes, two on each of two pages.
    fn crossing(mode: PagingMode) -> Case {
        let mut case = plain(mode);
        case.access.address = VirtAddr::new(case.access.address.get() & !0xfff | 0xffe);
        case.access.size = 4;
        case
    }

    #[test]
    fn an_access_across_pages_asks_for_both() {
        let case = crossing(PagingMode::FourLevel);
        let page = |writable| PageRights { writable: Some(writable), ..PageRights::default() };
        let mut asked = Vec::new();
        let reply = answer(&case, Ignores::RESERVED, |address| {
            asked.push(address);
            let rights = Some(page(asked.len() == 1));
            Ok(PageLookup::Mapped { address: 0x5000 * asked.len() as u64, rights })
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
        assert_eq!(reply, Ok(Answer::Translated(expected)));
    }

    #[test]
    fn the_last_page_below_4_gib_is_followed_by_the_first() {
        let mut case = crossing(PagingMode::Bits32);
        case.access.address = VirtAddr::new(0xffff_fffe);
        assert_eq!(addresses(&case), [0xffff_fffe, 0]);
    }

    #[test]
    fn an_unmapped_second_page_faults() {
        let mut pages =
            [PageLookup::Mapped { address: 0, rights: None }, PageLookup::NotMapped].into_iter();
        let reply = answer(&crossing(PagingMode::FourLevel), Ignores::default(), |_| {
            Ok(pages.next().expect("an access has at most two pages"))
        });
        assert_eq!(reply, Ok(Answer::Fault(Faulted::default())));
    }

    #[test]
    fn cases_that_no_library_can_be_asked_about_are_refused() {
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
