//! Semantics chosen at run time. [`Semantics`] has methods that are generic over the table format, so that a
//! walk can be compiled for each; a walker with one mistake need not be fast, but there are many of
//! them, and pairs of them. They share one walk: each decision is looked up when it is made.

use mmu_core::x86::format::{Bits32, EntryKind, FiveLevel, Format, FourLevel, Level, Pae, Unpaged};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, Fault, PageFaultCode, PagingMode, PhysAddr, Reference, Regime, Semantics, VirtAddr,
};

/// One decision in the format of a mode.
macro_rules! in_format {
    ($mode:expr, $rules:expr, $method:ident($($argument:expr),*)) => {
        match $mode {
            PagingMode::Unpaged | PagingMode::Linear => Semantics::$method::<Unpaged>($rules, $($argument),*),
            PagingMode::Bits32 => Semantics::$method::<Bits32>($rules, $($argument),*),
            PagingMode::Pae => Semantics::$method::<Pae>($rules, $($argument),*),
            PagingMode::FourLevel => Semantics::$method::<FourLevel>($rules, $($argument),*),
            PagingMode::FiveLevel => Semantics::$method::<FiveLevel>($rules, $($argument),*),
        }
    };
}

/// Where either of two deviates from what is right: for what has no parts, and for bits.
macro_rules! deviations {
    (either, $right:expr, $first:expr, $second:expr) => {{
        let first = $first;
        if first == $right { $second } else { first }
    }};
    (bits, $right:expr, $first:expr, $second:expr) => {{
        let right = $right;
        right ^ ((right ^ $first) | (right ^ $second))
    }};
}

/// Defines [`DynRules`], and walkers of one and of two such rules, from the decisions that a walk asks
/// for: those in any format, then those in the format of a walk. The word before each says how the
/// deviations of two are put together.
macro_rules! decisions {
    (
        { $($merge:ident $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)* }
        { $($merge_f:ident $name_f:ident($($argument_f:ident: $type_f:ty),*) -> $result_f:ty;)* }
    ) => {
        /// Semantics behind a pointer: [`Semantics`], with the mode as an argument in place of a format.
        pub trait DynRules: Send + Sync {
            $(
                #[doc(hidden)]
                fn $name(&self, $($argument: $type),*) -> $result;
            )*
            $(
                #[doc(hidden)]
                fn $name_f(&self, mode: PagingMode, $($argument_f: $type_f),*) -> $result_f;
            )*
        }

        impl<R: Semantics + Send + Sync> DynRules for R {
            $(
                fn $name(&self, $($argument: $type),*) -> $result {
                    Semantics::$name(self, $($argument),*)
                }
            )*
            $(
                fn $name_f(&self, mode: PagingMode, $($argument_f: $type_f),*) -> $result_f {
                    in_format!(mode, self, $name_f($($argument_f),*))
                }
            )*
        }

        impl Semantics for Boxed {
            $(
                fn $name(&self, $($argument: $type),*) -> $result {
                    self.0.$name($($argument),*)
                }
            )*
            $(
                fn $name_f<F: Format>(&self, $($argument_f: $type_f),*) -> $result_f {
                    self.0.$name_f(F::MODE, $($argument_f),*)
                }
            )*
        }

        impl Semantics for Combined {
            $(
                fn $name(&self, $($argument: $type),*) -> $result {
                    deviations!($merge, Semantics::$name(&Reference, $($argument),*),
                        self.0.$name($($argument),*), self.1.$name($($argument),*))
                }
            )*
            $(
                fn $name_f<F: Format>(&self, $($argument_f: $type_f),*) -> $result_f {
                    deviations!($merge_f, Semantics::$name_f::<F>(&Reference, $($argument_f),*),
                        self.0.$name_f(F::MODE, $($argument_f),*),
                        self.1.$name_f(F::MODE, $($argument_f),*))
                }
            )*
        }
    };
}

/// Semantics that make one mistake.
#[derive(Clone, Copy)]
pub struct Boxed(pub &'static dyn DynRules);

/// Semantics that make both of two mistakes: every decision deviates from the reference wherever that of
/// either does. What a decision is made of is each one's own.
#[derive(Clone, Copy)]
pub struct Combined(pub &'static dyn DynRules, pub &'static dyn DynRules);

decisions! {
    {
        either masked_address(access: &Access, regime: &Regime) -> Option<VirtAddr>;
        either is_canonical(access: &Access, address_bits: u8) -> bool;
        either non_canonical_fault(access: &Access) -> Fault;
        either index(level: &Level, address: VirtAddr) -> u64;
        either entry_error(entry: u64, reserved: u64) -> Option<EntryError>;
        bits combine(above: Rights, entry: u64) -> Rights;
        either is_write(access: &Access) -> bool;
        bits denial(
            above: Rights, rights: Rights, leaf: u64, access: &Access, regime: &Regime
        ) -> Denial;
        either reports_fetch(regime: &Regime) -> bool;
        bits page_fault_code(cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode;
        either checks_loaded_pdptes() -> bool;
        either sets_accessed(level: &Level) -> bool;
        either sets_dirty(rights: Rights, access: &Access) -> bool;
    }
    {
        either root(regime: &Regime) -> PhysAddr;
        either register(level: &Level, index: u64, regime: &Regime) -> Option<u64>;
        either is_leaf(level: &Level, entry: u64, regime: &Regime) -> bool;
        bits reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> u64;
        either address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::{MUTANTS, Walker};
    use crosswalk_case::Case;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{AccessKind, Profile, Ring};

    fn rules_of(id: &str) -> &'static dyn DynRules {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
        mutant.rules.expect("it is one of rules")
    }

    /// The error code of the first way.
    fn code(walker: &dyn Walker, case: &Case) -> Option<u32> {
        walker.predict(case).alternatives[0].outcome.fault().map(|fault| fault.error_code)
    }

    /// A write by ring 3 through a PDE with bit 20, which is reserved in a leaf, and a CLFLUSH of a
    /// read-only page.
    #[test]
    fn a_pair_makes_both_mistakes_in_one_case_and_in_two() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
        case.entries[2].value |= 1 << 45;
        let mut flush = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
        (flush.access.kind, flush.access.size) = (AccessKind::Clflush, 1);
        flush.form = Case::default_form(AccessKind::Clflush);
        let mut both = case.clone();
        (both.access, both.form) = (flush.access, flush.form);
        flush.entries[3].value &= !2;

        // RSVD is bit 3, U/S bit 2, W/R bit 1, P bit 0.
        assert_eq!(code(&Reference, &case), Some(0b1101));
        assert_eq!(code(&Reference, &flush), None);
        let pair = Combined(rules_of("M13b"), rules_of("M36"));
        assert_eq!(code(&pair, &case), Some(0b1100));
        assert_eq!(code(&pair, &flush), Some(0b0111));
        assert_eq!(code(&pair, &both), Some(0b1110));
        assert_eq!(code(&Boxed(rules_of("M13b")), &both), Some(0b1100));
    }

    #[test]
    fn a_pair_with_the_reference_is_the_other() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        for mode in PagingMode::ALL {
            let case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, profile);
            for rules in MUTANTS.iter().filter_map(|mutant| mutant.rules) {
                let pair = Combined(&Reference, rules).predict(&case);
                assert_eq!(pair, Boxed(rules).predict(&case));
            }
        }
    }
}
