//! Maps of memory images, beside other tools: pages right, wrong and missing, and the time.
//!
//!     ci/memory-images 4level la57 pti
//!     cargo bench --package crosswalk-adapters --bench images [-- --rounds N] [IMAGE ...]
//!
//! The images are those of `target/memory-images` unless others are named: ELF dumps of guests in long mode. A page is
//! right if it leads where the walk of mmu-core leads, with the same rights as far as the tool knows any; tests compare
//! that walk's pages with QEMU's monitor byte by byte.
//!
//! Times are of the map alone, without the start of a program: the median of the rounds, in which all take turns. memflow
//! gets the memory in its own address space; crosswalk and the others open the file each time. volatility3 takes part
//! if `python3` (or `$PYTHON`) has it, gdb-pt-dump if its checkout is in `$PYTHONPATH`.

mod memflow;
mod ours;
mod pieces;
mod python;

use pieces::{Piece, score};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

const VOLATILITY3: &str = include_str!("volatility3_pages.py");
const GDB_PT_DUMP: &str = include_str!("gdb_pt_dump_pages.py");

fn main() -> Result<(), Box<dyn Error>> {
    let (images, rounds) = arguments()?;
    for image in images {
        println!("{}\n", image.file_name().unwrap_or(image.as_os_str()).display());
        compare(&image, rounds)?;
    }
    Ok(())
}

/// The images, and the number of rounds.
fn arguments() -> Result<(Vec<PathBuf>, usize), Box<dyn Error>> {
    let mut images = Vec::new();
    let mut rounds = 9;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo's.
            "--bench" => {}
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            _ => images.push(argument.into()),
        }
    }
    if images.is_empty() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/memory-images");
        images
            .extend(["4level", "la57", "pti"].map(|name| target.join(name).with_extension("elf")));
    }
    Ok((images, rounds.max(1)))
}

/// A tool: what it says, and its times in seconds.
struct Contestant {
    name: &'static str,
    pieces: Vec<Piece>,
    seconds: Vec<f64>,
}

fn compare(path: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let (image, derived) = ours::open(path)?;
    let cr3 = derived.state.cr3;
    let levels = if derived.state.cr4.contains(mmu_core::Cr4::LA57) { 5 } else { 4 };
    let pages = ours::pages(path)?;
    let memory = memflow::Memory::read(&image);

    let mut all = vec![
        Contestant { name: "crosswalk", pieces: pages.clone(), seconds: Vec::new() },
        Contestant { name: "memflow", pieces: memory.pages(cr3), seconds: Vec::new() },
    ];
    let mut scripts = Vec::new();
    for (name, script) in [("volatility3", VOLATILITY3), ("gdb-pt-dump", GDB_PT_DUMP)] {
        match python::ask(script, path, cr3, levels) {
            Ok(answer) => {
                scripts.push((all.len(), script));
                all.push(Contestant { name, pieces: answer.pieces, seconds: Vec::new() });
            }
            Err(why) => println!("{name} does not take part: {why}"),
        }
    }

    for _ in 0..rounds {
        all[0].seconds.push(timed(|| ours::ranges(path).expect("it was read before")));
        all[1].seconds.push(timed(|| memory.ranges(cr3)));
        for (index, script) in &scripts {
            all[*index].seconds.push(python::ask(script, path, cr3, levels)?.seconds);
        }
    }
    print_table(&pages, &mut all);
    Ok(())
}

fn timed(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

fn print_table(pages: &[Piece], all: &mut [Contestant]) {
    let ratios: Vec<f64> = all.iter().map(|tool| ratio(&tool.seconds, &all[0].seconds)).collect();
    println!(
        "{:<12} {:>8} {:>8} {:>8} {:>8} {:>6} {:>10} {:>7}",
        "tool", "right", "address", "rights", "missing", "bogus", "ms", "times"
    );
    for (tool, ratio) in all.iter_mut().zip(ratios) {
        let score = score(pages, &tool.pieces);
        tool.seconds.sort_by(f64::total_cmp);
        let median = tool.seconds[tool.seconds.len() / 2] * 1e3;
        println!(
            "{:<12} {:>8} {:>8} {:>8} {:>8} {:>6} {median:>10.2} {ratio:>7.1}",
            tool.name,
            score.right,
            score.wrong_address,
            score.wrong_rights,
            score.missing,
            score.bogus,
        );
    }
    println!();
}

/// The median of the ratios of each round.
fn ratio(one: &[f64], other: &[f64]) -> f64 {
    let mut ratios: Vec<_> = one.iter().zip(other).map(|(one, other)| one / other).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
