//! Nested translation.

use super::values::Values;
use mmu_core::nested::{
    AnyRule, Dimension, Ept, EptCapabilities, NestedAccess, NestedEnd, NestedExit, NestedMmu,
    NestedReference, NestedRights, NestedRule, NestedRuleSet, NestedSemantics, NestedUpdate,
    Purpose, SecondFault, SecondLevel,
};
use mmu_core::x86::format::{EntryBits, EptBits, EptFiveLevel, EptFourLevel, Format, FourLevel};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AccessKind, Regime, Rule};

fn ept(values: &mut Values) -> Ept {
    Ept {
        eptp: values.number(),
        mode_based_execute: values.flag(),
        capabilities: EptCapabilities::from_bits_retain(values.byte()),
    }
}

fn second_level(values: &mut Values) -> SecondLevel {
    let npt = SecondLevel::Npt(values.possible_state());
    let ept = SecondLevel::Ept(ept(values));
    values.one_of(&[npt, ept])
}

fn nested_access(values: &mut Values) -> NestedAccess {
    NestedAccess {
        purpose: values.one_of(&[Purpose::Table, Purpose::Page]),
        kind: values.one_of(&AccessKind::ALL),
        user: values.flag(),
        user_address: values.flag(),
    }
}

fn exit(values: &mut Values) -> NestedExit {
    let (info1, info1_known, info2) = (values.number(), values.number(), values.number());
    let linear = values.flag().then(|| values.number());
    values.one_of(&[
        NestedExit::NestedPageFault { info1, info1_known, info2 },
        NestedExit::EptViolation {
            qualification: info1,
            qualification_known: info1_known,
            guest_physical: info2,
            linear,
        },
        NestedExit::EptMisconfiguration { guest_physical: info2, qualification_known: info1 },
    ])
}

/// A walk and a prediction of any guest below any second level.
pub(super) fn drive_mmu(values: &mut Values) {
    let memory = values.memory();
    let (guest, second) = (values.possible_state(), second_level(values));
    let mmu = NestedMmu::new(guest, second, values.profile());
    let _ = (mmu.guest(), mmu.second_level().has_flags());

    for _ in 0..8 {
        let access = values.access();
        let _ = mmu.walk(&memory, &access);
        let Ok(prediction) = mmu.predict(&memory, &access) else { continue };
        for alternative in &prediction.alternatives {
            let end = &alternative.end;
            let _ = (end.physical_address(), end.fault(), end.exit(), end.to_string());
            let changed = alternative.updates.iter().filter(|update| update.open_bits() != 0);
            let _ = changed.count();
        }
    }
}

/// Everything about an entry of EPT.
pub(super) fn drive_formats(values: &mut Values) {
    fn drive<F: Format>(values: &mut Values) {
        let regime = Regime::new(values.state(), values.profile());
        let (level, kind, entry) = (values.level(), values.kind(), values.number());
        let _ = (F::root(&regime), F::is_leaf(&level, entry, &regime));
        let _ = (F::reserved_bits(&level, kind, &regime), F::address(&level, kind, entry));
        let _ = F::entry(&level, kind, values.place(), EntryBits::from_bits_retain(entry));
        let _ = F::register(&level, values.number(), &regime);
    }
    drive::<EptFourLevel>(values);
    drive::<EptFiveLevel>(values);

    let _ = EptBits::memory_type_of(values.number());
    let _ = EptCapabilities::from_msr(values.number());
    let any = ept(values);
    let _ = (any.levels(), any.has_flags(), any.with_flags(values.flag()));
    let _ = Ept::four_level(values.number());
}

/// Every decision, and what is reported.
pub(super) fn drive_decisions(values: &mut Values) {
    let (nested, second, access) = (NestedReference, second_level(values), nested_access(values));
    let level = values.level();
    let entry = values.number();
    let rights = NestedRights::from_bits_retain(values.byte());
    let missing = SecondFault::Denied(rights);
    let malformed = SecondFault::Malformed(entry);
    let fault =
        values.one_of(&[SecondFault::NotPresent, missing, malformed, SecondFault::OutOfReach]);

    let _ = (nested.root(&second, values.place()), nested.walks_guest_pdptes(&second));
    let _ = nested.access_to_table(&second, &values.access());
    let _ = nested.is_user(access.purpose, &values.access());
    let _ = nested.reserved_bits(&second, &level, values.kind(), entry);
    let _ = (nested.ept_is_present(&ept(values), entry), nested.forbids_execute_only(&ept(values)));
    let _ = nested.forbids_memory_type(values.byte());
    let own = nested.entry_rights(&second, &level, entry);
    let _ = (nested.combine(rights, own, &level), nested.needed_rights(&second, &access));
    let _ = (nested.sets_accessed(&level), nested.sets_dirty(&access));
    let _ = (nested.nested_fault_code(fault, &access), nested.purpose_bits(access.purpose));
    let _ = nested.reports_nested_fetch(&values.state()).likely();
    let _ = nested.reported_address(&access, values.place());
    let _ = nested.qualification_of_access(&access) | nested.qualification_of_rights(rights);
    let _ = nested.qualification_of_purpose(access.purpose);
    let _ = nested.qualification_of_guest(Rights::from_bits_retain(values.byte()));

    let exits = [exit(values), exit(values)];
    let _ = (exits[0].allows(&exits[1]), exits[0].guest_physical());
    let _ = NestedEnd::Exit(exits[0]).to_string();
    let update = NestedUpdate {
        dimension: values.one_of(&[Dimension::Guest, Dimension::Second]),
        at: values.place(),
        bytes: values.byte(),
        level: FourLevel::LEVELS.first().expect("a level"),
        before: entry,
        must_set: values.number(),
        may_set: values.number(),
        open_by: AnyRule::from(values.one_of(Rule::ALL)),
    };
    let _ = (update.allows(values.number()), update.open_bits(), update.dimension.name());

    let mut rules = NestedRuleSet::default();
    rules.insert(values.one_of(NestedRule::ALL));
    rules.extend(rules);
    let rule = AnyRule::from(values.one_of(NestedRule::ALL));
    let _ = (rules.iter().count(), rule.id(), rule.meaning(), rule.to_string());
}
