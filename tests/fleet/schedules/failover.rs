//! A schedule in which sentinels promote a server that lags, while calls are made.
//!
//! The standby gets nothing from its primary for a while, in which states change. Then the primary
//! is killed, and the standby, which knows none of these states, takes over.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{State, fleet::FleetHealth};

use super::{
    AGREES_WITHIN, LEASE, OPEN_TIME,
    dependency::Dependency,
    jitter::Jitter,
    ledger::{Fence, Ledger},
    now,
    plan::{Action, Plan, REPLICAS, Step},
    replica::{Callers, Replica},
};
use crate::support::{redis_sentinel::Sentinels, wait::holds_in_time};

const KEY: &str = "circuit_breaker:{0}:fleet:payments:breaker";

pub(crate) struct Failover {
    sentinels: Sentinels,
    /// Of the primary and the standby.
    ledgers: [Ledger; 2],
    replicas: Vec<Arc<Replica>>,
    dependency: Arc<Dependency>,
    jitter: Arc<Jitter>,
}

impl Failover {
    /// Lets the schedule happen. Returns how long the fleet took to agree after the failover.
    pub(crate) fn run(plan: &Plan) -> Result<Duration, String> {
        let Some(sentinels) = Sentinels::start() else { return Ok(Duration::ZERO) };
        sentinels.wait_until_ready(&[]);
        let ledgers = sentinels.servers.each_ref().map(|server| Ledger::of(server, plan.probes));
        let replicas: Vec<_> =
            (0..REPLICAS).map(|number| Arc::new(Replica::of(number, &sentinels))).collect();
        for replica in &replicas {
            replica.start(plan);
            // Its probes are not held to the leases: they may be of a server that is gone.
            replica.disturb(true);
        }
        let (dependency, jitter) = (Arc::default(), Jitter::start());
        let world = Self { sentinels, ledgers, replicas, dependency, jitter };
        let callers = Callers::of(&world.replicas, &world.dependency, &world.jitter, plan.seed);
        let result = world.fail_over(&plan.rounds);
        callers.end();
        let mut violations = world.dependency.violations();
        violations.extend(world.ledgers.iter().flat_map(|one| one.book().violations.clone()));
        let slowest = result?;
        if violations.is_empty() { Ok(slowest) } else { Err(violations.join("\n")) }
    }

    fn fail_over(&self, rounds: &[Vec<Step>]) -> Result<Duration, String> {
        let [primary, standby] = &self.sentinels.servers;
        self.settle(0)?;
        // It gets nothing from here on: its link is cut, and it cannot make another.
        standby.signal("STOP");
        primary.command(&["CLIENT", "KILL", "TYPE", "replica"]);
        self.disturb(&rounds[0]);
        primary.stop();
        standby.signal("CONT");
        self.disturb(&rounds[1]);
        let new = standby.port().to_string();
        let knows = |sentinel| self.sentinels.primary_port(sentinel) == new;
        if !holds_in_time(|| standby.command(&["ROLE"]).starts_with("master") && knows(0)) {
            return Err("the sentinels promote no other server".to_owned());
        }
        self.settle(1)
    }

    fn disturb(&self, round: &[Step]) {
        let began = Instant::now();
        for Step { at, action } in round {
            thread::sleep(at.saturating_sub(began.elapsed()));
            let breaker = |number: usize| self.replicas[number].breaker().unwrap();
            match *action {
                Action::Down | Action::Up => self.dependency.set_down(*action == Action::Down),
                Action::Blind(number) => self.replicas[number].set_blind(true),
                Action::Sees(number) => self.replicas[number].set_blind(false),
                Action::Idle(number) => self.replicas[number].set_idle(true),
                Action::Busy(number) => self.replicas[number].set_idle(false),
                Action::ForceOpen(number) => breaker(number).force_open(),
                Action::Reset(number) => breaker(number).reset(),
                other => panic!("no part of a failover: {other:?}"),
            }
        }
    }

    /// Ends all disturbances, and waits until the fleet agrees with this server and is well.
    /// Returns how long it took to agree.
    fn settle(&self, server: usize) -> Result<Duration, String> {
        self.dependency.set_down(false);
        for replica in &self.replicas {
            replica.set_blind(false);
            replica.set_idle(false);
        }
        let began = Instant::now();
        self.wait("the fleet agrees", AGREES_WITHIN, || self.agrees(server))?;
        let took = began.elapsed();
        if self.states().contains(&State::ForcedOpen) {
            let _ = self.replicas[REPLICAS - 1].breaker().map(|breaker| breaker.reset());
        }
        let recovers = OPEN_TIME + 2 * LEASE + AGREES_WITHIN;
        self.wait("all circuits are closed", recovers, || {
            self.states().iter().all(|state| *state == State::Closed)
        })?;
        Ok(took)
    }

    fn wait(&self, what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<(), String> {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > limit + self.jitter.slack() {
                let breakers = self.replicas.iter().filter_map(|one| one.breaker());
                let health: Vec<_> = breakers.map(|one| one.fleet_health().to_string()).collect();
                let (states, known) = (self.states(), self.acknowledged());
                return Err(format!(
                    "not within {limit:?}: {what}; {states:?}, {health:?}; {known:?}"
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn states(&self) -> Vec<State> {
        let breakers = self.replicas.iter().filter_map(|replica| replica.breaker());
        breakers.map(|breaker| breaker.state()).collect()
    }

    /// Whether all replicas have joined and are in the state that the server has, and that state is
    /// none that is older than one that any of them knows.
    fn agrees(&self, server: usize) -> bool {
        let has_joined = |replica: &Arc<Replica>| {
            replica.breaker().is_some_and(|breaker| breaker.fleet_health() == FleetHealth::Joined)
        };
        let server = &self.sentinels.servers[server];
        if !self.replicas.iter().all(has_joined) {
            return false;
        }
        let fields = server.command(&["HMGET", KEY, "n", "t", "s", "u"]);
        let fields: Vec<&str> = fields.lines().collect();
        let (fence, state) = match fields[..] {
            [number, token, state, until] if number != "(nil)" => {
                let fence = (number.parse().unwrap(), token.to_owned());
                let until: u64 = until.parse().unwrap();
                let has_ended = until != 0 && until <= now();
                (Some(fence), if state == "open" && has_ended { "half_open" } else { state })
            }
            _ => (None, "closed"),
        };
        self.states().iter().all(|is| is.as_str() == state) && fence >= self.acknowledged()
    }

    /// The highest fence that either server has told a replica.
    fn acknowledged(&self) -> Option<Fence> {
        let known = self.ledgers.iter().filter_map(|ledger| {
            ledger.book().acknowledged.values().filter(|fence| fence.0 > 0).max().cloned()
        });
        known.max()
    }
}
