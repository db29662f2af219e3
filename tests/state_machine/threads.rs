//! Threads that use one breaker at the same time: whatever they saw, and whatever is left, the same
//! calls could have come to one after the other.
//!
//! For each random program, all orders of its steps that keep the order of each thread are tried on
//! a sequential model, until one explains every observation. `PROPTEST_CASES` sets the number of
//! programs: 256 by default, and 10,000 in `.ci/run`.
//!
//! Every other program begins with more calls by a single thread. So the windows of the rules are
//! often full, and quiet, when the threads begin: a fault that needs this showed in one program in
//! 250 without these, and in one in 65 of them. The second half of the programs runs on a breaker
//! on which threads have met: it counts successes by thread, and notes failures without its lock.
//! Calls are counted for metrics, or not, in turns of eight programs: each takes other paths.

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

/// Half of the calls, or a quarter, of a window; or a streak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Rules {
    size: u32,
    minimum: u32,
    /// One in this many calls.
    one_in: u32,
    limit: u32,
}

impl Rules {
    fn config(self, call_metrics: CallMetrics) -> Config {
        let rate = Trip::failure_rate(1.0 / f64::from(self.one_in), Window::calls(self.size));
        let mut config = Config::default();
        config.trip_on =
            vec![rate.minimum_calls(self.minimum), Trip::consecutive_failures(self.limit)];
        config.call_metrics = call_metrics;
        config
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
    open: bool,
    window: VecDeque<bool>,
    streak: u32,
    /// How many transitions there were.
    generation: u32,
    /// The generation that admitted the call of each thread.
    admitted: [Option<u32>; THREADS],
}

impl Model {
    fn new(rules: Rules) -> Self {
        let (window, admitted) = (VecDeque::new(), [None; THREADS]);
        Self { rules, open: false, window, streak: 0, generation: 0, admitted }
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
    call_metrics: CallMetrics,
}

fn run(Under { breaker, by_service, call_metrics }: Under<'_>, op: Op, steps: &mut Vec<Step>) {
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
            breaker.update(rules.config(call_metrics)).unwrap();
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

fn check(case: u64, met: Option<&Breaker>) {
    let mut random = Random(case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rules = random.rules();
    let call_metrics = if case % 16 < 8 { CallMetrics::Counts } else { CallMetrics::Off };
    let config = rules.config(call_metrics);
    let breaker = met
        .cloned()
        .unwrap_or_else(|| Breaker::builder("threads").clock(ManualClock::new()).build().unwrap());
    breaker.update(config).unwrap();
    breaker.reset();
    let under = Under { breaker: &breaker, by_service: case % 4 >= 2, call_metrics };
    let mut before = Vec::new();
    for op in random.ops(if case.is_multiple_of(2) { 8 } else { 24 }) {
        run(under, op, &mut before);
    }
    let mut start = Model::new(rules);
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
}

/// A breaker in memory that no other has used, so that no threads have met there. (Its memory was
/// allocated for it, and takes more than the rest of a breaker.)
fn fresh() -> Breaker {
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(1.0, Window::calls(1_000_000))];
    config.call_metrics = CallMetrics::Off;
    let build = || {
        let builder = Breaker::builder("met").config(config.clone()).clock(ManualClock::new());
        builder.build().unwrap()
    };
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

/// A breaker on which threads have met: one of them has allocated counters by thread. Nothing else
/// allocates in a closed circuit.
fn met() -> Breaker {
    let breaker = fresh();
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
    (0..cases / 2).for_each(|case| check(case, None));
    let met = met();
    (cases / 2..cases).for_each(|case| check(case, Some(&met)));
}
