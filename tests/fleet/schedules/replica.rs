//! A replica of a schedule, and its callers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, State, Trip, Window,
    fleet::{Agreement, FleetCounts, FleetHealth, RedisFleet},
};

use super::{
    LEASE, OPEN_TIME, TIMEOUT, WINDOW,
    dependency::{Dependency, Probe},
    jitter::Jitter,
    ledger::Moment,
    now,
    plan::{LONGEST_DELAY, Plan},
};
use crate::{
    proxy::Proxy,
    support::{random::Random, redis::RedisServer, redis_sentinel::Sentinels},
};

/// How long it takes at most until a replica has the counts of the others.
const COUNTED: Duration = Duration::from_millis(300);
/// How many calls of one replica may be out at a time.
const CALLERS: usize = 2;
/// For how long after a disturbance a replica may not know yet that it is alone.
const CALM_AFTER: Duration = Duration::from_secs(1);
/// How long a replica must have been seen as joined before its probes need leases.
const JOINED_FOR: Duration = Duration::from_millis(100);

pub(crate) struct Replica {
    number: usize,
    pub(crate) proxy: Proxy,
    /// If it does not connect through its proxy.
    url: Option<String>,
    /// `None` while it is killed.
    breaker: Mutex<Option<Breaker>>,
    is_idle: AtomicBool,
    is_blind: AtomicBool,
    /// The ports of the connections of those that were killed.
    dead_ports: Mutex<Vec<u16>>,
    /// It is known to be joined only after this.
    disturbed_until: AtomicU64,
    counts_all: AtomicBool,
}

impl Replica {
    pub(crate) fn new(number: usize, server: &RedisServer) -> Self {
        Self {
            number,
            proxy: Proxy::to(server),
            url: None,
            breaker: Mutex::new(None),
            is_idle: AtomicBool::new(false),
            is_blind: AtomicBool::new(false),
            dead_ports: Mutex::default(),
            disturbed_until: AtomicU64::new(0),
            counts_all: AtomicBool::new(false),
        }
    }

    /// One that follows the primary that these sentinels name.
    pub(crate) fn of(number: usize, sentinels: &Sentinels) -> Self {
        let url = Some(sentinels.url());
        Self { url, ..Self::new(number, &sentinels.servers[0]) }
    }

    pub(crate) fn start(&self, plan: &Plan) {
        let (counts, rule) = if plan.counts_all {
            let rule = Trip::failure_rate(0.5, Window::Time(WINDOW)).minimum_calls(6);
            (FleetCounts::Shared, rule)
        } else {
            (FleetCounts::Own, Trip::consecutive_failures(3))
        };
        let url = self.url.clone().unwrap_or_else(|| self.proxy.url());
        let fleet = RedisFleet::builder(&url)
            .counts(counts)
            .agreement(Agreement::replicas(plan.quorum))
            .lease(LEASE)
            .command_timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .build()
            .unwrap();
        let breaker = Breaker::builder("payments")
            .trip_on(rule)
            .recovery_timeout(OPEN_TIME)
            .half_open_max_calls(plan.probes)
            .success_threshold(plan.needed)
            .shared(fleet)
            .build()
            .unwrap();
        *self.breaker.lock().unwrap() = Some(breaker);
        self.counts_all.store(plan.counts_all, SeqCst);
    }

    /// Ends it. The network must be cut before, so that it gives nothing back.
    pub(crate) fn kill(&self) {
        drop(self.breaker.lock().unwrap().take());
        *self.dead_ports.lock().unwrap() = self.proxy.ports();
    }

    /// Whether a connection from this port is one of a replica that has not been killed.
    pub(crate) fn lives_on(&self, port: u16) -> bool {
        self.proxy.owns(port) && !self.dead_ports.lock().unwrap().contains(&port)
    }

    pub(crate) fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, SeqCst);
    }

    pub(crate) fn set_blind(&self, is_blind: bool) {
        self.is_blind.store(is_blind, SeqCst);
    }

    /// Something delays what it learns, until it is said to be over.
    pub(crate) fn disturb(&self, is_disturbed: bool) {
        let calm_at = now() + u64::try_from(CALM_AFTER.as_micros()).unwrap();
        self.disturbed_until.store(if is_disturbed { u64::MAX } else { calm_at }, SeqCst);
    }

    pub(crate) fn breaker(&self) -> Option<Breaker> {
        self.breaker.lock().unwrap().clone()
    }

    fn is_calm(&self, now: Moment) -> bool {
        now >= self.disturbed_until.load(SeqCst)
    }
}

/// The threads that make calls on one replica.
pub(crate) struct Callers {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    pub(crate) fn of(
        replicas: &[Arc<Replica>],
        dependency: &Arc<Dependency>,
        jitter: &Arc<Jitter>,
        seed: u64,
    ) -> Self {
        let ends = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        for replica in replicas {
            for number in 0..CALLERS {
                let caller = Caller {
                    replica: Arc::clone(replica),
                    dependency: Arc::clone(dependency),
                    jitter: Arc::clone(jitter),
                    random: Random::new(seed * 100 + (replica.number * CALLERS + number) as u64),
                    joined_since: None,
                };
                let ends = Arc::clone(&ends);
                threads.push(thread::spawn(move || caller.run(&ends)));
            }
        }
        Self { ends, threads }
    }

    pub(crate) fn end(self) {
        self.ends.store(true, SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

struct Caller {
    replica: Arc<Replica>,
    dependency: Arc<Dependency>,
    jitter: Arc<Jitter>,
    random: Random,
    /// Since when the replica has been seen as joined at each call.
    joined_since: Option<Instant>,
}

impl Caller {
    fn run(mut self, ends: &AtomicBool) {
        while !ends.load(SeqCst) {
            thread::sleep(Duration::from_millis(1 + self.random.below(5)));
            match self.replica.breaker() {
                Some(breaker) if !self.replica.is_idle.load(SeqCst) => self.call(&breaker),
                _ => self.joined_since = None,
            }
        }
    }

    fn call(&mut self, breaker: &Breaker) {
        self.see_health(breaker);
        let began = now();
        let before = breaker.state();
        if before == State::Open {
            self.check_open_time(began);
        }
        let permit = breaker.try_acquire();
        let after = (now(), breaker.state());
        let Ok(permit) = permit else { return };
        thread::sleep(Duration::from_millis(1 + self.random.below(15)));
        if self.random.below(12) == 0 {
            return permit.cancel();
        }
        if self.dependency.is_down() || self.replica.is_blind.load(SeqCst) {
            self.dependency.note_failure();
            permit.failure();
        } else {
            permit.success();
        }
        let is_probe = before == State::HalfOpen && after.1 == State::HalfOpen;
        let has_joined = self.joined_since.is_some_and(|since| since.elapsed() > JOINED_FOR);
        if is_probe && has_joined && self.replica.is_calm(began) {
            let (replica, admitted) = (self.replica.number, (began, after.0));
            self.dependency.note_probe(Probe { replica, admitted, ended: now() });
        }
    }

    fn see_health(&mut self, breaker: &Breaker) {
        match breaker.fleet_health() {
            FleetHealth::Joined => {
                self.joined_since.get_or_insert_with(Instant::now);
            }
            health => {
                self.joined_since = None;
                let health = health.to_string();
                if health.contains("panicked") {
                    self.dependency.note_violation(health);
                }
            }
        }
    }

    /// Whether the circuit may be open at this time. A vote may take as long as a command may, and
    /// news tell an end that has come closer while they were on their way.
    fn check_open_time(&self, now: Moment) {
        let since = Duration::from_micros(now.saturating_sub(self.dependency.last_failure()));
        let mut limit = OPEN_TIME + TIMEOUT + 2 * LONGEST_DELAY + self.jitter.slack();
        if self.replica.counts_all.load(SeqCst) {
            // Failures within the window suffice, once others make it enough calls.
            limit += WINDOW + COUNTED;
        }
        if since > limit {
            let number = self.replica.number;
            let what = format!("replica {number} is open {since:?} after the last failure");
            self.dependency.note_violation(what);
        }
    }
}
