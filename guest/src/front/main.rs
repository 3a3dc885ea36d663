//! The front of an image that boots by itself: the code at which a loader starts it, and a player for processors
//! without long mode.
//!
//! It is the start of the payload ([`payload`](crosswalk_guest::tape::payload)), which the host puts together: the
//! front, the guest's image, and what else the guest finds in memory under a host.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod code {
    use core::mem::offset_of;
    use crosswalk_guest::layout::{
        Arena, CONTROL, DATA_BASE, IMAGE_BASE, IMAGE_END, MAX_LANES, OWN_TABLE_FRAMES, OWN_TABLES,
        SUPERVISOR_WINDOW,
    };
    use crosswalk_guest::mailbox::{CPUID_LEAVES, Control, Header};
    use crosswalk_guest::stub::ImageHeader;
    use crosswalk_guest::tape::changes::{ARENA_WORDS, TABLE_WORDS};
    use crosswalk_guest::tape::needs::{NEEDS, Need, TOO_WIDE};
    use crosswalk_guest::tape::payload::{ENTRY_32, ENTRY_64, PARAMETERS, Parameters, TEXT_BYTES};
    use crosswalk_guest::tape::{
        BlockHeader, Checksum, FIRST_CHARACTER, LINE_BYTES, TAPED_BYTES, Token,
    };

    /// What batches may need, for the player in 32-bit code.
    static NEEDS_TABLE: [Need; NEEDS.len()] = NEEDS;
    /// The leaves of CPUID that it reports, each with its subleaf.
    static LEAVES_TABLE: [[u32; 2]; CPUID_LEAVES.len()] = leaves();

    const fn leaves() -> [[u32; 2]; CPUID_LEAVES.len()] {
        let mut leaves = [[0; 2]; CPUID_LEAVES.len()];
        let mut place = 0;
        while place < leaves.len() {
            let (leaf, subleaf) = CPUID_LEAVES[place];
            leaves[place] = [leaf, subleaf];
            place += 1;
        }
        leaves
    }

    const FIRST: Arena = Arena::ALL[0];

    core::arch::global_asm!(
        include_str!("front.s"),
        include_str!("player32.s"),
        PARAMETERS_AT = const PARAMETERS,
        PARAMETERS_SIZE = const size_of::<Parameters>(),
        ENTRY_32_AT = const ENTRY_32,
        ENTRY_64_AT = const ENTRY_64,
        AT_IMAGE = const offset_of!(Parameters, image),
        AT_IMAGE_BYTES = const offset_of!(Parameters, image_bytes),
        AT_OWN_TABLES = const offset_of!(Parameters, own_tables),
        AT_CONTROL = const offset_of!(Parameters, control),
        AT_BURST = const offset_of!(Parameters, burst),
        AT_HEAD = const offset_of!(Parameters, head),
        AT_HEAD_BYTES = const offset_of!(Parameters, head_bytes),
        AT_BLOCKS = const offset_of!(Parameters, blocks),
        AT_BLOCK_COUNT = const offset_of!(Parameters, block_count),
        AT_SCRATCH = const offset_of!(Parameters, scratch),
        AT_PRISTINE = const offset_of!(Parameters, pristine),
        AT_TEXT = const offset_of!(Parameters, text),
        TEXT_BYTES = const TEXT_BYTES,
        BLOCK_NUMBER = const offset_of!(BlockHeader, number),
        BLOCK_ARENA = const offset_of!(BlockHeader, arena),
        BLOCK_NEEDS = const offset_of!(BlockHeader, needs),
        BLOCK_MAX_BITS = const offset_of!(BlockHeader, max_address_bits),
        BLOCK_FRAMES = const offset_of!(BlockHeader, frames),
        BLOCK_STREAM = const offset_of!(BlockHeader, stream),
        BLOCK_DIGEST = const offset_of!(BlockHeader, digest),
        BLOCK_SIZE = const size_of::<BlockHeader>(),
        TAPED_BYTES = const TAPED_BYTES,
        ARENA_WORDS = const ARENA_WORDS,
        TABLE_WORDS = const TABLE_WORDS,
        PREFIX_0 = const Token::PREFIX[0],
        PREFIX_1 = const Token::PREFIX[1],
        FIRST_CHARACTER = const FIRST_CHARACTER,
        LINE_BYTES = const LINE_BYTES,
        FNV_START = const Checksum::EMPTY.0,
        FNV_PRIME = const Checksum::PRIME,
        NEEDS = sym NEEDS_TABLE,
        NEEDS_COUNT = const NEEDS.len(),
        TOO_WIDE = const TOO_WIDE,
        CPUID_LEAVES = sym LEAVES_TABLE,
        CPUID_LEAF_COUNT = const CPUID_LEAVES.len(),
        CONTROL_CPUID = const offset_of!(Control, cpuid),
        CONTROL_FLAT_RETURN = const offset_of!(Control, flat_return),
        CONTROL_LACKS_EFER = const offset_of!(Control, lacks_efer),
        HEADER_CR2 = const offset_of!(Header, cr2),
        HEADER_CR4 = const offset_of!(Header, cr4),
        HEADER_TABLES = const offset_of!(Header, tables),
        FIRST_ARENA = const FIRST.base(),
        TABLE_IMAGES = const FIRST.table_image(0) - FIRST.base(),
        TABLES = const FIRST.table(0) - FIRST.base(),
        MAX_LANES = const MAX_LANES,
        DATA = const DATA_BASE,
        AT_ENTER_OTHER_MODE = const offset_of!(ImageHeader, enter_other_mode),
        AT_SAVED_HEADER = const offset_of!(ImageHeader, saved_header),
        IMAGE = const IMAGE_BASE,
        IMAGE_SIZE = const IMAGE_END - IMAGE_BASE,
        OWN_TABLES = const OWN_TABLES,
        OWN_TABLES_SIZE = const 2 * OWN_TABLE_FRAMES * 0x1000,
        CONTROL = const CONTROL,
        ENTRY = const IMAGE_BASE + offset_of!(ImageHeader, entry) as u64,
        WINDOW = const SUPERVISOR_WINDOW,
    );
}

#[cfg(bare_metal)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(bare_metal))]
fn main() {}
