//! The registers of each CPU as `info registers -a` of QEMU's monitor prints them
//! (`target/i386/cpu-dump.c` there).

/// The most CPUs of a guest. QEMU's machines have fewer.
const MAX_CPUS: usize = 1 << 14;

/// The registers of a CPU of a live guest, as far as they decide about translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// Whether the CPU is in system-management mode.
    pub is_in_smm: bool,
}

impl CpuRegisters {
    /// Reads the registers of all CPUs, in the order of their numbers.
    ///
    /// ```
    /// use crosswalk_inspect::CpuRegisters;
    ///
    /// let text = "\r\nCPU#0\r\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n\
    ///     CR0=80010011 CR2=00000000 CR3=0000000000001000 CR4=00000020\r\nEFER=0000000000000d00\r\n";
    /// let cpus = CpuRegisters::parse_all(text).unwrap();
    /// assert_eq!((cpus.len(), cpus[0].cr3, cpus[0].efer), (1, 0x1000, 0xd00));
    /// ```
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut cpus = Vec::new();
        // What precedes the first is empty.
        for (number, part) in text.split("CPU#").skip(1).enumerate() {
            if number >= MAX_CPUS {
                return Err(format!("expected at most {MAX_CPUS} CPUs"));
            }
            let (name, registers) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
            if name.trim().parse() != Ok(number) {
                return Err(format!("expected the registers of CPU {number}"));
            }
            cpus.push(Self::parse(registers).map_err(|word| {
                format!("expected the value of {word} among the registers of CPU {number}")
            })?);
        }

        if cpus.is_empty() { Err("expected the registers of a CPU".to_owned()) } else { Ok(cpus) }
    }

    /// Reads those of one CPU. The error is the register that is missing.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let value = |name: &'static str| {
            let mut words = text.split_whitespace();
            let digits = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(name)
        };
        Ok(Self {
            cr0: value("CR0")?,
            cr3: value("CR3")?,
            cr4: value("CR4")?,
            efer: value("EFER")?,
            is_in_smm: value("SMM")? != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU 7.2.22 prints of a CPU in 64-bit mode, without the general registers.
    const LONG: &str = "RIP=ffffffff810000a0 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=1 HLT=1\r
CR0=80050033 CR2=00007f0000001000 CR3=00000000027e0000 CR4=00001ef0\r
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \r
EFER=0000000000000d01\r\n";

    #[test]
    fn each_cpu_has_its_own() {
        let text = format!("\r\nCPU#0\r\n{LONG}\r\nCPU#1\r\n{}", LONG.replace("27e", "123"));
        let cpus = CpuRegisters::parse_all(&text).unwrap();
        let first = CpuRegisters {
            cr0: 0x8005_0033,
            cr3: 0x27e_0000,
            cr4: 0x1ef0,
            efer: 0xd01,
            is_in_smm: true,
        };
        assert_eq!(cpus, [first, CpuRegisters { cr3: 0x123_0000, ..first }]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| CpuRegisters::parse_all(text).unwrap_err();
        assert_eq!(error(""), "expected the registers of a CPU");
        assert_eq!(error("CPU#1\n"), "expected the registers of CPU 0");
        let without = LONG.replace("EFER=", "EFAR=");
        assert_eq!(
            error(&format!("CPU#0\n{without}")),
            "expected the value of EFER among the registers of CPU 0"
        );
        let long = LONG.replace("CR3=", "CR3=1");
        assert!(error(&format!("CPU#0\n{long}")).contains("the value of CR3"));
    }
}
