//! crosswalk cross-checks address translation: a guest runs on real page tables, the host walks the
//! same tables in software, and every outcome is compared.
//!
//! From the ground up: a [`case`] is what is tried and an [`observation`] what a machine did with
//! it. [`machine`]s act.

pub mod case;
pub mod machine;
pub mod observation;
pub mod verdict;
pub mod walker;
