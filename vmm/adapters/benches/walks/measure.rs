//! Contestants in turn, on one thread, by the thread's own processor time. What counts is the ratio to
//! the plain walk of the same round: a busy machine slows both.

use crate::workload::Workload;
use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

/// Translates addresses, and returns the sum of the physical ones.
pub(crate) type Run<'w> = Box<dyn FnMut(&[u64]) -> u64 + 'w>;

/// A way to translate all addresses of a workload.
pub(crate) struct Contestant<'w> {
    pub(crate) name: &'static str,
    /// How many of the addresses it translates in a round: a slow one needs no more.
    pub(crate) addresses: &'w [u64],
    pub(crate) run: Run<'w>,
}

/// What a contestant took in a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// Nanoseconds for an address: the median over the rounds.
    pub(crate) nanoseconds: f64,
    /// The median of the ratios to the plain walk in the same round.
    pub(crate) ratio: f64,
    /// Whether it found all the physical addresses, if it was given all linear ones.
    pub(crate) is_right: bool,
}

/// Lets everyone run in each of the rounds. The first contestant is the plain walk.
pub(crate) fn measure(
    workload: &Workload,
    contestants: &mut [Contestant<'_>],
    rounds: usize,
) -> Vec<Measured> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    let mut are_right = vec![true; contestants.len()];
    for round in 0..=rounds {
        let all = contestants.iter_mut().zip(&mut times).zip(&mut are_right);
        for ((contestant, times), is_right) in all {
            let (time, sum) = time(contestant);
            let has_all = contestant.addresses.len() == workload.addresses.len();
            *is_right &= !has_all || sum == workload.sum;
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }

    let plain = times[0].clone();
    let all = contestants.iter().zip(times).zip(are_right);
    let measured = all.map(|((contestant, times), is_right)| Measured {
        name: contestant.name,
        nanoseconds: median(times.clone()),
        ratio: median(times.iter().zip(&plain).map(|(time, plain)| time / plain).collect()),
        is_right,
    });
    measured.collect()
}

/// Nanoseconds for an address. Short workloads are repeated.
fn time(contestant: &mut Contestant<'_>) -> (f64, u64) {
    const LEAST: usize = 1 << 16;
    let addresses = contestant.addresses;
    let passes = if addresses.len() < 4096 { LEAST.div_ceil(addresses.len()) } else { 1 };

    let start = now();
    let mut sum = 0;
    for _ in 0..passes {
        sum = black_box((contestant.run)(black_box(addresses)));
    }
    let took = now().saturating_sub(start);
    (took.as_nanos() as f64 / (passes * addresses.len()) as f64, sum)
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.expect("every Linux has this clock").into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
