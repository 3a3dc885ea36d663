//! Plays a tape: takes batches from memory instead of from a host, and prints what they changed.
//!
//! The front (front/) has put the tape into memory, with room for what is needed here, and the guest's own page
//! tables map all of it far from what cases use
//! ([`payload`](crosswalk_guest::tape::payload)).

mod log;
mod memory;
mod processor;
mod recording;

use crosswalk_guest::layout::{Arena, CONTROL, MAX_LANES};
use crosswalk_guest::tape::nested::{self, NESTED_BYTES, NestedPart};
use crosswalk_guest::tape::payload::{FAR_WINDOW, Parameters};
use crosswalk_guest::tape::words::take_word;
use crosswalk_guest::tape::{BlockHeader, TAPED_BYTES, Token, needs};
use log::{Log, power_off};
use memory::{bytes, read, words, words_mut};
use recording::Recording;

/// Size of the frames that a lane has in one arena.
const LANE_BYTES: u64 = 0x2000;

/// Where the parts of a tape are, as this code addresses them.
struct Tape {
    parameters: Parameters,
}

impl Tape {
    const fn far(address: u32) -> u64 {
        address as u64 + FAR_WINDOW
    }

    const fn scratch(&self) -> u64 {
        Self::far(self.parameters.scratch)
    }

    /// Room for the rest of a nested batch, behind that for an arena.
    const fn nested_scratch(&self) -> u64 {
        self.scratch() + TAPED_BYTES
    }

    /// The original contents of a lane's frames.
    const fn pristine(&self, arena: Arena, lane: usize) -> u64 {
        let number = arena.index() * MAX_LANES + lane;
        Self::far(self.parameters.pristine) + number as u64 * LANE_BYTES
    }
}

/// A block of the tape.
struct Block {
    header: BlockHeader,
    /// The address of the further frames, and that of the stream.
    frames: u64,
    stream: u64,
}

impl Block {
    fn at(address: u64) -> Self {
        let header: BlockHeader = read(address);
        let frames = address + size_of::<BlockHeader>() as u64;
        Self { header, frames, stream: frames + u64::from(header.frames) * 4 }
    }

    fn arena(&self) -> Arena {
        Arena::for_batch(self.header.arena.into())
    }

    /// The physical addresses of the further frames.
    fn frames(&self) -> &'static [u32] {
        words(self.frames, self.header.frames as usize)
    }

    /// Whether it is a nested batch.
    const fn is_nested(&self) -> bool {
        self.header.needs & needs::NESTED != 0
    }

    const fn end(&self) -> u64 {
        self.stream + self.header.stream as u64
    }
}

/// Plays the tape whose parameters are at a physical address, and turns the machine off. Batches are run by this
/// function, which gets the address of the arena.
pub(crate) fn play(parameters: u64, run: impl Fn(u64)) -> ! {
    let tape = Tape { parameters: read(parameters + FAR_WINDOW) };
    let mut log = Log::new(&tape.parameters);
    log.head(bytes(Tape::far(tape.parameters.head), tape.parameters.head_bytes as usize));

    let offered = processor::features(&read(CONTROL));
    let address_bits = processor::physical_address_bits();
    report_control_page(&tape, &mut log);
    if let Some(address) = fill_frames(&tape) {
        log.line(Token::NoMemory, &[address as u32]);
        log.flush();
        power_off(processor::is_virtual());
    }

    let mut at = Tape::far(tape.parameters.blocks);
    for _ in 0..tape.parameters.block_count {
        let block = Block::at(at);
        at = block.end();

        let wide = if address_bits > block.header.max_address_bits { needs::TOO_WIDE } else { 0 };
        let lacking = block.header.needs & !offered | wide;
        if lacking == 0 {
            play_block(&tape, &block, &mut log, &run);
        } else {
            log.line(Token::Skipped, &[block.header.number, lacking]);
        }
    }

    log.line(Token::Last, &[]);
    log.flush();
    power_off(processor::is_virtual())
}

/// Fills the data frames of all lanes with their contents. Returns the first physical address where they do not
/// stay, since there is no memory.
fn fill_frames(tape: &Tape) -> Option<u64> {
    let lanes = || (0..MAX_LANES).flat_map(|lane| Arena::ALL.map(|arena| (arena, lane)));
    for (arena, lane) in lanes() {
        let first = arena.data_frames(lane);
        memory::fill(first, tape.pristine(arena, lane), LANE_BYTES);
        memory::copy(tape.pristine(arena, lane), first + FAR_WINDOW, LANE_BYTES);
    }

    // Only now: memory may repeat.
    let is_bad = |(arena, lane): &(Arena, usize)| {
        let first = arena.data_frames(*lane) + FAR_WINDOW;
        !memory::are_equal(first, tape.pristine(*arena, *lane), LANE_BYTES)
    };
    lanes().find(is_bad).map(|(arena, lane)| arena.data_frames(lane))
}

/// Sends the control page as block 0.
fn report_control_page(tape: &Tape, log: &mut Log) {
    memory::clear(tape.scratch(), 0x1000);

    log.line(Token::Start, &[0]);
    let mut recording = Recording::start(log);
    recording.compare(CONTROL, tape.scratch(), 0x1000);
    recording.end_words();
    recording.end(0, 0);
}

/// Runs a batch, and sends what it changed.
fn play_block(tape: &Tape, block: &Block, log: &mut Log, run: &impl Fn(u64)) {
    let BlockHeader { number, digest, .. } = block.header;
    let arena = block.arena();

    // If the batch kills the machine, the log says in which one it was.
    log.line(Token::Start, &[number]);
    log.flush();

    decode(block, tape.scratch());
    memory::copy(tape.scratch(), arena.base(), TAPED_BYTES);
    let nested_parts = nested_parts(block, tape);
    for part in nested_parts.iter().flatten() {
        memory::copy(tape.nested_scratch() + part.offset, part.written, part.bytes);
    }
    recording::clear_frames_of_faults(arena);
    for frame in block.frames() {
        memory::fill((*frame).into(), u64::from(*frame) + FAR_WINDOW, 0x1000);
    }
    run(arena.base());

    let mut recording = Recording::start(log);
    recording.arena(arena, tape.scratch());
    for lane in 0..MAX_LANES {
        let (now, then) = (arena.data_frames(lane) + FAR_WINDOW, tape.pristine(arena, lane));
        recording.compare_and_restore(now, then, LANE_BYTES);
    }
    for frame in block.frames() {
        // Behind the copy of the arena there is room for a frame.
        let (now, then) = (u64::from(*frame) + FAR_WINDOW, tape.scratch() + TAPED_BYTES);
        memory::fill((*frame).into(), then, 0x1000);
        recording.compare_and_restore(now, then, 0x1000);
    }
    for part in nested_parts.iter().flatten() {
        recording.compare(part.used, tape.nested_scratch() + part.offset, part.bytes);
        recording.skip(part.room - part.bytes);
    }
    recording.end_words();
    recording.frames_of_faults(arena, tape.scratch());
    recording.end(number, digest);
}

/// Decodes the words of an arena, and of a nested batch those of the rest.
fn decode(block: &Block, to: u64) {
    let rest = if block.is_nested() { NESTED_BYTES } else { 0 };
    memory::clear(to, TAPED_BYTES + rest);
    let arena = words_mut(to, (TAPED_BYTES + rest) as usize / 4);

    let mut stream = bytes(block.stream, block.header.stream as usize);
    let mut index = 0;
    while let Ok(Some((place, word))) = take_word(&mut stream, &mut index) {
        if let Some(there) = arena.get_mut(place as usize) {
            *there = word;
        }
    }
}

/// The parts of a nested batch that has been decoded, with its control blocks unpacked; `None` of any other.
fn nested_parts(block: &Block, tape: &Tape) -> Option<[NestedPart; 3]> {
    if !block.is_nested() {
        return None;
    }
    let parts = nested::parts(block.arena(), &read(tape.scratch()));
    let [blocks, ..] = parts;
    nested::unpack(words_mut(tape.nested_scratch(), blocks.bytes as usize / 4));
    Some(parts)
}
