//! Walkers that people use, as candidates for `crosswalk`: one file each. Each answers what its
//! walker claims and nothing more.

mod frames;
pub mod kvm_translate;
pub mod memflow;
mod memory;
pub mod page_table_multiarch;
mod pages;
pub mod qemu_gva2gpa;
#[cfg(test)]
mod testing;
#[cfg(feature = "unicorn")]
pub mod unicorn;
pub mod vm_memory;
pub mod x86_64;

use crosswalk_case::protocol::Candidate;

/// An adapter.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it asks, and for what.
    pub what: &'static str,
    version: fn() -> String,
    open: fn() -> Result<Box<dyn Candidate>, String>,
}

/// Every adapter.
pub const ADAPTERS: [Adapter; 7] = [
    Adapter {
        name: "x86_64",
        what: "rust-osdev's crate: MappedPageTable, where an address leads in 4-level paging",
        version: || x86_64::VERSION.into(),
        open: || Ok(Box::new(x86_64::X86_64::default())),
    },
    Adapter {
        name: "memflow",
        what: "its x86 architectures: where an address leads, and whether the page can be written \
               and executed",
        version: || memflow::VERSION.into(),
        open: || Ok(Box::new(memflow::Memflow::default())),
    },
    Adapter {
        name: "page_table_multiarch",
        what: "ArceOS's crate: PageTable64::query, where an address leads in 4-level paging",
        version: || page_table_multiarch::VERSION.into(),
        open: || Ok(Box::new(page_table_multiarch::PageTableMultiarch)),
    },
    Adapter {
        name: "vm-memory",
        what: "crosswalk's own VirtualMemory over vm-memory: all that an access does",
        version: || vm_memory::VERSION.into(),
        open: || Ok(Box::new(vm_memory::VmMemory::new()?)),
    },
    Adapter {
        name: "kvm-translate",
        what: "this host's KVM_TRANSLATE: where an address leads, and reserved bits",
        version: kvm_translate::version,
        open: || Ok(Box::new(kvm_translate::KvmTranslate::new()?)),
    },
    Adapter {
        name: "qemu-gva2gpa",
        what: "the command of QEMU's monitor: where an address leads",
        version: qemu_gva2gpa::version,
        open: || Ok(Box::new(qemu_gva2gpa::QemuGva2gpa::new()?)),
    },
    Adapter {
        name: "unicorn",
        what: "vmem_translate: where an address leads, reserved bits, and the supervisor's rights",
        version: || UNICORN_VERSION.into(),
        open: open_unicorn,
    },
];

/// The version of Unicorn, linked or not.
const UNICORN_VERSION: &str = "2.1.5";

#[cfg(feature = "unicorn")]
fn open_unicorn() -> Result<Box<dyn Candidate>, String> {
    Ok(Box::new(unicorn::UnicornEngine::new()?))
}

#[cfg(not(feature = "unicorn"))]
fn open_unicorn() -> Result<Box<dyn Candidate>, String> {
    Err("it was left out; --features unicorn builds it in, under the terms of GPL-2.0".into())
}

impl Adapter {
    /// The adapter of a name.
    pub fn named(name: &str) -> Option<Self> {
        ADAPTERS.into_iter().find(|adapter| adapter.name == name)
    }

    /// The version of the walker.
    pub fn version(&self) -> String {
        (self.version)()
    }

    /// Makes the candidate.
    ///
    /// # Errors
    /// When the walker is not here, and why.
    pub fn open(&self) -> Result<Box<dyn Candidate>, String> {
        (self.open)()
    }
}
