//! Threads that use one breaker at the same time: whatever they saw, and whatever is left, the same
//! calls could have come to one after the other.
//!
//! For each random program, all orders of its steps that keep the order of each thread are tried on
//! a sequential model, until one explains every observation. `PROPTEST_CASES` sets the number of
//! programs: 256 by default, and 10,000 in `.ci/run`.
//!
//! Every other program begins with more calls by a single thread. So the windows of the rules are
//! often full, and quiet, when the threads begin: a fault that needs this showed in one program in
//! 250 without these, and in one in 65 of them. The second half of the programs runs on breakers on
//! which threads have met: they count successes by thread, and note failures without the lock. In
//! the first half, each program has a breaker in memory of its own, where threads have not met yet.
//! Calls are counted for metrics, or not, in turns of eight programs; in turns of sixteen, there is
//! a time window and slow calls, by the system's clock, or none and a clock of the test: each takes
//! other paths. (The times are so long that nothing ages, and no call is slow.)

use std::{
    collections::{HashSet, VecDeque},
    future::{Future as _, ready},
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use tower::{Service as _, service_fn};
use tower_breaker::{
    Breaker, CircuitBreaker, Config, State, Stats, Trip, Window, clock::ManualClock,
    config::CallMetrics,
};

const THREADS: usize = 3;

const HOUR: Duration = Duration::from_secs(3600);

/// Half of the calls, or a quarter, of a window; or a streak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Rules {
    size: u32,
    minimum: u32,
    /// One in this many calls.
    one_in: u32,
    limit: u32,
}

/// What does not change during a program.
#[derive(Debug, Clone, Copy)]
struct Kind {
    call_metrics: CallMetrics,
    /// The failure rate is that of an hour, whatever the size, and calls are timed.
    timed: bool,
}

impl Kind {
    fn of(case: u64) -> Self {
        let call_metrics = if case % 16 < 8 { CallMetrics::Counts } else { CallMetrics::Off };
        Self { call_metrics, timed: case % 32 >= 16 }
    }

    fn config(self, rules: Rules) -> Config {
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

    fn build(self, config: Config) -> Breaker {
        let builder = Breaker::builder("threads").config(config);
        let builder = if self.timed { builder } else { builder.clock(ManualClock::new()) };
        builder.build().unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Asks for a permit and records a result: two steps.
    Call {
        failed: bool,
    },
    Observe,
    Reset,
    Update(Rules),
}

/// What a thread did, and what it saw.
#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire { admitted: bool },
    Record { failed: bool },
    Observe(Seen),
    Reset,
    Update(Rules),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    calls: usize,
    failures: usize,
    streak: u32,
}

impl From<Stats> for Seen {
    fn from(stats: Stats) -> Self {
        Self {
            calls: usize::try_from(stats.window_calls()).unwrap(),
            failures: usize::try_from(stats.window_failures()).unwrap(),
            streak: stats.consecutive_failures(),
        }
    }
}

/// The description of the state machine, as far as these programs need it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Model {
    rules: Rules,
    /// Calls leave the window.
    shrinks: bool,
    open: bool,
    window: VecDeque<bool>,
    streak: u32,
    /// How many transitions there were.
    generation: u32,
    /// The generation that admitted the call of each thread.
    admitted: [Option<u32>; THREADS],
}

impl Model {
    fn new(rules: Rules, kind: Kind) -> Self {
        let (window, admitted) = (VecDeque::new(), [None; THREADS]);
        let shrinks = !kind.timed;
        Self { rules, shrinks, open: false, window, streak: 0, generation: 0, admitted }
    }

    fn seen(&self) -> Seen {
        let failures = self.window.iter().filter(|failed| **failed).count();
        Seen { calls: self.window.len(), failures, streak: self.streak }
    }

    /// The state after a step, if it can have gone that way now.
    fn after(mut self, thread: usize, step: Step) -> Option<Self> {
        match step {
            Step::Acquire { admitted } if admitted == self.open => return None,
            Step::Acquire { admitted } => {
                self.admitted[thread] = admitted.then_some(self.generation);
            }
            Step::Record { failed } => self.record(thread, failed),
            Step::Observe(seen) if seen != self.seen() => return None,
            Step::Observe(_) => {}
            Step::Reset => {
                self.window.clear();
                (self.open, self.streak) = (false, 0);
                self.generation += 1;
            }
            Step::Update(rules) => {
                self.rules = rules;
                self.shrink();
            }
        }
        Some(self)
    }

    fn record(&mut self, thread: usize, failed: bool) {
        if self.admitted[thread].take() != Some(self.generation) {
            return;
        }
        self.streak = if failed { self.streak + 1 } else { 0 };
        self.window.push_back(failed);
        self.shrink();
        let Seen { calls, failures, streak } = self.seen();
        let Rules { size, minimum, one_in, limit } = self.rules;
        let rate_met = failures > 0
            && calls >= minimum.min(size) as usize
            && failures * one_in as usize >= calls;
        if rate_met || streak >= limit {
            self.open = true;
            self.generation += 1;
        }
    }

    fn shrink(&mut self) {
        if !self.shrinks {
            return;
        }
        let surplus = self.window.len().saturating_sub(self.rules.size as usize);
        self.window.drain(..surplus);
    }
}

/// The breaker of a program, and how its threads use it.
#[derive(Clone, Copy)]
struct Under<'a> {
    breaker: &'a Breaker,
    /// Makes calls through a service, which has a path of its own; otherwise with permits.
    by_service: bool,
    kind: Kind,
}

fn run(Under { breaker, by_service, kind }: Under<'_>, op: Op, steps: &mut Vec<Step>) {
    match op {
        Op::Call { failed } if by_service => {
            let admitted = call(breaker, failed);
            steps.push(Step::Acquire { admitted });
            if admitted {
                steps.push(Step::Record { failed });
            }
        }
        Op::Call { failed } => {
            let permit = breaker.try_acquire();
            steps.push(Step::Acquire { admitted: permit.is_ok() });
            if let Ok(permit) = permit {
                steps.push(Step::Record { failed });
                if failed { permit.failure() } else { permit.success() }
            }
        }
        Op::Observe => steps.push(Step::Observe(breaker.stats().into())),
        Op::Reset => {
            breaker.reset();
            steps.push(Step::Reset);
        }
        Op::Update(rules) => {
            breaker.update(kind.config(rules)).unwrap();
            steps.push(Step::Update(rules));
        }
    }
}

/// Whether the call was admitted.
fn call(breaker: &Breaker, failed: bool) -> bool {
    let inner = service_fn(|failed: bool| ready(if failed { Err(()) } else { Ok(()) }));
    let mut service = CircuitBreaker::new(inner, breaker.clone());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(failed)).poll(&mut cx) {
        Poll::Ready(Ok(())) => true,
        Poll::Ready(Err(error)) => error.rejected().is_none(),
        Poll::Pending => panic!("the inner service answers at once"),
    }
}

/// Every state that the steps of the threads can lead to.
fn ends(start: Model, threads: &[Vec<Step>; THREADS]) -> HashSet<Model> {
    let mut reached = HashSet::from([([0; THREADS], start.clone())]);
    let mut left = vec![([0; THREADS], start)];
    let mut ends = HashSet::new();
    while let Some((done, model)) = left.pop() {
        if (0..THREADS).all(|thread| done[thread] == threads[thread].len()) {
            ends.insert(model);
            continue;
        }
        for thread in 0..THREADS {
            let Some(step) = threads[thread].get(done[thread]) else { continue };
            let Some(next) = model.clone().after(thread, *step) else { continue };
            let mut done = done;
            done[thread] += 1;
            if reached.insert((done, next.clone())) {
                left.push((done, next));
            }
        }
    }
    ends
}

/// A small generator, so that a case can be repeated by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap()
    }

    fn rules(&mut self) -> Rules {
        let size = 1 + self.below(6);
        let (minimum, one_in) = (1 + self.below(size), 2 + self.below(3));
        Rules { size, minimum, one_in, limit: 2 + self.below(5) }
    }

    fn op(&mut self) -> Op {
        match self.below(24) {
            0 => Op::Reset,
            1 => Op::Update(self.rules()),
            2..=4 => Op::Observe,
            5..=8 => Op::Call { failed: true },
            _ => Op::Call { failed: false },
        }
    }

    fn ops(&mut self, most: u32) -> Vec<Op> {
        (0..=self.below(most)).map(|_| self.op()).collect()
    }
}

/// Returns the breaker, which keeps its memory from the next programs.
fn check(case: u64, met: Option<&Met>) -> Breaker {
    let mut random = Random(case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rules = random.rules();
    let kind = Kind::of(case);
    let breaker = met.map_or_else(|| kind.build(Config::default()), |met| met.of(kind).clone());
    breaker.update(kind.config(rules)).unwrap();
    breaker.reset();
    let under = Under { breaker: &breaker, by_service: case % 4 >= 2, kind };
    let mut before = Vec::new();
    for op in random.ops(if case.is_multiple_of(2) { 8 } else { 24 }) {
        run(under, op, &mut before);
    }
    let mut start = Model::new(rules, kind);
    for step in before {
        start = start.after(0, step).expect("a single thread agrees with the model");
    }
    let programs: [_; THREADS] = std::array::from_fn(|_| random.ops(5));
    let barrier = Barrier::new(THREADS);
    let steps = thread::scope(|scope| {
        let threads = programs.each_ref().map(|ops| {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut steps = Vec::with_capacity(16);
                barrier.wait();
                for op in ops {
                    run(under, *op, &mut steps);
                }
                steps
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let (open, seen) = (breaker.state() == State::Open, Seen::from(breaker.stats()));
    let ends = ends(start.clone(), &steps);
    assert!(
        ends.iter().any(|end| (end.open, end.seen()) == (open, seen)),
        "case {case}, from {start:?}: no order of {steps:#?} leads to {seen:?}, open: {open}",
    );
    breaker
}

/// A breaker in memory that no other has used, so that no threads have met there. (Its memory was
/// allocated for it, and takes more than the rest of a breaker.)
fn fresh(kind: Kind) -> Breaker {
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(1.0, Window::calls(1_000_000))];
    config.call_metrics = CallMetrics::Off;
    let build = || kind.build(config.clone());
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

/// Breakers on which threads have met.
struct Met {
    timed: Breaker,
    untimed: Breaker,
}

impl Met {
    fn new() -> Self {
        let kind = |timed| Kind { call_metrics: CallMetrics::Off, timed };
        Self { timed: met(kind(true)), untimed: met(kind(false)) }
    }

    fn of(&self, kind: Kind) -> &Breaker {
        if kind.timed { &self.timed } else { &self.untimed }
    }
}

/// A breaker on which threads have met: one of them has allocated counters by thread. Nothing else
/// allocates in a closed circuit.
fn met(kind: Kind) -> Breaker {
    let breaker = fresh(kind);
    let succeed = || breaker.try_acquire().unwrap().success();
    succeed();
    let (barrier, began) = (Barrier::new(THREADS), Instant::now());
    let meet = || {
        barrier.wait();
        (0..50_000).for_each(|_| succeed());
    };
    while thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| scope.spawn(|| measure(meet).count_total));
        threads.map(|thread| thread.join().unwrap()).iter().all(|allocated| *allocated == 0)
    }) {
        assert!(began.elapsed() < Duration::from_secs(120), "the threads do not meet");
        breaker.reset();
    }
    breaker
}

#[test]
fn what_threads_see_and_leave_could_have_come_one_after_the_other() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(256);
    let mut uncounted = Config::default();
    uncounted.call_metrics = CallMetrics::Off;
    let check_alone = |case| {
        let breaker = check(case, None);
        // Its calls are counted no more, so that the next one's are counted as by a first breaker.
        breaker.update(uncounted.clone()).unwrap();
        breaker
    };
    let unmet: Vec<Breaker> = (0..cases / 2).map(check_alone).collect();
    let met = Met::new();
    (cases / 2..cases).for_each(|case| drop(check(case, Some(&met))));
    drop(unmet);
}
