//! How the memory of a live guest is read: in the memory of its process, in the file that is shared with it, or by
//! its monitor, which prints it.

use super::layout::MemorySection;
use super::printed_memory::PrintedMemory;
use super::process;
use super::stopped::SharedMonitor;
use crate::bytes::ImageBytes;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::Layout;
use crate::physical_memory::PhysicalMemory;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Number of bytes at the beginning of each section that are compared with what the monitor prints.
const COMPARED_BYTES: u64 = 0x40;
const TABLE_BYTES: u64 = 0x1000;

/// The most places that are compared.
const MAX_COMPARED: usize = 128;

/// How the memory of a live guest is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryAccess {
    /// In the memory of QEMU's process, which has this number.
    Process(i32),
    /// In a file that QEMU shares.
    SharedFile(PathBuf),
    /// By the monitor's `xp`, since the process is out of reach for this reason. A table takes about a
    /// millisecond.
    Monitor(String),
}

/// Opens the memory. What is read past the monitor is compared with what it prints, at the beginning of each
/// section and at the root tables.
pub(super) fn open(
    monitor: &SharedMonitor,
    about: &AboutFile,
    sections: &[MemorySection],
    roots: &[u64],
) -> Result<(PhysicalMemory, MemoryAccess), MemoryImageError> {
    let printed = by_monitor(monitor, sections);
    let (memory, access) = match in_process(monitor, sections) {
        Ok((memory, process)) => (memory, MemoryAccess::Process(process)),
        Err(reason) => match in_shared_file(monitor, sections) {
            Some((memory, path)) => (memory, MemoryAccess::SharedFile(path)),
            None => return Ok((printed, MemoryAccess::Monitor(reason))),
        },
    };

    let places = sections.iter().map(|section| (section.start, COMPARED_BYTES));
    let tables = roots.iter().map(|root| (root & !(TABLE_BYTES - 1), TABLE_BYTES));
    for (start, len) in tables.chain(places).take(MAX_COMPARED) {
        let there = memory.extents().and_then(|extents| extents.find(start));
        let is_memory = there.is_some_and(|(_, there)| there >= len);
        if is_memory && bytes(&memory, start, len) != bytes(&printed, start, len) {
            let what = match &access {
                MemoryAccess::SharedFile(path) => format!("the file {}", path.display()),
                _ => "the process".to_owned(),
            };
            let place = format!("the memory at {start:#x}");
            let problem =
                format!("{what} does not have what QEMU's monitor prints: it is of another guest");
            return Err(about.malformed(place, problem));
        }
    }
    Ok((memory, access))
}

fn bytes(memory: &PhysicalMemory, start: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    let read = memory.read(mmu_core::PhysAddr::new(start), &mut bytes);
    read.is_ok().then_some(bytes)
}

/// The memory with sections at these offsets.
fn memory(
    bytes: ImageBytes,
    sections: &[MemorySection],
    offset: impl Fn(&MemorySection) -> Option<u64>,
) -> Option<PhysicalMemory> {
    let extents: Option<Vec<_>> = sections
        .iter()
        .map(|section| Extent::new(section.start, section.len, offset(section)?))
        .collect();
    Some(PhysicalMemory::new(bytes, Layout::Extents(Extents::new(&extents?))))
}

fn by_monitor(monitor: &SharedMonitor, sections: &[MemorySection]) -> PhysicalMemory {
    let extents: Vec<_> = sections
        .iter()
        .filter_map(|section| Extent::new(section.start, section.len, section.start))
        .collect();
    let bytes = ImageBytes::elsewhere(Box::new(PrintedMemory(monitor.clone())));
    PhysicalMemory::new(bytes, Layout::Extents(Extents::new(&extents)))
}

/// The memory of the process at the other end of the socket. The error says why not, in words.
fn in_process(
    monitor: &SharedMonitor,
    sections: &[MemorySection],
) -> Result<(PhysicalMemory, i32), String> {
    let process = monitor.lock().process();
    let process = process.ok_or("the process of QEMU is not known here")?;

    let answer = monitor.lock().execute("query-cpus-fast", &json!({}));
    let answer = answer.map_err(|error| error.to_string())?;
    let cpus = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let threads: Vec<_> = cpus.iter().filter_map(|cpu| cpu.get("thread-id")?.as_u64()).collect();
    let file = process::open_memory(process, &threads)?;

    // Its length is not known, nor needed.
    let bytes = ImageBytes::new(file, u64::MAX);
    let memory = memory(bytes, sections, |section| host_address(monitor, section.start));
    let memory = memory.ok_or("QEMU does not say where in its process the memory is")?;
    Ok((memory, process))
}

/// Where in QEMU's process a physical address is.
fn host_address(monitor: &SharedMonitor, address: u64) -> Option<u64> {
    let printed = monitor.lock().human(&format!("gpa2hva {address:#x}")).ok()?;
    let (_, digits) = printed.trim_end().rsplit_once(" is 0x")?;
    u64::from_str_radix(digits, 16).ok()
}

/// Opens a regular file. A device could have effects when it is read, and a FIFO would be waited for.
fn open_regular(path: &Path) -> Option<File> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let at_once = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(at_once).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// The file of the memory backend, if it is shared and all of the guest's RAM is in it. ROM elsewhere is left
/// out.
fn in_shared_file(
    monitor: &SharedMonitor,
    sections: &[MemorySection],
) -> Option<(PhysicalMemory, PathBuf)> {
    let largest = sections.iter().max_by_key(|section| section.len)?;
    let region = &largest.region;
    let get = |property: &str| {
        let arguments = json!({ "path": format!("/objects/{region}"), "property": property });
        monitor.lock().execute("qom-get", &arguments).ok()
    };

    let is_shared = get("share") == Some(Value::Bool(true));
    let path = PathBuf::from(get("mem-path").filter(|_| is_shared)?.as_str()?);
    let file = open_regular(&path)?;
    let len = file.metadata().ok()?.len();
    // Versions before 8.1 have no such property.
    let base = get("offset").and_then(|offset| offset.as_u64()).unwrap_or(0);

    let inside: Vec<_> =
        sections.iter().filter(|section| section.region == *region).cloned().collect();
    let memory =
        memory(ImageBytes::new(file, len), &inside, |section| base.checked_add(section.offset))?;
    Some((memory, path))
}
