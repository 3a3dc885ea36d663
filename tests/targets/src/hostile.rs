//! A machine whose guest is the input: instead of running anything, it leaves in memory what the input
//! says.

use crate::reader::Reader;
use crosswalk_case::observation::{OutsideAccess, Provenance};
use crosswalk_guest::layout::{Arena, LOW_MEMORY_END, MAX_LANES};
use crosswalk_guest::mailbox::FAULT_TAG;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{
    BatchCommand, Capabilities, Identity, Interrupter, Machine, MachineError, Parts, Position,
    ProvenanceMap, RunLog,
};
use mmu_core::{PagingMode, Profile};
use std::mem;

/// The machine.
pub(crate) struct HostileMachine {
    parts: Parts,
    /// What the guest does, request by request.
    pub(crate) script: Vec<u8>,
}

impl HostileMachine {
    pub(crate) fn new() -> Self {
        let profile = Profile::default();
        let modes = PagingMode::ALL.map(|mode| (mode, Ok(())));
        let identity = Identity {
            kind: "kvm".to_owned(),
            flavour: "pvm".to_owned(),
            beneath: "kvm".to_owned(),
            cpu: "a processor".to_owned(),
            host_kernel: "6.1".to_owned(),
            version: None,
        };
        let [user, supervisor] = [[Provenance::Processor; 4], [Provenance::KvmWalker; 4]];

        Self {
            parts: Parts {
                identity,
                capabilities: Capabilities {
                    modes: modes.to_vec(),
                    ..Capabilities::of_everything(profile)
                },
                provenance: ProvenanceMap {
                    user,
                    supervisor,
                    compatible_user: user,
                    compatible_supervisor: supervisor,
                    outside: Provenance::KvmWalker,
                    load: Provenance::KvmWalker,
                },
                memory: GuestMemory::new().expect("the host has memory"),
                image: Image::built_in().expect("the image is built in"),
                interrupter: Interrupter::default(),
                jail: Jail::none().report_vcpu(),
            },
            script: Vec::new(),
        }
    }
}

impl Machine for HostileMachine {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Does what a guest does before the first access, and then what the script says.
    fn run(&mut self, command: BatchCommand) -> Result<RunLog, MachineError> {
        let memory = &self.parts.memory;
        for table in 0..Arena::TABLES {
            let image: [u64; 512] = memory.read_value(command.arena.table_image(table));
            memory.write_value(command.arena.table(table), &image);
        }

        let mut log = RunLog::default();
        let script = mem::take(&mut self.script);
        let mut script = Reader::new(&script);
        while !script.is_at_end() {
            act(&mut script, command.arena, memory, &mut log);
        }
        Ok(log)
    }

    fn serve_request(&mut self) -> Result<(), MachineError> {
        let script = mem::take(&mut self.script);
        let mut script = Reader::new(&script);
        let changes = script.u8() % 16;
        for _ in 0..changes {
            store_in_system(&mut script, &self.parts.memory);
        }
        self.script = script.rest().to_vec();
        Ok(())
    }
}

/// One store of a guest that runs a batch, or one entry of the log.
fn act(script: &mut Reader<'_>, arena: Arena, memory: &GuestMemory, log: &mut RunLog) {
    let choice = script.u8();
    let number = u64::from(script.u16());
    match choice % 8 {
        0 => memory.write_value(arena.user_records() + number % 0x1e00 * 8, &value(script)),
        1 => memory.write_value(arena.supervisor_records() + number % 0x1e00 * 8, &value(script)),
        2 => memory.write_value(arena.base() + number % 0x40 * 8, &value(script)),
        3 => {
            let at = arena.table(0) + number * 8 % (Arena::TABLES as u64 * 0x1000);
            memory.write_value(at, &value(script));
        }
        4 => {
            // The first lanes, which have cases.
            let lane = number as usize >> 13 & 7;
            memory.write(arena.data_frames(lane) + number % 0x2000, &[script.u8()]);
        }
        5 => {
            let lane = number as usize % MAX_LANES;
            memory.write_value(arena.data_frames(lane) + 0x800, &value(script));
        }
        6 => {
            let at = (number << 7) % LOW_MEMORY_END;
            memory.write_value(at, &value(script));
        }
        _ => {
            let position = Position { record: number as usize >> 1 };
            if choice & 0x80 == 0 {
                let [address, data] = [value(script), value(script)];
                let access = OutsideAccess { address, len: 8, is_write: number & 2 != 0, data };
                log.outside.push((position, access));
            } else {
                log.gave_up = Some((position, "the emulator gave up".to_owned()));
            }
        }
    }
}

/// One store of a guest that serves a request.
fn store_in_system(script: &mut Reader<'_>, memory: &GuestMemory) {
    use crosswalk_guest::system::layout::{ACCOUNTING, FRAMES, HISTORY, RESPONSE, STORE};

    let start = script.pick(&[RESPONSE, HISTORY, ACCOUNTING, FRAMES.get(), STORE.get()]);
    let number = u64::from(script.u16()) % 0x2000;
    memory.write_value(start + number * 8, &value(script));
}

/// A word: small, a fault, an address, or anything.
fn value(script: &mut Reader<'_>) -> u64 {
    match script.u8() % 4 {
        0 => script.u8().into(),
        1 => {
            let vector = u64::from(script.u8() & 0x1f);
            u64::from(FAULT_TAG) << 32 | vector << 32 | u64::from(script.u16())
        }
        2 => u64::from(script.u32()) << 8,
        _ => u64::from_le_bytes(script.array()),
    }
}
