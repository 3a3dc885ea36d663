//! GDB's remote protocol, as much of it as reading and writing registers takes.

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

/// Maximum number of bytes in a packet that QEMU sends.
const MAX_PACKET: u64 = 0x1000;

impl Gdb {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let mut gdb = Self(BufReader::new(stream));
        // QEMU reads and writes single registers only for clients that have asked for their list.
        gdb.ask("qXfer:features:read:target.xml:0,400")?;
        Ok(gdb)
    }

    /// Stores a register.
    pub(super) fn store(&mut self, register: Register, value: u64) -> io::Result<()> {
        // Hexadecimal bytes in memory order.
        let packet = format!("P{:x}={:016x}", register as u8, value.swap_bytes());
        match self.ask(&packet)?.as_str() {
            "OK" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Loads a register.
    pub(super) fn load(&mut self, register: Register) -> io::Result<u64> {
        let text = self.ask(&format!("p{:x}", register as u8))?;
        match u64::from_str_radix(&text, 16) {
            Ok(value) if text.len() == 16 => Ok(value.swap_bytes()),
            _ => Err(unexpected(&text)),
        }
    }

    fn ask(&mut self, packet: &str) -> io::Result<String> {
        let checksum = packet.bytes().fold(0, u8::wrapping_add);
        self.0.get_mut().write_all(format!("${packet}#{checksum:02x}").as_bytes())?;

        self.read_until(b'$')?;
        let mut response = self.read_until(b'#')?;
        response.pop();
        self.0.read_exact(&mut [0; 2])?;

        self.0.get_mut().write_all(b"+")?;
        String::from_utf8(response).map_err(|error| unexpected(&error.to_string()))
    }

    /// The bytes up to and including `end`.
    fn read_until(&mut self, end: u8) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.by_ref().take(MAX_PACKET).read_until(end, &mut bytes)?;
        match bytes.last() {
            Some(last) if *last == end => Ok(bytes),
            Some(_) => Err(unexpected(&String::from_utf8_lossy(&bytes))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn unexpected(response: &str) -> io::Error {
    io::Error::other(format!("unexpected response {response:?}"))
}
