use super::*;
use crosswalk_case::{Action, TableEntry};
use crosswalk_guest::layout::{Arena, lane_of_data};
use crosswalk_machine::batch::cannot_run;
use mmu_core::Regime;
use mmu_core::x86::format::{self, EntryBits, EntryKind, levels};

fn plan(modes: &[PagingMode], sequences: SequenceUse, left_out: LeftOut) -> ImagePlan {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    let cases = CasesOfImage::Random { seed: 5, modes: modes.to_vec(), count: 20_000, sequences };
    ImagePlan { profile, left_out, skipped: BTreeSet::new(), cases }
}

/// The cases that an image has, without those that it leaves out.
fn cases(plan: &ImagePlan) -> impl Iterator<Item = Case> {
    let (schedule, machine) = (plan.schedule().unwrap(), plan.capabilities());
    let mut next = schedule.turn(0);
    let batches = std::iter::from_fn(move || {
        let turn = next?;
        next = schedule.turn(turn.number + 1);
        Some(schedule.batch(&turn))
    });
    let all = batches.flat_map(|batch| batch.cases);
    all.filter(move |case| cannot_run(case, &machine).is_none())
}

/// The entries that an access of a case may use: those that it begins with, and those that it writes.
fn entries(case: &Case) -> impl Iterator<Item = TableEntry> {
    let written = case.before.iter().filter_map(|action| match action {
        Action::Write(entry) => Some(*entry),
        _ => None,
    });
    case.entries.iter().copied().chain(written)
}

/// Whether bits are set that are reserved by themselves: above MAXPHYADDR, and in pages below their size.
fn has_reserved_bits(case: &Case, value: u64, page_bits: Option<u8>) -> bool {
    if case.mode() == PagingMode::Bits32 {
        // Bit 21, and with 40 bits all of PSE-36 is address (SDM "32-Bit Paging").
        return page_bits.is_some_and(|bits| bits > 12) && value & 1 << 21 != 0;
    }
    let above = value & 0x000f_ff00_0000_0000;
    let below =
        page_bits.filter(|bits| *bits > 12).map_or(0, |bits| value & ((1 << bits) - 1) >> 13 << 13);
    above != 0 || below != 0
}

/// What a hypervisor has at an address without memory differs, and a machine may run it.
#[test]
fn no_table_and_no_leaf_is_outside_memory() {
    for mode in PagingMode::ALL {
        for sequences in [SequenceUse::Off, SequenceUse::Only] {
            if mode == PagingMode::Unpaged && sequences == SequenceUse::Only {
                continue;
            }
            let mut leaves = 0;
            for case in cases(&plan(&[mode], sequences, LeftOut::empty())) {
                let regime = Regime::new(case.state, case.profile);
                for TableEntry { at, value } in entries(&case) {
                    if value & EntryBits::P.bits() == 0 {
                        continue;
                    }
                    let arena = Arena::ALL.into_iter().find(|arena| arena.table_at(at).is_some());
                    assert!(arena.is_some(), "{at:#x}: {case}");
                    for level in levels(mode) {
                        let (kind, first) = format::decode(&regime, level, value);
                        let page_bits = (kind == EntryKind::Leaf).then_some(level.shift);
                        if has_reserved_bits(&case, value, page_bits) {
                            continue;
                        }
                        let first = first.get();
                        let is_table =
                            Arena::ALL.iter().any(|arena| arena.table_at(first).is_some());
                        let is_data = lane_of_data(first).is_some();
                        leaves += usize::from(is_data);
                        assert!(is_table || is_data, "{first:#x} by {value:#x}: {case}");
                    }
                }
            }
            assert!(leaves > 1000 || mode == PagingMode::Unpaged, "{mode}: {leaves}");
        }
    }
}

type IsOne = fn(&Case) -> bool;

#[test]
fn what_is_left_out_is_not_there() {
    let has = |left_out: LeftOut, is_one: IsOne| {
        let modes = [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel];
        cases(&plan(&modes, SequenceUse::Off, left_out)).any(|case| is_one(&case))
    };
    let kinds: [(LeftOut, IsOne); 8] = [
        (LeftOut::FETCH, |case| case.access.kind == mmu_core::AccessKind::Fetch),
        (LeftOut::CLFLUSH, |case| case.access.kind == mmu_core::AccessKind::Clflush),
        (LeftOut::IMPLICIT, |case| case.access.implicit),
        (LeftOut::COMPATIBILITY, |case| case.access.compatibility),
        // Without PCIDs the low bits of CR3 mean nothing; in PAE bits 11:5 are of the address.
        (LeftOut::CR3_BITS, |case| {
            let meaningless = if case.mode() == PagingMode::Pae { 0x1f } else { 0xfff };
            case.state.cr3 & meaningless != 0 && !case.state.cr4.contains(mmu_core::Cr4::PCIDE)
        }),
        (LeftOut::PAE_WITHOUT_PSE, |case| {
            case.mode() == PagingMode::Pae && !case.state.cr4.contains(mmu_core::Cr4::PSE)
        }),
        // P (bit 0) and PS (bit 7) in an entry that points to a table in the first GiB.
        (LeftOut::OWN_MEMORY, |case| {
            let is_one = |value: u64| value & 0x81 == 0x81 && value as u32 >> 30 == 0;
            let has_large =
                case.mode() != PagingMode::Bits32 || case.state.cr4.contains(mmu_core::Cr4::PSE);
            has_large && case.entries.iter().any(|entry| is_one(entry.value))
        }),
        // WD of key 0 (bit 1) with PKE and WP.
        (LeftOut::READ_ONLY_KEY_0, |case| {
            let has_keys = case.state.cr4.contains(mmu_core::Cr4::PKE);
            has_keys && case.state.cr0.contains(mmu_core::Cr0::WP) && case.state.pkru & 2 != 0
        }),
    ];
    for (left_out, is_one) in kinds {
        assert!(has(LeftOut::empty(), is_one), "{left_out:?}");
        assert!(!has(left_out, is_one), "{left_out:?}");
    }
}

#[test]
fn a_head_reads_back_as_the_same_plan() {
    let listed = Case::plain(Arena::ALL[0], 3, mmu_core::Ring::Three, Profile::default());
    let random = plan(&[PagingMode::Pae], SequenceUse::Only, LeftOut::FETCH | LeftOut::CR3_BITS);
    let of_cases = ImagePlan {
        skipped: [3, 9].into(),
        cases: CasesOfImage::Listed(vec![listed.clone()]),
        ..random.clone()
    };

    for plan in [random, of_cases] {
        let head = HeadLine::new(&plan, 12, "ab".repeat(32));
        let line = head.line();
        let (sum, text) = line[3..].split_once(' ').unwrap();
        assert_eq!(sum.len(), 8);
        let read = HeadLine::read(text.trim_end()).unwrap();
        assert_eq!((read.batches, &read.tape), (12, &head.tape));
        assert_eq!(format!("{:?}", read.plan().unwrap()), format!("{plan:?}"));
    }
}

#[test]
fn a_head_of_another_version_or_without_sense_is_refused() {
    let plan = plan(&[PagingMode::Pae], SequenceUse::On, LeftOut::empty());
    let line = HeadLine::new(&plan, 12, String::new()).line();
    let text = line[12..].trim_end();
    assert!(HeadLine::read(text).unwrap().plan().is_ok(), "{text}");

    for (from, to, problem) in [
        ("\"format\":3", "\"format\":4", "another version may generate other cases"),
        ("\"crosswalk\":\"", "\"crosswalk\":\"9.", "the image was made by crosswalk 9."),
        ("\"batches\":", "\"bunches\":", "unknown field `bunches`"),
        ("\"pae\"", "\"pea\"", "modes: expected one of"),
        ("\"seed\":\"5\"", "\"seed\":\"x\"", "expected a number of at most 64 bits"),
        ("\"count\":20000", "\"count\":0", "it has no cases"),
        ("\"max_physical_address\":40", "\"max_physical_address\":60", "max_physical_address"),
    ] {
        let altered = text.replacen(from, to, 1);
        assert_ne!(altered, text, "{from}");
        let error = match HeadLine::read(&altered) {
            Ok(head) => head.plan().expect_err(to).to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(problem), "{to}: {error}");
    }
}
