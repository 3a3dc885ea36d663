//! What a loader puts into memory: see [`crosswalk_guest::tape::payload`].

use crate::elf::{self, LoadSegment};
use crate::image::Image;
use crate::memory::GuestMemory;
use crate::{MachineError, guest_tables};
use crosswalk_guest::layout::{IMAGE_BASE, IMAGE_END, MAX_LANES, OWN_TABLE_FRAMES, OWN_TABLES};
use crosswalk_guest::mailbox::Control;
use crosswalk_guest::tape::TAPED_BYTES;
use crosswalk_guest::tape::nested::NESTED_BYTES;
use crosswalk_guest::tape::payload::{
    END, FAR_DIRECTORIES, FAR_SIZE, FAR_WINDOW, LOAD, PARAMETERS, PIECE, Parameters, TEXT_BYTES,
};
use mmu_core::Profile;
use mmu_core::x86::format::EntryBits;
use std::mem::offset_of;
use zerocopy::IntoBytes;

/// The front that was built with this program.
static FRONT: &[u8] = include_bytes!(concat!(env!("GUEST_IMAGES"), "/front"));

/// A payload.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// The end of the memory that it uses, as a physical address.
    pub memory_end: u64,
}

/// Why there is no payload: it would reach into the data memory.
#[derive(Debug, thiserror::Error)]
#[error("the image would need {needed} bytes, and there is room for {room}: it has too many cases")]
pub struct PayloadTooLong {
    needed: u64,
    room: u64,
}

/// The offsets in the header of Multiboot of the end of the file and of the memory that is used.
const LOAD_END: usize = 20;
const MEMORY_END: usize = 24;
/// What a payload needs besides its tape, at least.
const REST: u64 = 2 * MAX_LANES as u64 * 0x2000;

impl Payload {
    /// Checks that there is room for a tape of this length and the rest.
    ///
    /// # Errors
    /// If there is none.
    pub fn check_tape(bytes: usize) -> Result<(), PayloadTooLong> {
        let (needed, room) = (REST + bytes as u64, END - LOAD);
        if needed > room { Err(PayloadTooLong { needed, room }) } else { Ok(()) }
    }

    /// Puts a payload together: the image of the guest, a tape with a number of blocks, and the line with which
    /// its log begins.
    ///
    /// # Errors
    /// If it is too long.
    ///
    /// # Panics
    /// If this program was not built properly.
    pub fn new(
        image: &Image,
        head: &str,
        tape: &[u8],
        blocks: u32,
    ) -> Result<Self, PayloadTooLong> {
        let mut bytes = front();
        let mut place = |content: &[u8]| {
            bytes.resize(bytes.len().next_multiple_of(0x1000), 0);
            let at = LOAD as usize + bytes.len();
            bytes.extend(content);
            at as u32
        };

        let (content, own_tables) = initial_memory(image).expect("the guest's tables can be built");
        let control =
            Control { completed: u64::MAX, tape: LOAD + PARAMETERS, ..Control::default() };
        let mut control_page = control.as_bytes().to_vec();
        control_page.resize(0x1000, 0);

        let mut parameters = Parameters {
            image: place(&content),
            image_bytes: content.len() as u32,
            own_tables: place(&own_tables),
            control: place(&control_page),
            head: place(head.as_bytes()),
            head_bytes: head.len() as u32,
            blocks: place(tape),
            block_count: blocks,
            ..Parameters::default()
        };
        bytes.resize(bytes.len().next_multiple_of(PIECE as usize), 0);

        let mut memory_end = LOAD + bytes.len() as u64;
        let mut reserve = |size: u64| {
            let at = memory_end;
            memory_end += size.next_multiple_of(0x1000);
            at as u32
        };
        // With a frame behind it, or the rest of a nested batch.
        parameters.scratch = reserve(TAPED_BYTES + NESTED_BYTES);
        parameters.pristine = reserve(2 * MAX_LANES as u64 * 0x2000);
        parameters.text = reserve(TEXT_BYTES);
        if memory_end > END {
            return Err(PayloadTooLong { needed: memory_end - LOAD, room: END - LOAD });
        }

        let load_end = LOAD as u32 + bytes.len() as u32;
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(PARAMETERS as usize, parameters.as_bytes());
        put(LOAD_END, load_end.as_bytes());
        put(MEMORY_END, (memory_end as u32).as_bytes());
        Ok(Self { bytes, memory_end })
    }
}

/// The front as it lies in memory.
fn front() -> Vec<u8> {
    let segments = elf::segments("the built-in front", FRONT, &(LOAD..END));
    let mut bytes = Vec::new();
    for LoadSegment { offset, data, size } in segments.expect("the front was built") {
        bytes.resize(bytes.len().max(offset + size), 0);
        bytes[offset..offset + data.len()].copy_from_slice(data);
    }
    bytes
}

/// The guest's image and its own tables, as a host puts them into memory; but the tables map the far windows, too.
fn initial_memory(image: &Image) -> Result<(Vec<u8>, Vec<u8>), MachineError> {
    let memory = GuestMemory::new().map_err(MachineError::host("mapping guest memory"))?;
    image.load(&memory);
    guest_tables::build(&memory, plain_profile())?;
    map_far_windows(&memory);

    let read = |from: u64, bytes: u64| {
        let mut content = vec![0; bytes as usize];
        memory.read(from, &mut content);
        content
    };
    let mut content = read(IMAGE_BASE, IMAGE_END - IMAGE_BASE);
    let len = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    content.truncate(len);
    Ok((content, read(OWN_TABLES, 2 * OWN_TABLE_FRAMES as u64 * 0x1000)))
}

/// A processor on which there are no windows of page tables above 4 GiB.
fn plain_profile() -> Profile {
    Profile { physical_address_bits: 32, ..Profile::default() }
}

/// Maps the first 2 GiB in the far windows, and the front at its physical address.
fn map_far_windows(memory: &GuestMemory) {
    const LARGE: u64 = 0x20_0000;
    const FRAME: u64 = 0x1000;
    let user = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let supervisor = (EntryBits::P | EntryBits::RW).bits();
    let large = EntryBits::PS.bits();
    let table_in = |entry: u64| memory.read_value::<u64>(entry) & EntryBits::ADDRESS;

    let pointers = table_in(OWN_TABLES);
    for number in 0..4 {
        let directory = FAR_DIRECTORIES + number * FRAME;
        memory.write_value(pointers + (FAR_WINDOW >> 30) * 8 + number * 8, &(directory | user));
    }
    for page in 0..FAR_SIZE / LARGE {
        let of_user = FAR_DIRECTORIES + page * 8;
        let of_supervisor = of_user + 2 * FRAME;
        let frame = page * LARGE;
        memory.write_value(of_user, &(frame | large | user));
        memory.write_value(of_supervisor, &(frame | large | supervisor));
    }

    let directory = table_in(pointers);
    memory.write_value(directory + LOAD / LARGE * 8, &(LOAD | large | supervisor));
}

const _: () = assert!(offset_of!(Parameters, image) == 0 && PARAMETERS >= 32);
