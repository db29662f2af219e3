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
//!
//! In turns of 32 programs, the breaker has a store, and threads save its state and look at what
//! was saved. In one program of three, threads also stop it from opening.

mod breakers;
mod model;

use std::{
    future::{Future as _, ready},
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tower::{Service as _, service_fn};
use tower_breaker::{
    Breaker, CircuitBreaker, Config, State, config::CallMetrics, snapshot::Snapshot,
};

use breakers::{Kind, Met, STORE};
use model::{Model, Rules, Seen, Step, ends};

const THREADS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Asks for a permit and records a result: two steps.
    Call {
        failed: bool,
    },
    Observe,
    Save,
    MetricsOnly,
    Reset,
    Update(Rules),
}

/// What the store holds.
fn saved(breaker: &Breaker) -> Option<(State, Seen)> {
    let key = format!("circuit_breaker:{}:state", breaker.name());
    let snapshot = Snapshot::from_json(&STORE.load(&key).unwrap()?).unwrap();
    let window = &snapshot.windows[0];
    let seen = Seen {
        calls: usize::try_from(window.calls).unwrap(),
        failures: usize::try_from(window.failures).unwrap(),
        streak: snapshot.failure_count,
    };
    Some((snapshot.state, seen))
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
        Op::Save => {
            breaker.flush_blocking(Duration::from_secs(60)).unwrap();
            let (state, seen) = saved(breaker).expect("a new breaker is reset");
            steps.push(Step::Save(state, seen));
        }
        Op::MetricsOnly => {
            breaker.metrics_only();
            steps.push(Step::MetricsOnly);
        }
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

    fn op(&mut self, kind: Kind) -> Op {
        match self.below(26) {
            0 => Op::Reset,
            1 => Op::Update(self.rules()),
            2..=4 => Op::Observe,
            5..=8 => Op::Call { failed: true },
            9 if kind.by_hand => Op::MetricsOnly,
            10 | 11 if kind.stored => Op::Save,
            _ => Op::Call { failed: false },
        }
    }

    fn ops(&mut self, most: u32, kind: Kind) -> Vec<Op> {
        (0..=self.below(most)).map(|_| self.op(kind)).collect()
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
    for op in random.ops(if case.is_multiple_of(2) { 8 } else { 24 }, kind) {
        run(under, op, &mut before);
    }
    let mut start = Model::new(rules, kind);
    for step in before {
        start = start.after(0, step).expect("a single thread agrees with the model");
    }
    let programs: [_; THREADS] = std::array::from_fn(|_| random.ops(5, kind));
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
    let (state, seen) = (breaker.state(), Seen::from(breaker.stats()));
    let ends = ends(start.clone(), &steps);
    assert!(
        ends.iter().any(|end| (end.state, end.seen()) == (state, seen)),
        "case {case}, from {start:?}: no order of {steps:#?} leads to {seen:?}, {state}",
    );
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
