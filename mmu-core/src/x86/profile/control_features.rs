//! Features that show only in which bits of CR4 and EFER may be set.

use bitflags::bitflags;

bitflags! {
    /// Features without which a bit of CR4 or EFER is reserved, beside those of
    /// [`Features`](super::Features). A walk does not ask for them: it obeys the bit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ControlFeatures: u32 {
        /// CR4.VME and PVI, CPUID 1 EDX\[1\].
        const VME = 1 << 0;
        /// CR4.DE, CPUID 1 EDX\[2\].
        const DE = 1 << 1;
        /// CR4.PSE, CPUID 1 EDX\[3\].
        const PSE = 1 << 2;
        /// CR4.TSD, CPUID 1 EDX\[4\].
        const TSC = 1 << 3;
        /// CR4.PAE, CPUID 1 EDX\[6\].
        const PAE = 1 << 4;
        /// CR4.MCE, CPUID 1 EDX\[7\].
        const MCE = 1 << 5;
        /// CR4.OSFXSR, CPUID 1 EDX\[24\].
        const FXSR = 1 << 6;
        /// CR4.OSXMMEXCPT, CPUID 1 EDX\[25\].
        const SSE = 1 << 7;
        /// CR4.UMIP, CPUID 7 ECX\[2\].
        const UMIP = 1 << 8;
        /// CR4.VMXE, CPUID 1 ECX\[5\].
        const VMX = 1 << 9;
        /// CR4.SMXE, CPUID 1 ECX\[6\].
        const SMX = 1 << 10;
        /// CR4.FSGSBASE, CPUID 7 EBX\[0\].
        const FSGSBASE = 1 << 11;
        /// CR4.OSXSAVE, CPUID 1 ECX\[26\].
        const XSAVE = 1 << 12;
        /// CR4.KL, CPUID 7 ECX\[23\].
        const KEY_LOCKER = 1 << 13;
        /// CR4.CET without shadow stacks, CPUID 7 EDX\[20\].
        const CET_IBT = 1 << 14;
        /// CR4.UINTR, CPUID 7 EDX\[5\].
        const UINTR = 1 << 15;
        /// CR4.LASS, CPUID 7.1 EAX\[6\].
        const LASS = 1 << 16;
        /// CR4.FRED, CPUID 7.1 EAX\[17\].
        const FRED = 1 << 17;
        /// EFER.SCE, CPUID 80000001h EDX\[11\].
        const SYSCALL = 1 << 18;
        /// EFER.LME, CPUID 80000001h EDX\[29\].
        const LONG_MODE = 1 << 19;
        /// EFER.SVME, CPUID 80000001h ECX\[2\].
        const SVM = 1 << 20;
        /// EFER.LMSLE: AMD's processors with long mode, unless CPUID 80000008h EBX\[20\] is 1.
        const LMSLE = 1 << 21;
        /// EFER.FFXSR, CPUID 80000001h EDX\[25\].
        const FFXSR = 1 << 22;
        /// EFER.TCE, CPUID 80000001h ECX\[17\] (TLB-4).
        const TCE = 1 << 23;
        /// EFER.MCOMMIT, CPUID 80000008h EBX\[8\].
        const MCOMMIT = 1 << 24;
        /// EFER.INTWB, CPUID 80000008h EBX\[13\].
        const INT_WBINVD = 1 << 25;
        /// EFER.UAIE, CPUID 80000021h EAX\[7\] (CANON-4).
        const UAI = 1 << 26;
        /// EFER.AIBRSE, CPUID 80000021h EAX\[8\].
        const AUTOMATIC_IBRS = 1 << 27;
    }
}
