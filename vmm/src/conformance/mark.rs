//! Marks: an answer compared with what the manuals allow. Only what the answer says counts.

use crate::verdict::End;
use crate::verdict::describe_expectation;
use crosswalk_case::observation::name_of_fault;
use crosswalk_case::protocol::{Answer, Faulted, Ignores, PageRights, Translated};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::tables;
use mmu_core::memory::TableMemory;
use mmu_core::x86::semantics::{Denial, Rights};
use mmu_core::{
    AccessKind, Alternative, Cr4, Fault, Outcome, PhysAddr, Reference, Regime, Semantics,
};
use std::fmt::Write;

/// The mark of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Everything that it says is allowed.
    Right,
    /// It leaves out what matters here, and why.
    Silent(String),
    /// It says something that is not allowed.
    Wrong {
        /// The likeliest outcome that is allowed, in words.
        expected: String,
        /// The answer, in words.
        answered: String,
    },
}

/// Marks an answer by the outcomes that are allowed. There must be at least one.
pub fn mark(case: &Case, allowed: &[Alternative], answer: &Answer) -> Mark {
    if let Answer::Silent(why) = answer {
        return Mark::Silent(why.clone());
    }

    let marked: Vec<Marked> =
        allowed.iter().map(|way| mark_alternative(case, way, answer)).collect();
    let silent = marked.iter().find_map(|marked| match marked {
        Marked::Silent(why) => Some((*why).to_owned()),
        _ => None,
    });

    if marked.contains(&Marked::Agrees) {
        Mark::Right
    } else if let Some(why) = silent {
        Mark::Silent(why)
    } else {
        let expected = allowed.first().map_or_else(String::new, describe_expectation);
        Mark::Wrong { expected, answered: describe(answer) }
    }
}

/// An answer compared with one allowed outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Agrees,
    Differs,
    Silent(&'static str),
}

impl Marked {
    const fn agrees(agrees: bool) -> Self {
        if agrees { Self::Agrees } else { Self::Differs }
    }
}

fn mark_alternative(case: &Case, way: &Alternative, answer: &Answer) -> Marked {
    match (answer, &way.outcome) {
        (Answer::Silent(_), _) => Marked::Silent(""),
        (Answer::Translated(said), Outcome::Translated(spans)) => {
            let is_at = |number: usize, address: u64| {
                spans.get(number).is_some_and(|span| span.address.get() == address)
            };
            let denies = said.page.and_then(|page| allows(case, page)) == Some(false);

            let agrees = !denies
                && is_at(0, said.address)
                && said.second.is_none_or(|second| is_at(1, second))
                && are_allowed(case, way, said.entries.as_deref());
            Marked::agrees(agrees)
        }
        (Answer::Translated(said), Outcome::Fault(fault)) => {
            check_fault_details(case, said, fault, way)
        }
        (Answer::Fault(said), Outcome::Fault(fault)) => {
            Marked::agrees(is_said(said, fault) && are_allowed(case, way, said.entries.as_deref()))
        }
        (Answer::Fault(_), Outcome::Translated(_)) => Marked::Differs,
    }
}

/// Marks a translation where the access must fault. A candidate that does not claim to look for this
/// fault leaves it out; it is not wrong.
fn check_fault_details(case: &Case, said: &Translated, fault: &Fault, way: &Alternative) -> Marked {
    let ignored = |reason: Ignores, why| {
        if said.ignores.contains(reason) { Marked::Silent(why) } else { Marked::Differs }
    };

    match End::of(&Outcome::Fault(*fault)) {
        End::NotPresent => {
            ignored(Ignores::PRESENT, "it does not look whether entries are present")
        }
        End::Reserved => ignored(Ignores::RESERVED, "it does not look at reserved bits"),
        End::BadAddress | End::Misaligned => {
            ignored(Ignores::ADDRESS, "it does not look at the address itself")
        }
        End::Denied | End::Completed => match said.page.map(|page| allows(case, page)) {
            None => ignored(Ignores::RIGHTS, "it does not look at rights"),
            Some(None) => Marked::Silent("what it knows of the page's rights does not decide"),
            Some(Some(allowed)) => {
                Marked::agrees(!allowed && are_allowed(case, way, said.entries.as_deref()))
            }
        },
    }
}

/// Whether everything that an answer says of a fault is true.
fn is_said(said: &Faulted, fault: &Fault) -> bool {
    said.vector.is_none_or(|vector| vector == fault.vector as u8)
        && said.error_code.is_none_or(|code| code == fault.error_code)
        && said.cr2.is_none_or(|cr2| fault.cr2.map(mmu_core::VirtAddr::get) == Some(cr2))
}

/// Whether the entries may have these values after the access. An entry that is listed with the value
/// that it had before is not a change.
fn are_allowed(case: &Case, way: &Alternative, entries: Option<&[TableEntry]>) -> bool {
    let Some(entries) = entries else { return true };

    let after = |at: u64| entries.iter().find(|entry| entry.at == at);
    let expected_are_listed = way.updates.iter().all(|update| {
        update.allows(after(update.at.get()).map_or(update.before, |entry| entry.value))
    });

    let is_updated =
        |entry: &TableEntry| way.updates.iter().any(|update| update.at.get() == entry.at);
    let bytes = tables::entry_bytes(case.mode()) as u8;
    let is_unchanged =
        |entry: &TableEntry| case.read_entry(PhysAddr::new(entry.at), bytes) == Ok(entry.value);

    expected_are_listed && entries.iter().all(|entry| is_updated(entry) || is_unchanged(entry))
}

/// Whether a page with these rights allows the access; `None` if that depends on what is not said.
fn allows(case: &Case, page: PageRights) -> Option<bool> {
    let case = case.accesses().pop()?;
    if case.access.shadow_stack {
        // This also depends on D of the leaf, and on R/W of each level (RIGHT-7).
        return None;
    }

    let regime = Regime::new(case.state, case.profile);
    let has_keys =
        case.state.cr4.intersects(Cr4::PKE | Cr4::PKS) && case.access.kind != AccessKind::Fetch;

    let mut decided = None;
    for rights in possible_rights(page) {
        let denial = Reference.denial(rights, rights, 0, &case.access, &regime);
        let is_allowed = (denial - Denial::KEY).is_empty();

        // The page's protection key is not said.
        let depends_on_key = is_allowed && has_keys;
        if depends_on_key || decided.is_some_and(|known| known != is_allowed) {
            return None;
        }
        decided = Some(is_allowed);
    }
    decided
}

/// Every combination of rights that agrees with what is said.
fn possible_rights(page: PageRights) -> Vec<Rights> {
    let mut all = vec![Rights::empty()];

    for (right, said) in [
        (Rights::WRITE, page.writable),
        (Rights::USER, page.user),
        (Rights::EXECUTE, page.executable),
    ] {
        let with = all.iter().map(|rights| *rights | right).collect::<Vec<_>>();
        match said {
            Some(true) => all = with,
            Some(false) => {}
            None => all.extend(with),
        }
    }
    all
}

/// An answer in a few words.
pub fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Silent(why) => format!("nothing: {why}"),
        Answer::Fault(fault) => describe_fault(fault),
        Answer::Translated(translation) => describe_translation(translation),
    }
}

fn describe_fault(Faulted { vector, error_code, cr2, .. }: &Faulted) -> String {
    let name = match (vector, error_code) {
        (Some(vector), code) => name_of_fault(*vector, code.unwrap_or(0)),
        (None, Some(code)) => format!("a fault with error code {code:#x}"),
        (None, None) => "a fault".into(),
    };

    match cr2 {
        Some(cr2) => format!("{name} at {cr2:#x}"),
        None => name,
    }
}

fn describe_translation(translation: &Translated) -> String {
    let Translated { address, second, page, entries, .. } = translation;
    let mut text = format!("translated to {address:#x}");

    if let Some(second) = second {
        let _ = write!(text, " and {second:#x}");
    }
    if let Some(PageRights { writable, user, executable }) = page {
        let rights = [
            (writable, "writable", "read-only"),
            (user, "a user's", "the supervisor's"),
            (executable, "executable", "not executable"),
        ];
        let words = rights
            .iter()
            .filter_map(|(said, yes, no)| said.map(|said| if said { *yes } else { *no }));
        let _ = write!(text, ", {}", words.collect::<Vec<_>>().join(", "));
    }
    if let Some(entries) = entries {
        let entry = |entry: &TableEntry| format!("{:#x} at {:#x}", entry.value, entry.at);
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let _ = write!(text, "; entries then: {}", entries.join(", "));
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::Walker;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{PagingMode, Profile, Ring};

    /// A write by ring 3 to a plain page, and the physical address of its first byte: 0x108 bytes into
    /// the lane's frame.
    fn write() -> (Case, u64) {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        case.access.kind = AccessKind::Write;
        case.form = Case::default_form(AccessKind::Write);

        (case, Arena::ALL[0].data_frames(3) + 0x108)
    }

    fn marked(case: &Case, answer: &Answer) -> Mark {
        mark(case, &Reference.predict(case).alternatives, answer)
    }

    fn page(address: u64, writable: Option<bool>, user: Option<bool>) -> Answer {
        let page = Some(PageRights { writable, user, executable: None });
        Answer::Translated(Translated { address, page, ..Translated::default() })
    }

    fn is_wrong(mark: &Mark) -> bool {
        matches!(mark, Mark::Wrong { .. })
    }

    #[test]
    fn a_translation_is_right_if_its_address_is_right() {
        let (case, place) = write();

        assert_eq!(marked(&case, &Answer::translated(place)), Mark::Right);
        assert!(is_wrong(&marked(&case, &Answer::translated(place + 1))));

        let elsewhere = Translated { address: place, second: Some(0), ..Translated::default() };
        assert!(is_wrong(&marked(&case, &Answer::Translated(elsewhere))));

        assert!(is_wrong(&marked(&case, &Answer::Fault(Faulted::default()))));
        assert_eq!(marked(&case, &Answer::Silent("no".into())), Mark::Silent("no".into()));
    }

    #[test]
    fn only_what_a_fault_says_is_marked() {
        let (mut case, _) = write();
        case.entries[3].value &= !2;

        // P, W and U: bits 0 to 2.
        let said = |error_code, cr2| {
            Answer::Fault(Faulted { vector: Some(14), error_code, cr2, entries: None })
        };
        let address = case.access.address.get();

        for right in [said(None, None), said(Some(7), None), said(Some(7), Some(address))] {
            assert_eq!(marked(&case, &right), Mark::Right, "{right:?}");
        }
        for wrong in [said(Some(5), None), said(Some(7), Some(address + 1))] {
            assert!(is_wrong(&marked(&case, &wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_candidate_is_not_blamed_for_what_it_claims_to_ignore() {
        let (case, place) = write();
        let ignoring = |ignores| {
            Answer::Translated(Translated { address: place, ignores, ..Translated::default() })
        };
        let breakages = [
            (Ignores::PRESENT, 3, 1, 0),
            (Ignores::RIGHTS, 3, 2, 0),
            (Ignores::RESERVED, 2, 0, 1 << 51),
        ];

        for (reason, entry, cleared, set) in breakages {
            let mut broken = case.clone();
            broken.entries[entry].value = broken.entries[entry].value & !cleared | set;
            assert!(matches!(marked(&broken, &ignoring(reason)), Mark::Silent(_)), "{reason:?}");
            assert!(is_wrong(&marked(&broken, &ignoring(Ignores::all() - reason))), "{reason:?}");
        }
    }

    #[test]
    fn the_rights_of_a_page_count_as_far_as_they_decide() {
        let (mut case, place) = write();
        assert_eq!(marked(&case, &page(place, Some(true), Some(true))), Mark::Right);
        assert!(is_wrong(&marked(&case, &page(place, Some(false), None))));
        assert!(is_wrong(&marked(&case, &page(place, Some(true), Some(false)))));

        // A page is writable only if R/W is set at every level: this one is read-only.
        case.entries[2].value &= !2;
        assert!(is_wrong(&marked(&case, &page(place, Some(true), Some(true)))));
        assert!(matches!(marked(&case, &page(place, Some(true), None)), Mark::Silent(_)));
        assert_eq!(marked(&case, &page(place, Some(false), None)), Mark::Right);
    }

    #[test]
    fn right_7_rights_alone_do_not_make_a_page_a_shadow_stack() {
        let (mut case, place) = write();
        case.access.shadow_stack = true;
        let page = page(place, Some(false), Some(true));

        // R/W of the leaf is bit 1 and must be clear, D is bit 6 and must be set.
        case.entries[3].value ^= 0x42;
        assert_eq!(marked(&case, &page), Mark::Right);

        case.entries[3].value &= !0x40;
        assert!(matches!(marked(&case, &page), Mark::Silent(_)));
    }

    #[test]
    fn entries_must_have_the_flags_that_the_access_sets() {
        let (case, place) = write();
        let with = |flags: [u64; 4]| {
            let entries = case
                .entries
                .iter()
                .zip(flags)
                .map(|(entry, set)| TableEntry { value: entry.value | set, ..*entry })
                .collect();
            let entries = Some(entries);

            Answer::Translated(Translated { address: place, entries, ..Translated::default() })
        };

        // A is bit 5. D is bit 6, and is set in the leaf only.
        assert_eq!(marked(&case, &with([0x20, 0x20, 0x20, 0x60])), Mark::Right);
        for wrong in [[0x20, 0x20, 0x20, 0x20], [0x20, 0, 0x20, 0x60], [0x20, 0x20, 0x60, 0x60]] {
            assert!(is_wrong(&marked(&case, &with(wrong))), "{wrong:x?}");
        }
    }

    /// PDPTE-3: a walk writes no PDPTE of PAE paging. To list one with the value that it has says
    /// nothing else, and neither does any other entry that stays as it is.
    #[test]
    fn pdpte_3_an_entry_that_stays_as_it_is_may_be_listed() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain_in(PagingMode::Pae, Arena::ALL[0], 3, Ring::Three, profile);
        for entry in &mut case.entries[1..] {
            entry.value |= 0x20;
        }
        let place = Arena::ALL[0].data_frames(3) + 0x108;
        let answer = |entries: &[TableEntry]| {
            let entries = Some(entries.to_vec());
            Answer::Translated(Translated { address: place, entries, ..Translated::default() })
        };
        let pdpte = case.entries[0];
        let unlisted = TableEntry { at: pdpte.at + 8, value: case.state.pdptes[3] };
        let neighbour = TableEntry { at: case.entries[2].at + 8, value: 0 };

        assert_eq!(marked(&case, &answer(&[])), Mark::Right);
        assert_eq!(marked(&case, &answer(&case.entries)), Mark::Right);
        assert_eq!(marked(&case, &answer(&[unlisted, neighbour])), Mark::Right);
        for changed in [
            TableEntry { value: pdpte.value | 0x20, ..pdpte },
            TableEntry { value: 0x20, ..neighbour },
        ] {
            assert!(is_wrong(&marked(&case, &answer(&[changed]))), "{changed:x?}");
        }
    }
}
