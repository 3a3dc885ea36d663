//! The log, as text on its way to the serial port.

use super::memory::bytes_mut;
use crosswalk_guest::tape::payload::{FAR_SUPERVISOR_WINDOW, FAR_WINDOW, Parameters, TEXT_BYTES};
use crosswalk_guest::tape::{Checksum, FIRST_CHARACTER, LINE_BYTES, Token, digits};

unsafe extern "C" {
    /// Sends text at a supervisor address in bursts (serial.s).
    fn write_out(text: u64, count: u32, burst: u32);
    /// Sends text at a supervisor address that the port takes at once, if there is room. Returns 0 if not (serial.s).
    fn offer(text: u64, count: u32) -> u32;
    /// Turns the machine off, if it can (serial.s).
    #[link_name = "power_off"]
    fn switch_off(is_virtual: u32) -> !;
}

/// Turns the machine off, if it can.
pub(super) fn power_off(is_virtual: bool) -> ! {
    // SAFETY: it has no precondition, and does not return.
    unsafe { switch_off(is_virtual.into()) }
}

/// The log.
pub(super) struct Log {
    /// The physical address of the buffer.
    buffer: u64,
    text: &'static mut [u8],
    /// Number of characters in the buffer.
    len: usize,
    /// How many of them were sent.
    sent: usize,
    /// Bytes that the port takes at once.
    burst: u32,
    data: Data,
}

/// The data of a block so far.
struct Data {
    len: u32,
    checksum: Checksum,
    /// Up to three bytes that have no characters yet, and their number.
    group: u32,
    in_group: u32,
    /// Number of bytes in the line.
    in_line: usize,
}

impl Data {
    const EMPTY: Self =
        Self { len: 0, checksum: Checksum::EMPTY, group: 0, in_group: 0, in_line: 0 };
}

/// The longest line, with some room.
const LINE_CHARACTERS: usize = 128;

impl Log {
    /// An empty log.
    pub(super) fn new(parameters: &Parameters) -> Self {
        let buffer = u64::from(parameters.text);
        let text = bytes_mut(buffer + FAR_WINDOW, TEXT_BYTES as usize);
        Self { buffer, text, len: 0, sent: 0, burst: parameters.burst, data: Data::EMPTY }
    }

    /// Sends what is in the buffer.
    pub(super) fn flush(&mut self) {
        if self.sent < self.len {
            let count = (self.len - self.sent) as u32;
            // SAFETY: the buffer is mapped there, too, and ring 0 only reads it. `write_out` keeps the C
            // calling convention.
            unsafe { write_out(self.unsent(), count, self.burst) };
        }
        self.len = 0;
        self.sent = 0;
    }

    /// Gives the port what it takes at once, if it is ready for it. It sends while the batch is compared, and nobody
    /// waits for it: where a port keeps time, a fifth of a run was waiting.
    pub(super) fn pump(&mut self) {
        if self.len - self.sent < self.burst as usize {
            return;
        }
        // SAFETY: as for `write_out`.
        if unsafe { offer(self.unsent(), self.burst) } != 0 {
            self.sent += self.burst as usize;
        }
    }

    /// The supervisor address of what was not sent.
    const fn unsent(&self) -> u64 {
        self.buffer + FAR_SUPERVISOR_WINDOW + self.sent as u64
    }

    /// The first line, which the maker of the image has written.
    pub(super) fn head(&mut self, line: &[u8]) {
        for byte in line {
            self.character(*byte);
            self.make_room();
        }
        self.flush();
    }

    /// A line with numbers.
    pub(super) fn line(&mut self, token: Token, numbers: &[u32]) {
        self.characters(&token.text());
        for number in numbers {
            self.characters(&digits(*number));
        }
        self.end_line();
    }

    /// Begins the data of a block.
    pub(super) fn start_data(&mut self) {
        self.data = Data::EMPTY;
    }

    /// The next byte of the data.
    pub(super) fn data(&mut self, byte: u8) {
        self.data.len += 1;
        self.data.checksum.add(byte);
        if self.data.in_line == 0 {
            self.characters(&Token::Data.text());
        }

        self.data.in_line += 1;
        self.data.group = self.data.group << 8 | u32::from(byte);
        self.data.in_group += 1;
        if self.data.in_group == 3 {
            self.end_group();
        }
        if self.data.in_line == LINE_BYTES {
            self.end_data_line();
        }
    }

    /// Ends the data of a block.
    pub(super) fn end_data(&mut self, number: u32, digest: u32) {
        if self.data.in_group > 0 {
            self.data.group <<= 8 * (3 - self.data.in_group);
            self.end_group();
        }
        if self.data.in_line > 0 {
            self.end_data_line();
        }
        let Data { len, checksum, .. } = self.data;
        self.line(Token::End, &[number, len, checksum.0, digest]);
    }

    fn end_group(&mut self) {
        let group = self.data.group;
        for shift in [18, 12, 6, 0] {
            self.character(FIRST_CHARACTER + (group >> shift & 0x3f) as u8);
        }
        self.data.group = 0;
        self.data.in_group = 0;
    }

    fn end_data_line(&mut self) {
        self.data.in_line = 0;
        self.end_line();
    }

    fn end_line(&mut self) {
        self.character(b'\n');
        self.make_room();
    }

    /// Sends the buffer if another line might not fit.
    fn make_room(&mut self) {
        if self.len + LINE_CHARACTERS > TEXT_BYTES as usize {
            self.flush();
        }
    }

    fn characters(&mut self, text: &[u8]) {
        for character in text {
            self.character(*character);
        }
    }

    fn character(&mut self, character: u8) {
        self.text[self.len] = character;
        self.len += 1;
    }
}
