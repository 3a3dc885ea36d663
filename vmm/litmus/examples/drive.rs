use crosswalk_litmus::*;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::litmus::*;
use mmu_core::x86::profile::Features;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: usize = a[3].parse().unwrap();
    let max: u32 = a.get(4).map_or(4000, |m| m.parse().unwrap());
    let mut bad = 0;
    for t in catalogue::all() {
        let t = t.unwrap();
        if a[2] != "all" && t.name != a[2] {
            continue;
        }
        if let Some(w) = why_not(&t.model, Features::all() - Features::PKU, true) {
            println!("{}: not run: {w}", t.name);
            continue;
        }
        let mut x = 88172645463325252u64;
        let mut d = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % u64::from(1u32 << (x >> 40) % u64::from(max.ilog2() + 1))) as u32
        };
        let plan = LitmusPlan {
            delays: vec![(0..n).map(|_| d()).collect(), (0..n).map(|_| d()).collect()],
        };
        let s = std::time::Instant::now();
        let c = if a[1] == "kvm" {
            run_on_kvm(&t.model, &plan, &Jail::none())
        } else {
            run_on_qemu(&t.model, &plan, std::path::Path::new("qemu-system-x86_64"), &Jail::none())
        };
        let j = t.judge().unwrap();
        match c {
            Ok(c) => {
                let seen = t.seen(&c);
                let f: Vec<_> = j.forbidden(&seen).collect();
                bad += f.len();
                println!(
                    "{}: {seen:?} of {:?} {} {:?}",
                    t.name,
                    j.outcomes.keys().collect::<Vec<_>>(),
                    if f.is_empty() { "" } else { "FORBIDDEN" },
                    s.elapsed()
                );
            }
            Err(e) => println!("{}: ERROR {e}", t.name),
        }
    }
    println!("forbidden {bad}");
}
