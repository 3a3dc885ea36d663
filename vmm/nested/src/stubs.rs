//! The instructions that L2 executes: a page of them, which the tables of every case map.
//!
//! Each makes one access at the address in RAX (EAX in 32-bit code), and is followed by CPUID, which leaves L2. The same
//! bytes are valid in 32-bit code, but for those of 8 bytes.

use mmu_core::{Access, AccessKind};

/// Bytes of an instruction that are fetched together: the longest, with CPUID behind it.
pub const FETCHED: u16 = 5;

/// Bytes of the code in a data frame that a fetch executes.
pub const FETCHED_FRAME: u16 = crosswalk_guest::contents::CODE_SIZE;

/// The offset in the page of the CPUID to which fetched code returns.
pub const BACK: u64 = 0x800;

/// Size of a stub.
const SIZE: u64 = 16;

/// CPUID.
const CPUID: [u8; 2] = [0x0f, 0xa2];

/// The sizes of accesses, in bytes.
pub const SIZES: [u16; 3] = [1, 4, 8];

/// The stubs: what each accesses, and its instruction.
const STUBS: [(AccessKind, u16, &[u8]); 9] = [
    // mov al, [rax]; mov eax, [rax]; mov rax, [rax]
    (AccessKind::Read, 1, &[0x8a, 0x00]),
    (AccessKind::Read, 4, &[0x8b, 0x00]),
    (AccessKind::Read, 8, &[0x48, 0x8b, 0x00]),
    // mov [rax], al and so on
    (AccessKind::Write, 1, &[0x88, 0x00]),
    (AccessKind::Write, 4, &[0x89, 0x00]),
    (AccessKind::Write, 8, &[0x48, 0x89, 0x00]),
    // add [rax], al and so on
    (AccessKind::ReadModifyWrite, 1, &[0x00, 0x00]),
    (AccessKind::ReadModifyWrite, 4, &[0x01, 0x00]),
    (AccessKind::ReadModifyWrite, 8, &[0x48, 0x01, 0x00]),
];

/// Number of the stub that makes an access; `None` if there is none.
fn number(kind: AccessKind, size: u16) -> Option<usize> {
    STUBS.iter().position(|(of_kind, of_size, _)| (*of_kind, *of_size) == (kind, size))
}

/// Whether there is a stub for an access of this kind and size.
pub fn exists(kind: AccessKind, size: u16) -> bool {
    number(kind, size).is_some()
}

/// The offset in the page of the instruction that makes an access. A fetch has none: it begins with what is fetched.
pub fn offset(access: &Access) -> u64 {
    number(access.kind, access.size).map_or(BACK, |number| number as u64 * SIZE)
}

/// The offset in the page of the CPUID behind the instruction that makes an access.
pub fn end(access: &Access) -> u64 {
    match number(access.kind, access.size) {
        Some(number) => number as u64 * SIZE + STUBS[number].2.len() as u64,
        None => BACK,
    }
}

/// The contents of the page.
pub fn page() -> [u8; 0x1000] {
    // HLT leaves L2 wherever it lands.
    let mut page = [0xf4; 0x1000];
    let mut put = |offset: u64, instruction: &[u8]| {
        let bytes = instruction.iter().chain(&CPUID);
        for (place, byte) in page[offset as usize..].iter_mut().zip(bytes) {
            *place = *byte;
        }
    };

    for (number, (_, _, instruction)) in STUBS.iter().enumerate() {
        put(number as u64 * SIZE, instruction);
    }
    put(BACK, &[]);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{Ring, VirtAddr};

    #[test]
    fn every_stub_is_followed_by_cpuid() {
        let page = page();
        for (kind, size, instruction) in STUBS {
            let access = Access::new(kind, VirtAddr::new(0x1000), size, Ring::Three);
            let (start, end) = (offset(&access) as usize, end(&access) as usize);
            assert_eq!(&page[start..end], instruction);
            assert_eq!(page[end..end + 2], CPUID);
            assert_eq!(page[end + 2], 0xf4, "HLT");
        }
        assert_eq!(page[BACK as usize..BACK as usize + 2], CPUID);
    }
}
