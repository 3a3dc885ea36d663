//! Reads images with random damage, and measures. For each reader it prints how many there were, how many of
//! them were read and not refused, the most processor time and the longest time that one took, and the most memory
//! that this process had:
//!
//!     cargo run --release -p crosswalk-inspect --features test-images --example mutations -- [COUNT [SEED]]
//!
//! It ends with 1 if one took more than a second of processor time, or the process more than 256 MiB. On a busy
//! machine the longest time is that of others.

use crosswalk_inspect::MemoryImage;
use crosswalk_inspect::test_images::mutated::{Random, look_through, mutated, seeds};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(1);
const MOST_KIB: u64 = 256 << 10;

fn main() -> io::Result<ExitCode> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default)).map_err(io::Error::other);
    let (count, seed_of_all) = (number(1000)?, number(0)?);

    let mut is_bounded = true;
    println!("image                 tried     read    processor      longest       memory");
    for (number, seed) in seeds().iter().enumerate() {
        let mut random = Random(seed_of_all ^ (number as u64) << 32);
        let mut read = 0_u64;
        let (mut longest, mut most) = (Duration::ZERO, Duration::ZERO);
        reset_peak()?;
        for _ in 0..count {
            let mut file = File::from(memfd_create("image", MemfdFlags::CLOEXEC)?);
            file.write_all(&mutated(&seed.contents, &mut random))?;

            let (start, processor) = (Instant::now(), processor_time()?);
            if let Ok(image) = MemoryImage::from_file(file, Path::new("image"), &seed.options()) {
                read += 1;
                look_through(&image);
            }
            longest = longest.max(start.elapsed());
            most = most.max(processor_time()?.saturating_sub(processor));
        }
        let memory = peak_kib()?;
        is_bounded &= most < LONGEST && memory < MOST_KIB;
        let name = seed.name;
        println!("{name:18} {count:8} {read:8} {most:>12.1?} {longest:>12.1?} {memory:8} KiB");
    }
    Ok(ExitCode::from(u8::from(!is_bounded)))
}

/// The processor time of this thread.
fn processor_time() -> io::Result<Duration> {
    clock_gettime(ClockId::ThreadCPUTime).try_into().map_err(io::Error::other)
}

/// Forgets the most memory that this process had (by `clear_refs`, see proc(5)).
fn reset_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// The most memory that this process had since then.
fn peak_kib() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    peak.ok_or_else(|| io::Error::other("expected a line VmHWM of /proc/self/status"))
}
