//! A memory image: its memory, and the control state of its processors.

use crate::error::{AboutFile, MemoryImageError};
use crate::format::{self, Contents, ImageFormat, RamRange};
use crate::physical_memory::PhysicalMemory;
use crate::registers::{CpuNote, DerivedState, StateOptions, VmcoreInfo};
use crate::search;
use mmu_core::PhysAddr;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// How to read a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Its format. Without one its beginning decides.
    pub format: Option<ImageFormat>,
    /// Of a raw file: what is where in it. Without any, all of it is memory from address 0 on.
    pub ram: Vec<RamRange>,
}

/// A memory image.
#[derive(Debug)]
pub struct MemoryImage {
    about: AboutFile,
    format: ImageFormat,
    is_64_bit: Option<bool>,
    cpus: Vec<CpuNote>,
    /// CR3 of a Windows dump, which has no other register that matters.
    cr3: Option<u64>,
    vmcoreinfo: Option<VmcoreInfo>,
    /// A physical address that is in the file more than once, with different bytes.
    contradiction: Option<u64>,
    memory: PhysicalMemory,
}

impl MemoryImage {
    /// Opens a file, and reads what it says about itself. Its memory stays in the file.
    ///
    /// # Errors
    /// If the file cannot be read, is of no known format, or is malformed.
    pub fn open(path: &Path, options: &ImageOptions) -> Result<Self, MemoryImageError> {
        let about = AboutFile::new(path);
        // A FIFO would be waited for, and a device may have no end.
        let kind = fs::metadata(path).map_err(|error| about.host("opening it", error))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let found = if kind.is_dir() { "a directory" } else { "something else" };
            return Err(about.unsupported(format!("expected a regular file, found {found}")));
        }
        let file = File::open(path).map_err(|error| about.host("opening it", error))?;
        Self::from_file(file, path, options)
    }

    /// The same of a file that is open. Errors call it by the name that `path` has.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(
        file: File,
        path: &Path,
        options: &ImageOptions,
    ) -> Result<Self, MemoryImageError> {
        let about = AboutFile::new(path);
        let (format, bytes, contents) = format::read(file, &about, options.format, &options.ram)?;

        let mut cpus = Vec::new();
        for (number, note) in contents.cpu_notes.iter().enumerate() {
            let cpu = CpuNote::parse(note);
            cpus.push(cpu.map_err(|problem| {
                about.malformed(format!("the note of CPU {number}"), problem)
            })?);
        }

        let vmcoreinfo = contents.vmcoreinfo.as_deref().and_then(VmcoreInfo::parse);
        let memory = PhysicalMemory::new(bytes, contents.layout);
        let Contents { is_64_bit, cr3, contradiction, .. } = contents;
        Ok(Self { about, format, is_64_bit, cpus, cr3, vmcoreinfo, contradiction, memory })
    }

    /// The format of the file.
    pub const fn format(&self) -> ImageFormat {
        self.format
    }

    /// The physical memory.
    pub const fn memory(&self) -> &PhysicalMemory {
        &self.memory
    }

    /// The registers of each CPU, if the image has them.
    pub fn cpus(&self) -> &[CpuNote] {
        &self.cpus
    }

    /// The control state of a CPU: its registers in the image, changed by the options. Without registers
    /// and without CR3 among the options, the root that a Windows dump names, or the kernel's own tables, if
    /// its VMCOREINFO can be found, for which all of the memory may be read.
    ///
    /// # Errors
    /// If there is neither, the CPU does not exist, or the PDPTEs cannot be read.
    pub fn control_state(&self, options: &StateOptions) -> Result<DerivedState, MemoryImageError> {
        let derived = match (self.cpus.get(options.cpu), options.cr3) {
            (Some(note), _) => DerivedState::of_note(note, self.is_64_bit),
            (None, _) if !self.cpus.is_empty() || options.cpu > 0 => {
                return Err(self.about.lacks_cpu(self.cpus.len(), options.cpu));
            }
            (None, Some(cr3)) => DerivedState::of_options(cr3),
            (None, None) => match self.cr3 {
                Some(cr3) => DerivedState::of_windows(cr3),
                None => self.kernel_state()?,
            },
        };

        let mut derived = derived.complete(options, &self.memory, &self.about)?;
        derived.derived.extend(self.contradiction.map(|address| {
            format!(
                "the file has {address:#x}, and maybe more, twice, with different bytes: what is listed first counts"
            )
        }));
        Ok(derived)
    }

    /// The state for the kernel's own tables.
    fn kernel_state(&self) -> Result<DerivedState, MemoryImageError> {
        let state = if let Some(info) = &self.vmcoreinfo {
            DerivedState::of_kernel(info)
        } else {
            let found = search::vmcoreinfo(&self.memory);
            let found =
                found.map_err(|error| self.about.unreadable("searching its memory", error))?;
            found.iter().find_map(DerivedState::of_kernel)
        };
        state.ok_or_else(|| {
            self.about.lacking(
                "it has neither registers nor the VMCOREINFO of a kernel: say where the root table is \
                 (--cr3), and the other registers if paging is not that of 4 levels (--cr4, --efer, \
                 --cr0)",
            )
        })
    }

    /// Whether the image has the byte at a physical address.
    pub fn has(&self, at: PhysAddr) -> bool {
        self.memory.place(at).is_some()
    }
}
