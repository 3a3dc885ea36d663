//! How fast the walks of mmu-core are, beside a plain walk and the walkers of other projects: the same
//! addresses, the same memory, in turn.
//!
//!     cargo bench --package crosswalk-adapters --bench walks [-- --rounds N] [--json]

mod measure;
mod ours;
mod peers;
mod plain;
mod workload;

use measure::{Contestant, Measured, Run, measure};
use workload::{Memory, Workload};

/// A contestant's name, how many addresses it translates at most, and how it is made.
type Entry = (&'static str, usize, for<'w> fn(&'w Memory, &'w Workload) -> Run<'w>);

const ENTRIES: [Entry; 8] = [
    ("plain walk", usize::MAX, plain),
    ("Mmu::walk", usize::MAX, ours::walk),
    ("Mmu::predict_into", 1 << 15, ours::predict),
    ("CachedMmu::translate", 1 << 16, ours::cached),
    ("x86_64", usize::MAX, peers::x86_64),
    ("page_table_multiarch", usize::MAX, peers::page_table_multiarch),
    ("memflow", 1 << 14, peers::memflow),
    ("memflow, a list", 1 << 14, peers::memflow_list),
];

fn plain<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let (words, root) = (memory.words(), workload.root);
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            sum = sum.wrapping_add(plain::walk(words, root, *address).unwrap_or(0));
        }
        sum
    })
}

fn main() -> std::io::Result<()> {
    let memory = Memory::new()?;
    let rounds = std::env::args().skip_while(|a| a != "--rounds").nth(1);
    let rounds = rounds.and_then(|r| r.parse().ok()).unwrap_or(9);
    let only = std::env::args().skip_while(|a| a != "--only").nth(1);

    let mut columns: Vec<(char, Vec<Measured>)> = Vec::new();
    for make in Workload::ALL {
        let workload = make(&memory);
        let mut contestants: Vec<_> = ENTRIES
            .iter()
            .filter(|(name, ..)| {
                only.as_ref().is_none_or(|only| {
                    name.contains(only.as_str()) || *name == "plain walk" || *name == "x86_64"
                })
            })
            .map(|(name, most, run)| Contestant {
                name,
                addresses: &workload.addresses[..workload.addresses.len().min(*most)],
                run: run(&memory, &workload),
            })
            .collect();
        eprintln!("{}: {}", workload.name, workload.what);
        columns.push((workload.name, measure(&workload, &mut contestants, rounds)));
    }

    print!("{:24}", "");
    for (name, _) in &columns {
        print!("{name:>16}");
    }
    println!();
    for row in 0..columns[0].1.len() {
        print!("{:24}", columns[0].1[row].name);
        for (_, measured) in &columns {
            print!("{:>7.1} ns {:>5.2}x", measured[row].nanoseconds, measured[row].ratio);
        }
        println!();
    }
    Ok(())
}
