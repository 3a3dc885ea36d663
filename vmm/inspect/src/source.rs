//! What is inspected: an image in a file, or a live guest. Both have memory, and registers of processors.

use crate::error::MemoryImageError;
use crate::image::MemoryImage;
use crate::kvm::KvmGuest;
use crate::live::LiveGuest;
use crate::physical_memory::PhysicalMemory;
use crate::registers::{DerivedState, StateOptions};
use mmu_core::PhysAddr;

/// What is inspected.
#[derive(Debug)]
pub enum Source {
    /// An image in a file.
    Image(MemoryImage),
    /// A live guest of QEMU.
    Live(LiveGuest),
    /// A guest of KVM that a run of this program has.
    Kvm(KvmGuest),
}

impl Source {
    /// The physical memory.
    pub const fn memory(&self) -> &PhysicalMemory {
        match self {
            Self::Image(image) => image.memory(),
            Self::Live(guest) => guest.memory(),
            Self::Kvm(guest) => guest.memory(),
        }
    }

    /// Number of CPUs whose registers are known.
    pub fn cpu_count(&self) -> usize {
        match self {
            Self::Image(image) => image.cpus().len(),
            Self::Live(guest) => guest.cpus().len(),
            Self::Kvm(_) => 1,
        }
    }

    /// The control state of a CPU, changed by the options.
    ///
    /// # Errors
    /// As [`MemoryImage::control_state`], [`LiveGuest::control_state`] and [`KvmGuest::control_state`].
    pub fn control_state(&self, options: &StateOptions) -> Result<DerivedState, MemoryImageError> {
        match self {
            Self::Image(image) => image.control_state(options),
            Self::Live(guest) => guest.control_state(options),
            Self::Kvm(guest) => guest.control_state(options),
        }
    }

    /// Whether there is memory at a physical address.
    pub fn has(&self, at: PhysAddr) -> bool {
        self.memory().place(at).is_some()
    }

    /// The end of the inspection: a live guest of QEMU runs again, if it ran before.
    ///
    /// # Errors
    /// If the guest stays stopped.
    pub fn finish(&self) -> Result<(), MemoryImageError> {
        match self {
            Self::Image(_) | Self::Kvm(_) => Ok(()),
            Self::Live(guest) => guest.resume(),
        }
    }
}
