//! How fast a scan is, and how much memory it takes: 16 million pages of 4 KiB in an image of 64 GiB, which is
//! sparse apart from its 128 MiB of tables.
//!
//!     cargo bench --package crosswalk-inspect --bench scan [-- --rounds N]
//!
//! It prints the pages per second of elapsed time, the best and the median of the rounds, and the most memory
//! that the process had at one time. The tables are in the page cache.

use crosswalk_inspect::{Audit, AuditChecks, Found, ImageFormat, ImageOptions, Limits};
use crosswalk_inspect::{MemoryImage, PageRange, PageRanges, StateOptions};
use mmu_core::{AnyMmu, Profile};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const IMAGE_BYTES: u64 = 64 << 30;
const TABLES: u64 = 1 << 15;
const PAGES: u64 = TABLES * 512;

/// Where the tables are: the root, one PDPT, 64 directories, and the page tables, in the upper half.
const ROOT: u64 = 32 << 30;
const PDPT: u64 = ROOT + 0x1000;
const DIRECTORIES: u64 = ROOT + 0x10_0000;
const PAGE_TABLES: u64 = ROOT + 0x1000_0000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = rounds();
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("memory.raw");
    write_image(&path)?;

    let options = ImageOptions { format: Some(ImageFormat::Raw), ram: Vec::new() };
    let image = MemoryImage::open(&path, &options)?;
    let state = image.control_state(&StateOptions { cr3: Some(ROOT), ..Default::default() })?.state;
    let mmu = AnyMmu::new(state, Profile::default());

    measure("counted", rounds, || {
        let pages = image.scan(&mmu, Limits::default());
        pages.filter(|found| matches!(found, Found::Page(_))).count() as u64
    });
    measure("merged into ranges", rounds, || {
        let mut ranges = PageRanges::new();
        let pages = image.scan(&mmu, Limits::default()).filter_map(|found| match found {
            Found::Page(page) => PageRange::of(&page),
            _ => None,
        });
        let mut count = 0;
        for page in pages {
            count += ranges.push(page).map_or(0, |range| range.pages());
        }
        count + ranges.finish().map_or(0, |range| range.pages())
    });
    measure("audited", rounds, || {
        let stop = AtomicBool::new(false);
        let audit =
            Audit::run(image.memory(), &mmu, AuditChecks::default(), Limits::default(), &stop);
        assert!(audit.is_complete);
        PAGES
    });
    println!("peak memory {} MiB", peak_kib()? >> 10);
    Ok(())
}

fn rounds() -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5)
}

/// Runs something several times, and prints how fast it was.
fn measure(name: &str, rounds: usize, work: impl Fn() -> u64) {
    let seconds = (0..rounds).map(|_| {
        let start = Instant::now();
        assert_eq!(work(), PAGES);
        start.elapsed().as_secs_f64()
    });
    let mut seconds: Vec<_> = seconds.collect();
    seconds.sort_by(f64::total_cmp);

    let rate = |seconds: f64| PAGES as f64 / seconds / 1e6;
    let (best, median) = (rate(seconds[0]), rate(seconds[rounds / 2]));
    println!("{name:<20} {best:6.1} million pages per second at best, {median:6.1} in the median");
}

/// Pages at scattered places, every eighth of them read-only.
fn write_image(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(IMAGE_BYTES)?;
    let entry = |at: u64, entry: u64| file.write_all_at(&entry.to_le_bytes(), at);

    entry(ROOT, PDPT | 0x67)?;
    for directory in 0..TABLES / 512 {
        entry(PDPT + 8 * directory, (DIRECTORIES + 0x1000 * directory) | 0x67)?;
    }
    for table in 0..TABLES {
        entry(DIRECTORIES + 8 * table, (PAGE_TABLES + 0x1000 * table) | 0x67)?;
        let entries = (0..512).map(|index| {
            let page = (table * 512 + index).wrapping_mul(0x9e37_79b9) & 0x7f_ffff;
            let rights = if index % 8 == 0 { 0x25 } else { 0x67 };
            page << 12 | rights | 1 << 63
        });
        let bytes: Vec<u8> = entries.flat_map(u64::to_le_bytes).collect();
        file.write_all_at(&bytes, PAGE_TABLES + 0x1000 * table)?;
    }
    Ok(())
}

/// The most memory that this process had, in KiB.
fn peak_kib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
