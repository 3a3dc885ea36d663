//! A plain VMM on KVM, made of the rust-vmm crates, as Firecracker and Cloud Hypervisor are: it loads an image with
//! `linux-loader`, has a serial port and nothing else, and starts the image by PVH or by the 64-bit boot protocol of
//! Linux.

use crosswalk_test_support as support;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use std::fs::{self, File};
use std::path::Path;
use support::{Sandbox, count, require_kvm};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Memory up to the end of the data frames of images.
const MEMORY: usize = 0x8000_0000;
/// Where the identity-mapping tables of the 64-bit boot protocol are.
const TABLES: u64 = 0x9000;
/// The first serial port, and its registers that matter.
const COM1: u16 = 0x3f8;
const COM1_FIFO: u16 = COM1 + 2;
const COM1_STATUS: u16 = COM1 + 5;
/// The device that ends QEMU. An image writes to it at its end.
const EXIT: u16 = 0xf4;

/// How an image is started.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Pvh,
    Linux64,
}

/// The image, loaded into memory by the crate that Firecracker and Cloud Hypervisor use.
struct LoadedImage {
    memory: GuestMemoryMmap,
    pvh: u64,
    linux: u64,
}

fn load(path: &Path) -> LoadedImage {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory");
    let mut file = File::open(path).expect("the image was made");
    let loaded = Elf::load(&memory, None, &mut file, None).expect("linux-loader takes the file");
    let PvhBootCapability::PvhEntryPresent(pvh) = loaded.pvh_boot_cap else {
        panic!("linux-loader finds no PVH entry: {}", loaded.pvh_boot_cap)
    };
    LoadedImage { memory, pvh: pvh.0, linux: loaded.kernel_load.0 }
}

fn create_vm(kvm: &Kvm, memory: &GuestMemoryMmap) -> VmFd {
    let vm = kvm.create_vm().expect("KVM makes a VM");
    let host = memory.get_host_address(GuestAddress(0)).expect("it is mapped");
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: host as u64,
    };
    // SAFETY: the memory is mapped, of this size, and outlives the VM: the caller keeps both, the memory longer.
    unsafe { vm.set_user_memory_region(region) }.expect("KVM takes the memory");
    vm
}

fn segment(selector: u16, kind: u8, long: bool) -> kvm_segment {
    kvm_segment {
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..kvm_segment::default()
    }
}

/// The registers with which a loader starts the image.
fn set_registers(vcpu: &VcpuFd, image: &LoadedImage, entry: Entry) {
    let is_long = matches!(entry, Entry::Linux64);
    let mut sregs = vcpu.get_sregs().expect("KVM tells the registers");
    sregs.cs = segment(0x10, 11, is_long);
    let data = segment(0x18, 3, false);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);

    if is_long {
        map_identity(&image.memory);
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x8001_0011, TABLES, 0x620, 0x500);
    } else {
        (sregs.cr0, sregs.cr4, sregs.efer) = (0x11, 0, 0);
    }
    vcpu.set_sregs(&sregs).expect("KVM takes the registers");

    let mut regs = vcpu.get_regs().expect("KVM tells the registers");
    regs.rflags = 2;
    regs.rsp = 0x8000;
    regs.rip = if is_long { image.linux } else { image.pvh };
    vcpu.set_regs(&regs).expect("KVM takes the registers");
}

/// Maps the first GiB to itself in pages of 2 MiB, as Firecracker does.
fn map_identity(memory: &GuestMemoryMmap) {
    let put = |at: u64, entry: u64| memory.write_obj(entry, GuestAddress(at)).expect("memory");
    put(TABLES, TABLES + 0x1003);
    put(TABLES + 0x1000, TABLES + 0x2003);
    for page in 0..512 {
        put(TABLES + 0x2000 + page * 8, page << 21 | 0x83);
    }
}

/// Runs the image to its end, and returns what it wrote to the serial port.
fn run(image: &LoadedImage, entry: Entry) -> Vec<u8> {
    let kvm = Kvm::new().expect("KVM");
    let vm = create_vm(&kvm, &image.memory);
    let mut vcpu = vm.create_vcpu(0).expect("KVM makes a vCPU");
    let cpuid: CpuId = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).expect("KVM tells CPUID");
    vcpu.set_cpuid2(&cpuid).expect("KVM takes CPUID");
    set_registers(&vcpu, image, entry);

    let mut written = Vec::new();
    loop {
        match vcpu.run().expect("KVM runs") {
            VcpuExit::IoOut(COM1, bytes) => written.extend_from_slice(bytes),
            VcpuExit::IoOut(EXIT, _) | VcpuExit::Hlt => return written,
            VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..) => {}
            VcpuExit::IoIn(port, bytes) => bytes.fill(match port {
                COM1_STATUS => 0x60,
                COM1_FIFO => 0xc1,
                _ => 0xff,
            }),
            VcpuExit::MmioRead(_, bytes) => bytes.fill(0xff),
            other => {
                let end = format!("{other:?}");
                panic!("{end} after {} bytes", written.len())
            }
        }
    }
}

/// Both entries lead to the same log, which is that of the KVM of this host. Its CPUID may be that of another
/// processor than the guest's, so the image is made for what KVM says, and judged by it.
#[test]
fn a_plain_vmm_starts_an_image_by_both_entries() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let machines = sandbox.run(&["machines", "--json"]).json();
    let kvm = machines["machines"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|offer| offer["kind"] == "kvm");
    let machine = &kvm.expect("kvm is listed")["machine"];
    let [vendor, bits, features] =
        ["vendor", "max_physical_address", "features"].map(|field| machine[field].to_string());
    let profile =
        format!(r#"{{"vendor":{vendor},"max_physical_address":{bits},"features":{features}}}"#);
    // What a hypervisor has cached when a sequence goes on may differ from one run to the next.
    let cases = ["--mode", "4level", "--cases", "4000", "--seed", "2", "--sequences", "off"];
    let arguments = [&["image", "a.elf", "--profile", &profile][..], &cases].concat();
    sandbox.run(&arguments).expect_code(0);

    let image = load(&sandbox.path().join("a.elf"));
    let linux = run(&image, Entry::Linux64);
    // The image has changed its own memory.
    let image = load(&sandbox.path().join("a.elf"));
    let pvh = run(&image, Entry::Pvh);
    let [by_linux, by_pvh] = [&linux, &pvh].map(|log| batches(log));
    let differs = by_linux.iter().zip(&by_pvh).find(|(linux, pvh)| linux != pvh);
    assert_eq!(differs, None);
    assert_eq!(by_linux.len(), by_pvh.len());

    fs::write(sandbox.path().join("a.log"), &linux).expect("the log can be written");
    let flavour = machine["flavour"].as_str().expect("a flavour");
    let judge = ["judge", "a.log", "--json", "--name", flavour, "--profile", &profile];
    let report = sandbox.run(&judge).expect_code(0).json();
    assert_eq!(report["complete"], true);
    let four_level = support::four_level(&report);
    assert!(count(four_level, "agreed") > 3000, "{four_level}");
}

/// The lines of all batches. The control page before them has the limit of a descriptor, which on a hypervisor
/// without hardware support may be one of the host's: on Linux, the number of the processor.
fn batches(log: &[u8]) -> Vec<String> {
    let lines = log.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    lines.map(Into::into).skip_while(|line: &String| line != "cw@00000001").collect()
}
