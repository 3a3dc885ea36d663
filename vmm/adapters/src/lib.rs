//! Page walkers that people use, as candidates for `crosswalk conformance`, one file for each. An
//! adapter answers what its walker claims and nothing more.
//!
//! The features `kvm` (on by default) and `unicorn` (off by default) add the adapters that need a
//! kernel interface or a C library.
#![deny(unsafe_code)]

mod frames;
#[cfg(feature = "kvm")]
pub mod kvm_translate;
pub mod memflow;
mod memory;
pub mod page_table_multiarch;
mod pages;
pub mod qemu_gva2gpa;
#[cfg(any(feature = "kvm", feature = "unicorn"))]
mod reached;
mod registers;
#[cfg(test)]
mod testing;
#[cfg(feature = "unicorn")]
pub mod unicorn;
pub mod vm_memory;
pub mod x86_64;

use crosswalk_case::protocol::Candidate;

/// An adapter: the way to ask one walker.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// Its name on the command line.
    pub name: &'static str,
    /// The part of the walker that it asks, and what that part answers.
    pub what: &'static str,
    version: fn() -> String,
    open: fn() -> Result<Box<dyn Candidate>, String>,
}

/// Every adapter, including those that this build leaves out.
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
        what: "crosswalk's own VirtualMemory over vm-memory: everything that an access does",
        version: || vm_memory::VERSION.into(),
        open: || Ok(Box::new(vm_memory::VmMemory::new()?)),
    },
    Adapter {
        name: "kvm-translate",
        what: "this host's KVM_TRANSLATE: where an address leads, and reserved bits",
        version: kernel_release,
        open: open_kvm_translate,
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

impl Adapter {
    /// The adapter with this name.
    pub fn named(name: &str) -> Option<Self> {
        ADAPTERS.into_iter().find(|adapter| adapter.name == name)
    }

    /// The version of the walker; for a walker that is part of the kernel, the kernel's.
    pub fn version(&self) -> String {
        (self.version)()
    }

    /// Starts the walker.
    ///
    /// # Errors
    /// When this build or this host does not have the walker; the error says why.
    pub fn open(&self) -> Result<Box<dyn Candidate>, String> {
        (self.open)()
    }
}

/// KVM's version is that of the running kernel.
fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |release| release.trim().into())
}

#[cfg(feature = "kvm")]
fn open_kvm_translate() -> Result<Box<dyn Candidate>, String> {
    Ok(Box::new(kvm_translate::KvmTranslate::new()?))
}

#[cfg(not(feature = "kvm"))]
fn open_kvm_translate() -> Result<Box<dyn Candidate>, String> {
    Err("it was left out; --features kvm builds it in".into())
}

/// The version of Unicorn, whether it is linked in or not.
const UNICORN_VERSION: &str = "2.1.5";

#[cfg(feature = "unicorn")]
fn open_unicorn() -> Result<Box<dyn Candidate>, String> {
    Ok(Box::new(unicorn::UnicornEngine::new()?))
}

#[cfg(not(feature = "unicorn"))]
fn open_unicorn() -> Result<Box<dyn Candidate>, String> {
    Err("it was left out; --features unicorn builds it in, under the terms of GPL-2.0".into())
}
