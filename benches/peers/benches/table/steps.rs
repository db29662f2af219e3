//! What the processor takes for the steps that cost a call the most, to compare the figures of
//! different machines.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use quanta::Clock;

use crate::{ROUNDS, middle};

/// How often a measurement takes the step: some milliseconds.
const TIMES: u32 = 300_000;

/// Nanoseconds of each.
pub(crate) struct Steps {
    /// Reading the processor's counter.
    pub(crate) counter: f64,
    /// A load and a compare-and-swap, on a cache line that no other thread uses.
    pub(crate) compare_and_swap: f64,
}

pub(crate) fn measure() -> Steps {
    let (clock, word) = (Clock::new(), AtomicU64::new(0));
    let (mut counter, mut compare_and_swap) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        counter.push(nanos(|| {
            black_box(clock.raw());
        }));
        compare_and_swap.push(nanos(|| {
            let seen = black_box(&word).load(Ordering::Relaxed);
            let _ = word.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed);
        }));
    }
    let swapped = word.into_inner();
    assert_eq!(swapped, u64::from(TIMES) * ROUNDS as u64, "each of them has to be made");
    Steps { counter: middle(counter), compare_and_swap: middle(compare_and_swap) }
}

fn nanos(step: impl Fn()) -> f64 {
    let began = Instant::now();
    for _ in 0..TIMES {
        step();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
}
