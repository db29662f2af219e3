//! A breaker on a store and its twin without one, with the same calls at the same times.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use tower_breaker::{
    Backoff, Breaker, BreakerBuilder, Config, Event, Outcome, Permit, State, StateStore, Trip,
    Window, clock::ManualClock, event::Reason, snapshot::Snapshot, store::StoreHealth,
};

use super::histories::Made;
use crate::support::{random::Random, wait::holds_in_time};

/// The number of breakers with traffic.
pub(crate) const BUSY: usize = 8;
/// The longest open time.
pub(crate) const LONGEST_OPEN: Duration = Duration::from_secs(8);

pub(crate) fn settings() -> Config {
    let mut config = Config::default();
    config.trip_on = vec![
        Trip::consecutive_failures(3),
        Trip::failure_rate(0.6, Window::calls(12)).minimum_calls(6),
    ];
    config.recovery_timeout = Duration::from_secs(1);
    config.backoff = Some(Backoff::new(2.0, LONGEST_OPEN));
    config.success_threshold = 2;
    config
}

pub(crate) fn builder(name: &str, clock: &ManualClock) -> BreakerBuilder {
    Breaker::builder(name).config(settings()).clock(clock.clone())
}

/// The snapshot of a breaker that is restored from a snapshot at this time.
pub(crate) fn revived(snapshot: &Snapshot, at: SystemTime) -> Snapshot {
    let clock = ManualClock::starting_at(at);
    builder("revived", &clock).restore(snapshot.clone()).build().unwrap().snapshot()
}

/// The snapshot of a breaker that starts without one at this time.
pub(crate) fn closed(at: SystemTime) -> Snapshot {
    builder("closed", &ManualClock::starting_at(at)).build().unwrap().snapshot()
}

/// The results of the traffic of a pair.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) rejected: u64,
    pub(crate) ended: u64,
    pub(crate) longest: Duration,
}

pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) clock: ManualClock,
    /// The breaker on the store.
    pub(crate) subject: Breaker,
    twin: Breaker,
    /// The calls under way.
    held: Vec<(Permit, Permit)>,
    random: Random,
    steps: u64,
    pub(crate) tally: Tally,
    /// The transitions of the subject, those of earlier processes included, and of its twin.
    made: Arc<Mutex<Made>>,
    made_by_twin: Arc<Mutex<Made>>,
    /// The number of transitions that the subject had made when it began to be compared.
    made_alone: usize,
    /// The health that the listener of the subject received.
    pub(crate) heard: Arc<Mutex<Vec<StoreHealth>>>,
    pub(crate) differences: Vec<String>,
}

impl Pair {
    pub(crate) fn new(
        name: &str,
        clock: &ManualClock,
        store: impl StateStore,
        [flush_interval, transition_flush_interval]: [Duration; 2],
        earlier: Made,
    ) -> Self {
        let (made, heard) = (Arc::new(Mutex::new(earlier)), Arc::default());
        let listener: (Arc<Mutex<Made>>, Arc<Mutex<Vec<StoreHealth>>>) =
            (Arc::clone(&made), Arc::clone(&heard));
        let subject = builder(name, clock).store(store).flush_interval(flush_interval);
        let subject = subject.transition_flush_interval(transition_flush_interval);
        let subject = subject.on_event(move |event| match event {
            Event::Store(event) => listener.1.lock().unwrap().push(event.health.clone()),
            other => listener.0.lock().unwrap().hear(other),
        });
        let seed = name.bytes().map(u64::from).sum();
        made.lock().unwrap().is_built = false;
        let subject = subject.build().unwrap();
        made.lock().unwrap().is_built = true;
        let made_alone = made.lock().unwrap().transitions.len();
        let made_by_twin: Arc<Mutex<Made>> = Arc::default();
        let twin = builder(name, clock).on_event(listener_of(&made_by_twin));
        Self {
            name: name.to_owned(),
            clock: clock.clone(),
            subject,
            twin: twin.build().unwrap(),
            held: Vec::new(),
            random: Random::new(seed),
            steps: 0,
            tally: Tally::default(),
            made,
            made_by_twin,
            made_alone,
            heard,
            differences: Vec::new(),
        }
    }

    /// Starts the comparison: from here on the subject ignores what the store may still load, and
    /// the twin has the same state.
    pub(crate) fn begin(&mut self, restored: bool) {
        if !restored {
            self.subject.force_open();
            self.subject.reset();
        }
        self.made_by_twin = Arc::default();
        let twin = builder(&self.name, &self.clock).restore(self.subject.snapshot());
        self.twin = twin.on_event(listener_of(&self.made_by_twin)).build().unwrap();
        self.made_alone = self.all_transitions();
        self.compare();
    }

    fn all_transitions(&self) -> usize {
        self.made.lock().unwrap().transitions.len()
    }

    /// The number of transitions that the subject has made next to its twin.
    pub(crate) fn transitions(&self) -> usize {
        self.all_transitions() - self.made_alone
    }

    pub(crate) fn made(&self) -> Made {
        self.made.lock().unwrap().clone()
    }

    /// No fault reaches the transitions that are made from here on.
    pub(crate) fn is_certain_from_here(&self) {
        let mut made = self.made.lock().unwrap();
        made.certain_from = made.transitions.len();
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(100) {
            0..15 => self.clock.advance(Duration::from_millis(self.random.below(500))),
            15..17 => self.command(),
            17..27 => self.finish_one(),
            _ => self.call(),
        }
        self.steps += 1;
        if self.subject.state() != self.twin.state() || self.subject.stats() != self.twin.stats() {
            self.differ("state", &self.subject.state(), &self.twin.state());
        }
        if self.steps.is_multiple_of(16) {
            self.compare();
        }
    }

    /// Ends the calls under way, and checks that the circuit admits calls again in time.
    pub(crate) fn settle(&mut self) {
        while !self.held.is_empty() {
            self.finish_one();
        }
        self.clock.advance(LONGEST_OPEN);
        let before = self.tally;
        self.call();
        while !self.held.is_empty() {
            self.finish_one();
        }
        let admitted = self.tally.admitted > before.admitted;
        if !admitted && self.subject.state() != State::ForcedOpen {
            self.differ("a call after the longest open time", &"rejected", &"admitted");
        }
        let Tally { admitted, ended, .. } = self.tally;
        if admitted != ended {
            self.differ("admitted calls and ended ones", &admitted, &ended);
        }
        self.compare();
        self.compare_transitions();
    }

    fn compare_transitions(&mut self) {
        // Another thread may still be calling the listener.
        let are_equal = holds_in_time(|| {
            let (made, twin) = (self.made.lock().unwrap(), self.made_by_twin.lock().unwrap());
            // A late restore may be reported after the comparison has begun.
            let made = made.transitions[self.made_alone..].iter();
            made.filter(|made| made.reason != Reason::Restored).eq(&twin.transitions)
        });
        if !are_equal {
            let (made, twin) = (self.made(), self.made_by_twin.lock().unwrap().clone());
            self.differ("transitions", &&made.transitions[self.made_alone..], &twin.transitions);
        }
    }

    /// A last change without a transition, which waits for the flush interval.
    pub(crate) fn count_one_failure(&mut self) {
        for breaker in [&self.subject, &self.twin] {
            if let (State::Closed, Ok(permit)) = (breaker.state(), breaker.try_acquire()) {
                permit.failure();
            }
        }
        self.compare();
    }

    pub(crate) fn reset(&self) {
        self.subject.reset();
        self.twin.reset();
    }

    fn call(&mut self) {
        let began = Instant::now();
        let asked = self.subject.try_acquire();
        self.tally.longest = self.tally.longest.max(began.elapsed());
        match (asked, self.twin.try_acquire()) {
            (Ok(subject), Ok(twin)) => {
                self.tally.admitted += 1;
                self.held.push((subject, twin));
                if self.random.below(8) > 0 || self.held.len() > 3 {
                    self.finish_one();
                }
            }
            (Err(subject), Err(twin)) => {
                self.tally.rejected += 1;
                if subject != twin {
                    self.differ("rejection", &subject, &twin);
                }
            }
            (subject, twin) => {
                self.differ("admission", &subject.map(drop), &twin.map(drop));
            }
        }
    }

    fn finish_one(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let place = self.random.index(self.held.len());
        let (subject, twin) = self.held.swap_remove(place);
        self.tally.ended += 1;
        let took = Duration::from_millis(self.random.below(100));
        let outcome = match self.random.below(20) {
            0..9 => Outcome::Success,
            9..17 => Outcome::failure(),
            17 => Outcome::throttled(),
            18 => Outcome::Ignore,
            // Cancelled.
            _ => return,
        };
        let began = Instant::now();
        subject.record(outcome, took);
        self.tally.longest = self.tally.longest.max(began.elapsed());
        twin.record(outcome, took);
    }

    fn command(&mut self) {
        let command = match self.random.below(8) {
            0 => Breaker::force_open,
            1 => Breaker::disable,
            2 => Breaker::metrics_only,
            // Otherwise most calls would meet a state that was set by hand.
            _ => Breaker::reset,
        };
        command(&self.subject);
        command(&self.twin);
    }

    pub(crate) fn compare(&mut self) {
        let (subject, twin) = (self.subject.snapshot(), self.twin.snapshot());
        if subject != twin {
            self.differ("snapshot", &subject, &twin);
        }
    }

    fn differ(&mut self, what: &str, subject: &dyn std::fmt::Debug, twin: &dyn std::fmt::Debug) {
        let Self { name, steps, .. } = self;
        self.differences.push(format!(
            "{name}, step {steps}: {what}: {subject:?} with the store, {twin:?} without"
        ));
    }
}

fn listener_of(made: &Arc<Mutex<Made>>) -> impl Fn(&Event) + Send + Sync + 'static {
    let made = Arc::clone(made);
    move |event| made.lock().unwrap().hear(event)
}

/// Makes calls on all pairs from two threads while `meanwhile` runs.
pub(crate) fn under_traffic<T>(
    pairs: &[Mutex<Pair>],
    meanwhile: impl FnOnce(&AtomicU64) -> T,
) -> T {
    /// Ends the traffic, also after a panic.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (over, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (over, steps) = (&over, &steps);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                while !over.load(SeqCst) {
                    pairs[random.index(BUSY)].lock().unwrap().step();
                    if steps.fetch_add(1, SeqCst).is_multiple_of(32) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
        let _end = End(&over);
        meanwhile(&steps)
    })
}
