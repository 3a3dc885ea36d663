//! Regions and what may be done in them.

use super::FileError;
use super::names::Names;
use super::table::{Fields, Value, number, unexpected, word};
use super::words::REGION_KINDS;
use super::{END_OF_PLACES, MAX_REGION_PAGES, address};
use crate::driver::IMAGES;
use crosswalk_guest::system::{Residence, regions};
use mmu_core::PagingMode::{Bits32, FiveLevel, FourLevel, Pae};
use mmu_core::VirtAddr;
use mmu_core::space::{Backing, PAGE_BYTES, Protection, Region, RegionKind, SlotNumber};
use std::ops::Range;
use toml::de::DeValue;

/// A region of a file. The object that it shows exists only when the scenario runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRegion {
    pub(super) region: Region,
    /// The index of its shared object.
    pub(super) object: Option<usize>,
}

/// A region: `{ kind = "heap", at = "heap", pages = 4 }`.
pub(super) fn region(value: &Value<'_>, names: &Names) -> Result<FileRegion, FileError> {
    let fields = Fields::of("a region", value)?;
    let kind = word(fields.need("kind")?, &REGION_KINDS)?;

    let mut object = None;
    let mut object_pages = None;
    if kind == RegionKind::Shared {
        let value = fields.need("object")?;
        let name = value.get_ref().as_str().unwrap_or_default();
        let known = names.object(name);
        let (index, pages) = known.ok_or_else(|| {
            FileError::new(
                value.span(),
                "expected the name of a shared object that an earlier step made",
            )
        })?;
        object = Some(index);
        object_pages = Some(pages);
    }

    let pages = match (fields.get("pages"), object_pages) {
        (Some(value), _) => number(value, 1..MAX_REGION_PAGES + 1)?,
        (None, Some(pages)) => pages,
        (None, None) => number(fields.need("pages")?, 1..2)?,
    };
    let limit = match kind {
        RegionKind::Heap | RegionKind::Stack => fields.get("limit"),
        _ => None,
    };
    let limit =
        limit.map(|value| number(value, pages..MAX_REGION_PAGES + 1)).transpose()?.unwrap_or(pages);

    let region = placed(&fields, kind, pages, limit, names)?;
    fields.end()?;
    check_free(value, &region)?;
    Ok(FileRegion { region, object })
}

/// The region at its place, with its rights and where its pages come from.
fn placed(
    fields: &Fields<'_>,
    kind: RegionKind,
    pages: u64,
    limit: u64,
    names: &Names,
) -> Result<Region, FileError> {
    let at = |key| page(fields.need(key)?, names);
    Ok(match kind {
        RegionKind::Stack => {
            let top = fields.need("top")?;
            let address = page(top, names)?;
            if address.get() < limit.saturating_mul(PAGE_BYTES) {
                return Err(FileError::new(top.span(), "there is no room below for the stack"));
            }
            Region::stack(address, pages, limit)
        }
        RegionKind::Heap => Region::heap(at("at")?, pages, limit),
        RegionKind::Guard => Region::new(kind, at("at")?, pages, Protection::empty()),
        _ => {
            let usual = if kind == RegionKind::Code { Protection::CODE } else { Protection::DATA };
            let rights = fields.get("rights").map(rights).transpose()?.unwrap_or(usual);
            let region = Region::new(kind, at("at")?, pages, rights);
            let image = if kind == RegionKind::Shared { None } else { fields.get("image") };
            match image {
                Some(value) => region.from_backing(image_from(value, pages)?),
                None => region,
            }
        }
    })
}

/// The images from this one on, of which there must be enough.
pub(super) fn image_from(value: &Value<'_>, pages: u64) -> Result<Backing, FileError> {
    let images = u64::from(IMAGES);
    let slot = number(value, 0..images)?;
    if slot.saturating_add(pages) > images {
        let problem =
            format!("there are {IMAGES} pages of images, 0 to {}", IMAGES.saturating_sub(1));
        return Err(FileError::new(value.span(), problem));
    }
    Ok(Backing::Image(SlotNumber(slot as u32)))
}

/// The first address of a page.
pub(super) fn page(value: &Value<'_>, names: &Names) -> Result<VirtAddr, FileError> {
    let address = address(value, names)?;
    if !address.is_multiple_of(PAGE_BYTES) {
        return Err(FileError::new(
            value.span(),
            format!("expected the start of a page, a multiple of 0x1000, found {address:#x}"),
        ));
    }
    Ok(VirtAddr::new(address))
}

/// `"rw"`, `"r-x"`: what a process may do, reading always.
pub(super) fn rights(value: &Value<'_>) -> Result<Protection, FileError> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(unexpected("rights, such as \"rw\"", value));
    };
    let known = [
        ("r", Protection::CONSTANTS),
        ("rw", Protection::DATA),
        ("rx", Protection::CODE),
        ("rwx", Protection::DATA.union(Protection::CODE)),
    ];
    let letters = text.replace('-', "");
    let found = known.iter().find(|(name, _)| *name == letters);
    found
        .map(|(_, rights)| *rights)
        .ok_or_else(|| FileError::new(value.span(), "expected \"r\", \"rw\", \"rx\" or \"rwx\""))
}

/// Checks that a region, as large as it may grow, is where a process has nothing yet in any mode.
fn check_free(value: &Value<'_>, region: &Region) -> Result<(), FileError> {
    let more = region.limit.saturating_sub(region.pages).saturating_mul(PAGE_BYTES);
    let (start, end) = match region.kind {
        RegionKind::Stack => (region.start.get().saturating_sub(more), region.end().get()),
        _ => (region.start.get(), region.end().get().saturating_add(more)),
    };
    if start < PAGE_BYTES || end > END_OF_PLACES {
        let problem =
            "expected a region between 0x1000 and 0xffffffff, which every paging mode has";
        return Err(FileError::new(value.span(), problem));
    }

    check_not_the_systems(value, start..end, |_| true)
}

/// The page of a request, which is about regions of the process: those of the system itself are not its own.
pub(super) fn own_page(value: &Value<'_>, names: &Names) -> Result<VirtAddr, FileError> {
    let page = page(value, names)?;
    check_not_the_systems(value, page.get()..page.get().saturating_add(1), |_| true)?;
    Ok(page)
}

/// Checks that a process does not touch what it could read of the system, whose contents are no part of a scenario.
pub(super) fn check_touched(value: &Value<'_>, addresses: Range<u64>) -> Result<(), FileError> {
    check_not_the_systems(value, addresses, |own| own.protection.contains(Protection::USER))
}

/// Checks that no region of the system itself, in any mode, has one of these addresses.
fn check_not_the_systems(
    value: &Value<'_>,
    addresses: Range<u64>,
    counts: impl Fn(&Region) -> bool,
) -> Result<(), FileError> {
    let residences = [Residence::Separate, Residence::InProcess];
    let modes = [Bits32, Pae, FourLevel, FiveLevel];
    let own = modes
        .into_iter()
        .flat_map(|mode| residences.into_iter().flat_map(move |one| regions(mode, one)));
    let taken = own
        .filter(counts)
        .find(|own| own.start.get() < addresses.end && addresses.start < own.end().get());
    taken.map_or(Ok(()), |own| {
        let (first, last) = (own.start, own.end().get().saturating_sub(1));
        let problem = format!(
            "{first} to {last:#x} is the supervisor's in every process: choose another place"
        );
        Err(FileError::new(value.span(), problem))
    })
}
