//! Nested batches of one lane, with both kinds of tables written by hand.
//!
//! The addresses of L2 are small: linear and guest-physical page `n` are the same one, unless a test changes
//! an entry. A page of the second level is anywhere in the arena.

use crate::Sandbox;
use crate::boot::BootOptions;
use crosswalk_case::observation::Provenance;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::tape::Checksum;
use crosswalk_machine::booted::bochs::{self, BochsProgram};
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::log::{LogMachine, LogParts, LogProcessor, LogReader};
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::nested::{Lane, LaneRun, NestedBatch, NestedRun, Root};
use crosswalk_machine::tape::{self, Payload, TapeEncoder};
use crosswalk_machine::{BatchCommand, Identity, Interrupter, LeftOut, Machine};
use mmu_core::{ControlState, PagingMode, Profile, Ring};
use std::collections::BTreeSet;
use std::io::{BufRead, Cursor};

/// The guest-physical page of L2's root table. Its other tables follow.
pub const ROOT_PAGE: u64 = 1;
/// The page of L2's code.
pub const CODE_PAGE: u64 = 8;
/// The page of L2's data.
pub const DATA_PAGE: u64 = 9;
/// Where CPUID alone is in the code page: where fetched code returns to.
pub const CPUID: u64 = CODE_PAGE << 12;

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;

/// A batch of one lane in the making.
#[derive(Clone, Debug)]
pub struct Nested {
    /// The batch.
    pub batch: NestedBatch,
    /// The format of the second level.
    second: Format,
    /// The format of L2's own tables.
    guest: Format,
}

/// A format of tables that lead from page numbers below 512 to pages.
#[derive(Clone, Copy, Debug)]
struct Format {
    /// Number of levels.
    levels: usize,
    /// Size of an entry in bytes.
    entry_bytes: usize,
    /// What an entry of the root has besides its address, and what the others have.
    root_flags: u64,
    flags: u64,
}

impl Format {
    fn of(mode: PagingMode) -> Self {
        let flags = P | RW | US;
        let (levels, entry_bytes, root_flags) = match mode {
            PagingMode::Bits32 => (2, 4, flags),
            PagingMode::Pae => (3, 8, P),
            PagingMode::FourLevel => (4, 8, flags),
            PagingMode::FiveLevel => (5, 8, flags),
            PagingMode::Unpaged | PagingMode::Linear => (0, 8, flags),
        };
        Self { levels, entry_bytes, root_flags, flags }
    }

    /// EPT with 4 levels. Its rights are those of reads, writes and fetches.
    const fn ept() -> Self {
        Self { levels: 4, entry_bytes: 8, root_flags: 7, flags: 7 }
    }
}

/// What L2 does: the code at the start of its code page, by its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// `mov eax, [rax]`
    Read,
    /// `mov [rax], eax`
    Write,
    /// Runs the code at RAX.
    Fetch,
}

impl Does {
    const fn code_offset(self) -> u64 {
        match self {
            Self::Read => 0x10,
            Self::Write => 0x20,
            Self::Fetch => 0,
        }
    }
}

/// CPUID, `mov eax, [rax]`, `mov [rax], eax`.
fn code() -> [u8; 0x1000] {
    let mut code = [0; 0x1000];
    code[..2].copy_from_slice(&[0x0f, 0xa2]);
    code[0x10..0x14].copy_from_slice(&[0x8b, 0x00, 0x0f, 0xa2]);
    code[0x20..0x24].copy_from_slice(&[0x89, 0x00, 0x0f, 0xa2]);
    code
}

/// The control state of L2 in a mode.
pub fn guest_state(mode: PagingMode) -> ControlState {
    let root = ROOT_PAGE << 12;
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => ControlState::unpaged(),
        PagingMode::Bits32 => ControlState::bits32(root),
        PagingMode::Pae => ControlState::pae(root, [(ROOT_PAGE + 1) << 12 | P, 0, 0, 0]),
        PagingMode::FourLevel => ControlState::four_level(root),
        PagingMode::FiveLevel => ControlState::five_level(root),
    }
}

impl Nested {
    /// Under nested page tables in the format of L1's state: L2 in a mode makes an access at an offset of its data
    /// page, which is the lane's first data frame.
    pub fn npt(host: ControlState, mode: PagingMode, ring: Ring, does: Does, offset: u64) -> Self {
        let [arena, _] = Arena::ALL;
        let root = |root| Root::Npt { ncr3: root };
        Self::new(host, Format::of(host.mode()), root, mode, ring, does, offset, arena)
    }

    /// The same under EPT, with or without its A and D flags.
    pub fn ept(mode: PagingMode, ring: Ring, does: Does, offset: u64, sets_flags: bool) -> Self {
        /// Write-back tables of 4 levels.
        const PLAIN: u64 = 6 | 3 << 3;
        const SETS_FLAGS: u64 = 1 << 6;

        let [arena, _] = Arena::ALL;
        let flags = PLAIN | if sets_flags { SETS_FLAGS } else { 0 };
        let root = |root| Root::Ept { eptp: root | flags, mode_based_execute: false };
        let host = ControlState::four_level(0);
        Self::new(host, Format::ept(), root, mode, ring, does, offset, arena)
    }

    #[expect(clippy::too_many_arguments, reason = "private, and called twice")]
    fn new(
        host: ControlState,
        second: Format,
        root: impl Fn(u64) -> Root,
        mode: PagingMode,
        ring: Ring,
        does: Does,
        offset: u64,
        arena: Arena,
    ) -> Self {
        let guest = Format::of(mode);
        let address = (DATA_PAGE << 12) + offset;
        let lane = Lane {
            state: guest_state(mode),
            is_64_bit: mode.is_long_mode(),
            ring,
            rip: if does == Does::Fetch { address } else { CPUID + does.code_offset() },
            rax: address,
            back: CPUID,
            ac: false,
            root: root(arena.nested_table(0)),
        };
        let batch = NestedBatch {
            arena,
            host,
            tables: vec![[0; 512]; second.levels + guest.levels],
            code: code(),
            lanes: vec![lane],
        };

        let mut nested = Self { batch, second, guest };
        nested.fill();
        nested
    }

    /// Moves the batch to the other arena.
    #[must_use]
    pub fn in_arena(mut self, arena: Arena) -> Self {
        let root = arena.nested_table(0);
        let old = self.batch.arena.nested_table(0);
        let [lane] = &mut self.batch.lanes[..] else { panic!("one lane") };
        match &mut lane.root {
            Root::Npt { ncr3: pointer } | Root::Ept { eptp: pointer, .. } => {
                *pointer = *pointer - old + root;
            }
        }
        self.batch.arena = arena;
        self.fill();
        self
    }

    /// Writes all entries that lead to the pages.
    fn fill(&mut self) {
        let arena = self.batch.arena;
        let levels = self.second.levels;
        for level in 0..levels.saturating_sub(1) {
            let flags = if level == 0 { self.second.root_flags } else { self.second.flags };
            self.put(self.second, level, 0, arena.nested_table(level + 1) | flags);
        }
        for level in 0..self.guest.levels.saturating_sub(1) {
            let flags = if level == 0 { self.guest.root_flags } else { self.guest.flags };
            let next = (ROOT_PAGE + level as u64 + 1) << 12;
            self.put(self.guest, levels + level, 0, next | flags);
        }

        let pages = (0..self.guest.levels)
            .map(|level| (ROOT_PAGE + level as u64, arena.nested_table(levels + level)));
        let others = [(CODE_PAGE, arena.nested_code()), (DATA_PAGE, arena.data_frames(0))];
        for (page, at) in pages.chain(others).collect::<Vec<_>>() {
            self.set_second(page, at | self.second.flags);
            self.set_guest(page, page << 12 | self.guest.flags);
        }
    }

    /// The entry of the second level for a guest-physical page.
    pub fn second(&self, page: u64) -> u64 {
        get(&self.batch.tables, self.second, self.second.levels - 1, page)
    }

    /// Replaces the entry of the second level for a guest-physical page.
    pub fn set_second(&mut self, page: u64, entry: u64) {
        self.put(self.second, self.second.levels - 1, page, entry);
    }

    /// Changes an upper entry of the second level: that of the root is at level 0.
    pub fn set_upper(&mut self, level: usize, entry: u64) {
        self.put(self.second, level, 0, entry);
    }

    /// An upper entry of the second level.
    pub fn upper(&self, level: usize) -> u64 {
        get(&self.batch.tables, self.second, level, 0)
    }

    /// L2's own entry for a linear page.
    pub fn guest(&self, page: u64) -> u64 {
        let leaf = self.second.levels + self.guest.levels - 1;
        get(&self.batch.tables, self.guest, leaf, page)
    }

    /// Replaces L2's own entry for a linear page. Without paging it has none.
    pub fn set_guest(&mut self, page: u64, entry: u64) {
        if self.guest.levels > 0 {
            self.put(self.guest, self.second.levels + self.guest.levels - 1, page, entry);
        }
    }

    fn put(&mut self, format: Format, table: usize, index: u64, entry: u64) {
        let words = &mut self.batch.tables[table];
        let index = index as usize;
        if format.entry_bytes == 8 {
            words[index] = entry;
        } else {
            let shift = 32 * (index % 2);
            let word = &mut words[index / 2];
            *word = *word & !(0xffff_ffff << shift) | entry << shift;
        }
    }

    /// Writes the batch, and returns the command to run it.
    pub fn write(&self, machine: &impl Machine) -> BatchCommand {
        self.batch.write(machine.memory(), machine.capabilities())
    }

    /// Runs the batch on a machine.
    pub fn run(&self, machine: &mut impl Machine) -> Ran<'_> {
        let command = self.write(machine);
        let log = machine.run(command).expect("the guest survives");
        let memory = machine.memory().clone();
        let run = self.batch.read_back(&log, &memory).expect("the guest is ours");
        self.ran(&run)
    }

    /// The batch with what it left.
    pub fn ran(&self, run: &NestedRun) -> Ran<'_> {
        Ran { nested: self, run: run.clone() }
    }
}

/// A batch that has run.
#[derive(Clone, Debug)]
pub struct Ran<'n> {
    /// The batch.
    pub nested: &'n Nested,
    /// What it left.
    pub run: NestedRun,
}

impl Ran<'_> {
    /// What became of the lane.
    pub fn lane(&self) -> LaneRun {
        let [lane] = self.run.lanes[..] else { panic!("one lane") };
        lane
    }

    /// The bits that changed in the entry of the second level for a guest-physical page.
    pub fn changed_in_second(&self, page: u64) -> u64 {
        let Nested { second, .. } = *self.nested;
        let after = get(&self.run.tables, second, second.levels - 1, page);
        after ^ self.nested.second(page)
    }

    /// The bits that changed in L2's entry for a linear page.
    pub fn changed_in_guest(&self, page: u64) -> u64 {
        let Nested { second, guest, .. } = *self.nested;
        let after = get(&self.run.tables, guest, second.levels + guest.levels - 1, page);
        after ^ self.nested.guest(page)
    }
}

fn get(tables: &[[u64; 512]], format: Format, table: usize, index: u64) -> u64 {
    let index = index as usize;
    if format.entry_bytes == 8 {
        tables[table][index]
    } else {
        tables[table][index / 2] >> (32 * (index % 2)) & 0xffff_ffff
    }
}

/// Boots an image with these batches on a processor of Bochs, and returns what the log says of the processor, and what
/// they left.
pub fn boot_on_bochs(model: &str, batches: &[Nested]) -> (LogProcessor, Vec<NestedRun>) {
    let program = BochsProgram::find().expect("there is a Bochs");
    let boot = |payload: &Payload| {
        let interrupter = Interrupter::default();
        let log = bochs::boot(&program, model, payload, &Jail::strongest(), &interrupter);
        let log = log.expect("Bochs starts");
        assert_eq!(log.cut_off, None);
        log.bytes
    };
    boot_and_read(batches, boot)
}

/// The same on QEMU.
pub fn boot_on_qemu(batches: &[Nested]) -> (LogProcessor, Vec<NestedRun>) {
    let boot = |payload: &Payload| {
        let sandbox = Sandbox::new();
        sandbox.file("nested.elf", tape::executable(payload));
        let log = sandbox.boot(&BootOptions::kernel(&["-kernel", "nested.elf"]), "nested.log");
        std::fs::read(log).expect("a log")
    };
    boot_and_read(batches, boot)
}

/// Makes an image of batches, boots it, and reads its log.
fn boot_and_read(
    batches: &[Nested],
    boot: impl FnOnce(&Payload) -> Vec<u8>,
) -> (LogProcessor, Vec<NestedRun>) {
    let image = Image::built_in().expect("the image was built with the program");
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    let made_for = tape::capabilities(profile, Vec::new(), LeftOut::empty());

    let memory = GuestMemory::new().expect("memory can be mapped");
    let mut encoder = TapeEncoder::new(profile, &image);
    let mut tape = Vec::new();
    for nested in batches {
        let command = nested.batch.write(&memory, &made_for);
        tape.extend(encoder.encode(&command, &memory).bytes);
    }
    let head = format!("cw#{:08x} {HEAD}\n", Checksum::of(HEAD.as_bytes()).0);
    let payload = Payload::new(&image, &head, &tape, encoder.blocks()).expect("there is room");

    let log = Cursor::new(boot(&payload));
    let mut reader = LogReader::new(Box::new(log) as Box<dyn BufRead + Send>);
    assert_eq!(reader.head().expect("a head"), HEAD);
    let processor = LogProcessor::read(&mut reader).expect("a control page");
    let parts = LogParts {
        identity: Identity {
            kind: "image".into(),
            flavour: "unknown".into(),
            beneath: String::new(),
            cpu: processor.name(),
            host_kernel: String::new(),
            version: None,
        },
        ran_on: made_for.clone(),
        made_for,
        provenance: Provenance::Emulator,
        left_out: BTreeSet::new(),
    };
    let mut machine = LogMachine::new(parts, reader).expect("memory can be mapped");
    let runs = batches.iter().map(|nested| nested.run(&mut machine).run).collect();
    machine.finish_log(&encoder.sha256()).expect("the log is whole");
    (processor, runs)
}

/// The text of the head, which is of no use here.
const HEAD: &str = "nested batches";
