//! QEMU as a process: the state in which its reset ROM leaves the processor, the memory that it
//! shares, and how it ends.

use crosswalk_guest::layout::{CONTROL, OWN_TABLES};
use crosswalk_machine::jail::Jail;
use crosswalk_machine::qemu::PROGRAM;
use crosswalk_machine::qemu::process::{Options, QemuProcess, RamRegion};
use crosswalk_test_support as support;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use object::{Object, ObjectSegment};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{guest_image, require_qemu};

const TIME_LIMIT: Duration = Duration::from_secs(60);
const GIB: u64 = 1 << 30;
const HALF: u64 = GIB / 2;

// Indexes of the words of the control page that the image `started` uses.
const REQUEST: u64 = 0;
const FROM: u64 = 1;
const TO: u64 = 2;
const DONE: u64 = 3;
/// CR0, CR3, CR4 and EFER as the image found them.
const REGISTERS: [u64; 4] = [4, 5, 6, 7];
const FLAGS: u64 = 8;
const CODE_SEGMENT: u64 = 9;
const COUNT: u64 = 11;

/// The memory of the guest `started`: 1 GiB, and two halves of 512 MiB that appear at several
/// addresses.
struct SharedMemory {
    low: File,
    halves: [File; 2],
}

impl SharedMemory {
    fn new() -> Self {
        let file = |size| {
            let memory = memfd_create("guest memory", MFdFlags::MFD_CLOEXEC);
            let file = File::from(memory.expect("a memory file can be created"));
            file.set_len(size).expect("the file can have this size");
            file
        };
        Self { low: file(GIB), halves: [file(HALF), file(HALF)] }
    }

    /// Memory with the image and its tables: the first four 2 MiB pages at 0 and at 1 GiB, and these
    /// two windows of memory, 1 GiB each, at 2 and 3 GiB.
    fn with_image(windows: [u64; 2]) -> Self {
        let memory = Self::new();
        let elf = std::fs::read(guest_image("started")).expect("the image was built");
        let file = object::File::parse(elf.as_slice()).expect("the image is an ELF file");
        for segment in file.segments() {
            let data = segment.data().expect("a segment has data");
            memory.low.write_all_at(data, segment.address()).expect("the image fits");
        }

        let [pdpt, directory] = [OWN_TABLES + 0x1000, OWN_TABLES + 0x2000];
        memory.set(OWN_TABLES, pdpt | 7);
        memory.set(pdpt, directory | 7);
        memory.set(pdpt + 8, directory | 7);
        for (slot, window) in (2..).zip(windows) {
            memory.set(pdpt + 8 * slot, window | 0x87);
        }
        for page in 0..4 {
            memory.set(directory + 8 * page, page << 21 | 0x87);
        }
        memory
    }

    fn set(&self, at: u64, word: u64) {
        self.low.write_all_at(&word.to_le_bytes(), at).expect("the layout is within memory");
    }

    fn control(&self, word: u64) -> u64 {
        read(&self.low, CONTROL + 8 * word)
    }

    /// Low memory and both halves above it; then both halves in the opposite order at these places.
    fn regions<'f>(&'f self, places: &[u64]) -> Vec<RamRegion<'f>> {
        let halves = |start: u64, files: [BorrowedFd<'f>; 2]| {
            let starts = [start, start + HALF];
            std::iter::zip(starts, files).map(|(guest_physical, file)| RamRegion {
                guest_physical,
                len: HALF,
                file,
            })
        };

        let [first, second] = self.halves.each_ref().map(|half| half.as_fd());
        let mut regions = vec![RamRegion { guest_physical: 0, len: GIB, file: self.low.as_fd() }];
        regions.extend(halves(GIB, [first, second]));
        regions.extend(places.iter().flat_map(|place| halves(*place, [second, first])));
        regions
    }

    /// Lets the guest copy a word.
    fn copy(&self, process: &mut QemuProcess, from: u64, to: u64) {
        let request = self.control(DONE) + 1;
        self.set(CONTROL + 8 * FROM, from);
        self.set(CONTROL + 8 * TO, to);
        self.set(CONTROL + 8 * REQUEST, request);
        wait_until(process, || self.control(DONE) == request);
    }
}

fn read(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).expect("the layout is within memory");
    u64::from_le_bytes(word)
}

fn start(memory: &[RamRegion<'_>], phys_bits: u8, cpu_flags: &[&str]) -> QemuProcess {
    let program = Path::new(PROGRAM);
    let options = Options { program, phys_bits: Some(phys_bits), cpu_flags, memory, processors: 1 };
    QemuProcess::start(&options, &Jail::strongest()).expect("QEMU starts")
}

#[track_caller]
fn wait_until(process: &mut QemuProcess, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        process.check_alive().expect("QEMU is running");
        assert!(start.elapsed() < TIME_LIMIT, "the guest does not respond");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_rom_enters_long_mode_with_the_registers_that_kvm_is_given() {
    require_qemu!();
    for (cpu_flags, efer) in [(&[][..], 0xd00), (&["-nx"][..], 0x500)] {
        let memory = SharedMemory::with_image([GIB; 2]);
        let mut process = start(&memory.regions(&[]), 40, cpu_flags);
        wait_until(&mut process, || memory.control(COUNT) > 0);

        // PG, WP, ET, PE; PAE, OSFXSR, OSXMMEXCPT; LME, LMA and, if there is one, NXE.
        let registers = REGISTERS.map(|word| memory.control(word));
        assert_eq!(registers, [0x8001_0011, OWN_TABLES, 0x620, efer], "{registers:x?}");
        assert_eq!(memory.control(FLAGS) & 0x600, 0, "IF and DF must be clear");
        assert_eq!(memory.control(CODE_SEGMENT) & 3, 0, "the CPL must be 0");
    }
}

#[test]
fn high_memory_is_low_memory_with_its_halves_swapped() {
    require_qemu!();
    let narrow = [0x5_4000_0000, 0xa_8000_0000];
    let middle = [0x55_4000_0000, 0xaa_8000_0000];
    let wide = [0x5555_4000_0000, 0xaaaa_8000_0000];
    let layouts = [
        (36, narrow.to_vec(), narrow),
        (40, middle.to_vec(), middle),
        (48, [middle, wide].concat(), middle),
        (48, [middle, wide].concat(), wide),
    ];
    for (phys_bits, places, windows) in layouts {
        let memory = SharedMemory::with_image(windows);
        let [first, second] = &memory.halves;
        let mut process = start(&memory.regions(&places), phys_bits, &[]);

        for place in [2 * GIB, 3 * GIB] {
            // The linear address of each half at this place, and the file behind it.
            let halves = [(place, second), (place + HALF, first)];
            for ((from, written), (to, copied)) in [(halves[0], halves[1]), (halves[1], halves[0])]
            {
                let word = from + 0x1230;
                written.write_all_at(&word.to_le_bytes(), 0x1230).expect("memory can be written");
                memory.copy(&mut process, from + 0x1230, to + 0x1fff_fff8);
                assert_eq!(read(copied, 0x1fff_fff8), word, "{phys_bits} bits, {from:#x}");
            }
        }
    }
}

#[test]
fn only_memory_that_is_touched_is_allocated() {
    require_qemu!();
    let places = [0x55_4000_0000, 0xaa_8000_0000];
    let memory = SharedMemory::with_image(places);
    let mut process = start(&memory.regions(&places), 40, &[]);
    wait_until(&mut process, || memory.control(COUNT) > 0);

    for file in [&memory.low, &memory.halves[0], &memory.halves[1]] {
        let bytes = file.metadata().expect("a file has metadata").blocks() * 512;
        assert!(bytes < 8 << 20, "{bytes} bytes of a sparse file are allocated");
    }
}

#[test]
fn qemu_ends_when_it_is_dropped() {
    require_qemu!();
    let memory = SharedMemory::with_image([GIB; 2]);
    let mut process = start(&memory.regions(&[]), 40, &[]);
    wait_until(&mut process, || memory.control(COUNT) > 0);

    let entry = format!("/proc/{}", process.id());
    let exists = || std::fs::exists(&entry).expect("/proc can be read");
    assert!(exists());
    drop(process);
    assert!(!exists(), "{entry} still exists: it runs, or was not waited for");
}

#[test]
fn a_suspended_qemu_is_stopped_until_it_is_resumed() {
    require_qemu!();
    let memory = SharedMemory::with_image([GIB; 2]);
    let mut process = start(&memory.regions(&[]), 40, &[]);
    wait_until(&mut process, || memory.control(COUNT) > 0);

    let entry = format!("/proc/{}", process.id());
    let status = || std::fs::read_to_string(format!("{entry}/status")).expect("QEMU exists");
    let is_stopped = || status().lines().any(|line| line.starts_with("State:\tT"));
    process.suspend();
    wait_until(&mut process, is_stopped);

    process.resume();
    wait_until(&mut process, || !is_stopped());
    let count = memory.control(COUNT);
    wait_until(&mut process, || memory.control(COUNT) != count);

    process.suspend();
    wait_until(&mut process, is_stopped);
    drop(process);
    assert!(!std::fs::exists(&entry).expect("/proc can be read"), "{entry} still exists");
}

#[test]
fn qemu_outlives_the_thread_that_starts_it() {
    require_qemu!();
    let memory = SharedMemory::with_image([GIB; 2]);
    let started = || start(&memory.regions(&[]), 40, &[]);
    let mut process = std::thread::scope(|scope| scope.spawn(started).join()).expect("QEMU starts");
    wait_until(&mut process, || memory.control(COUNT) > 0);
    process.check_alive().expect("QEMU is running");
}

/// The error that reports the end of QEMU.
fn end_of(mut process: QemuProcess) -> String {
    let start = Instant::now();
    loop {
        if let Err(error) = process.check_alive() {
            return error.to_string();
        }
        assert!(start.elapsed() < TIME_LIMIT, "QEMU does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_unexpected_end_is_reported_with_its_cause() {
    require_qemu!();
    let memory = SharedMemory::with_image([GIB; 2]);

    let refused = end_of(start(&memory.regions(&[]), 40, &["+no-such-feature"]));
    assert!(refused.contains("refuses its processor: "), "{refused}");
    assert!(refused.contains("no-such-feature"), "{refused}");

    let process = start(&memory.regions(&[]), 40, &[]);
    kill(Pid::from_raw(process.id() as i32), Signal::SIGKILL).expect("the process is ours");
    let killed = end_of(process);
    assert!(killed.starts_with("running QEMU: QEMU "), "{killed}");
    assert!(killed.contains("signal: 9"), "{killed}");

    // Without its tables the guest cannot execute its first instruction in long mode.
    memory.set(OWN_TABLES, 0);
    let reset = end_of(start(&memory.regions(&[]), 40, &[]));
    assert_eq!(reset, "the guest reset the machine or turned it off: it may have triple-faulted");
}
