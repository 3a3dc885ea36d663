//! The package `crosswalk-mmu` for Python: walks, predictions, page tables, memory images and corpora.
//!
//! `python/crosswalk_mmu/_native.pyi` documents every name, with its types. What a caller gives may be wrong in
//! any way: it raises an exception, and never a panic.
// PyO3's macros write unsafe code, so it cannot be forbidden; nothing else may have any.
#![deny(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]
#![allow(clippy::needless_pass_by_value, reason = "Python hands over its arguments")]

mod corpus;
mod fault;
mod functions;
mod image;
mod keywords;
mod map;
mod mappings;
mod memory;
mod outside;
mod predict;
mod profile;
mod setting;
mod source;
mod tables;
mod to_python;
mod walk;

use pyo3::prelude::*;

/// The native part of the package: `crosswalk_mmu` exports all of it.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::corpus::{Corpus, CorpusError, corpus};
    #[pymodule_export]
    use crate::fault::Fault;
    #[pymodule_export]
    use crate::functions::{predict, walk};
    #[pymodule_export]
    use crate::image::{Image, ImageError};
    #[pymodule_export]
    use crate::map::{MapError, map};
    #[pymodule_export]
    use crate::mappings::Mappings;
    #[pymodule_export]
    use crate::memory::Memory;
    #[pymodule_export]
    use crate::outside::OutsideMemoryError;
    #[pymodule_export]
    use crate::predict::{Outcome, Prediction, Update};
    #[pymodule_export]
    use crate::profile::Profile;
    #[pymodule_export]
    use crate::walk::{Pte, Walk};
}
