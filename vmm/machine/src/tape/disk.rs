//! A medium for BIOSes that is a hard disk, a USB stick and a CD at once: a boot sector with a partition table, and
//! the descriptors of ISO 9660 with those of El Torito, whose boot image is the same sector. The payload has no name
//! in a file system.

use super::Payload;
use crate::elf;
use crosswalk_guest::tape::payload::{MEDIUM_OFFSET, PIECE, SECTOR_BYTES};

/// The boot sector that was built with this program.
static SECTOR: &[u8] = include_bytes!(concat!(env!("GUEST_IMAGES"), "/sector"));

/// Size of a sector of a hard disk.
const SECTOR_SIZE: usize = 512;
/// Where a BIOS loads it.
const SECTOR_PLACE: u64 = 0x7c00;
/// Size of a sector of a CD (ECMA-119, "Logical Sector").
const BLOCK: usize = 2048;

// The sectors of the CD: its descriptors begin with the 16th.
const PRIMARY: usize = 16;
const BOOT_RECORD: usize = 17;
const TERMINATOR: usize = 18;
const CATALOGUE: usize = 19;
const BOOT_IMAGE: usize = 20;
const ROOT_DIRECTORY: usize = 21;

/// The start of a volume descriptor: its type, the standard and the version (ECMA-119, "Volume Descriptors").
const fn descriptor(kind: u8) -> [u8; 7] {
    [kind, b'C', b'D', b'0', b'0', b'1', 1]
}

/// The medium.
///
/// # Panics
/// If this program was not built properly.
pub fn disk(payload: &Payload) -> Vec<u8> {
    let sector = boot_sector(payload);
    let mut medium = Medium(vec![0; MEDIUM_OFFSET as usize]);
    medium.put(0, 0, &sector);
    medium.describe_volume(payload);
    medium.make_bootable(&sector);
    medium.0.extend(&payload.bytes);

    // The loader reads whole pieces, and some BIOSes want whole cylinders of 16 heads and 63 sectors.
    let len = medium.0.len() + PIECE as usize;
    medium.0.resize(len.next_multiple_of(16 * 63 * SECTOR_SIZE), 0);
    medium.add_partition();
    medium.0
}

/// The boot sector, with the size of the payload.
fn boot_sector(payload: &Payload) -> Vec<u8> {
    let place = SECTOR_PLACE..SECTOR_PLACE + SECTOR_SIZE as u64;
    let segments = elf::segments("the built-in boot sector", SECTOR, &place);
    let segments = segments.expect("the boot sector was built");
    let mut sector = vec![0; SECTOR_SIZE];
    for segment in segments {
        sector[segment.offset..segment.offset + segment.data.len()].copy_from_slice(segment.data);
    }

    let bytes = payload.bytes.len() as u32;
    let at = SECTOR_BYTES as usize;
    sector[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
    sector
}

/// A medium that is being written.
struct Medium(Vec<u8>);

impl Medium {
    /// Writes into a sector of the CD.
    fn put(&mut self, block: usize, at: usize, bytes: &[u8]) {
        let start = block * BLOCK + at;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// The primary volume descriptor, with an empty root directory.
    fn describe_volume(&mut self, payload: &Payload) {
        let blocks = (MEDIUM_OFFSET as usize + payload.bytes.len()).div_ceil(BLOCK) as u32;
        let mut root = root_record();

        self.put(PRIMARY, 0, &descriptor(1));
        self.put(PRIMARY, 8, &[b' '; 64]);
        self.put(PRIMARY, 40, b"CROSSWALK");
        self.put(PRIMARY, 80, &both_orders_32(blocks));
        self.put(PRIMARY, 120, &both_orders_16(1)); // Volumes of the set.
        self.put(PRIMARY, 124, &both_orders_16(1)); // The number of this one.
        self.put(PRIMARY, 128, &both_orders_16(BLOCK as u16));
        self.put(PRIMARY, 156, &root);
        self.put(PRIMARY, 881, &[1]); // The version of the structure of files.
        self.put(TERMINATOR, 0, &descriptor(255));

        // The directory has itself and its parent, which is itself.
        self.put(ROOT_DIRECTORY, 0, &root);
        let identifier = root.len() - 1;
        root[identifier] = 1;
        self.put(ROOT_DIRECTORY, root.len(), &root);
    }

    /// The boot record of El Torito, and its catalogue: a validation entry, and one for a boot image without
    /// emulation of a disk.
    fn make_bootable(&mut self, sector: &[u8]) {
        self.put(BOOT_RECORD, 0, &descriptor(0));
        self.put(BOOT_RECORD, 7, b"EL TORITO SPECIFICATION");
        self.put(BOOT_RECORD, 71, &(CATALOGUE as u32).to_le_bytes());

        let mut validation = [0_u8; 32];
        validation[0] = 1;
        validation[30..].copy_from_slice(&[0x55, 0xaa]);
        let words = validation.chunks(2).map(|word| u16::from(word[0]) | u16::from(word[1]) << 8);
        let sum = words.fold(0, u16::wrapping_add);
        validation[28..30].copy_from_slice(&0_u16.wrapping_sub(sum).to_le_bytes());
        self.put(CATALOGUE, 0, &validation);

        let mut entry = [0_u8; 32];
        entry[0] = 0x88; // It boots.
        entry[6] = 1; // Sectors of 512 bytes to load.
        entry[8..12].copy_from_slice(&(BOOT_IMAGE as u32).to_le_bytes());
        self.put(CATALOGUE, 32, &entry);
        self.put(BOOT_IMAGE, 0, sector);
    }

    /// One partition that boots, for BIOSes that look for one.
    fn add_partition(&mut self) {
        const TABLE: usize = 446;
        const LINUX: u8 = 0x83;

        let sectors = (self.0.len() / SECTOR_SIZE) as u32;
        let mut entry = [0; 16];
        entry[..4].copy_from_slice(&[0x80, 0, 2, 0]);
        entry[4..8].copy_from_slice(&[LINUX, 0xff, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
        entry[12..].copy_from_slice(&(sectors - 1).to_le_bytes());
        self.put(0, TABLE, &entry);
    }
}

/// The directory record of the root (ECMA-119, "Format of a Directory Record").
fn root_record() -> Vec<u8> {
    let place = both_orders_32(ROOT_DIRECTORY as u32);
    let size = both_orders_32(BLOCK as u32);
    let date = [100, 1, 1, 0, 0, 0, 0]; // The first of January 2000.
    let is_directory = 2;

    let mut record = vec![34, 0];
    record.extend(place);
    record.extend(size);
    record.extend(date);
    record.extend([is_directory, 0, 0]);
    record.extend(both_orders_16(1));
    record.extend([1, 0]);
    record
}

fn both_orders_32(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [a, b, c, d, d, c, b, a]
}

fn both_orders_16(number: u16) -> [u8; 4] {
    let [a, b] = number.to_le_bytes();
    [a, b, b, a]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium() -> Vec<u8> {
        disk(&Payload { bytes: vec![0x5a; 0x1_2345], memory_end: 0 })
    }

    /// ECMA-119 and El Torito, by hand.
    #[test]
    fn it_is_a_cd_and_a_hard_disk() {
        let medium = medium();
        assert_eq!(medium[510..512], [0x55, 0xaa]);
        assert_eq!(medium[446], 0x80, "the partition boots");
        assert_eq!(medium[0x8000..0x8007], *b"\x01CD001\x01");
        assert_eq!(medium[0x8800..0x881e], *b"\x00CD001\x01EL TORITO SPECIFICATION");
        assert_eq!(medium[0x8847..0x884b], [19, 0, 0, 0]);
        assert_eq!(medium[0x9000..0x9007], *b"\xffCD001\x01");
        assert_eq!(medium[0x9820..0x982c], [0x88, 0, 0, 0, 0, 0, 1, 0, 20, 0, 0, 0]);

        let words = medium[0x9800..0x9820].chunks(2);
        let sum =
            words.fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
        assert_eq!(sum, 0, "the words of the validation entry add up to 0");
    }

    #[test]
    fn the_boot_image_is_the_boot_sector_with_the_size_of_the_payload() {
        let medium = medium();
        assert_eq!(medium[..440], medium[0xa000..0xa000 + 440]);
        assert_eq!(medium[436..440], [0x45, 0x23, 0x01, 0x00]);
        assert_eq!(medium[0x1_0000..0x1_0004], [0x5a; 4]);
        assert_eq!(medium.len() % (16 * 63 * 512), 0);
        assert!(medium.len() >= 0x1_0000 + 0x1_2345 + 0x8000);
    }
}
