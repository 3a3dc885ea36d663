//! Writing a batch into its arena.

use super::{Batch, CR2_AT_START};
use crate::case::Case;
use crate::machine::image::Image;
use crate::machine::memory::GuestMemory;
use crate::machine::{Capabilities, Command, MachineError, Position};
use guest::layout::{Arena, OWN_TABLES, SUPERVISOR_WINDOW};
use guest::mailbox::{Header, Record};
use guest::stub::Stub;
use mmu_core::memory::TableMemory;
use mmu_core::{Cr4, PhysAddr, Ring, Segment};

/// The slots of one page table.
pub(super) type Table = [u64; 512];

/// A batch as it was written: what the host remembers of it, to compare with afterwards.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What was encoded.
    pub batch: Batch,
    /// For each case the reason why it was left out.
    pub left_out: Vec<Option<String>>,
    pub(super) tables: Vec<Table>,
    /// Which case owns a slot of a table.
    pub(super) owners: Vec<[Option<u16>; 512]>,
    pub(super) user: List,
    pub(super) supervisor: List,
    keep_control: bool,
}

/// One ring's list of records.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) records: Vec<Record>,
    /// The case of each record; steps between cases have none.
    pub(super) cases: Vec<Option<usize>>,
}

impl List {
    fn push(&mut self, stub: u64, address: u64, value: u64, case: Option<usize>) {
        self.records.push(Record { stub, address, value });
        self.cases.push(case);
    }
}

impl Encoded {
    /// Encodes a batch. Cases that the machine cannot run are left out, with the reason.
    pub fn new(batch: Batch, image: &Image, capabilities: &Capabilities) -> Self {
        let left_out = batch.cases.iter().map(|case| cannot_run(case, capabilities)).collect();
        let forced = batch.cases[0].state.cr4 & capabilities.not_in_cpuid;
        let mut encoded = Self {
            left_out,
            tables: vec![[0; 512]; Arena::TABLES],
            owners: vec![[None; 512]; Arena::TABLES],
            user: List::default(),
            supervisor: List::default(),
            keep_control: !forced.is_empty(),
            batch,
        };
        encoded.place_entries();
        encoded.fill_lists(image);
        encoded
    }

    /// Leaves a case out, because the machine gave up on it.
    pub fn leave_out(&mut self, case: usize, why: String, image: &Image) {
        self.left_out[case] = Some(why);
        self.fill_lists(image);
    }

    /// The case whose record is at a position.
    pub fn case_at(&self, position: Position) -> Option<usize> {
        let list = match position.ring {
            Ring::Three => &self.user,
            Ring::Zero => &self.supervisor,
        };
        list.cases.get(position.record).copied().flatten()
    }

    /// Adds the case that the guest was at to an error, or all that it may have been at.
    pub fn blame(&self, error: MachineError) -> MachineError {
        match error {
            MachineError::GuestFailed { what, at, .. } => {
                let case = at.and_then(|position| self.case_at(position));
                let cases = match case {
                    Some(case) => vec![self.batch.cases[case].clone()],
                    None => self.batch.cases.clone(),
                };
                MachineError::GuestFailed { what, at, cases }
            }
            other => other,
        }
    }

    /// Writes everything into the arena and says how to run it.
    ///
    /// # Panics
    /// When the guest's own tables have not been built.
    pub fn write(&self, memory: &GuestMemory) -> Command {
        let arena = self.batch.arena;
        let state = self.batch.cases[0].state;
        let own = memory.read_entry(PhysAddr::new(OWN_TABLES), 8).expect("the own tables exist");
        let mut root = self.tables[0];
        root[0] = own;
        memory.write_value(arena.table_image(0), &root);
        for (index, table) in self.tables.iter().enumerate().skip(1) {
            memory.write_value(arena.table_image(index), table);
        }
        memory.write_value(arena.user_records(), self.user.records.as_slice());
        memory.write_value(arena.supervisor_records(), self.supervisor.records.as_slice());
        let header = Header {
            cr0: state.cr0.bits(),
            cr2: CR2_AT_START,
            cr3: state.cr3,
            cr4: state.cr4.bits(),
            efer: state.efer.bits(),
            keep_control: self.keep_control.into(),
            user_records: arena.user_records(),
            supervisor_records: arena.supervisor_records() + SUPERVISOR_WINDOW,
        };
        memory.write_value(arena.base(), &header);
        Command { arena, control: self.keep_control.then_some(state) }
    }

    fn place_entries(&mut self) {
        let arena = self.batch.arena;
        for (index, case) in self.batch.cases.iter().enumerate() {
            for entry in &case.entries {
                let Some(table) = arena.table_at(entry.at) else { continue };
                let slot = (entry.at & 0xfff) as usize / 8;
                debug_assert!(self.owners[table][slot].is_none(), "lanes share {:#x}", entry.at);
                self.tables[table][slot] = entry.value;
                self.owners[table][slot] = Some(index as u16);
            }
        }
    }

    /// Writes both lists, with the steps between cases that change EFLAGS.AC and PKRU.
    fn fill_lists(&mut self, image: &Image) {
        self.user = self.list(Ring::Three, image);
        self.supervisor = self.list(Ring::Zero, image);
    }

    fn list(&self, ring: Ring, image: &Image) -> List {
        const RFLAGS_AC: u64 = 1 << 18;
        let (window, end) = match ring {
            Ring::Three => (0, Stub::UserEnd),
            Ring::Zero => (SUPERVISOR_WINDOW, Stub::SupervisorEnd),
        };
        let at = |stub| image.stub(stub) + window;
        let flags = |ac: bool| 0x2 | if ac { RFLAGS_AC } else { 0 };
        let mut list = List::default();
        let (mut ac, mut pkru) = (false, 0);
        for (index, case) in self.batch.cases.iter().enumerate() {
            if case.access.ring != ring || self.left_out[index].is_some() {
                continue;
            }
            if case.state.pkru != pkru {
                pkru = case.state.pkru;
                let step = if pkru == 0 { Stub::ClearPkru } else { Stub::SetPkru };
                list.push(at(step), pkru.into(), 0, None);
            }
            if case.state.ac != ac {
                ac = case.state.ac;
                list.push(at(Stub::SetFlags), flags(ac), 0, None);
            }
            let stub = Stub::Access {
                form: case.form,
                stack: case.access.segment == Segment::Stack,
                log_size: (case.access.size.min(8) as u8).ilog2() as u8,
                keyed: pkru != 0,
            };
            list.push(at(stub), case.access.address.get(), case.value, Some(index));
        }
        if pkru != 0 {
            list.push(at(Stub::ClearPkru), 0, 0, None);
        }
        if ac {
            list.push(at(Stub::SetFlags), flags(false), 0, None);
        }
        list.push(at(end), 0, 0, None);
        list
    }
}

/// Why this machine cannot run a case, if it cannot.
fn cannot_run(case: &Case, capabilities: &Capabilities) -> Option<String> {
    let features = capabilities.profile.features;
    for (bit, feature, name) in [
        (Cr4::SMEP, mmu_core::Features::SMEP, "SMEP"),
        (Cr4::SMAP, mmu_core::Features::SMAP, "SMAP"),
        (Cr4::PKE, mmu_core::Features::PKU, "PKU"),
        (Cr4::PGE, mmu_core::Features::PGE, "PGE"),
    ] {
        let has_it = features.contains(feature) || capabilities.not_in_cpuid.contains(bit);
        if case.state.cr4.contains(bit) && !has_it {
            return Some(format!("this machine has no {name}"));
        }
    }
    if case.state.pkru != 0 && !case.state.cr4.contains(Cr4::PKE) && !capabilities.pkru_without_pku
    {
        return Some("PKRU cannot be loaded while CR4.PKE is 0".into());
    }
    None
}
