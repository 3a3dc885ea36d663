//! KVM's own counters for a vCPU, from its binary statistics file: they show whether KVM or the
//! processor did the work. (Linux, Documentation/virt/kvm/api.rst, `KVM_GET_STATS_FD`.)
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use kvm_ioctls::VcpuFd;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use vmm_sys_util::ioctl::ioctl;
use vmm_sys_util::ioctl_io_nr;

ioctl_io_nr!(KVM_GET_STATS_FD, kvm_bindings::KVMIO, 0xce);

/// The counters used here, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Number of instructions that KVM emulated.
    pub(super) instructions_emulated: u64,
    /// Number of page faults that KVM injected into the guest.
    pub(super) faults_injected: u64,
}

impl Counters {
    /// The increase since an earlier moment; 0 if the kernel counts backwards.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            instructions_emulated: self
                .instructions_emulated
                .saturating_sub(earlier.instructions_emulated),
            faults_injected: self.faults_injected.saturating_sub(earlier.faults_injected),
        }
    }
}

/// The statistics file of a vCPU, and the offsets of the counters in it.
#[derive(Debug)]
pub(super) struct Stats {
    file: File,
    instructions_emulated: u64,
    faults_injected: u64,
}

impl Stats {
    pub(super) fn open(vcpu: &VcpuFd) -> io::Result<Self> {
        // SAFETY: the vCPU's descriptor is open, and this ioctl takes no argument.
        let descriptor = unsafe { ioctl(vcpu, KVM_GET_STATS_FD()) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created this descriptor for the caller, so nothing else owns
        // it.
        let file = unsafe { File::from_raw_fd(descriptor) };

        let layout = StatsLayout::read(&file)?;
        Ok(Self {
            instructions_emulated: layout.offset_of(&file, "insn_emulation")?,
            faults_injected: layout.offset_of(&file, "pf_guest")?,
            file,
        })
    }

    pub(super) fn read(&self) -> io::Result<Counters> {
        let counter = |at| {
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, at)?;
            io::Result::Ok(u64::from_le_bytes(bytes))
        };

        Ok(Counters {
            instructions_emulated: counter(self.instructions_emulated)?,
            faults_injected: counter(self.faults_injected)?,
        })
    }
}

/// The longest name of a counter that is read. Linux has 48 bytes for it.
const MAX_NAME_BYTES: u32 = 1 << 10;

/// The header of the file (`struct kvm_stats_header`).
struct StatsLayout {
    name_size: u32,
    count: u32,
    /// The offset of the descriptors of all counters.
    descriptors: u32,
    /// The offset of their values.
    data: u32,
}

impl StatsLayout {
    /// Size in bytes of a descriptor (`struct kvm_stats_desc`) without the name that follows it.
    const DESCRIPTOR_SIZE: u64 = 16;

    fn read(file: &File) -> io::Result<Self> {
        let [_flags, name_size, count, _id, descriptors, data] = read_words::<6>(file, 0)?;
        Ok(Self { name_size, count, descriptors, data })
    }

    /// The offset of the value of a counter.
    fn offset_of(&self, file: &File, counter: &str) -> io::Result<u64> {
        let find = |index: u32| {
            let stride = Self::DESCRIPTOR_SIZE.saturating_add(self.name_size.into());
            let before = u64::from(index).saturating_mul(stride);
            let at = before.saturating_add(self.descriptors.into());
            let [_flags, _exponent_and_size, offset, _bucket_size] =
                read_words::<4>(file, at).ok()?;

            let mut name = vec![0; self.name_size.min(MAX_NAME_BYTES) as usize];
            file.read_exact_at(&mut name, at.saturating_add(Self::DESCRIPTOR_SIZE)).ok()?;
            let is_found = name.split(|byte| *byte == 0).next()? == counter.as_bytes();
            is_found.then_some(u64::from(self.data).saturating_add(offset.into()))
        };

        (0..self.count)
            .find_map(find)
            .ok_or_else(|| io::Error::other(format!("this KVM has no counter {counter}")))
    }
}

/// Reads consecutive 32-bit words.
fn read_words<const N: usize>(file: &File, at: u64) -> io::Result<[u32; N]> {
    let mut words = [0; N];

    for (offset, word) in (0..).step_by(4).zip(&mut words) {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at.saturating_add(offset))?;
        *word = u32::from_le_bytes(bytes);
    }

    Ok(words)
}
