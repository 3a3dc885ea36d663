//! Where a guest has memory, as `info mtree -f` of QEMU's monitor prints it.

/// The address space whose sections are taken: that of `xp`, `gpa2hva` and devices.
const ADDRESS_SPACE: &str = r#"AS "memory","#;

/// The most sections of a guest. QEMU's machines have about ten, and one for each memory device.
const MAX_SECTIONS: usize = 1 << 12;

/// Sections begin and end at pages; what does not belongs to devices.
const PAGE: u64 = 0x1000;

/// Addresses next to each other that are backed by bytes next to each other of a memory region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemorySection {
    pub(super) start: u64,
    pub(super) len: u64,
    /// The name of the memory region.
    pub(super) region: String,
    /// Where in the region it begins.
    pub(super) offset: u64,
}

/// The sections with RAM and ROM, in the order of addresses.
pub(super) fn parse(text: &str) -> Result<Vec<MemorySection>, String> {
    let views = text.split("FlatView #");
    let view = views.into_iter().find(|view| view.contains(ADDRESS_SPACE));
    let view = view.ok_or_else(|| format!("expected a view with {ADDRESS_SPACE}"))?;

    let mut sections: Vec<MemorySection> = Vec::new();
    for line in view.lines() {
        let Some(section) = section(line) else { continue };
        if sections.len() >= MAX_SECTIONS {
            return Err(format!("expected at most {MAX_SECTIONS} sections of memory"));
        }
        sections.push(section);
    }
    if sections.is_empty() { Err("expected memory".to_owned()) } else { Ok(sections) }
}

/// A line with RAM or ROM: `  0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000`.
fn section(line: &str) -> Option<MemorySection> {
    let (range, rest) = line.trim().split_once(" (prio ")?;
    let (kind, name) = rest.split_once("): ")?;
    let (_, kind) = kind.split_once(", ")?;
    if !matches!(kind, "ram" | "rom" | "nv-ram" | "nv-rom") {
        return None;
    }

    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let (start, last) = range.split_once('-')?;
    let (start, last) = (number(start)?, number(last)?);
    let end = last.checked_add(1)?;
    let len = end.checked_sub(start).filter(|len| *len > 0)?;
    if start % PAGE != 0 || end % PAGE != 0 {
        return None;
    }

    // An accelerator that has the section, too, is named behind it.
    let (region, offset) = match name.split_once(" @") {
        Some((region, behind)) => (region, number(behind.split_whitespace().next()?)?),
        None => (name.split_once(" KVM").map_or(name, |(region, _)| region), 0),
    };
    Some(MemorySection { start, len, region: region.to_owned(), offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of what QEMU 7.2.22 prints of a guest with 5 GiB.
    const TEXT: &str = r#"FlatView #2
 AS "i440FX", root: bus master container
 Root memory region: (none)
  No rendered FlatView

FlatView #4
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000c2fff (prio 0, ram): pc.ram
  00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios KVM
  0000000100000000-000000017fffffff (prio 0, ram): pc.ram @00000000c0000000 KVM
"#;

    #[test]
    fn memory_is_where_the_monitor_says() {
        let section = |start, len, region: &str, offset| MemorySection {
            start,
            len,
            region: region.to_owned(),
            offset,
        };
        let expected = [
            section(0, 0xc3000, "pc.ram", 0),
            section(0xc3000, 0x25000, "pc.ram", 0xc3000),
            section(0xfffc_0000, 0x4_0000, "pc.bios", 0),
            section(1 << 32, 2 << 30, "pc.ram", 3 << 30),
        ];
        assert_eq!(parse(TEXT).unwrap(), expected);
    }

    #[test]
    fn what_is_not_a_layout_is_refused() {
        assert!(parse("").unwrap_err().contains("expected a view"));
        let empty = TEXT.replace("ram)", "i/o)").replace("rom)", "i/o)");
        assert_eq!(parse(&empty).unwrap_err(), "expected memory");
        // Backwards, beyond 64 bits, and not of whole pages.
        for range in ["2000-1000", "0-ffffffffffffffff", "0-10000000000000000", "800-fff", "x-y"] {
            assert_eq!(section(&format!("  {range} (prio 0, ram): pc.ram")), None, "{range}");
        }
    }
}
