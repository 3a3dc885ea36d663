//! QEMU's command line.
//!
//! Memory below 4 GiB is the RAM of a PC, split into NUMA nodes, since each node can have a file of
//! its own. Memory above consists of DIMMs, each with an address and a file of its own. QEMU maps
//! every file from its start, so one file at several addresses shows the same memory there.

use std::os::fd::RawFd;

const GIB: u64 = 1 << 30;
/// The RAM of a PC ends below this address; memory for devices begins here.
const ABOVE_4_GIB: u64 = 4 * GIB;
/// From here to 1 TiB, AMD machines reserve addresses. If memory reached beyond this address, QEMU
/// would move all memory above 4 GiB to above 1 TiB (`pc_set_amd_above_4g_mem_start`).
const AMD_RESERVED: u64 = 1012 * GIB;

/// A region of guest memory, as the child process sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RamPlace {
    /// The guest-physical address.
    pub(super) guest_physical: u64,
    /// Its size in bytes.
    pub(super) len: u64,
    /// The child's descriptor of the file behind it.
    pub(super) fd: RawFd,
}

/// The path with which QEMU opens an inherited descriptor.
fn path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// QEMU's arguments, without the program.
///
/// # Errors
/// If a PC cannot have this memory.
pub(super) fn arguments(
    rom: RawFd,
    phys_bits: Option<u8>,
    cpu_flags: &[&str],
    memory: &[RamPlace],
    processors: u8,
) -> Result<Vec<String>, String> {
    let mut ordered = memory.to_vec();
    ordered.sort_by_key(|place| place.guest_physical);
    let (ram, dimms) =
        ordered.split_at(ordered.partition_point(|place| place.guest_physical < ABOVE_4_GIB));

    // By default the buffer of translated code grows with the run, to hundreds of megabytes, and the run
    // is no faster for it.
    let threads = if processors > 1 { "multi" } else { "single" };
    let machine = format!(
        "-no-user-config -nodefaults -display none -no-reboot -M pc \
         -accel tcg,thread={threads},tb-size=32"
    );
    let mut list: Vec<String> = machine.split_whitespace().map(str::to_owned).collect();
    if processors > 1 {
        list.extend(["-smp".into(), processors.to_string()]);
    }
    let mut option = |name: &str, value: String| list.extend([name.to_owned(), value]);

    option("-cpu", cpu(phys_bits, cpu_flags, dimms));
    option("-bios", path(rom));
    option("-m", size(ram, dimms)?);
    for (id, RamPlace { guest_physical, len, fd }) in ordered.iter().enumerate() {
        let file = path(*fd);
        let backend =
            format!("memory-backend-file,id=memory{id},mem-path={file},size={len}B,share=on");
        option("-object", backend);

        if *guest_physical < ABOVE_4_GIB {
            option("-numa", format!("node,memdev=memory{id}"));
        } else {
            option("-device", format!("pc-dimm,memdev=memory{id},addr={guest_physical:#x}"));
        }
    }

    Ok(list)
}

/// The processor: QEMU's most capable one, with these changes.
fn cpu(phys_bits: Option<u8>, flags: &[&str], dimms: &[RamPlace]) -> String {
    let mut cpu = vec!["max".to_owned()];
    cpu.extend(phys_bits.map(|bits| format!("phys-bits={bits}")));
    if highest(dimms) > AMD_RESERVED {
        cpu.push("vendor=GenuineIntel".into());
    }
    cpu.extend(flags.iter().map(|flag| (*flag).to_owned()));

    cpu.join(",")
}

/// The size of memory, and its maximum size with DIMMs.
fn size(ram: &[RamPlace], dimms: &[RamPlace]) -> Result<String, String> {
    let ram_size = contiguous(ram)?;
    if dimms.is_empty() {
        return Ok(format!("{ram_size}B"));
    }

    // The address range for DIMMs begins at 4 GiB, and its size is the maximum size of all DIMMs
    // together.
    let max_size = ram_size + (highest(dimms) - ABOVE_4_GIB);
    Ok(format!("{ram_size}B,slots={},maxmem={max_size}B", dimms.len()))
}

/// The end of memory above 4 GiB.
fn highest(dimms: &[RamPlace]) -> u64 {
    dimms.last().map_or(ABOVE_4_GIB, |dimm| dimm.guest_physical + dimm.len)
}

/// The size of RAM, which must start at 0 and have no hole.
fn contiguous(ram: &[RamPlace]) -> Result<u64, String> {
    let mut end = 0;
    for place in ram {
        if place.guest_physical != end {
            let at = place.guest_physical;
            return Err(format!(
                "RAM at {at:#x} does not begin where the RAM below ends, {end:#x}"
            ));
        }
        end += place.len;
    }

    // QEMU would move more than that above 4 GiB.
    if end == 0 || end > 3 * GIB {
        return Err(format!("RAM of {end:#x} bytes is impossible: it must be 1 byte to 3 GiB"));
    }

    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(guest_physical: u64, len: u64, fd: RawFd) -> RamPlace {
        RamPlace { guest_physical, len, fd }
    }

    #[test]
    fn ram_becomes_nodes_and_high_memory_becomes_dimms() {
        let memory = [
            place(0x5_4000_0000, 0x2000_0000, 9),
            place(0x4000_0000, 0x4000_0000, 8),
            place(0, 0x4000_0000, 7),
            place(0x5_6000_0000, 0x2000_0000, 8),
        ];

        let list = arguments(5, Some(36), &["-nx"], &memory, 1).expect("the layout is possible");

        let expected = "-no-user-config -nodefaults -display none -no-reboot -M pc \
             -accel tcg,thread=single,tb-size=32 -cpu max,phys-bits=36,-nx -bios /proc/self/fd/5 \
             -m 2147483648B,slots=2,maxmem=21474836480B \
             -object memory-backend-file,id=memory0,mem-path=/proc/self/fd/7,\
             size=1073741824B,share=on -numa node,memdev=memory0 \
             -object memory-backend-file,id=memory1,mem-path=/proc/self/fd/8,\
             size=1073741824B,share=on -numa node,memdev=memory1 \
             -object memory-backend-file,id=memory2,mem-path=/proc/self/fd/9,\
             size=536870912B,share=on -device pc-dimm,memdev=memory2,addr=0x540000000 \
             -object memory-backend-file,id=memory3,mem-path=/proc/self/fd/8,\
             size=536870912B,share=on -device pc-dimm,memdev=memory3,addr=0x560000000";
        assert_eq!(list.join(" "), expected);
    }

    #[test]
    fn ram_alone_needs_no_slots() {
        let list = arguments(5, None, &[], &[place(0, 0x80_0000, 7)], 1).expect("possible");
        let text = list.join(" ");
        assert!(text.contains("-cpu max -bios"), "{text}");
        assert!(text.contains("-m 8388608B -object"), "{text}");
    }

    #[test]
    fn memory_above_1_tib_is_not_moved() {
        let memory = |high| [place(0, 0x80_0000, 7), place(high, 0x2000_0000, 8)];
        let cpu = |high| {
            let list = arguments(5, Some(48), &[], &memory(high), 1).expect("possible");
            list[list.iter().position(|word| word == "-cpu").expect("the processor is given") + 1]
                .clone()
        };
        assert_eq!(cpu(0xaa_8000_0000), "max,phys-bits=48");
        assert_eq!(cpu(0xaaaa_8000_0000), "max,phys-bits=48,vendor=GenuineIntel");
    }

    #[test]
    fn ram_with_a_hole_is_refused() {
        let memory = [place(0, 0x80_0000, 7), place(0x4000_0000, 0x4000_0000, 8)];
        let why = arguments(5, None, &[], &memory, 1).expect_err("there is a hole");
        assert_eq!(why, "RAM at 0x40000000 does not begin where the RAM below ends, 0x800000");
        assert!(arguments(5, None, &[], &[], 1).is_err());
        assert!(arguments(5, None, &[], &[place(0, 4 * GIB, 7)], 1).is_err());
    }
}
