//! The frames of faults in a log: for every record with a fault, in order, what the guest kept beside it. Most of
//! it can be told from the record and from the frame before, so that three bytes do.

use crate::layout::SUPERVISOR_WINDOW;
use crate::mailbox::{AccessRecord, FrameRecord, RegisterRecord};

/// RFLAGS without CF, PF, AF, ZF, SF and OF, which are those of an earlier instruction.
const RELEVANT_FLAGS: u32 = !0x8d5;

// The first byte of a frame; 0 if the guest kept none.
const IS_KEPT: u8 = 1 << 0;
const OTHER_CS: u8 = 1 << 1;
const OTHER_FLAGS: u8 = 1 << 2;
/// RSP is that of ring 0, in the window.
const IN_WINDOW: u8 = 1 << 3;
const OTHER_RSP: u8 = 1 << 4;

// Two bits of the second byte for each of RAX, RBX, RSI and RBP.
const IS_ADDRESS: u8 = 0;
const IS_VALUE: u8 = 1;
const AS_BEFORE: u8 = 2;
const OTHER_VALUE: u8 = 3;

/// Writes or reads the frames of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCoder {
    frame: FrameRecord,
    registers: [u64; 4],
}

/// A record with a fault, as it was before the run, and the address after it.
#[derive(Clone, Copy, Debug)]
pub struct FaultedRecord {
    /// The record before the run.
    pub before: AccessRecord,
    /// The user address of the record after it.
    pub end: u64,
}

impl FrameCoder {
    /// Writes what was kept of a fault.
    pub fn put(
        &mut self,
        record: &FaultedRecord,
        frame: FrameRecord,
        registers: RegisterRecord,
        out: &mut impl FnMut(u8),
    ) {
        let frame = FrameRecord { rflags: frame.rflags & RELEVANT_FLAGS, ..frame };
        let RegisterRecord { rbx, rsi, rbp } = registers;
        let registers = [frame.rax, rbx, rsi, rbp];
        if frame.cs == 0 && frame.rsp == 0 && frame.rflags == 0 && registers == [0; 4] {
            out(0);
            return;
        }

        let rsp = match frame.rsp {
            rsp if rsp == record.end => 0,
            rsp if rsp == record.end + SUPERVISOR_WINDOW => IN_WINDOW,
            _ => OTHER_RSP,
        };
        let cs = if frame.cs == self.frame.cs { 0 } else { OTHER_CS };
        let flags = if frame.rflags == self.frame.rflags { 0 } else { OTHER_FLAGS };
        out(IS_KEPT | rsp | cs | flags);

        let mut code = 0;
        for (place, register) in registers.into_iter().enumerate() {
            code |= self.code(place, register, record) << (2 * place);
        }
        out(code);

        if cs != 0 {
            put_wide(u64::from(frame.cs), out);
        }
        if flags != 0 {
            put_wide(u64::from(frame.rflags), out);
        }
        if rsp == OTHER_RSP {
            put_wide(frame.rsp, out);
        }
        for (place, register) in registers.into_iter().enumerate() {
            if code >> (2 * place) & 3 == OTHER_VALUE {
                put_wide(register, out);
            }
        }
        *self = Self { frame, registers };
    }

    fn code(&self, place: usize, register: u64, record: &FaultedRecord) -> u8 {
        match register {
            _ if register == record.before.address => IS_ADDRESS,
            _ if register == record.before.value => IS_VALUE,
            _ if register == self.registers[place] => AS_BEFORE,
            _ => OTHER_VALUE,
        }
    }

    /// Takes what was kept of a fault from the start of some bytes; `None` if they are not such a frame.
    pub fn take(
        &mut self,
        record: &FaultedRecord,
        bytes: &mut &[u8],
    ) -> Option<(FrameRecord, RegisterRecord)> {
        let kept = take_byte(bytes)?;
        if kept == 0 {
            return Some(Default::default());
        }
        let code = take_byte(bytes)?;

        let mut frame = self.frame;
        if kept & OTHER_CS != 0 {
            frame.cs = take_wide(bytes)?.try_into().ok()?;
        }
        if kept & OTHER_FLAGS != 0 {
            frame.rflags = take_wide(bytes)?.try_into().ok()?;
        }
        frame.rsp = match kept & (OTHER_RSP | IN_WINDOW) {
            0 => record.end,
            IN_WINDOW => record.end.checked_add(SUPERVISOR_WINDOW)?,
            _ => take_wide(bytes)?,
        };

        let mut registers = [0; 4];
        for (place, register) in registers.iter_mut().enumerate() {
            *register = match code >> (2 * place) & 3 {
                IS_ADDRESS => record.before.address,
                IS_VALUE => record.before.value,
                AS_BEFORE => self.registers[place],
                _ => take_wide(bytes)?,
            };
        }

        let [rax, rbx, rsi, rbp] = registers;
        frame.rax = rax;
        *self = Self { frame, registers };
        Some((frame, RegisterRecord { rbx, rsi, rbp }))
    }
}

/// Passes the bytes of a number of 64 bits to `out`, 7 bits a byte, the lowest first.
fn put_wide(mut number: u64, out: &mut impl FnMut(u8)) {
    while number >= 0x80 {
        out(number as u8 | 0x80);
        number >>= 7;
    }
    out(number as u8);
}

fn take_wide(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10 {
        let byte = take_byte(bytes)?;
        // The tenth byte has the last bit.
        if place == 9 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const END: u64 = 0x40_1018;

    fn record(address: u64, value: u64) -> FaultedRecord {
        FaultedRecord { before: AccessRecord { stub: 0x10_8000, address, value }, end: END }
    }

    /// A frame as ring 3 leaves it, one of ring 0 with other registers, none at all, and one of which nothing
    /// can be told from others.
    fn some() -> [(FaultedRecord, FrameRecord, RegisterRecord); 4] {
        let user = FrameRecord { rflags: 0x1_0002, cs: 0x23, rsp: END, rax: 5 };
        let supervisor = FrameRecord { cs: 8, rsp: END + 0x4000_0000, ..user };
        let odd = FrameRecord { rflags: !0x8d5, cs: u32::MAX, rsp: u64::MAX, rax: u64::MAX };
        let plain = RegisterRecord { rbx: 0x77, rsi: 0x1234_5678_9abc, rbp: 0x99 };
        [
            (record(0x1234_5678_9abc, 0x77), user, plain),
            (
                record(0xffff, 0x78),
                supervisor,
                RegisterRecord { rbx: 0x78, rsi: 0xffff, rbp: 0x99 },
            ),
            (record(1, 2), FrameRecord::default(), RegisterRecord::default()),
            (record(1, 2), odd, RegisterRecord { rbx: 1 << 63, rsi: 0, rbp: u64::MAX - 1 }),
        ]
    }

    #[test]
    fn frames_are_the_same_after_their_bytes() {
        let (mut bytes, mut coder) = (Vec::new(), FrameCoder::default());
        for (record, frame, registers) in &some() {
            coder.put(record, *frame, *registers, &mut |byte| bytes.push(byte));
        }

        let (mut rest, mut coder) = (&bytes[..], FrameCoder::default());
        for (record, frame, registers) in &some() {
            assert_eq!(coder.take(record, &mut rest), Some((*frame, *registers)));
        }
        assert!(rest.is_empty());
        for end in 0..bytes.len() {
            let (mut cut, mut coder) = (&bytes[..end], FrameCoder::default());
            let taken = some().iter().all(|(record, ..)| coder.take(record, &mut cut).is_some());
            assert!(!taken, "{end}");
        }
    }

    /// The second of two frames of ring 3 in a row.
    #[test]
    fn what_can_be_told_from_the_record_takes_two_bytes() {
        let [(record, frame, registers), ..] = some();
        let mut coder = FrameCoder::default();
        coder.put(&record, frame, registers, &mut |_| {});

        let mut bytes = Vec::new();
        let flags = FrameRecord { rflags: frame.rflags | 0x8d5, ..frame };
        coder.put(&record, flags, registers, &mut |byte| bytes.push(byte));
        assert_eq!(bytes, [0b0_0001, 0b10_00_01_10]);
    }
}
