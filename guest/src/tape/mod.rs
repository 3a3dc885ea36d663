//! Tapes and logs: the batches that an image carries with it when there is no host to ask, and what it prints
//! of their results.
//!
//! A *tape* is a list of blocks. Each is a [`BlockHeader`], the addresses of further data frames that the batch
//! may reach, and the words of its arena ([`words`]). The guest decodes a block into the arena, runs it, and
//! prints what changed.
//!
//! A *log* is text among which anything else may be. Its lines begin with a [token](Token):
//!
//! ```text
//! cw#CHECKSUM {...}                          the head: what the image carries, as JSON
//! cw@NUMBER                                  batch NUMBER is about to run; 0 is the control page
//! cw:CHARACTERS                              48 bytes of what changed, 6 bits in a character
//! cw=NUMBER LENGTH CHECKSUM DIGEST           all of it: its length in bytes, its checksum, the tape's digest
//! cw-NUMBER LACKING                          batch NUMBER was skipped: bits of what the machine lacks
//! cw?ADDRESS                                 there is no memory at this address: the end
//! cw!                                        the end
//! ```
//!
//! Numbers have eight hexadecimal digits, with nothing in between. What changed are words of the arena, of its
//! tables and of data frames ([`changes`]), and of a nested batch of what [`nested`] says, combined with what was there before by XOR, and then the frames of faults
//! ([`frames`]).

pub mod changes;
pub mod frames;
pub mod needs;
pub mod nested;
pub mod payload;
pub mod words;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of tapes and logs.
pub const FORMAT: u32 = 3;

/// The start of a block. Its frames and its stream follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BlockHeader {
    /// The number of the batch, from 1.
    pub number: u32,
    /// The index of its arena.
    pub arena: u32,
    /// What the machine must have: bits in the order of [`needs::NEEDS`].
    pub needs: u32,
    /// The greatest MAXPHYADDR with which every bit is reserved that is meant to be.
    pub max_address_bits: u32,
    /// Number of further data frames that the batch may reach. The address of each follows, as 32 bits.
    pub frames: u32,
    /// Size of the stream in bytes, a multiple of 4.
    pub stream: u32,
    /// The start of the SHA-256 of the tape up to here. The log repeats it.
    pub digest: u32,
}

/// The part of an arena that a tape has: the header, the records, and the images of the tables. Of a nested batch it also
/// has what [`nested`] says.
pub const TAPED_BYTES: u64 = 0x2_a000;

/// How a line of a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Token {
    /// The head.
    Head = b'#',
    /// A batch is about to run.
    Start = b'@',
    /// What changed.
    Data = b':',
    /// The end of what changed.
    End = b'=',
    /// A batch was skipped.
    Skipped = b'-',
    /// There is no memory.
    NoMemory = b'?',
    /// The end of the log.
    Last = b'!',
}

impl Token {
    /// Every token.
    pub const ALL: [Self; 7] =
        [Self::Head, Self::Start, Self::Data, Self::End, Self::Skipped, Self::NoMemory, Self::Last];
    /// What every token begins with. The second character is not among those of data.
    pub const PREFIX: [u8; 2] = *b"cw";

    /// The token as text.
    pub const fn text(self) -> [u8; 3] {
        [Self::PREFIX[0], Self::PREFIX[1], self as u8]
    }
}

/// Number of bytes in a line of data.
pub const LINE_BYTES: usize = 48;

/// The character of the value 0; the other 63 follow it.
pub const FIRST_CHARACTER: u8 = b'0';

/// A checksum: 32-bit FNV-1a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub u32);

impl Checksum {
    /// The checksum of nothing.
    pub const EMPTY: Self = Self(0x811c_9dc5);
    /// What each step multiplies by.
    pub const PRIME: u32 = 0x0100_0193;

    /// Adds a byte.
    pub const fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ byte as u32).wrapping_mul(Self::PRIME);
    }

    /// The checksum of some bytes.
    ///
    /// ```
    /// use crosswalk_guest::tape::Checksum;
    /// assert_eq!(Checksum::of(b"foobar"), Checksum(0xbf9c_f968)); // From the authors' test vectors.
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::EMPTY;
        for byte in bytes {
            sum.add(*byte);
        }
        sum
    }
}

/// The eight hexadecimal digits of a number.
///
/// ```
/// assert_eq!(&crosswalk_guest::tape::digits(0xbeef), b"0000beef");
/// ```
pub fn digits(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (place, digit) in digits.iter_mut().enumerate() {
        let value = (number >> (28 - 4 * place)) as u8 & 0xf;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
    }
    digits
}
