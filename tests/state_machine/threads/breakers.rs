//! The breakers that the programs use.

use std::{
    sync::{
        Arc, Barrier, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use tower_breaker::{
    Breaker, Config, MemoryStore, StateStore, Trip, Window, clock::ManualClock, config::CallMetrics,
};

use super::{THREADS, model::Rules};

const HOUR: Duration = Duration::from_secs(3600);

/// What does not change during a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) call_metrics: CallMetrics,
    /// The failure rate is that of an hour, whatever the size, and calls are timed.
    pub(super) timed: bool,
    /// The state is saved, now and then.
    pub(super) stored: bool,
    /// The circuit is also put into a state in which it records calls and does not open.
    pub(super) by_hand: bool,
}

/// One store for all: each has a thread.
pub(super) static STORE: LazyLock<Arc<dyn StateStore>> =
    LazyLock::new(|| Arc::new(MemoryStore::new()));

impl Kind {
    pub(super) fn of(case: u64) -> Self {
        let call_metrics = if case % 16 < 8 { CallMetrics::Counts } else { CallMetrics::Off };
        let (timed, stored) = (case % 32 >= 16, case % 64 >= 32);
        Self { call_metrics, timed, stored, by_hand: case.is_multiple_of(3) }
    }

    pub(super) fn config(self, rules: Rules) -> Config {
        let window = if self.timed { Window::time(HOUR) } else { Window::calls(rules.size) };
        let rate = Trip::failure_rate(1.0 / f64::from(rules.one_in), window);
        let mut config = Config::default();
        config.trip_on =
            vec![rate.minimum_calls(rules.minimum), Trip::consecutive_failures(rules.limit)];
        if self.timed {
            config.trip_on.push(Trip::slow_call_rate(0.5, HOUR, Window::calls(rules.size)));
        }
        config.call_metrics = self.call_metrics;
        config
    }

    pub(super) fn build(self, config: Config) -> Breaker {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let builder = Breaker::builder(format!("threads-{number}")).config(config);
        let builder = if self.timed { builder } else { builder.clock(ManualClock::new()) };
        let builder = if self.stored { builder.store(Arc::clone(&STORE)) } else { builder };
        builder.build().unwrap()
    }
}

/// A breaker in memory that no other has used, so that no threads have met there. (Its memory was
/// allocated for it, and takes more than the rest of a breaker. With a store, it may take more for
/// other reasons, and no program before has returned memory.)
pub(super) fn fresh(kind: Kind) -> Breaker {
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(1.0, Window::calls(1_000_000))];
    config.call_metrics = CallMetrics::Off;
    let build = || kind.build(config.clone());
    if kind.stored {
        return build();
    }
    let (mut others, mut least) = (Vec::new(), u64::MAX);
    loop {
        let mut breaker = None;
        let bytes = measure(|| breaker = Some(build())).bytes_total;
        if bytes >= least.saturating_add(256) {
            return breaker.unwrap();
        }
        least = least.min(bytes);
        others.extend(breaker);
    }
}

/// Breakers on which threads have met, with a store and without one.
pub(super) struct Met {
    timed: [Breaker; 2],
    untimed: [Breaker; 2],
}

impl Met {
    pub(super) fn new() -> Self {
        let breakers = |timed| {
            [false, true].map(|stored| {
                met(Kind { call_metrics: CallMetrics::Off, timed, stored, by_hand: false })
            })
        };
        Self { timed: breakers(true), untimed: breakers(false) }
    }

    pub(super) fn of(&self, kind: Kind) -> &Breaker {
        let breakers = if kind.timed { &self.timed } else { &self.untimed };
        &breakers[usize::from(kind.stored)]
    }
}

/// A breaker on which threads have met: one of them has allocated counters by thread. Nothing else
/// allocates in a closed circuit; but a store may, so there they have more rounds in which to meet.
pub(super) fn met(kind: Kind) -> Breaker {
    let breaker = fresh(kind);
    let succeed = || breaker.try_acquire().unwrap().success();
    succeed();
    let (barrier, began) = (Barrier::new(THREADS), Instant::now());
    let meet = || {
        barrier.wait();
        (0..50_000).for_each(|_| succeed());
    };
    let have_met = || {
        thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| scope.spawn(|| measure(meet).count_total));
            threads.map(|thread| thread.join().unwrap()).iter().any(|allocated| *allocated > 0)
        })
    };
    let rounds = if kind.stored { 20 } else { 1 };
    let (mut did_meet, mut round) = (false, 0);
    loop {
        did_meet |= have_met();
        round += 1;
        if did_meet && round >= rounds {
            return breaker;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "the threads do not meet");
        breaker.reset();
    }
}
