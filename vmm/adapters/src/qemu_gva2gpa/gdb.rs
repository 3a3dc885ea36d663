//! The remote protocol of GDB, as little of it as registers take.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// A register, by its number in QEMU's `i386-64bit.xml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Cr0 = 27,
    Cr3 = 29,
    Cr4 = 30,
    Efer = 32,
}

/// The connection with QEMU's debug stub.
#[derive(Debug)]
pub(super) struct Gdb(BufReader<UnixStream>);

/// No answer of QEMU's to us is longer.
const LONGEST: u64 = 0x1000;

impl Gdb {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let mut gdb = Self(BufReader::new(stream));
        // It deals in single registers with those only who have asked which there are.
        gdb.ask("qXfer:features:read:target.xml:0,400")?;
        Ok(gdb)
    }

    /// Stores a register.
    pub(super) fn store(&mut self, register: Register, value: u64) -> io::Result<()> {
        // In the order of memory.
        let packet = format!("P{:x}={:016x}", register as u8, value.swap_bytes());
        match self.ask(&packet)?.as_str() {
            "OK" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// What a register holds.
    pub(super) fn load(&mut self, register: Register) -> io::Result<u64> {
        let text = self.ask(&format!("p{:x}", register as u8))?;
        match u64::from_str_radix(&text, 16) {
            Ok(value) if text.len() == 16 => Ok(value.swap_bytes()),
            _ => Err(unexpected(&text)),
        }
    }

    fn ask(&mut self, packet: &str) -> io::Result<String> {
        let sum = packet.bytes().fold(0, u8::wrapping_add);
        self.0.get_mut().write_all(format!("${packet}#{sum:02x}").as_bytes())?;
        self.until(b'$')?;
        let mut answer = self.until(b'#')?;
        answer.pop();
        self.0.read_exact(&mut [0; 2])?;
        self.0.get_mut().write_all(b"+")?;
        String::from_utf8(answer).map_err(|error| unexpected(&error.to_string()))
    }

    /// What comes up to a byte, and the byte.
    fn until(&mut self, end: u8) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.by_ref().take(LONGEST).read_until(end, &mut bytes)?;
        match bytes.last() {
            Some(last) if *last == end => Ok(bytes),
            Some(_) => Err(unexpected(&String::from_utf8_lossy(&bytes))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn unexpected(said: &str) -> io::Error {
    io::Error::other(format!("it says {said:?}"))
}
