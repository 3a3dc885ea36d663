//! The image that misbehaves, in a way of the test's choice.

use crate::guest_image;
use crosswalk_guest::layout::IMAGE_BASE;
use crosswalk_guest::stub::ImageHeader;
use object::{File, Object, ObjectSegment, ObjectSymbol, Symbol};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::ops::Range;

/// The hostile image. Its behaviours are labels, one of which becomes its entry.
#[derive(Debug)]
pub struct HostileImage {
    bytes: Vec<u8>,
    /// The place of the address of the first instruction, in the file.
    entry: Range<usize>,
    /// The addresses of the behaviours.
    behaviours: BTreeMap<String, u64>,
}

impl HostileImage {
    /// Reads the image that was built with the program.
    pub fn read() -> Self {
        let bytes = std::fs::read(guest_image("hostile")).expect("the image was built");
        let file = File::parse(&*bytes).expect("an ELF file");
        let first = file.segments().find(|segment| segment.address() == IMAGE_BASE);
        let (header, _) = first.expect("the header is loaded").file_range();
        let entry = header as usize + offset_of!(ImageHeader, entry);

        let name = |symbol: &Symbol<'_, '_>| {
            Some(symbol.name().ok()?.strip_prefix("hostile_")?.to_owned())
        };
        let behaviours =
            file.symbols().filter_map(|symbol| Some((name(&symbol)?, symbol.address()))).collect();
        Self { entry: entry..entry + size_of::<u64>(), behaviours, bytes }
    }

    /// The names of all behaviours.
    pub fn behaviours(&self) -> impl Iterator<Item = &str> {
        self.behaviours.keys().map(String::as_str)
    }

    /// The image that behaves in this way.
    pub fn with(&self, behaviour: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let address = self.behaviours[behaviour];
        bytes[self.entry.clone()].copy_from_slice(&address.to_le_bytes());
        bytes
    }
}
