//! What exercises are about, and how hard they are.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What an exercise is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// How many pages and bits.
    Pages,
    /// Which entry: an address split into indices.
    Entry,
    /// An address translated by hand.
    Translate,
    /// Which fault, and which error code.
    Fault,
    /// Which rights a path has.
    Rights,
    /// How large tables are.
    TableSize,
    /// What the TLB hits.
    Tlb,
    /// Which frame the clock takes.
    Clock,
    /// What a fork copies.
    Fork,
}

impl Topic {
    /// Every topic, in the order of a textbook.
    pub const ALL: [Self; 9] = [
        Self::Pages,
        Self::TableSize,
        Self::Entry,
        Self::Translate,
        Self::Rights,
        Self::Fault,
        Self::Tlb,
        Self::Clock,
        Self::Fork,
    ];

    /// The name that the user gives.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Entry => "entry",
            Self::Translate => "translate",
            Self::Fault => "fault",
            Self::Rights => "rights",
            Self::TableSize => "table-size",
            Self::Tlb => "tlb",
            Self::Clock => "clock",
            Self::Fork => "fork",
        }
    }

    /// The question in a few words.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Pages => "How many pages, frames and bits?",
            Self::Entry => "Which entry? Split an address into its indices.",
            Self::Translate => "Translate an address by hand, with the tables printed.",
            Self::Fault => "Which fault, and with which error code?",
            Self::Rights => "Which rights are left at the end of a path?",
            Self::TableSize => "How large is the table, flat and of several levels?",
            Self::Tlb => "What does the TLB hit, and what was dropped?",
            Self::Clock => "Which frame does the clock take?",
            Self::Fork => "What does a fork copy, and when?",
        }
    }

    /// What its exercises have at each difficulty.
    pub const fn grades(self) -> [&'static str; 3] {
        match self {
            Self::Pages => ["small addresses", "and physical memory", "entries with flags"],
            Self::Entry => ["two small levels", "32-bit and PAE paging", "4 and 5 levels"],
            Self::Translate => ["a flat table", "two levels", "4 levels, large pages"],
            Self::Fault => ["P, R/W and U/S", "WP, XD, reserved bits", "SMEP, SMAP, canonical"],
            Self::Rights => ["two levels", "four levels, XD", "WP, SMEP and SMAP"],
            Self::TableSize => ["a flat table", "two levels", "3 to 5 levels, scattered"],
            Self::Tlb => ["INVLPG", "MOV to CR3, global pages", "PCIDs"],
            Self::Clock => ["one frame", "two frames in a row", "shared and dirty frames"],
            Self::Fork => {
                ["parent and child", "and a child that ends", "two children, shared memory"]
            }
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no topic of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no such topic")]
pub struct UnknownTopic;

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|topic| topic.name() == name).ok_or(UnknownTopic)
    }
}

/// How hard an exercise is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difficulty {
    /// One idea.
    Basic,
    /// Two that meet.
    Moderate,
    /// As on a real processor.
    Hard,
}

impl Difficulty {
    /// Every difficulty, the easiest first.
    pub const ALL: [Self; 3] = [Self::Basic, Self::Moderate, Self::Hard];

    /// The number that the user gives: 1 to 3.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Moderate => "moderate",
            Self::Hard => "hard",
        }
    }
}
