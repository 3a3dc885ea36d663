//! How fast a scan is, and how much memory it takes: 16 million pages of 4 KiB in an image of 64 GiB, which is
//! sparse apart from its 128 MiB of tables.
//!
//!     cargo bench --package crosswalk-inspect --bench scan [-- --rounds N]
//!
//! It prints the pages per second of elapsed time, the best and the median of the rounds, and the most memory
//! that the process had at one time. Where several threads do the same, both are measured in turn, and the median
//! of the ratios says how many times faster the threads are. The tables are in the page cache.

use crosswalk_inspect::{Audit, AuditChecks, Found, ImageFormat, ImageOptions, Limits};
use crosswalk_inspect::{MemoryImage, PageRange, PageRanges, ScanPiece, ScanPieces, StateOptions};
use mmu_core::{AnyMmu, Profile};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
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

    let scan = || image.scan(&mmu, Limits::default());
    let threads = thread::available_parallelism()?;
    measure_both(
        "counted",
        rounds,
        threads,
        || count(scan()),
        || scan().pieces().in_parallel(threads, count).into_iter().sum(),
    );
    measure_both(
        "merged into ranges",
        rounds,
        threads,
        || merge(pages(scan())),
        || merge_in_parallel(scan().pieces(), threads),
    );
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

fn count(found: impl Iterator<Item = Found>) -> u64 {
    found.filter(|found| matches!(found, Found::Page(_))).count() as u64
}

/// The pages, each as a range.
fn pages(found: impl Iterator<Item = Found>) -> impl Iterator<Item = PageRange> {
    found.filter_map(|found| match found {
        Found::Page(page) => PageRange::of(&page),
        _ => None,
    })
}

/// Merges pages into ranges, and counts the pages of those.
fn merge(pages: impl Iterator<Item = PageRange>) -> u64 {
    let mut ranges = PageRanges::new();
    let complete = pages.filter_map(|page| ranges.push(page));
    let count: u64 = complete.map(|range| range.pages()).sum();
    count + ranges.finish().map_or(0, |range| range.pages())
}

/// The same by several threads. A range can begin in one piece and go on in the next.
fn merge_in_parallel(pieces: ScanPieces<'_>, threads: NonZero<usize>) -> u64 {
    let mut ranges = PageRanges::new();
    let mut count = 0;

    let of_piece = |piece: ScanPiece<'_>| {
        let mut ranges = PageRanges::new();
        let complete = pages(piece).filter_map(|page| ranges.push(page));
        let mut complete: Vec<_> = complete.collect();
        complete.extend(ranges.finish());
        complete
    };
    let ControlFlow::<Infallible>::Continue(()) =
        pieces.in_parallel_until(threads, of_piece, |piece| {
            let complete = piece.into_iter().filter_map(|range| ranges.push(range));
            count += complete.map(|range| range.pages()).sum::<u64>();
            ControlFlow::Continue(())
        });
    count + ranges.finish().map_or(0, |range| range.pages())
}

/// Runs something several times, and prints how fast it was.
fn measure(name: &str, rounds: usize, work: impl Fn() -> u64) {
    print(name, (0..rounds).map(|_| seconds(&work)).collect());
}

/// Runs two ways to do the same in turn, and prints how fast they were.
fn measure_both(
    name: &str,
    rounds: usize,
    threads: NonZero<usize>,
    alone: impl Fn() -> u64,
    in_parallel: impl Fn() -> u64,
) {
    let both = (0..rounds).map(|_| (seconds(&alone), seconds(&in_parallel)));
    let (alone, in_parallel): (Vec<_>, Vec<_>) = both.unzip();
    let mut ratios: Vec<_> = alone.iter().zip(&in_parallel).map(|(one, many)| one / many).collect();
    ratios.sort_by(f64::total_cmp);

    print(name, alone);
    print(&format!("{threads} threads"), in_parallel);
    println!("{:<20} {:6.2} times as fast", "", ratios[rounds / 2]);
}

/// How long something takes.
fn seconds(work: impl Fn() -> u64) -> f64 {
    let start = Instant::now();
    assert_eq!(work(), PAGES);
    start.elapsed().as_secs_f64()
}

fn print(name: &str, seconds: Vec<f64>) {
    let mut seconds = seconds;
    seconds.sort_by(f64::total_cmp);

    let rounds = seconds.len();
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
