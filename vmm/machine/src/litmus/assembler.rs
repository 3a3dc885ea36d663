//! The few instructions of which programs consist, as bytes (SDM volume 2).

/// A register of 64 bits, by its number in an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R15 = 15,
}

/// A place in the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// Code as it grows.
#[derive(Debug)]
pub(super) struct Assembler {
    /// The linear address of the first byte.
    base: u64,
    bytes: Vec<u8>,
    /// Where each label is, once it is known.
    labels: Vec<Option<usize>>,
    /// Distances of 32 bits to labels, which are filled in at the end.
    distances: Vec<(usize, Label)>,
    /// Addresses of 64 bits of labels, likewise.
    addresses: Vec<(usize, Label)>,
}

impl Assembler {
    pub(super) const fn new(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
            labels: Vec::new(),
            distances: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// The address of the next byte.
    pub(super) fn here(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// A label for a place that is not known yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    /// A label that is here.
    pub(super) fn bound(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// The finished code.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let place = |labels: &[Option<usize>], label: Label| labels[label.0].expect("it was bound");
        for (at, label) in self.distances {
            let distance = place(&self.labels, label) as i64 - (at as i64 + 4);
            self.bytes[at..at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        for (at, label) in self.addresses {
            let address = self.base + place(&self.labels, label) as u64;
            self.bytes[at..at + 8].copy_from_slice(&address.to_le_bytes());
        }
        self.bytes
    }

    /// Instructions as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// REX.W with the high bits of the register and of the base.
    fn rex_w(&mut self, register: Register, base: Register) {
        self.raw(&[0x48 | (register as u8 >> 3) << 2 | base as u8 >> 3]);
    }

    /// The byte for a register and memory at a base with a displacement of 32 bits. RSP and R12 cannot be bases.
    fn memory(&mut self, register: Register, base: Register, displacement: u32) {
        self.raw(&[0x80 | (register as u8 & 7) << 3 | base as u8 & 7]);
        self.raw(&displacement.to_le_bytes());
    }

    /// `mov register, value`
    pub(super) fn set(&mut self, register: Register, value: u64) {
        self.raw(&[0x48 | register as u8 >> 3, 0xb8 | register as u8 & 7]);
        self.raw(&value.to_le_bytes());
    }

    /// `mov register, label`
    pub(super) fn set_label(&mut self, register: Register, label: Label) {
        self.set(register, 0);
        self.addresses.push((self.bytes.len() - 8, label));
    }

    /// `mov register, [base + displacement]`
    pub(super) fn load(&mut self, register: Register, base: Register, displacement: u32) {
        self.rex_w(register, base);
        self.raw(&[0x8b]);
        self.memory(register, base, displacement);
    }

    /// `mov [base + displacement], register`
    pub(super) fn store(&mut self, base: Register, displacement: u32, register: Register) {
        self.rex_w(register, base);
        self.raw(&[0x89]);
        self.memory(register, base, displacement);
    }

    /// `cmp [base + displacement], register`
    pub(super) fn compare(&mut self, base: Register, displacement: u32, register: Register) {
        self.rex_w(register, base);
        self.raw(&[0x39]);
        self.memory(register, base, displacement);
    }

    /// `add register, value`
    pub(super) fn add(&mut self, register: Register, value: u32) {
        self.raw(&[0x48 | register as u8 >> 3, 0x81, 0xc0 | register as u8 & 7]);
        self.raw(&value.to_le_bytes());
    }

    /// `cmp register, value`
    pub(super) fn compare_value(&mut self, register: Register, value: u32) {
        self.raw(&[0x48 | register as u8 >> 3, 0x81, 0xf8 | register as u8 & 7]);
        self.raw(&value.to_le_bytes());
    }

    /// `jmp label`
    pub(super) fn jump(&mut self, label: Label) {
        self.raw(&[0xe9]);
        self.distance(label);
    }

    /// A conditional jump, by the number of its condition: 2 below, 4 equal, 5 not equal.
    pub(super) fn jump_if(&mut self, condition: u8, label: Label) {
        self.raw(&[0x0f, 0x80 | condition]);
        self.distance(label);
    }

    fn distance(&mut self, label: Label) {
        self.distances.push((self.bytes.len(), label));
        self.raw(&[0; 4]);
    }
}

/// `below`, as unsigned numbers.
pub(super) const BELOW: u8 = 2;
/// `equal`
pub(super) const EQUAL: u8 = 4;
/// `not equal`
pub(super) const NOT_EQUAL: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_encoded_as_the_manual_has_them() {
        let mut code = Assembler::new(0x1000);
        code.set(Register::R13, 0x1122_3344_5566_7788);
        code.load(Register::Rax, Register::Rdx, 8);
        code.store(Register::R13, 0x10, Register::Rax);
        code.compare(Register::Rbx, 0x40, Register::Rsi);
        code.add(Register::R12, 1);
        code.compare_value(Register::R12, 7);
        let start = code.bound();
        code.jump(start);
        code.jump_if(NOT_EQUAL, start);
        let expected = [
            0x49, 0xbd, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov r13, imm64
            0x48, 0x8b, 0x82, 8, 0, 0, 0, // mov rax, [rdx+8]
            0x49, 0x89, 0x85, 0x10, 0, 0, 0, // mov [r13+16], rax
            0x48, 0x39, 0xb3, 0x40, 0, 0, 0, // cmp [rbx+64], rsi
            0x49, 0x81, 0xc4, 1, 0, 0, 0, // add r12, 1
            0x49, 0x81, 0xfc, 7, 0, 0, 0, // cmp r12, 7
            0xe9, 0xfb, 0xff, 0xff, 0xff, // jmp start
            0x0f, 0x85, 0xf5, 0xff, 0xff, 0xff, // jne start
        ];
        assert_eq!(code.finish(), expected);
    }
}
