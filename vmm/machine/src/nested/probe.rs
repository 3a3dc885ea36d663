//! A probe: in which modes of L1 a plain access of L2 goes through both dimensions. Not every machine walks nested
//! tables of every format.

use super::run::LaneExit;
use super::{Lane, NestedBatch, Root};
use crate::{Machine, MachineError, ModeOffer, Virtualization};
use crosswalk_guest::contents;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::nested::Virtualizer;
use crosswalk_guest::tables;
use mmu_core::x86::format::{self, EntryBits};
use mmu_core::{ControlState, Efer, Features, PagingMode, Ring};

/// The modes in which L1 can be.
const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

// Guest-physical pages, which are linear pages, too. The table of 32-bit paging is behind its root.
const ROOT: u64 = 1;
const TABLE: u64 = 2;
const CODE: u64 = 8;
const DATA: u64 = 9;

/// Why there is none.
const NO_NESTED_PAGING: &str = "CPUID 8000000Ah EDX[0] says that there is no nested paging";

/// `mov eax, [rax]`, CPUID.
const READ: [u8; 4] = [0x8b, 0x00, 0x0f, 0xa2];
/// The offset of what L2 reads in its data page.
const OFFSET: u64 = 0x108;
/// An EPT pointer: write-back tables of 4 levels.
const FOUR_LEVELS: u64 = 6 | 3 << 3;

/// Which modes of L1 the machine offers for nested batches. Its modes must have been probed. If the guest does not
/// survive one, the machine is started again.
///
/// # Errors
/// If the machine fails.
pub(crate) fn modes<M: Machine>(
    machine: &mut M,
    restart: impl Fn(&mut M) -> Result<(), MachineError>,
) -> Result<Vec<ModeOffer>, MachineError> {
    let offer = |mode| match probe(machine, mode) {
        Err(MachineError::GuestFailed { failure, .. }) => {
            restart(machine)?;
            Ok((mode, Err(format!("a nested guest ends it: the guest {failure}"))))
        }
        Err(error) => Err(error),
        Ok(offer) => Ok((mode, offer)),
    };
    MODES.into_iter().map(offer).collect()
}

fn probe(machine: &mut impl Machine, mode: PagingMode) -> Result<Result<(), String>, MachineError> {
    let capabilities = machine.capabilities();
    let virtualizer = match &capabilities.virtualization {
        Err(why) => return Ok(Err(why.clone())),
        Ok(Virtualization::Svm { .. }) => Virtualizer::Svm,
        Ok(Virtualization::Vmx(_)) if !mode.is_long_mode() => {
            return Ok(Err("a hypervisor with VMX is in long mode here".into()));
        }
        Ok(Virtualization::Vmx(_)) => Virtualizer::Vmx,
    };
    let offered = capabilities.modes.iter().find(|(offered, _)| *offered == mode);
    if let Some((_, Err(why))) = offered {
        return Ok(Err(why.clone()));
    }

    // Some machines run it although CPUID reports none.
    let is_reported = !matches!(
        capabilities.virtualization,
        Ok(Virtualization::Svm { nested_paging: false, .. })
    );
    let mut host = state_of(mode);
    if !capabilities.profile.features.contains(Features::NX) {
        host.efer -= Efer::NXE;
    }
    let batch = plain_read(host, virtualizer);
    let command = batch.write(machine.memory(), capabilities);
    let log = machine.run(command)?;
    let run = batch.read_back(&log, machine.memory())?;
    let found = run.lanes.iter().try_for_each(|lane| match lane.exit {
        exit if !is_cpuid(exit) => Err(format!("a plain read of a nested guest ends in {exit}")),
        _ if lane.rax != expected(batch.arena) => {
            Err("a plain read of a nested guest reaches another place".into())
        }
        _ => Ok(()),
    });
    Ok(if is_reported { found } else { found.map_err(|_| NO_NESTED_PAGING.into()) })
}

fn state_of(mode: PagingMode) -> ControlState {
    match mode {
        PagingMode::Bits32 => ControlState::bits32(0),
        PagingMode::Pae => ControlState::pae(0, [0; 4]),
        PagingMode::FiveLevel => ControlState::five_level(0),
        _ => ControlState::four_level(0),
    }
}

fn is_cpuid(exit: LaneExit) -> bool {
    matches!(exit, LaneExit::Svm { code: 0x72, .. } | LaneExit::Vmx { reason: 10, .. })
}

/// What L2 reads.
fn expected(arena: Arena) -> u64 {
    let first = arena.data_frames(0) + OFFSET;
    (first..first + 4).rev().fold(0, |word, at| word << 8 | u64::from(contents::byte(at)))
}

/// L2 reads its data page, in 32-bit paging. A machine that takes its guest-physical addresses for physical ones finds
/// no table there, so L2 runs no code that is not its own.
fn plain_read(host: ControlState, virtualizer: Virtualizer) -> NestedBatch {
    let [arena, _] = Arena::ALL;
    let with_ept = virtualizer == Virtualizer::Vmx;
    let second = if with_ept { PagingMode::FourLevel } else { host.mode() };
    let levels = format::levels(second).len();
    let flags = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let mut tables = vec![[0; 512]; levels + 2];

    for (level, table) in tables.iter_mut().enumerate().take(levels - 1) {
        let is_pdpte = second == PagingMode::Pae && level == 0;
        let flags = if is_pdpte { EntryBits::P.bits() } else { flags };
        put(table, second, 0, arena.nested_table(level + 1) | flags);
    }
    let pages = [
        (ROOT, arena.nested_table(levels)),
        (TABLE, arena.nested_table(levels + 1)),
        (CODE, arena.nested_code()),
        (DATA, arena.data_frames(0)),
    ];
    for (page, at) in pages {
        put(&mut tables[levels - 1], second, page, at | flags);
    }
    put(&mut tables[levels], PagingMode::Bits32, 0, TABLE << 12 | flags);
    for page in [CODE, DATA] {
        put(&mut tables[levels + 1], PagingMode::Bits32, page, page << 12 | flags);
    }

    let mut code = [0; 0x1000];
    code[..READ.len()].copy_from_slice(&READ);
    let root = arena.nested_table(0);
    NestedBatch {
        arena,
        host,
        tables,
        code,
        lanes: vec![Lane {
            state: ControlState::bits32(ROOT << 12),
            is_64_bit: false,
            ring: Ring::Three,
            rip: CODE << 12,
            rax: (DATA << 12) + OFFSET,
            back: 0,
            ac: false,
            root: if with_ept {
                Root::Ept { eptp: root | FOUR_LEVELS, mode_based_execute: false }
            } else {
                Root::Npt { ncr3: root }
            },
        }],
    }
}

/// Puts an entry into a table of a mode.
fn put(table: &mut [u64; 512], mode: PagingMode, index: u64, entry: u64) {
    let bits = 8 * tables::entry_bytes(mode);
    let per_word = 64 / bits;
    table[(index / per_word) as usize] |= entry << (index % per_word * bits);
}
