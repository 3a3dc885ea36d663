//! KVM's own counters for a vCPU, through the binary statistics file: they prove who did the work.
//! (Linux, Documentation/virt/kvm/api.rst, `KVM_GET_STATS_FD`.)

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
    /// Instructions that KVM emulated.
    pub(super) instructions_emulated: u64,
    /// Page faults that KVM injected into the guest.
    pub(super) faults_injected: u64,
}

impl Counters {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            instructions_emulated: self.instructions_emulated - earlier.instructions_emulated,
            faults_injected: self.faults_injected - earlier.faults_injected,
        }
    }
}

/// The statistics file of one vCPU, and where in it the counters are.
#[derive(Debug)]
pub(super) struct Stats {
    file: File,
    instructions_emulated: u64,
    faults_injected: u64,
}

impl Stats {
    pub(super) fn open(vcpu: &VcpuFd) -> io::Result<Self> {
        // SAFETY: the vCPU's descriptor is open, and this ioctl has no argument.
        let descriptor = unsafe { ioctl(vcpu, KVM_GET_STATS_FD()) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        let header = read_words::<6>(&file, 0)?;
        let [_, name_size, count, _, descriptors, data] = header;
        let find = |wanted: &str| {
            (0..count)
                .find_map(|i| {
                    let at = u64::from(descriptors) + u64::from(i) * (16 + u64::from(name_size));
                    let [_, _, offset, _] = read_words::<4>(&file, at).ok()?;
                    let mut name = vec![0; name_size as usize];
                    file.read_exact_at(&mut name, at + 16).ok()?;
                    let name = name.split(|byte| *byte == 0).next()?;
                    (name == wanted.as_bytes()).then_some(u64::from(data) + u64::from(offset))
                })
                .ok_or_else(|| io::Error::other(format!("this KVM has no counter {wanted}")))
        };
        let (instructions_emulated, faults_injected) = (find("insn_emulation")?, find("pf_guest")?);
        Ok(Self { file, instructions_emulated, faults_injected })
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

fn read_words<const N: usize>(file: &File, at: u64) -> io::Result<[u32; N]> {
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at + 4 * i as u64)?;
        *word = u32::from_le_bytes(bytes);
    }
    Ok(words)
}
