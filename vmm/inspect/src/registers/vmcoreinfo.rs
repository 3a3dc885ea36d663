//! VMCOREINFO: what a Linux kernel says about itself to tools that read its memory, as lines of text
//! (`Documentation/admin-guide/kdump/vmcoreinfo.rst` in Linux).

use std::collections::HashMap;

/// How such a text begins.
pub(crate) const BEGINNING: &[u8] = b"OSRELEASE=";

/// The most bytes of it: the kernel has a page for them.
pub(crate) const MAX_BYTES: usize = 0x1000;

/// Where a kernel of 64 bits maps its own text (`__START_KERNEL_map`), before it is moved.
const TEXT_64: u64 = 0xffff_ffff_8000_0000;
/// Where a kernel of 32 bits maps all memory, unless it is built otherwise.
const TEXT_32: u64 = 0xc000_0000;

/// The lines of VMCOREINFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmcoreInfo(HashMap<String, String>);

/// Where the kernel's root table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoot {
    /// Its physical address.
    pub(crate) address: u64,
    pub(crate) is_64_bit: bool,
    /// How it was computed.
    pub(crate) derivation: String,
}

impl VmcoreInfo {
    /// Reads the text. `None` if it does not begin as one does.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if !text.starts_with(BEGINNING) {
            return None;
        }

        let text = text.get(..MAX_BYTES).unwrap_or(text);
        let text = text.split(|byte| *byte == 0).next()?;
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Some(Self(lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
    }

    /// The value of a line.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The address of a symbol.
    fn symbol(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(&format!("SYMBOL({name})"))?, 16).ok()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(&format!("NUMBER({name})"))?.parse().ok()
    }

    /// Whether the kernel uses 5-level paging.
    pub(crate) fn has_five_levels(&self) -> bool {
        self.number("pgtable_l5_enabled") == Some(1)
    }

    /// Whether a kernel of 32 bits uses PAE paging.
    pub(crate) fn has_pae(&self) -> bool {
        self.get("CONFIG_X86_PAE") == Some("y")
    }

    /// Where the kernel's own root table is.
    pub(crate) fn root(&self) -> Option<KernelRoot> {
        let names = ["init_top_pgt", "swapper_pg_dir"];
        let (name, symbol) = names.iter().find_map(|name| Some((name, self.symbol(name)?)))?;

        if symbol < TEXT_64 {
            let address = symbol.checked_sub(TEXT_32).filter(|_| symbol >> 32 == 0)?;
            let derivation = format!("{name} - {TEXT_32:#x} = {address:#x}");
            return Some(KernelRoot { address, is_64_bit: false, derivation });
        }
        let base = self.number("phys_base")?;
        let address = symbol.wrapping_sub(TEXT_64).checked_add_signed(base)?;
        let derivation = format!("{name} - {TEXT_64:#x} + phys_base = {address:#x}");
        Some(KernelRoot { address, is_64_bit: true, derivation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff97e10000\n\
        NUMBER(phys_base)=-285212672\nNUMBER(pgtable_l5_enabled)=1\n\0\0rest";

    #[test]
    fn the_root_of_a_kernel_that_was_moved() {
        let info = VmcoreInfo::parse(TEXT).unwrap();
        assert_eq!(info.get("PAGESIZE"), Some("4096"));
        assert!(info.has_five_levels());
        // 0x17e10000 - 0x11000000.
        let root = info.root().unwrap();
        assert_eq!((root.address, root.is_64_bit), (0x6e1_0000, true));
    }

    #[test]
    fn the_root_of_a_kernel_of_32_bits() {
        let text = b"OSRELEASE=6.1.0-686-pae\nSYMBOL(swapper_pg_dir)=c1a55000\nCONFIG_X86_PAE=y\n";
        let info = VmcoreInfo::parse(text).unwrap();
        let root = info.root().unwrap();
        assert_eq!((root.address, root.is_64_bit, info.has_pae()), (0x1a5_5000, false, true));
    }

    #[test]
    fn what_lacks_something_has_no_root() {
        assert_eq!(VmcoreInfo::parse(b"PAGESIZE=4096\n"), None);
        for text in [
            &b"OSRELEASE=6.1.0\n"[..],
            b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=ffffffff97e10000\n",
            b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=1000\n",
            b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=nonsense\nNUMBER(phys_base)=0\n",
            b"OSRELEASE=\nSYMBOL(init_top_pgt)=ffffffff80000000\nNUMBER(phys_base)=-1\n",
        ] {
            assert_eq!(VmcoreInfo::parse(text).unwrap().root(), None);
        }
    }
}
