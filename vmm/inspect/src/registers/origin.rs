//! Where the value of a register is from.

use super::StateOptions;

/// Where the value of a register is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOrigin {
    /// From an image: the registers of a CPU, or the header.
    Image,
    /// From the monitor of a live guest.
    Monitor,
    /// From the vCPU of a live guest of KVM.
    Vcpu,
    /// From the case that a guest of KVM has run.
    Case,
    /// From what a kernel says about itself.
    Vmcoreinfo,
    /// From the options of the user.
    Options,
    /// Derived from the other registers of the image.
    Derived,
    /// Taken to be as an operating system sets it.
    Assumed,
}

impl RegisterOrigin {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Monitor => "monitor",
            Self::Vcpu => "vcpu",
            Self::Case => "case",
            Self::Vmcoreinfo => "vmcoreinfo",
            Self::Options => "options",
            Self::Derived => "derived",
            Self::Assumed => "assumed",
        }
    }
}

/// Where each of the registers is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterOrigins {
    /// CR0.
    pub cr0: RegisterOrigin,
    /// CR3.
    pub cr3: RegisterOrigin,
    /// CR4.
    pub cr4: RegisterOrigin,
    /// EFER.
    pub efer: RegisterOrigin,
}

impl RegisterOrigins {
    /// All from one place.
    pub const fn all(origin: RegisterOrigin) -> Self {
        Self { cr0: origin, cr3: origin, cr4: origin, efer: origin }
    }

    /// What options give is from them.
    pub(super) fn override_by(&mut self, options: &StateOptions) {
        let Self { cr0, cr3, cr4, efer } = self;
        for (origin, option) in
            [(cr0, options.cr0), (cr3, options.cr3), (cr4, options.cr4), (efer, options.efer)]
        {
            if option.is_some() {
                *origin = RegisterOrigin::Options;
            }
        }
    }
}
