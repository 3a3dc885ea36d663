//! Semantics chosen at run time.
//!
//! The methods of [`Semantics`] are generic over the table format, so that a fast walk is compiled for
//! each implementation. Walkers with one mistake need not be fast, but there are many of them, and
//! even more pairs of them. They share one compiled walk, which calls each decision through a pointer.

use mmu_core::x86::format::{Bits32, EntryKind, FiveLevel, Format, FourLevel, Level, Pae, Unpaged};
use mmu_core::x86::semantics::{AlignmentCheck, Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, Fault, PageFaultCode, PagingMode, PhysAddr, Reference, Regime, Semantics, VirtAddr,
};

/// Calls a method of [`Semantics`] with the format of a mode.
macro_rules! in_format {
    ($mode:expr, $semantics:expr, $method:ident($($argument:expr),*)) => {
        match $mode {
            PagingMode::Unpaged | PagingMode::Linear => Semantics::$method::<Unpaged>($semantics, $($argument),*),
            PagingMode::Bits32 => Semantics::$method::<Bits32>($semantics, $($argument),*),
            PagingMode::Pae => Semantics::$method::<Pae>($semantics, $($argument),*),
            PagingMode::FourLevel => Semantics::$method::<FourLevel>($semantics, $($argument),*),
            PagingMode::FiveLevel => Semantics::$method::<FiveLevel>($semantics, $($argument),*),
        }
    };
}

/// Combines two decisions: where either deviates from the correct one, so does the result. `either`
/// takes a deviating decision as a whole, `bits` deviates bit by bit.
macro_rules! combined {
    (either, $right:expr, $first:expr, $second:expr) => {{
        let first = $first;
        if first == $right { $second } else { first }
    }};
    (bits, $right:expr, $first:expr, $second:expr) => {{
        let right = $right;
        right ^ ((right ^ $first) | (right ^ $second))
    }};
}

/// Defines [`DynSemantics`] and implements [`Semantics`] for [`Erased`] and [`Combined`], from the list
/// of decisions that a walk asks for: first those that are the same in every format, then those that
/// are generic over it. The word before each decision says how two of them are combined.
macro_rules! decisions {
    (
        { $($merge:ident $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)* }
        { $($merge_f:ident $name_f:ident($($argument_f:ident: $type_f:ty),*) -> $result_f:ty;)* }
    ) => {
        /// [`Semantics`] that can be used as a trait object: the paging mode is an argument instead of
        /// a type parameter for the format.
        pub trait DynSemantics: Send + Sync {
            $(
                #[doc(hidden)]
                fn $name(&self, $($argument: $type),*) -> $result;
            )*
            $(
                #[doc(hidden)]
                fn $name_f(&self, mode: PagingMode, $($argument_f: $type_f),*) -> $result_f;
            )*
        }

        impl<R: Semantics + Send + Sync> DynSemantics for R {
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

        impl Semantics for Erased<'_> {
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
                    combined!($merge, Semantics::$name(&Reference, $($argument),*),
                        self.0.$name($($argument),*), self.1.$name($($argument),*))
                }
            )*
            $(
                fn $name_f<F: Format>(&self, $($argument_f: $type_f),*) -> $result_f {
                    combined!($merge_f, Semantics::$name_f::<F>(&Reference, $($argument_f),*),
                        self.0.$name_f(F::MODE, $($argument_f),*),
                        self.1.$name_f(F::MODE, $($argument_f),*))
                }
            )*
        }
    };
}

/// Semantics behind a pointer.
#[derive(Clone, Copy)]
pub struct Erased<'a>(pub &'a dyn DynSemantics);

/// Semantics with the mistakes of both: a decision deviates from the reference wherever that of either
/// does. Methods that a decision calls in turn, such as `smep_denied` within `denial`, are not combined.
#[derive(Clone, Copy)]
pub struct Combined(pub &'static dyn DynSemantics, pub &'static dyn DynSemantics);

decisions! {
    {
        either violates_lass(access: &Access, regime: &Regime) -> bool;
        either has_64_bit_address(access: &Access) -> bool;
        either masked_address(access: &Access, regime: &Regime) -> Option<VirtAddr>;
        either is_canonical(access: &Access, address_bits: u8, regime: &Regime) -> bool;
        either alignment_check(access: &Access, regime: &Regime) -> AlignmentCheck;
        either non_canonical_fault(access: &Access) -> Fault;
        either index(level: &Level, address: VirtAddr) -> u64;
        either entry_error(
            level: &Level, kind: EntryKind, entry: u64, reserved: u64
        ) -> Option<EntryError>;
        bits combine(above: Rights, entry: u64) -> Rights;
        bits denial_on_the_way(rights: Rights, access: &Access, regime: &Regime) -> Denial;
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
    use crate::{MUTANTS, Walker};
    use crosswalk_case::Case;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{AccessKind, Profile, Ring};

    fn semantics_of(id: &str) -> &'static dyn DynSemantics {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
        mutant.semantics.expect("its mistake is in one access")
    }

    /// The error code of the first way.
    fn code(walker: &dyn Walker, case: &Case) -> Option<u32> {
        walker.predict(case).alternatives[0].outcome.fault().map(|fault| fault.error_code)
    }

    /// A read by ring 3 through a PDE with bit 45 set, which is reserved since MAXPHYADDR is 40; a
    /// CLFLUSH of a read-only page; and both in one case.
    #[test]
    fn a_pair_makes_both_mistakes_in_one_case_and_in_two() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let plain = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
        let mut reserved = plain.clone();
        reserved.entries[2].value |= 1 << 45;

        let mut flush = plain;
        flush.access.kind = AccessKind::Clflush;
        flush.access.size = 1;
        flush.form = Case::default_form(AccessKind::Clflush);
        let both = Case { access: flush.access, form: flush.form, ..reserved.clone() };
        flush.entries[3].value &= !2;

        // RSVD is bit 3, U/S bit 2, W/R bit 1, P bit 0.
        assert_eq!(code(&Reference, &reserved), Some(0b1101));
        assert_eq!(code(&Reference, &flush), None);

        let pair = Combined(semantics_of("M13b"), semantics_of("M36"));
        let pair = Erased(&pair);
        assert_eq!(code(&pair, &reserved), Some(0b1100));
        assert_eq!(code(&pair, &flush), Some(0b0111));
        assert_eq!(code(&pair, &both), Some(0b1110));
        assert_eq!(code(&Erased(semantics_of("M13b")), &both), Some(0b1100));
    }

    #[test]
    fn a_pair_with_the_reference_is_the_other() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        for mode in PagingMode::ALL {
            let case = Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, profile);
            for semantics in MUTANTS.iter().filter_map(|mutant| mutant.semantics) {
                let pair = Combined(&Reference, semantics);
                let pair = Erased(&pair).predict(&case);
                assert_eq!(pair, Erased(semantics).predict(&case));
            }
        }
    }
}
