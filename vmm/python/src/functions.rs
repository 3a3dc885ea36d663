//! The functions of the package about one access.

use crate::keywords::Keywords;
use crate::predict::Prediction;
use crate::setting::{Setting, take_access};
use crate::source::with_tables;
use crate::walk::Walk;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Follows an address through page tables.
#[pyfunction]
#[pyo3(signature = (memory, **keywords), text_signature = "(memory, *, cr3, va, access='read', size=1, ring=3, mode=None, cr0=None, cr4=None, efer=None, pkru=0, pkrs=0, pdptes=None, ac=False, segment='data', implicit=False, shadow_stack=False, compatibility=False, profile=None)")]
pub(crate) fn walk(
    memory: &Bound<'_, PyAny>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<Walk> {
    let keywords = Keywords::new("walk", keywords)?;
    let setting = Setting::take(&keywords)?;
    let access = take_access(&keywords)?;
    keywords.finish()?;

    with_tables(memory, |tables| Walk::follow(&setting.mmu(tables)?, tables, &access))
}

/// Predicts every outcome that the manuals allow for an access.
#[pyfunction]
#[pyo3(signature = (memory, **keywords), text_signature = "(memory, *, cr3, va, access='read', size=1, ring=3, mode=None, cr0=None, cr4=None, efer=None, pkru=0, pkrs=0, pdptes=None, ac=False, segment='data', implicit=False, shadow_stack=False, compatibility=False, profile=None)")]
pub(crate) fn predict(
    memory: &Bound<'_, PyAny>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<Prediction> {
    let keywords = Keywords::new("predict", keywords)?;
    let setting = Setting::take(&keywords)?;
    let access = take_access(&keywords)?;
    keywords.finish()?;

    with_tables(memory, |tables| {
        Prediction::of(memory.py(), &setting.mmu(tables)?, tables, &access)
    })
}
