//! Images that boot by themselves: a tape of batches, with the guest's image, its tables and a front, as files that
//! loaders and firmware start. What the guest prints is a log, which [`LogMachine`](crate::log::LogMachine) reads.

mod disk;
mod executable;
mod payload;

pub use disk::disk;
pub use executable::executable;
pub use payload::{Payload, PayloadTooLong};

use crate::image::Image;
use crate::memory::GuestMemory;
use crate::{BatchCommand, Capabilities, LeftOut, ModeOffer};
use crosswalk_guest::layout::{Arena, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{AccessRecord, Header};
use crosswalk_guest::stub::{Code, Form, Privileged, Stub};
use crosswalk_guest::tape::needs::{self, needs_of};
use crosswalk_guest::tape::nested::{self, NESTED_WORDS};
use crosswalk_guest::tape::words::WordWriter;
use crosswalk_guest::tape::{BlockHeader, TAPED_BYTES};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr4, Profile, Ring};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use zerocopy::{FromZeros, IntoBytes};

/// What an image that boots by itself offers, made for a processor and some paging modes, without what its user
/// leaves out. It may run anywhere, so it uses no addresses but those that must have memory.
pub fn capabilities(profile: Profile, modes: Vec<ModeOffer>, left_out: LeftOut) -> Capabilities {
    Capabilities {
        modes,
        high_memory: false,
        pkru_in_ring_0: true,
        reserved_movs: Err(
            "an image moves no reserved bits: some machines do not come back from that".into(),
        ),
        left_out: left_out | LeftOut::ALWAYS,
        ..Capabilities::unprobed(profile)
    }
}

/// Makes the blocks of a tape.
#[derive(Clone, Debug)]
pub struct TapeEncoder {
    /// MAXPHYADDR of the processor for which the cases were made.
    address_bits: u8,
    /// The addresses of the stubs whose instruction not every processor has, with what it needs.
    needy_stubs: Vec<(u64, u32)>,
    number: u32,
    digest: Sha256,
}

/// A block of a tape.
#[derive(Clone, Debug)]
pub struct TapeBlock {
    /// Its start.
    pub header: BlockHeader,
    /// The addresses of further data frames.
    pub frames: Vec<u32>,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl TapeEncoder {
    /// Begins a tape for this processor, and this image of the guest.
    pub fn new(profile: Profile, image: &Image) -> Self {
        Self {
            address_bits: profile.physical_address_bits,
            needy_stubs: needy_stubs(image),
            number: 0,
            digest: Sha256::new(),
        }
    }

    /// Number of blocks so far.
    pub const fn blocks(&self) -> u32 {
        self.number
    }

    /// Makes the next block, of a batch that has been written into its arena.
    ///
    /// # Panics
    /// If the batch is not one for images: it needs the host to set registers, or tables elsewhere.
    pub fn encode(&mut self, command: &BatchCommand, memory: &GuestMemory) -> TapeBlock {
        assert!(command.control.is_none() && !command.fills_read_only, "the guest does it all");
        self.number += 1;

        let arena = command.arena;
        let content = content(command, memory);
        let header: Header = memory.read_value(arena.base());
        let frames: Vec<u32> = command.elsewhere.iter().map(|frame| *frame as u32).collect();
        let stream = stream(&content);

        let mut block = BlockHeader {
            number: self.number,
            arena: arena.index() as u32,
            needs: needs_of(&header) | self.needs_of_records(command, memory),
            max_address_bits: self.max_address_bits(&header, &content),
            frames: frames.len() as u32,
            stream: stream.len() as u32,
            digest: 0,
        };
        self.digest.update(block.as_bytes());
        self.digest.update(frames.as_bytes());
        self.digest.update(&stream);
        block.digest = first_word(&self.digest.clone().finalize());

        let bytes = [block.as_bytes(), frames.as_bytes(), &stream].concat();
        TapeBlock { header: block, frames, bytes }
    }

    /// The SHA-256 of the tape so far, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut digits = String::new();
        for byte in self.digest.clone().finalize() {
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }

    /// What the instructions of a batch need.
    fn needs_of_records(&self, command: &BatchCommand, memory: &GuestMemory) -> u32 {
        let stub = |number| {
            let record: AccessRecord = memory.read_value(command.arena.record(number));
            record.stub & !SUPERVISOR_WINDOW
        };
        let stubs = command.lists.iter().cloned().flatten().map(stub);
        let need = |stub| self.needy_stubs.iter().find(|(needy, _)| *needy == stub);
        stubs.filter_map(need).fold(0, |needs, (_, need)| needs | need)
    }

    /// The greatest MAXPHYADDR with which every bit that is meant to be reserved is so.
    fn max_address_bits(&self, header: &Header, content: &[u8]) -> u32 {
        const WIDEST: u32 = 52;
        if nested::is_nested(header) {
            return self.address_bits.into();
        }

        let cr4 = Cr4::from_bits_retain(header.cr4);
        let tables = content.get(TABLE_IMAGES..).unwrap_or_default();
        let wide_entries = cr4.contains(Cr4::PAE);
        let addresses: u64 = if wide_entries {
            let words = tables.chunks_exact(8).map(word);
            let all = words.chain(header.pdptes).fold(0, |all, entry| all | entry);
            all & EntryBits::ADDRESS
        } else if cr4.contains(Cr4::PSE) {
            // PSE-36 puts address bits 39:32 into bits 20:13 of a 4 MiB page (MODE-5).
            let entries = tables.chunks_exact(4).map(|entry| word(&[entry, &[0; 4]].concat()));
            let large = entries.filter(|entry| entry & EntryBits::PS.bits() != 0);
            large.fold(0, |all, entry| all | (entry & 0x1f_e000) << (32 - 13))
        } else {
            0
        };

        let meant_to_be_reserved = addresses >> self.address_bits << self.address_bits;
        meant_to_be_reserved.trailing_zeros().min(WIDEST)
    }
}

/// The user addresses of the stubs that execute CLFLUSH or INVPCID, each with its need.
fn needy_stubs(image: &Image) -> Vec<(u64, u32)> {
    let mut stubs = Vec::new();
    for ring in Ring::ALL {
        let invpcid = image.stub(Stub::Privileged(Privileged::Invpcid, ring), Code::Bits64);
        stubs.extend(invpcid.map(|stub| (stub, needs::INVPCID)));
    }
    for code in [Code::Bits32, Code::Bits64] {
        for (stack, keyed) in [(false, false), (false, true), (true, false), (true, true)] {
            let stub = Stub::Access { form: Form::Clflush, stack, log_size: 0, keyed };
            stubs.extend(image.stub(stub, code).map(|stub| (stub, needs::CLFLUSH)));
        }
    }
    stubs
}

/// Where the images of the tables are in an arena.
const TABLE_IMAGES: usize = 0x2_0000;

/// The part of an arena that a tape has, without what earlier batches have left.
fn content(command: &BatchCommand, memory: &GuestMemory) -> Vec<u8> {
    let arena = command.arena;
    let header: Header = memory.read_value(arena.base());
    let tables = header.tables as usize;
    assert!(tables <= Arena::TABLES, "all tables are in low memory");

    let mut content = vec![0; TAPED_BYTES as usize];
    let mut copy = |at: u64, bytes: usize| {
        let start = (at - arena.base()) as usize;
        memory.read(at, &mut content[start..start + bytes]);
    };
    copy(arena.base(), size_of::<Header>());
    for list in &command.lists {
        copy(arena.record(list.start), list.len() * size_of::<AccessRecord>());
    }
    copy(arena.table_image(0), tables * 0x1000);
    if nested::is_nested(&header) {
        content.extend(nested_content(arena, &header, memory));
    }
    content
}

/// The rest of a nested batch.
fn nested_content(arena: Arena, header: &Header, memory: &GuestMemory) -> Vec<u8> {
    let mut words = vec![0_u32; NESTED_WORDS as usize];
    let parts = nested::parts(arena, header);
    for part in parts {
        let [start, len] = [part.offset, part.bytes].map(|bytes| bytes as usize / 4);
        memory.read(part.written, words[start..start + len].as_mut_bytes());
    }

    let [blocks, ..] = parts;
    nested::pack(&mut words[..blocks.bytes as usize / 4]);
    words.as_bytes().to_vec()
}

/// Words as a stream whose length is a multiple of 4.
fn stream(content: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut put = |byte| stream.push(byte);
    let mut writer = WordWriter::default();
    for four in content.chunks_exact(4) {
        let mut word = 0_u32;
        word.as_mut_bytes().copy_from_slice(four);
        writer.put(word, &mut put);
    }
    writer.end(&mut put);

    stream.resize(stream.len().next_multiple_of(4), 0);
    stream
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = u64::new_zeroed();
    word.as_mut_bytes().copy_from_slice(bytes);
    word
}

fn first_word(digest: &[u8]) -> u32 {
    let mut word = 0_u32;
    word.as_mut_bytes().copy_from_slice(&digest[..4]);
    word
}
