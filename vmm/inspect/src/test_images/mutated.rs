//! Images with random damage, for tests that every reader ends.

use super::{
    PageCompression, avml, cpu_32, cpu_64, elf, elf_with_notes, flattened, kdump, lime, note,
    notes_of, small_guest, windows, windows_with_bitmap,
};
use crate::{ImageFormat, ImageOptions, Limits, MemoryImage, StateOptions};
use mmu_core::{AnyMmu, Profile};

/// A good image, and how to read it.
#[derive(Clone, Debug)]
pub struct Seed {
    /// What it is.
    pub name: &'static str,
    /// The file.
    pub contents: Vec<u8>,
    /// Its format.
    pub format: ImageFormat,
}

/// The small guest in every format, in the ways that its reader tells apart.
pub fn seeds() -> Vec<Seed> {
    const TEXT: &[u8] =
        b"OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)=ffffffff81001000\nNUMBER(phys_base)=-16777216\n";

    let memory = small_guest().0;
    let (low, high) = memory.split_at(0x6000);
    let pieces: [(u64, &[u8]); 2] = [(0, low), (0x6000, high)];
    let cpus = notes_of(&[cpu_64(0x1000), cpu_64(0x5000)]);
    let text = note(b"VMCOREINFO\0\0", 11, TEXT);
    let kdump_of = |how| kdump(true, &cpus, &pieces, how);

    let seed = |name, format, contents| Seed { name, contents, format };
    vec![
        seed("elf", ImageFormat::Elf, elf(true, &[cpu_64(0x1000)], &pieces)),
        seed("elf of 32 bits", ImageFormat::Elf, elf(false, &[cpu_32(0x1000)], &pieces)),
        seed("vmcore", ImageFormat::Elf, elf_with_notes(true, &text, &pieces)),
        seed("lime", ImageFormat::Lime, lime(&pieces)),
        seed("raw", ImageFormat::Raw, memory.clone()),
        seed("kdump", ImageFormat::Kdump, kdump_of(PageCompression::None)),
        seed("kdump, zlib", ImageFormat::Kdump, kdump_of(PageCompression::Zlib)),
        seed("kdump, lzo", ImageFormat::Kdump, kdump_of(PageCompression::Lzo)),
        seed("kdump, snappy", ImageFormat::Kdump, kdump_of(PageCompression::Snappy)),
        seed("kdump, zstd", ImageFormat::Kdump, kdump_of(PageCompression::Zstd)),
        seed(
            "kdump of 32 bits",
            ImageFormat::Kdump,
            kdump(false, &text, &pieces, PageCompression::Zlib),
        ),
        seed(
            "kdump, flattened",
            ImageFormat::Kdump,
            flattened(&kdump_of(PageCompression::Zlib), 1000),
        ),
        seed("avml", ImageFormat::Avml, avml(&pieces)),
        seed("windows", ImageFormat::Windows, windows(0x1000, &pieces)),
        seed("windows, bitmap", ImageFormat::Windows, windows_with_bitmap(0x1000, &pieces)),
    ]
}

/// Random numbers that depend on where they begin and nothing else (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.any() % limit as u64) as usize
    }
}

/// A copy with damage: bits, words that are the first to go wrong, pieces at another place, an end that is cut
/// off. Half of it hits the first 20 KiB, where headers are.
pub fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut contents = good.to_vec();
    for _ in 0..=random.below(8) {
        let reach = if random.below(2) == 0 { contents.len().min(0x5000) } else { contents.len() };
        let at = random.below(reach.max(1));
        // Most fields are words.
        let at = if random.below(2) == 0 { at & !7 } else { at };
        let end = contents.len().min(at + 8);
        match random.below(8) {
            0 | 1 => contents[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            2..=5 => {
                let words =
                    [0, 1, u64::MAX, 1 << 63, i64::MAX as u64, good.len() as u64, random.any()];
                let word = match random.below(words.len() + 1) {
                    other if other < words.len() => words[other],
                    _ => (random.any() & 0xf) << 12 | 0x67,
                };
                let bytes =
                    if random.below(4) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
                let count = [1, 2, 4, 8][random.below(4)].min(end - at);
                contents[at..at + count].copy_from_slice(&bytes[..count]);
            }
            6 => {
                let from = random.below(contents.len().max(1));
                let count = random.below(0x1000).min(contents.len() - from.max(at));
                contents.copy_within(from..from + count, at);
            }
            _ if random.below(4) == 0 => contents.truncate(at),
            _ => {}
        }
        if contents.is_empty() {
            break;
        }
    }
    contents
}

/// Looks through an image in the states that it gives and in every paging mode. Returns how many entries there
/// were.
pub fn look_through(image: &MemoryImage) -> usize {
    let state = |cr4, efer| StateOptions {
        cr3: Some(0x1000),
        cr4: Some(cr4),
        efer: Some(efer),
        ..StateOptions::default()
    };
    let states = [
        StateOptions::default(),
        state(0x20, 0xd00),
        state(0x1020, 0xd00),
        state(0x20, 0),
        state(0x10, 0),
    ];
    let found = states.iter().filter_map(|options| {
        let derived = image.control_state(options).ok()?;
        let mmu = AnyMmu::new(derived.state, Profile::default());
        Some(image.scan(&mmu, Limits { repeats: 100 }).count())
    });
    found.sum()
}

impl Seed {
    /// How the image is read.
    pub fn options(&self) -> ImageOptions {
        ImageOptions { format: Some(self.format), ram: Vec::new() }
    }
}
