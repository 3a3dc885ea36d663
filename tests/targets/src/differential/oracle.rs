//! Address translation as the manuals' prose states it, written a second time: registers are numbers,
//! and nothing of `mmu-core` is used (SDM "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level
//! Paging", "Determination of Access Rights", "Protection Keys", "Shadow-Stack Accesses", "Page-Fault
//! Exceptions", "Accessed and Dirty Flags", "Canonical Addressing", "Linear-Address Masking").

use super::ram::Ram;

/// The registers, and what the processor is known to do.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug)]
pub(super) struct OracleProcessor {
    pub(super) cr0: u64,
    pub(super) cr3: u64,
    pub(super) cr4: u64,
    pub(super) efer: u64,
    pub(super) pkru: u32,
    pub(super) pkrs: u32,
    /// PAE's registers; `None` if the processor reads PDPTEs during the walk.
    pub(super) pdptes: Option<[u64; 4]>,
    pub(super) maxphyaddr: u32,
    pub(super) has_pse36: bool,
    pub(super) has_pat: bool,
    pub(super) has_1_gib_pages: bool,
    pub(super) pml4e_g_is_reserved: bool,
    pub(super) smep_alone_reports_fetch: bool,
}

/// What an instruction does.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) writes: bool,
    pub(super) fetches: bool,
    pub(super) cpl: u8,
    pub(super) through_ss: bool,
    pub(super) implicit: bool,
    pub(super) shadow_stack: bool,
    pub(super) ac: bool,
    pub(super) compatibility: bool,
}

/// A page that an access reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) physical: u64,
    pub(super) len: u64,
    /// The binary logarithm of the size of the page; `None` without paging.
    pub(super) page_shift: Option<u32>,
}

/// Why an access does not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    PageFault {
        code: u32,
        cr2: u64,
    },
    /// #GP(0) or #SS(0).
    General {
        vector: u8,
    },
    /// There is no memory at this address.
    NoMemory(u64),
}

impl Attempted {
    /// "If a memory address referencing the SS segment is in a non-canonical form", #SS; else #GP. Code
    /// is in CS.
    const fn vector_of_address(&self) -> u8 {
        if self.through_ss && !self.fetches { 12 } else { 13 }
    }

    const fn user_mode(&self) -> bool {
        self.cpl == 3 && !self.implicit
    }
}

const fn bit(value: u64, number: u32) -> bool {
    value >> number & 1 == 1
}

/// The bits `high` to `low` of a value, in place; none if `high` is below `low`.
const fn field(value: u64, high: u32, low: u32) -> u64 {
    if high < low { 0 } else { value & (u64::MAX >> (63 - high)) & (u64::MAX << low) }
}

impl OracleProcessor {
    fn paging(&self) -> bool {
        bit(self.cr0, 31)
    }

    fn pae(&self) -> bool {
        bit(self.cr4, 5)
    }

    fn long_mode(&self) -> bool {
        self.paging() && bit(self.efer, 10)
    }

    fn nxe(&self) -> bool {
        bit(self.efer, 11)
    }

    /// Makes an access: page by page, in the order of its bytes. With `sets_flags` A and D are set in the
    /// entries of a page before the next one is looked at.
    pub(super) fn access(
        &self,
        ram: &mut Ram,
        access: &Attempted,
        sets_flags: bool,
    ) -> Result<Vec<Reached>, Refused> {
        if !self.is_canonical(access) {
            return Err(Refused::General { vector: access.vector_of_address() });
        }

        let mut reached = Vec::new();
        let mut done = 0;
        while done < access.size {
            let byte = access.address.wrapping_add(done);
            let len = (0x1000 - byte % 0x1000).min(access.size - done);
            let linear = self.linear(byte, access);
            let (physical, page_shift) = self.walk(ram, linear, access, sets_flags)?;

            reached.push(Reached { physical, len, page_shift });
            done += len;
        }
        Ok(reached)
    }

    /// "In compatibility mode ... linear addresses are 32 bits"; the tables of descriptors have bases
    /// of 64 bits in long mode.
    fn has_64_bit_address(&self, access: &Attempted) -> bool {
        self.long_mode() && (access.implicit || !access.compatibility)
    }

    /// The linear address of a byte as it is translated and reported.
    pub(super) fn linear(&self, byte: u64, access: &Attempted) -> u64 {
        if self.has_64_bit_address(access) {
            self.masked(byte, access).unwrap_or(byte)
        } else {
            byte & 0xffff_ffff
        }
    }

    /// "Linear-Address Masking": of a data address, the bits between bit 63 and the highest that is
    /// kept are replaced by bit 63, which must equal the latter; `None` if it does not.
    fn masked(&self, byte: u64, access: &Attempted) -> Option<u64> {
        if access.fetches || access.implicit || access.compatibility {
            return Some(byte);
        }

        let is_supervisor_address = bit(byte, 63);
        let [lam_u57, lam_u48] = [bit(self.cr3, 61), bit(self.cr3, 62)];
        let highest_kept = match is_supervisor_address {
            true if bit(self.cr4, 28) => {
                if bit(self.cr4, 12) {
                    56
                } else {
                    47
                }
            }
            false if lam_u57 => 56,
            false if lam_u48 => 47,
            _ => return Some(byte),
        };
        if bit(byte, highest_kept) != is_supervisor_address {
            return None;
        }
        let below = field(byte, highest_kept, 0);
        Some(if is_supervisor_address { below | u64::MAX << highest_kept } else { below })
    }

    /// "A linear address is canonical if its upper bits, from the most significant implemented one on,
    /// are all zeros or all ones". Every byte counts, each masked by itself.
    fn is_canonical(&self, access: &Attempted) -> bool {
        if !self.has_64_bit_address(access) {
            return true;
        }

        let width = if bit(self.cr4, 12) { 57 } else { 48 };
        let is_fine = |byte: u64| {
            self.masked(byte, access).is_some_and(|address| {
                let upper = address >> (width - 1);
                upper == 0 || upper == u64::MAX >> (width - 1)
            })
        };
        is_fine(access.address) && is_fine(access.address.wrapping_add(access.size - 1))
    }

    fn walk(
        &self,
        ram: &mut Ram,
        linear: u64,
        access: &Attempted,
        sets_flags: bool,
    ) -> Result<(u64, Option<u32>), Refused> {
        if !self.paging() {
            return Ok((linear, None));
        }

        let mut path = OraclePath::default();
        let walked = if !self.pae() {
            self.walk_32_bit(ram, linear, &mut path)
        } else if self.long_mode() {
            self.walk_long(ram, linear, &mut path)
        } else {
            self.walk_pae(ram, linear, &mut path)
        };
        let fault = |code| Refused::PageFault { code, cr2: linear };
        let shift = walked.map_err(|stop| match stop {
            NoTranslation::NotPresent => fault(self.code(access, false, false, false)),
            NoTranslation::Reserved => fault(self.code(access, true, true, false)),
            NoTranslation::NoMemory(at) => Refused::NoMemory(at),
        })?;

        let by_key = self.key_denies(&path, access);
        if by_key || self.rights_deny(&path, access) {
            return Err(fault(self.code(access, true, false, by_key)));
        }

        if sets_flags {
            path.set_flags(ram, access.writes);
        }
        Ok((path.frame | field(linear, shift - 1, 0), Some(shift)))
    }

    /// "32-Bit Paging".
    fn walk_32_bit(
        &self,
        ram: &Ram,
        linear: u64,
        path: &mut OraclePath,
    ) -> Result<u32, NoTranslation> {
        let pse = bit(self.cr4, 4);
        let table = field(self.cr3, 31, 12);
        let pde = path.read(ram, table + (linear >> 22 & 0x3ff) * 4, 4)?;

        if pse && bit(pde, 7) {
            // "bits 39:32 are bits 20:13 of the PDE", up to M, the minimum of 40 and MAXPHYADDR; the
            // rest up to bit 21 is reserved, and all of it without PSE-36.
            let m = if self.has_pse36 { self.maxphyaddr.min(40) } else { 32 };
            let pat_is_reserved = !self.has_pat && bit(pde, 12);
            if field(pde, 21, m - 19) != 0 || pat_is_reserved {
                return Err(NoTranslation::Reserved);
            }
            path.frame = field(pde, 31, 22) | field(pde, 20, 13) << 19;
            return Ok(22);
        }

        let pte = path.read(ram, field(pde, 31, 12) + (linear >> 12 & 0x3ff) * 4, 4)?;
        // "If the PAT is not supported, bit 7 is reserved", with CR4.PSE.
        if pse && !self.has_pat && bit(pte, 7) {
            return Err(NoTranslation::Reserved);
        }
        path.frame = field(pte, 31, 12);
        Ok(12)
    }

    /// "PAE Paging".
    fn walk_pae(
        &self,
        ram: &Ram,
        linear: u64,
        path: &mut OraclePath,
    ) -> Result<u32, NoTranslation> {
        let number = linear >> 30 & 3;
        let pdpte = if let Some(registers) = self.pdptes {
            registers[number as usize]
        } else {
            let at = field(self.cr3, 31, 5) + number * 8;
            ram.read(at, 8).ok_or(NoTranslation::NoMemory(at))?
        };
        if !bit(pdpte, 0) {
            return Err(NoTranslation::NotPresent);
        }
        let above = field(pdpte, 63, self.maxphyaddr);
        if self.pdptes.is_none() && above | field(pdpte, 2, 1) | field(pdpte, 8, 5) != 0 {
            return Err(NoTranslation::Reserved);
        }

        // "If the P flag of a PDE or a PTE is 1, bits 62:MAXPHYADDR are reserved", and XD while
        // IA32_EFER.NXE is 0.
        let malformed =
            |entry: u64| field(entry, 62, self.maxphyaddr) != 0 || (!self.nxe() && bit(entry, 63));
        let pde = path.read(ram, field(pdpte, 51, 12) + (linear >> 21 & 0x1ff) * 8, 8)?;
        if malformed(pde) {
            return Err(NoTranslation::Reserved);
        }
        if bit(pde, 7) {
            let pat_is_reserved = !self.has_pat && bit(pde, 12);
            if field(pde, 20, 13) != 0 || pat_is_reserved {
                return Err(NoTranslation::Reserved);
            }
            path.frame = field(pde, 51, 21);
            return Ok(21);
        }

        let pte = path.read(ram, field(pde, 51, 12) + (linear >> 12 & 0x1ff) * 8, 8)?;
        if malformed(pte) || (!self.has_pat && bit(pte, 7)) {
            return Err(NoTranslation::Reserved);
        }
        path.frame = field(pte, 51, 12);
        Ok(12)
    }

    /// "4-Level Paging and 5-Level Paging".
    fn walk_long(
        &self,
        ram: &Ram,
        linear: u64,
        path: &mut OraclePath,
    ) -> Result<u32, NoTranslation> {
        let top = if bit(self.cr4, 12) { 5 } else { 4 };
        let mut table = field(self.cr3, self.maxphyaddr - 1, 12);

        for level in (1..=top).rev() {
            let shift = 12 + 9 * (level - 1);
            let entry = path.read(ram, table + (linear >> shift & 0x1ff) * 8, 8)?;
            let above = field(entry, 51, self.maxphyaddr) != 0;
            let xd_is_reserved = !self.nxe() && bit(entry, 63);
            if above || xd_is_reserved {
                return Err(NoTranslation::Reserved);
            }

            match level {
                // "Bit 7: reserved, must be 0." G is reserved by the APM alone.
                4 | 5 if bit(entry, 7) => return Err(NoTranslation::Reserved),
                4 | 5 if bit(entry, 8) && self.pml4e_g_is_reserved => {
                    return Err(NoTranslation::Reserved);
                }
                3 if bit(entry, 7) && !self.has_1_gib_pages => return Err(NoTranslation::Reserved),
                2 | 3 if bit(entry, 7) => {
                    // Bit 12 is the PAT; the others below the address of the page are reserved.
                    if field(entry, shift - 1, 13) != 0 {
                        return Err(NoTranslation::Reserved);
                    }
                    path.frame = field(entry, 51, shift);
                    return Ok(shift);
                }
                _ => table = field(entry, 51, 12),
            }
        }

        path.frame = table;
        Ok(12)
    }

    /// "Determination of Access Rights".
    fn rights_deny(&self, path: &OraclePath, access: &Attempted) -> bool {
        let user_page = path.entries.iter().all(|(_, entry)| bit(*entry, 2));
        let writable = path.entries.iter().all(|(_, entry)| bit(*entry, 1));
        let no_code = path.entries.iter().any(|(_, entry)| bit(*entry, 63));
        let wp = bit(self.cr0, 16);
        let execution_prevention = bit(self.cr4, 20);
        let access_prevention = bit(self.cr4, 21);
        let user_mode = access.user_mode();

        if access.shadow_stack {
            return !path.is_shadow_stack() || user_page != user_mode;
        }
        if user_mode && !user_page {
            return true;
        }
        if access.fetches {
            return no_code || (execution_prevention && !user_mode && user_page);
        }

        let excused = access.ac && !access.implicit;
        let prevented = access_prevention && !user_mode && user_page && !excused;
        let read_only = access.writes && !writable && (user_mode || wp);
        prevented || read_only
    }

    /// "Protection Keys".
    fn key_denies(&self, path: &OraclePath, access: &Attempted) -> bool {
        let user_page = path.entries.iter().all(|(_, entry)| bit(*entry, 2));
        let (is_on, register) =
            if user_page { (bit(self.cr4, 22), self.pkru) } else { (bit(self.cr4, 24), self.pkrs) };
        if !is_on || !self.long_mode() || access.fetches {
            return false;
        }

        let key = path.leaf() >> 59 & 15;
        let access_disable = bit(register.into(), 2 * key as u32);
        let write_disable = bit(register.into(), 2 * key as u32 + 1);
        // WD of a user page binds user accesses, and all accesses with CR0.WP; WD of a supervisor page
        // binds with CR0.WP only.
        let binds = bit(self.cr0, 16) || (user_page && access.user_mode());
        access_disable || (access.writes && write_disable && binds)
    }

    /// "Page-Fault Exceptions".
    fn code(&self, access: &Attempted, present: bool, reserved: bool, by_key: bool) -> u32 {
        let smep = bit(self.cr4, 20) && self.smep_alone_reports_fetch;
        let reports_fetch = smep || (self.pae() && self.nxe());

        u32::from(present)
            | u32::from(access.writes) << 1
            | u32::from(access.user_mode()) << 2
            | u32::from(reserved) << 3
            | u32::from(access.fetches && reports_fetch) << 4
            | u32::from(by_key) << 5
            | u32::from(access.shadow_stack) << 6
    }
}

/// Why a walk has no translation.
enum NoTranslation {
    NotPresent,
    Reserved,
    NoMemory(u64),
}

/// The entries of a walk that have rights and flags, and the page that they lead to.
#[derive(Default)]
struct OraclePath {
    /// Each with its address.
    entries: Vec<(u64, u64)>,
    entry_bytes: u8,
    frame: u64,
}

impl OraclePath {
    /// Reads the next entry, which must be present.
    fn read(&mut self, ram: &Ram, at: u64, bytes: u8) -> Result<u64, NoTranslation> {
        let entry = ram.read(at, bytes).ok_or(NoTranslation::NoMemory(at))?;
        self.entries.push((at, entry));
        self.entry_bytes = bytes;
        if bit(entry, 0) { Ok(entry) } else { Err(NoTranslation::NotPresent) }
    }

    fn leaf(&self) -> u64 {
        self.entries.last().map_or(0, |(_, entry)| *entry)
    }

    /// "Shadow-Stack Accesses": R/W is 0 and D is 1 in the entry that maps the page, and R/W is 1 in all
    /// others.
    fn is_shadow_stack(&self) -> bool {
        let above = &self.entries[..self.entries.len() - 1];
        let is_writable_above = above.iter().all(|(_, entry)| bit(*entry, 1));
        is_writable_above && !bit(self.leaf(), 1) && bit(self.leaf(), 6)
    }

    /// "Accessed and Dirty Flags".
    fn set_flags(&self, ram: &mut Ram, writes: bool) {
        let last = self.entries.len() - 1;
        for (number, (at, _)) in self.entries.iter().enumerate() {
            let dirty = if writes && number == last { 1 << 6 } else { 0 };
            ram.set(*at, self.entry_bytes, 1 << 5 | dirty);
        }
    }
}
