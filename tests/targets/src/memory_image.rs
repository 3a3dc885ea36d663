//! A memory image, in any format: it reads or is refused, and whatever its tables say, looking through them
//! ends, finds what a walk finds, in pieces, too, and differs in nothing from itself.

use crate::reader::Reader;
use crosswalk_inspect::{
    Audit, AuditChecks, Differences, Found, ImageFormat, ImageOptions, LeadsTo, Limits,
    MemoryImage, StateOptions,
};
use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::format::EntryBits;
use mmu_core::{AnyMmu, Profile};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Tables that repeat are read this often.
const LIMITS: Limits = Limits { repeats: 16 };

/// The pages that are compared with a walk.
const MAX_WALKED: usize = 2000;

/// Reads an image. The first bytes of the input are options: the format, CR3 in units of 16 bytes, CR4, and EFER.
///
/// # Panics
/// When it is not read as it must be.
pub fn memory_image(input: &[u8]) {
    let mut reader = Reader::new(input);
    let [elf, lime, kdump, avml, windows, raw] = ImageFormat::ALL.map(Some);
    // The numbers of the first four are those of the seeds of old.
    let format = reader.pick(&[None, elf, lime, raw, kdump, avml, windows]);
    let given = StateOptions {
        cpu: 0,
        cr0: Some(0x8001_0033),
        cr3: Some(u64::from(reader.u16()) << 4),
        cr4: Some(reader.pick(&[0x20, 0, 0x10, 0x1020])),
        efer: Some(reader.pick(&[0xd00, 0, 0x500, 0x800])),
    };

    let mut file =
        File::from(memfd_create("input", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(reader.bytes(usize::MAX)).expect("memory has room");
    let options = ImageOptions { format, ram: Vec::new() };
    let image = match MemoryImage::from_file(file, Path::new("input"), &options) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return;
        }
    };

    for options in [StateOptions::default(), given] {
        match image.control_state(&options) {
            Ok(derived) => look_through(&image, &AnyMmu::new(derived.state, Profile::default())),
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
        }
    }
}

fn look_through(image: &MemoryImage, mmu: &AnyMmu) {
    let mut walked = 0;
    for found in image.scan(mmu, LIMITS) {
        let Found::Page(page) = found else { continue };
        let EntryMeaning::Page(address) = page.meaning else { panic!("{page:?} is not a page") };
        let leads = LeadsTo::of(&found, address);
        assert!(matches!(leads, Some(LeadsTo::Page { address, .. }) if address == page.first));
        if walked < MAX_WALKED {
            assert_eq!(mmu.locate(image.memory(), page.first), Ok(address));
            walked += 1;
        }
    }

    assert!(image.scan(mmu, LIMITS).pieces().flatten().eq(image.scan(mmu, LIMITS)));
    let differences = Differences::new(pages(image, mmu), pages(image, mmu), EntryBits::all());
    assert_eq!(differences.count(), 0);
    let _ =
        Audit::run(image.memory(), mmu, AuditChecks::default(), LIMITS, &AtomicBool::new(false));
}

fn pages<'i>(image: &'i MemoryImage, mmu: &AnyMmu) -> impl Iterator<Item = PresentEntry> + 'i {
    image.scan(mmu, LIMITS).filter_map(|found| match found {
        Found::Page(page) => Some(page),
        _ => None,
    })
}
