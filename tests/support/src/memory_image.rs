//! Memory images of small guests, as files.

pub use crosswalk_inspect::test_images::*;

use std::path::{Path, PathBuf};

/// Writes the small guest, and the same guest a little later, as dumps of QEMU: `guest.elf` and `later.elf`.
pub fn write_small_guests(directory: &Path) {
    write_dump(&directory.join("guest.elf"), &small_guest());
    write_dump(&directory.join("later.elf"), &small_guest_later());
}

/// Writes memory in 4-level paging, with its root table at 0x1000, as a dump of QEMU.
pub fn write_dump(path: &Path, memory: &SmallMemory) {
    let dump = elf(true, &[cpu_64(small::PML4 as u64)], &[(0, &memory.0)]);
    std::fs::write(path, dump).expect("an image can be written");
}

/// A file with these contents in a directory.
pub fn write_file(directory: &Path, name: &str, contents: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, contents).expect("a file can be written");
    path
}
