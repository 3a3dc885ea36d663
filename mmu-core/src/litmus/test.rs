//! A litmus test: the memory that processors share, and what each of them does.

use crate::access::Ring;
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::profile::Profile;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use alloc::vec::Vec;

/// A test of one processor or of several, with everything that decides its outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LitmusTest {
    /// Every word of memory that the test knows, 8 bytes each: entries of tables, the first words of
    /// pages, flags. All of them are below a processor's caches when the test begins, and whatever they map
    /// may be cached.
    pub memory: Vec<(PhysAddr, u64)>,
    /// The registers of each processor when the test begins.
    pub state: ControlState,
    /// The processors.
    pub profile: Profile,
    /// The ring of accesses to linear addresses. What has to be done in ring 0 is done there.
    pub ring: Ring,
    /// What each processor does.
    pub programs: Vec<Program>,
    /// The bits of memory that are part of an outcome, as they are at the end.
    pub observed: Vec<Observed>,
}

/// What one processor does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// One after the other.
    pub actions: Vec<Action>,
    /// What it does when another processor interrupts it, between two actions or after the last. The results of
    /// these are not recorded.
    pub handler: Vec<Action>,
}

/// Bits of a word that are observed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The physical address of the word.
    pub at: PhysAddr,
    /// The bits.
    pub mask: u64,
}

/// One thing that a processor does. Addresses are multiples of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A load of 8 bytes from a linear address.
    Read(VirtAddr),
    /// A store of 8 bytes to a linear address.
    Write(VirtAddr, u64),
    /// Executes what is at a linear address. The result is the word there, which stands for the code.
    Fetch(VirtAddr),
    /// A load by a mapping that the test leaves alone, so by physical address.
    Load(PhysAddr),
    /// A store by such a mapping.
    Store(PhysAddr, u64),
    /// A locked operation by such a mapping. The result is what was there.
    Locked(PhysAddr, LockedOperation),
    /// Waits until a word has a value.
    WaitFor(PhysAddr, u64),
    /// MFENCE.
    Fence,
    /// INVLPG.
    Invlpg(VirtAddr),
    /// INVPCID of a type, with its descriptor as the low and the high 64 bits.
    Invpcid(u64, [u64; 2]),
    /// MOV to CR0.
    WriteCr0(Cr0),
    /// MOV to CR3, with bit 63.
    WriteCr3(u64),
    /// MOV to CR4.
    WriteCr4(Cr4),
    /// WRMSR of EFER. LMA stays as it is.
    WriteEfer(Efer),
    /// WRPKRU.
    WritePkru(u32),
    /// Interrupts another processor, after a fence.
    Interrupt(usize),
}

/// What a locked instruction stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockedOperation {
    /// This value (XCHG).
    Exchange(u64),
    /// These bits of what was there (LOCK AND).
    And(u64),
    /// What was there, with these bits set (LOCK OR).
    Or(u64),
    /// The second value if the first was there (LOCK CMPXCHG).
    CompareExchange(u64, u64),
}

impl LockedOperation {
    /// What is there afterwards.
    pub const fn apply(self, old: u64) -> u64 {
        match self {
            Self::Exchange(new) => new,
            Self::And(mask) => old & mask,
            Self::Or(mask) => old | mask,
            Self::CompareExchange(expected, new) => {
                if old == expected {
                    new
                } else {
                    old
                }
            }
        }
    }
}

impl Action {
    /// The linear address that it translates, if it does.
    pub const fn translates(&self) -> Option<VirtAddr> {
        match self {
            Self::Read(address) | Self::Write(address, _) | Self::Fetch(address) => Some(*address),
            _ => None,
        }
    }

    /// Whether it has a result.
    pub const fn is_observed(&self) -> bool {
        matches!(
            self,
            Self::Read(_) | Self::Write(..) | Self::Fetch(_) | Self::Load(_) | Self::Locked(..)
        )
    }

    /// Whether every earlier store of the processor is in memory before it: it is serializing, locked, a
    /// fence, or sent after one (SDM "Serializing Instructions", "Memory Ordering in P6 and More Recent
    /// Processor Families").
    pub const fn waits_for_stores(&self) -> bool {
        matches!(
            self,
            Self::Locked(..)
                | Self::Fence
                | Self::Invlpg(_)
                | Self::Invpcid(..)
                | Self::WriteCr0(_)
                | Self::WriteCr3(_)
                | Self::WriteCr4(_)
                | Self::WriteEfer(_)
                | Self::Interrupt(_)
        )
    }
}
