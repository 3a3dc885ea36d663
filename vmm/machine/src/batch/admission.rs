//! Whether a case fits the fixed layout of the guest's memory. Generated cases fit by construction.
//! A case that a user wrote may not, and must not be able to damage the guest.

mod call;
mod entries;
mod sequence;

use super::registers::{check_state, high_root};
use super::stubs::{is_keyed, stub_of};
use call::check_calls;
use crosswalk_case::{Case, SAVED_AREA, SAVED_REGISTERS};
use crosswalk_guest::contents::{is_code, is_loadable};
use crosswalk_guest::high::data_behind;
use crosswalk_guest::layout::{Arena, DATA_BASE, DATA_SIZE, HOLE_BASE, is_above_the_layout};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::TableUse;
use entries::check_entries;
use mmu_core::outcome::Span;
use mmu_core::x86::format::{self};
use mmu_core::{AccessKind, AnyMmu, Cr4, Outcome, PagingMode, Regime, Ring, Segment, VirtAddr};
use sequence::{check_movs, check_sequence};

/// The arena whose tables a case uses. A case that uses no tables fits either arena, and gets that
/// of its data if it has one.
///
/// # Errors
/// The reason why the guest cannot run the case, as a text for the user.
pub fn arena_of(case: &Case) -> Result<Arena, String> {
    let arena = if case.mode() == PagingMode::Unpaged {
        let data = data_behind(case.access.address.get(), 0);
        data.and_then(Arena::of_data).unwrap_or(Arena::ALL[0])
    } else {
        arena_of_root(case)?
    };

    check_state(case, arena)?;
    check_entries(case, arena)?;
    if case.is_sequence() {
        check_movs(case, arena)?;
        check_sequence(case)?;
    }

    check_calls(case)?;
    let accesses = case.accesses();
    for alone in &accesses {
        check_access(alone)?;
        check_reach(alone, case.is_sequence())?;
        for tables in &accesses {
            // A fetch may use a cached translation of another moment.
            check_code(&Case { entries: tables.entries.clone(), ..alone.clone() })?;
        }
    }

    Ok(arena)
}

/// The arena whose first table is the root.
fn arena_of_root(case: &Case) -> Result<Arena, String> {
    let root = format::root(&Regime::new(case.state, case.profile)).get() & !0xfff;

    let is_root = |arena: &Arena| {
        arena.table(0) == root || high_root(case, *arena).is_some_and(|high| high == root)
    };
    Arena::ALL.into_iter().find(is_root).ok_or_else(|| {
        let [first, second] = Arena::ALL.map(|arena| arena.table(0));
        format!("its CR3 points to {root:#x}; a root table lies at {first:#x} or {second:#x}")
    })
}

/// Checks that the guest has an instruction that makes the access.
fn check_access(case: &Case) -> Result<(), String> {
    let access = &case.access;
    check_shadow_stack(case)?;
    if matches!(access.segment, Segment::Fs | Segment::Gs) {
        return Err("the guest has no instruction that goes through FS or GS".into());
    }
    let is_implicit = matches!(case.form, Form::SegmentLimit | Form::SegmentLoad);
    if access.implicit != is_implicit {
        return Err(
            "an implicit access is what lsl does, or mov to es, and they make no other".into()
        );
    }
    if case.form == Form::SegmentLimit && (access.ring == Ring::Zero || access.size != 8) {
        return Err("lsl reads 8 bytes, in ring 3".into());
    }
    if case.form == Form::SegmentLoad && (access.ring == Ring::Zero || access.size != 1) {
        return Err("mov to es writes the access byte of a descriptor, in ring 3".into());
    }

    check_special(case)?;
    let has_size = !matches!(
        case.form,
        Form::Jump | Form::Clflush | Form::RepeatedMove | Form::Enter | Form::Fxsave
    );
    let code = Code::of(case.table_use());
    if code == Code::Bits32 {
        check_pkru_32(case)?;
    }
    let keyed = is_keyed(case.state.pkru, code);
    let has_stub = stub_of(&case.access_step(), keyed).index(code).is_some();
    if (has_size && !access.size.is_power_of_two()) || !has_stub {
        let bits = if code == Code::Bits64 { 64 } else { 32 };
        return Err(format!(
            "the guest has no {bits}-bit instruction for a {} of {} bytes{}",
            access.kind.name(),
            access.size,
            if keyed { " with PKRU" } else { "" }
        ));
    }
    Ok(())
}

/// Checks that the guest can make a shadow-stack access.
fn check_shadow_stack(case: &Case) -> Result<(), String> {
    let Case { form, access, state, .. } = case;
    if access.shadow_stack != form.is_to_shadow_stack() {
        return Err(
            "a shadow-stack access is what wrss does, or incssp, and they make no other".into()
        );
    }
    if !access.shadow_stack {
        return Ok(());
    }

    if !state.cr4.contains(Cr4::CET) || case.mode() != PagingMode::FourLevel {
        return Err(
            "the guest makes shadow-stack accesses with CR4.CET=1, in 4-level paging alone".into(),
        );
    }
    if access.segment != Segment::Data || !access.address.get().is_multiple_of(access.size.into()) {
        return Err("a shadow-stack access goes through DS, to a multiple of its size".into());
    }
    let is_loadable = access.ring == Ring::Three && access.address.is_canonical(48);
    if *form == Form::ShadowLoad && !is_loadable {
        return Err("incssp is run in ring 3, at a canonical address".into());
    }
    Ok(())
}

/// Checks what instructions of one size require.
fn check_special(case: &Case) -> Result<(), String> {
    let Case { form, access, .. } = case;
    let (name, size, aligned) = match form {
        Form::Enter => ("enter", 24, 8),
        Form::Fxsave => ("fxsave", SAVED_AREA, 1),
        Form::FailingCompare if access.size == 16 => ("cmpxchg16b", 16, 1),
        _ => return Ok(()),
    };

    let in_user_mode = *form == Form::Fxsave || access.ring == Ring::Three;
    if access.size != size || !in_user_mode {
        let ring =
            if *form == Form::Fxsave { "" } else { ", and the guest has it in ring 3 alone" };
        return Err(format!("{name} accesses {size} bytes{ring}"));
    }
    let in_first = 0x1000 - access.address.get() % 0x1000;
    if *form == Form::Fxsave && (SAVED_REGISTERS.into()..SAVED_AREA.into()).contains(&in_first) {
        return Err(
            "no manual says whether fxsave stores to the page that only its end is in".into()
        );
    }
    let places = [access.address.get(), case.value];
    let is_aligned = places.iter().all(|place| place.is_multiple_of(aligned));
    if is_aligned { Ok(()) } else { Err(format!("{name} keeps to multiples of {aligned} here")) }
}

/// Checks that 32-bit code can load PKRU, which it does before the access.
fn check_pkru_32(case: &Case) -> Result<(), String> {
    let TableUse { mode, compatibility } = case.table_use();
    match case.state.pkru {
        0 => Ok(()),
        _ if !compatibility => {
            Err(format!("the guest has no 32-bit instruction for PKRU in {mode}"))
        }
        pkru if pkru & 3 != 0 => {
            Err("the list of the guest's 32-bit code has key 0, which PKRU must leave free".into())
        }
        _ => Ok(()),
    }
}

/// Checks that the access reaches only data memory or addresses without memory, whatever the
/// processor chooses where the manuals leave a choice. In a sequence it must reach data memory: the
/// machine does not report which of several accesses left it.
fn check_reach(case: &Case, of_sequence: bool) -> Result<(), String> {
    let bits = case.profile.physical_address_bits;
    let mmu = AnyMmu::new(case.state, case.profile);
    // The machine does not report either which access of an instruction left it.
    let must_be_data = of_sequence || case.form.has_source() || case.access.size > 8;
    let parts = case.access_step().parts();
    let predicted = parts.iter().map(|part| mmu.predict(case, part));
    let predicted = predicted.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;

    for alternative in predicted.iter().flat_map(|prediction| &prediction.alternatives) {
        let Outcome::Translated(spans) = &alternative.outcome else { continue };

        for span in spans {
            let ends = first_and_last(span);
            let in_data = ends.iter().all(|at| data_behind(*at, bits).is_some());
            let is_above = ends.into_iter().all(is_above_the_layout) && !must_be_data;

            let behind = data_behind(ends[0], bits);
            if case.form == Form::SegmentLoad && !behind.is_some_and(is_loadable) {
                let [at, _] = ends;
                return Err(format!(
                    "there is no descriptor that is not accessed with its access byte at {at:#x}"
                ));
            }

            if !in_data && !is_above {
                let [first, _] = ends;
                return Err(format!(
                    "it would reach physical address {first:#x}; data lies at {DATA_BASE:#x} to \
                     {:#x}, and again from {HOLE_BASE:#x} on, where nothing else is",
                    DATA_BASE + DATA_SIZE
                ));
            }
        }
    }

    Ok(())
}

/// Checks that there is code where a fetch may get an instruction. It gets none if every allowed
/// outcome is a fault of the page at which the instruction starts, or of its address.
fn check_code(case: &Case) -> Result<(), String> {
    let access = &case.access;
    let offset = access.address.get() & 0xfff;
    if access.kind != AccessKind::Fetch || is_code(offset, access.size, Code::of(case.table_use()))
    {
        return Ok(());
    }

    let mmu = AnyMmu::new(case.state, case.profile);
    let prediction = mmu.predict(case, access).map_err(|error| error.to_string())?;
    let starts = |outcome: &Outcome| match outcome {
        Outcome::Fault(fault) => fault.cr2.is_some_and(|cr2| page(cr2) != page(access.address)),
        // Where there is no memory there is no data either.
        Outcome::Translated(spans) => {
            let bits = case.profile.physical_address_bits;
            spans.iter().any(|span| data_behind(span.address.get(), bits).is_some())
        }
    };

    if prediction.alternatives.iter().any(|alternative| starts(&alternative.outcome)) {
        return Err(format!(
            "it would run data as code: at offset {offset:#x} of a page there is none of {} bytes",
            access.size
        ));
    }
    Ok(())
}

/// The number of a page, as far as 32-bit code has it.
const fn page(address: VirtAddr) -> u64 {
    address.get() >> 12 & 0xf_ffff
}

/// The addresses of the first and the last byte of a span.
fn first_and_last(span: &Span) -> [u64; 2] {
    let first = span.address.get();
    [first, first + span.len as u64 - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::x86::format::EntryBits;
    use mmu_core::{Access, Cr0, Profile};

    pub(super) fn plain(mode: PagingMode, ring: Ring) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain_in(mode, Arena::ALL[1], 3, ring, profile)
    }

    #[track_caller]
    pub(super) fn assert_refused(case: &Case, words: &str) {
        let why = arena_of(case).expect_err("the case does not fit");
        assert!(why.contains(words), "no {words:?} in {why:?}");
    }

    #[test]
    fn lass_is_refused_with_the_reason() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        case.state.cr4 |= Cr4::LASS;
        assert_refused(&case, "CR4.LASS lets no supervisor fetch");
    }

    #[test]
    fn an_access_through_fs_or_gs_is_refused() {
        for segment in [Segment::Fs, Segment::Gs] {
            let mut case = plain(PagingMode::FourLevel, Ring::Three);
            case.access.segment = segment;
            assert_refused(&case, "through FS or GS");
        }
    }

    /// WRSS and INCSSP, with CR4.CET=1, at multiples of their size; SSP is canonical.
    #[test]
    fn right_7_shadow_stack_accesses_that_the_guest_cannot_make_are_refused() {
        let shadow = |form: Form, ring| {
            let mut case = plain(PagingMode::FourLevel, ring);
            case.state.cr4 |= Cr4::CET;
            case.form = form;
            let address = VirtAddr::new(case.access.address.get() & !0xfff);
            case.access = Access::new(form.kind(), address, 8, ring);
            case.access.shadow_stack = true;
            case
        };
        for ring in Ring::ALL {
            assert_eq!(arena_of(&shadow(Form::ShadowStore, ring)), Ok(Arena::ALL[1]));
        }
        let load = shadow(Form::ShadowLoad, Ring::Three);
        assert_eq!(arena_of(&load), Ok(Arena::ALL[1]));
        assert_refused(&shadow(Form::ShadowLoad, Ring::Zero), "incssp is run in ring 3");

        let with = |change: fn(&mut Case)| {
            let mut case = load.clone();
            change(&mut case);
            case
        };
        for (case, words) in [
            (with(|case| case.access.address = VirtAddr::new(1 << 47)), "canonical"),
            (with(|case| case.access.address = case.access.address.wrapping_add(4)), "multiple"),
            (with(|case| case.access.segment = Segment::Stack), "through DS"),
            (with(|case| case.state.cr4 -= Cr4::CET), "with CR4.CET=1"),
            (with(|case| case.state.cr0 -= Cr0::WP), "needs CR0.WP=1"),
            (with(|case| case.form = Form::Load), "they make no other"),
            (with(|case| case.access.shadow_stack = false), "they make no other"),
            (with(|case| case.state.pkru = 4), "with PKRU"),
        ] {
            assert_refused(&case, words);
        }
    }

    /// There is code from offset 0x800 on, and from 0xff8 across the end of a page.
    #[test]
    fn a_fetch_where_there_is_no_code_is_refused() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let page = case.access.address.get() & !0xfff;
        let fetch = |offset, size| Access::fetch(VirtAddr::new(page + offset), size, Ring::Three);
        case.form = Form::Jump;

        case.access = fetch(0x808, 8);
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        for (offset, size) in [(0x200, 4), (0x80c, 8), (0xa00, 8), (0x808, 0x1000)] {
            case.access = fetch(offset, size);
            assert_refused(&case, "run data as code");
        }

        // It faults on the second page only, so that the end of the first would run.
        case.access = fetch(0xffe, 4);
        assert_refused(&case, "run data as code");
        case.access = fetch(0xff8, 10);
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));

        // Nothing runs of a page that is not present.
        case.access = fetch(0x200, 4);
        case.entries[3].value &= !1;
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
    }

    #[test]
    fn a_read_only_table_must_have_nothing_left_to_set() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let table = Arena::ALL[1].read_only_table();
        case.entries[2].value = table | 7;
        case.entries[3].at = table + 0x20;
        assert_refused(&case, "accessed and dirty");

        case.entries[3].value |= (EntryBits::A | EntryBits::D).bits();
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));

        case.entries[3].value = Arena::ALL[1].table(5) | 0x67;
        assert_refused(&case, "map data");
    }
}
