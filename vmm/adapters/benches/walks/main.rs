//! How fast the walks of mmu-core are, beside a plain walk and the walkers of other projects: the same
//! addresses, the same memory, in turn.
//!
//!     cargo bench --package crosswalk-adapters --bench walks [-- --rounds N] [--only NAME] [--json]
//!
//! A ratio is the median, over the rounds, of the ratios to the plain walk. It is what to look at: the
//! nanoseconds depend on who else uses the machine.

mod guest_memory;
#[cfg(feature = "kvm")]
mod kvm_translate;
mod measure;
mod ours;
mod peers;
mod plain;
mod workload;

use measure::{Contestant, Measured, Run, measure};
use serde_json::json;
use std::process::ExitCode;
use workload::{Memory, Workload};

/// How a contestant is made. `None` if it cannot take part.
type Make = for<'w> fn(&'w Memory, &'w Workload) -> Option<Run<'w>>;

/// The contestants, how many addresses each translates at most, and how it is made. The plain walk is
/// the first.
const ENTRIES: &[(&str, usize, Make)] = &[
    ("plain walk", usize::MAX, |memory, workload| Some(plain::run(memory, workload))),
    ("Mmu::walk", usize::MAX, |memory, workload| Some(ours::walk(memory, workload))),
    ("Mmu::locate", usize::MAX, |memory, workload| Some(ours::locate(memory, workload))),
    ("Mmu::walk_batch", usize::MAX, |memory, workload| Some(ours::batch(memory, workload))),
    ("Mmu::walk_range", usize::MAX, ours::range),
    ("CachedMmu, default size", usize::MAX, |memory, workload| {
        Some(ours::cached::<64, 4, 16>(memory, workload))
    }),
    ("CachedMmu, 1,024 PDEs", usize::MAX, |memory, workload| {
        Some(ours::cached::<1, 0, 1024>(memory, workload))
    }),
    ("CachedMmu, a large TLB", usize::MAX, |memory, workload| {
        Some(ours::cached::<0x1_0000, 4, 1024>(memory, workload))
    }),
    ("CachedMmu, PDEs, lists", usize::MAX, |memory, workload| {
        Some(ours::cached_lists::<1, 0, 1024>(memory, workload))
    }),
    ("CachedMmu, TLB, lists", usize::MAX, |memory, workload| {
        Some(ours::cached_lists::<0x4_0000, 3, 1024>(memory, workload))
    }),
    ("VirtualMemory", usize::MAX, |memory, workload| {
        Some(guest_memory::translate(memory, workload))
    }),
    ("Mmu::predict_into", 1 << 15, |memory, workload| Some(ours::predict(memory, workload))),
    ("x86_64", usize::MAX, |memory, workload| Some(peers::x86_64(memory, workload))),
    ("page_table_multiarch", usize::MAX, |memory, workload| {
        Some(peers::page_table_multiarch(memory, workload))
    }),
    ("memflow", 1 << 15, |memory, workload| Some(peers::memflow(memory, workload))),
    ("memflow, lists", 1 << 15, |memory, workload| Some(peers::memflow_list(memory, workload))),
    ("memflow, cache", usize::MAX, |memory, workload| {
        Some(peers::memflow_cached(memory, workload))
    }),
    ("memflow, cache and lists", usize::MAX, |memory, workload| {
        Some(peers::memflow_cached_list(memory, workload))
    }),
    #[cfg(feature = "kvm")]
    ("KVM_TRANSLATE", 1 << 12, kvm_translate::kvm_translate),
];

/// What the command line asks for.
struct Options {
    rounds: usize,
    /// Part of the names of the contestants that take part, beside the plain walk.
    only: String,
    json: bool,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self { rounds: 9, only: String::new(), json: false };
        let mut arguments = std::env::args().skip(1);

        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => {
                    let rounds = value()?.parse().ok().filter(|rounds| *rounds > 0);
                    options.rounds = rounds.ok_or("--rounds needs a number above 0")?;
                }
                "--only" => options.only = value()?,
                "--json" => options.json = true,
                // From Cargo.
                "--bench" => {}
                other => return Err(format!("{other} is not an option: --rounds, --only, --json")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };

    // A large TLB is made on the stack.
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    let run = move || run(&options).inspect_err(|error| eprintln!("memory for tables: {error}"));
    match thread.spawn(run).map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn run(options: &Options) -> std::io::Result<()> {
    let memory = Memory::new()?;

    let mut columns = Vec::new();
    for make in Workload::ALL {
        let workload = make(&memory);
        eprintln!("{}: {}", workload.name, workload.what);

        let takes_part = |name: &str| name == ENTRIES[0].0 || name.contains(&options.only);
        let entries = ENTRIES.iter().filter(|(name, ..)| takes_part(name));
        let mut contestants: Vec<_> = entries
            .filter_map(|(name, most, make)| {
                let addresses = &workload.addresses[..workload.addresses.len().min(*most)];
                Some(Contestant { name, addresses, run: make(&memory, &workload)? })
            })
            .collect();
        let measured = measure(&workload, &mut contestants, options.rounds);
        columns.push((workload.name, measured));
    }

    if options.json {
        print_json(&columns, options.rounds);
    } else {
        print_table(&columns);
    }
    Ok(())
}

/// A row for each contestant, a column for each workload: nanoseconds and the ratio.
fn print_table(columns: &[(char, Vec<Measured>)]) {
    print!("{:25}", "ns, ratio to plain");
    for (name, _) in columns {
        print!("{name:>15}");
    }
    println!();

    for (name, ..) in ENTRIES {
        let cells = columns.iter().map(|(_, column)| column.iter().find(|cell| cell.name == *name));
        let cells: Vec<_> = cells.collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }

        print!("{name:25}");
        for cell in cells {
            match cell {
                Some(cell) if !cell.is_right => print!("{:>15}", "wrong"),
                Some(cell) => print!("{:>8.1} {:>6}", cell.nanoseconds, digits(cell.ratio)),
                None => print!("{:>15}", "-"),
            }
        }
        println!();
    }
}

/// Three significant digits, more or less.
fn digits(ratio: f64) -> String {
    match ratio {
        ..10.0 => format!("{ratio:.2}"),
        ..100.0 => format!("{ratio:.1}"),
        _ => format!("{ratio:.0}"),
    }
}

fn print_json(columns: &[(char, Vec<Measured>)], rounds: usize) {
    let workloads = columns.iter().map(|(name, column)| {
        let walkers = column.iter().map(|cell| {
            let Measured { name, nanoseconds, ratio, is_right } = *cell;
            json!({ "name": name, "nanoseconds": nanoseconds, "ratio": ratio, "right": is_right })
        });
        json!({ "name": name.to_string(), "walkers": walkers.collect::<Vec<_>>() })
    });
    println!("{}", json!({ "rounds": rounds, "workloads": workloads.collect::<Vec<_>>() }));
}
