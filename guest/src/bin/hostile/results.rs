//! The results of a batch that the genuine guest has just run, for a liar to change.

use crosswalk_guest::layout::{Arena, IMAGE_BASE, SUPERVISOR_WINDOW};
use crosswalk_guest::mailbox::{AccessRecord, FAULT_TAG};
use crosswalk_guest::stub::{Code, ImageHeader, Stub};

/// A probe has no more accesses than this, a batch of the run has many more.
const PROBE_ACCESSES: usize = 100;

/// What the genuine guest left in the arena of a batch.
pub(crate) struct Results {
    pub(crate) arena: Arena,
}

impl Results {
    /// The results in the arena at an address.
    pub(crate) fn at(place: u64) -> Self {
        let [first, second] = Arena::ALL;
        Self { arena: if place == first.base() { first } else { second } }
    }

    /// Whether the batch is one of those with which the host learns what the machine can do.
    pub(crate) fn are_of_a_probe(&self) -> bool {
        let mut accesses = 0;
        self.change_accesses(|_| accesses += 1);
        accesses <= PROBE_ACCESSES
    }

    /// Changes every record of an access, in the order of the lists.
    pub(crate) fn change_accesses(&self, mut change: impl FnMut(&mut AccessRecord)) {
        self.change_records(|kind, record| {
            if matches!(kind, Kind::Access) {
                change(record);
            }
        });
    }

    /// Changes the records that end the lists.
    pub(crate) fn change_ends(&self, mut change: impl FnMut(&mut AccessRecord)) {
        self.change_records(|kind, record| {
            if matches!(kind, Kind::UserEnd | Kind::End) {
                change(record);
            }
        });
    }

    /// Changes every access that faulted, or every one that did not.
    pub(crate) fn change_where(&self, faulted: bool, mut change: impl FnMut(&mut AccessRecord)) {
        self.change_accesses(|record| {
            if record.fault().is_some() == faulted {
                change(record);
            }
        });
    }

    fn change_records(&self, mut change: impl FnMut(&Kind, &mut AccessRecord)) {
        let mut number = 0;
        while number < Arena::RECORDS {
            let place = self.arena.record(number);
            let mut record: AccessRecord = read(place);
            let kind = Kind::of(&record);
            change(&kind, &mut record);
            write(place, record);

            number = match kind {
                Kind::End => return,
                Kind::UserEnd => Arena::FIRST_SUPERVISOR_RECORD,
                Kind::Access | Kind::Step => number + 1,
            };
        }
    }
}

/// What a record holds.
enum Kind {
    Access,
    Step,
    /// The end of the ring-3 list; the ring-0 list follows.
    UserEnd,
    /// The end of everything.
    End,
}

impl Kind {
    fn of(record: &AccessRecord) -> Self {
        if record.fault().is_some() {
            return Self::Access;
        }

        let header: ImageHeader = read(IMAGE_BASE);
        let place = record.stub % SUPERVISOR_WINDOW;
        let is = |stub: Stub| {
            let at = |code| stub.index(code).map(|index| header.stubs[index]);
            at(Code::Bits64) == Some(place) || at(Code::Bits32) == Some(place)
        };
        let makes_access = || {
            let mut stubs = header.stubs.iter().zip(&header.accesses);
            stubs.any(|(stub, access)| *stub == place && *access != 0)
        };

        if is(Stub::UserEnd) {
            Self::UserEnd
        } else if is(Stub::SupervisorEnd) || record.stub == 0 {
            Self::End
        } else if makes_access() {
            Self::Access
        } else {
            Self::Step
        }
    }
}

/// Turns the record of an access into that of a fault.
pub(crate) fn make_fault(record: &mut AccessRecord, vector: u8, error_code: u32) {
    record.stub = u64::from(FAULT_TAG | u32::from(vector)) << 32 | u64::from(error_code);
}

/// Reads a structure in low memory.
pub(crate) fn read<T: zerocopy::FromBytes>(place: u64) -> T {
    // SAFETY: low memory is mapped, readable and used by nothing else meanwhile; the places of the
    // protocol are aligned, and every bit pattern is a valid `T`.
    unsafe { (place as *const T).read_volatile() }
}

/// Writes a structure in low memory.
pub(crate) fn write<T: zerocopy::IntoBytes>(place: u64, value: T) {
    // SAFETY: as for `read`. What is at these places is read again as plain words only.
    unsafe { (place as *mut T).write_volatile(value) }
}
