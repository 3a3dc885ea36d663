//! One virtual machine with one vCPU: made, started in long mode on its own tables, run to the next
//! doorbell.

use super::watchdog::Watchdog;
use crate::guest_tables;
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::probe::check_self_test;
use crate::{HANGS, MachineError, Position, RunLog};
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::contents;
use crosswalk_guest::high;
use crosswalk_guest::layout::{Arena, CONTROL, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{AccessRecord, Control, DOORBELL_PORT, Doorbell};
use kvm_bindings::{CpuId, KVM_MEM_READONLY, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use mmu_core::{ControlState, Profile, Ring};
use std::time::{Duration, Instant};

/// How long a guest may take from one doorbell to the next. A full batch takes some 20 ms.
const DEADLINE: Duration = Duration::from_secs(4);
/// So many interruptions in one access, and it never ends. The longest takes microseconds.
const MAX_INTERRUPTIONS: u32 = 10;
/// More accesses outside memory in one batch than any batch of ours has.
const MAX_OUTSIDE: usize = 100_000;

/// A virtual machine and its vCPU.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) vcpu: VcpuFd,
    /// The slots of memory that the guest can only read.
    read_only: Vec<kvm_userspace_memory_region>,
    // Declared after the vCPU, closed after it.
    owner: VmFd,
}

/// The parts of memory from a guest-physical address on, some of which can only be read: start, host
/// address, bytes, and whether it is such a part.
fn parts((start, host, len): (u64, u64, u64)) -> Vec<(u64, u64, u64, bool)> {
    let end = start + len;
    let tables = Arena::ALL.map(Arena::read_only_table);
    let mut cuts: Vec<u64> = tables.into_iter().flat_map(|table| [table, table + 0x1000]).collect();
    cuts.retain(|cut| (start + 1..end).contains(cut));
    cuts.dedup();
    cuts.push(end);
    let mut from = start;
    let part = |to: u64| {
        let part = (from, host + (from - start), to - from, tables.contains(&from));
        from = to;
        part
    };
    cuts.into_iter().map(part).collect()
}

/// Turns an ioctl's error into ours.
pub(super) fn host(doing: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
    move |error| MachineError::Host { doing, source: error.into() }
}

/// Gives the guest a part of its memory, or takes one of no bytes away.
fn set_memory(vm: &VmFd, region: kvm_userspace_memory_region) -> Result<(), MachineError> {
    // SAFETY: the range is mapped by the memory that `Vm::start` was given, which every owner of a
    // `Vm` keeps alive for longer, and the host reads and writes it only with vm-memory's volatile
    // accesses.
    unsafe { vm.set_user_memory_region(region) }.map_err(host("KVM_SET_USER_MEMORY_REGION"))
}

impl Vm {
    /// Makes a machine on this memory and lets the guest boot.
    pub(super) fn start(
        kvm: &Kvm,
        memory: &GuestMemory,
        image: &Image,
        cpuid: &CpuId,
        profile: Profile,
    ) -> Result<Self, MachineError> {
        const TSS_ADDRESS: usize = 0xfffb_d000;
        let vm = kvm.create_vm().map_err(host("KVM_CREATE_VM"))?;
        // VMX keeps a page there for a guest in real mode; below 4 GiB and away from our memory.
        vm.set_tss_address(TSS_ADDRESS).map_err(host("KVM_SET_TSS_ADDR"))?;
        // The data memory again at high places, as other slots of the same host memory.
        let high = high::places(profile.physical_address_bits).flat_map(high::parts);
        let high = high.map(|(at, data)| (at, memory.host_address(data), high::PART_SIZE));
        let can_be_read_only = kvm.check_extension(Cap::ReadonlyMem);
        let slots = (0..).zip(memory.regions().chain(high).flat_map(parts));
        let mut read_only = Vec::new();
        for (slot, (guest_phys_addr, userspace_addr, memory_size, is_read_only)) in slots {
            let is_read_only = is_read_only && can_be_read_only;
            let flags = if is_read_only { KVM_MEM_READONLY } else { 0 };
            let region = kvm_userspace_memory_region {
                slot,
                flags,
                guest_phys_addr,
                memory_size,
                userspace_addr,
            };
            set_memory(&vm, region)?;
            if is_read_only {
                read_only.push(region);
            }
        }
        image.load(memory);
        let state = guest_tables::own_state(profile);
        guest_tables::build(memory, profile)?;
        memory.write_value(CONTROL, &Control::default());

        let vcpu = vm.create_vcpu(0).map_err(host("KVM_CREATE_VCPU"))?;
        vcpu.set_cpuid2(cpuid).map_err(host("KVM_SET_CPUID2"))?;
        let mut machine = Self { vcpu, read_only, owner: vm };
        machine.enter_long_mode(state, image.entry() + SUPERVISOR_WINDOW)?;
        let log = machine.run_to_doorbell(memory, None)?;
        if let Some((_, why)) = log.gave_up {
            let what = format!("did not boot: {why}");
            return Err(MachineError::guest(what, None));
        }
        check_self_test(memory)?;
        Ok(machine)
    }

    fn enter_long_mode(&mut self, state: ControlState, entry: u64) -> Result<(), MachineError> {
        let mut sregs = self.vcpu.get_sregs().map_err(host("KVM_GET_SREGS"))?;
        let data = kvm_segment {
            limit: 0xffff_ffff,
            selector: 0x10,
            type_: 3,
            present: 1,
            s: 1,
            db: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = kvm_segment { selector: 0x08, type_: 11, db: 0, l: 1, ..data };
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        // A busy task state, as after reset: VMX wants one.
        sregs.tr = kvm_segment { limit: 0x67, type_: 11, present: 1, ..Default::default() };
        sregs.cr0 = state.cr0.bits();
        sregs.cr3 = state.cr3;
        sregs.cr4 = state.cr4.bits();
        sregs.efer = state.efer.bits();
        self.vcpu.set_sregs(&sregs).map_err(host("KVM_SET_SREGS"))?;
        let mut regs = self.vcpu.get_regs().map_err(host("KVM_GET_REGS"))?;
        regs.rip = entry;
        regs.rflags = 2;
        self.vcpu.set_regs(&regs).map_err(host("KVM_SET_REGS"))
    }

    /// The host has written to memory that the guest can only read: what KVM may have kept of it is
    /// dropped with its slots.
    pub(super) fn renew_read_only(&self) -> Result<(), MachineError> {
        for region in &self.read_only {
            set_memory(&self.owner, kvm_userspace_memory_region { memory_size: 0, ..*region })?;
            set_memory(&self.owner, *region)?;
        }
        Ok(())
    }

    /// Sets the control registers from outside, past the checks that the guest would meet.
    pub(super) fn force_control(&mut self, state: &ControlState) -> Result<(), MachineError> {
        let mut sregs = self.vcpu.get_sregs().map_err(host("KVM_GET_SREGS"))?;
        sregs.cr0 = state.cr0.bits();
        sregs.cr4 = state.cr4.bits();
        sregs.efer = state.efer.bits();
        self.vcpu.set_sregs(&sregs).map_err(host("KVM_SET_SREGS with bits that CPUID lacks"))
    }

    /// Runs until the guest rings its doorbell, serving accesses outside memory on the way.
    pub(super) fn run_to_doorbell(
        &mut self,
        memory: &GuestMemory,
        arena: Option<Arena>,
    ) -> Result<RunLog, MachineError> {
        let _watchdog = Watchdog::start()
            .map_err(|source| MachineError::Host { doing: "starting the watchdog", source })?;
        let deadline = Instant::now() + DEADLINE;
        let mut log = RunLog::default();
        let (mut at, mut interruptions) = (None, 0);
        loop {
            let exit = match self.vcpu.run() {
                Ok(exit) => exit,
                Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {
                    let position = self.position(arena);
                    interruptions =
                        if position.is_some() && position == at { interruptions + 1 } else { 0 };
                    at = position;
                    if Instant::now() > deadline || interruptions > MAX_INTERRUPTIONS {
                        return Err(self.failed(arena, HANGS));
                    }
                    continue;
                }
                Err(error) => return Err(host("KVM_RUN")(error)),
            };
            let outside = match exit {
                VcpuExit::IoOut(DOORBELL_PORT, &[message]) => {
                    return match message {
                        _ if message == Doorbell::Completed as u8 => Ok(log),
                        _ if message == Doorbell::Panic as u8 => {
                            let Control { panic, .. } = memory.read_value(CONTROL);
                            let vector = panic.wrapping_sub(1);
                            let what = format!("met exception {vector}, which no case causes");
                            Err(self.failed(arena, &what))
                        }
                        _ => {
                            Err(self.failed(arena, &format!("rang the doorbell with {message:#x}")))
                        }
                    };
                }
                VcpuExit::MmioRead(address, data) => {
                    let mut bytes = [0; 8];
                    for (byte, at) in bytes.iter_mut().zip(address..).take(data.len()) {
                        *byte = contents::byte(at);
                    }
                    data.copy_from_slice(&bytes[..data.len()]);
                    let (len, data) = (data.len() as u8, u64::from_le_bytes(bytes));
                    OutsideAccess { address, len, is_write: false, data }
                }
                VcpuExit::MmioWrite(address, data) => {
                    let mut bytes = [0; 8];
                    bytes[..data.len()].copy_from_slice(data);
                    let (len, data) = (data.len() as u8, u64::from_le_bytes(bytes));
                    OutsideAccess { address, len, is_write: true, data }
                }
                VcpuExit::InternalError => {
                    let why = "KVM_EXIT_INTERNAL_ERROR: this KVM cannot run the access".to_owned();
                    let Some(position) = self.position(arena) else {
                        return Err(
                            self.failed(arena, "ran an instruction that KVM cannot emulate")
                        );
                    };
                    log.gave_up = Some((position, why));
                    return Ok(log);
                }
                VcpuExit::Shutdown => return Err(self.failed(arena, "triple-faulted")),
                other => {
                    let what = format!("left in an unexpected way: {other:?}");
                    return Err(self.failed(arena, &what));
                }
            };
            let Some(position) = self.position(arena) else {
                let what = format!("reached {:#x}, where there is no memory", outside.address);
                return Err(self.failed(arena, &what));
            };
            log.outside.push((position, outside));
            if log.outside.len() > MAX_OUTSIDE || Instant::now() > deadline {
                return Err(self.failed(arena, "does not stop reaching outside memory"));
            }
        }
    }

    fn failed(&self, arena: Option<Arena>, what: &str) -> MachineError {
        MachineError::guest(what, self.position(arena))
    }

    /// The record that the guest works on: RSP lies just past it.
    fn position(&self, arena: Option<Arena>) -> Option<Position> {
        let arena = arena?;
        let rsp = self.vcpu.get_regs().ok()?.rsp;
        let size = size_of::<AccessRecord>() as u64;
        let (user, supervisor) = (arena.user_records(), arena.supervisor_records());
        let within = |ring: Ring, start: u64, end: u64, window: u64| {
            let record = rsp.checked_sub(start + window + size)? / size;
            (rsp < end + window).then_some(Position { ring, record: record as usize })
        };
        let end = arena.table_image(0);
        within(Ring::Three, user, supervisor, 0)
            // Without paging there is no window.
            .or_else(|| within(Ring::Zero, supervisor, end, 0))
            .or_else(|| within(Ring::Zero, supervisor, end, SUPERVISOR_WINDOW))
    }
}
