//! A fleet with its server and its dependency, to which a schedule happens.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{State, fleet::FleetHealth};

use super::{
    AGREES_WITHIN, LEASE, OPEN_TIME,
    dependency::{Dependency, Probe},
    jitter::Jitter,
    ledger::{Fence, Ledger},
    now,
    plan::{Action, Plan, REPLICAS, Step},
    replica::{Callers, Replica},
};
use crate::support::redis::RedisServer;

pub(crate) struct World {
    plan: Plan,
    ledger: Ledger,
    replicas: Vec<Arc<Replica>>,
    dependency: Arc<Dependency>,
    jitter: Arc<Jitter>,
    server: RedisServer,
    /// Whether Redis is not killed, and whether it runs.
    redis: (bool, bool),
    slowest: Duration,
}

impl World {
    /// `None`: there is no `redis-server`.
    pub(crate) fn new(plan: Plan) -> Option<Self> {
        let server = RedisServer::start()?;
        let ledger = Ledger::of(&server, plan.probes);
        let replicas: Vec<_> =
            (0..REPLICAS).map(|number| Arc::new(Replica::new(number, &server))).collect();
        for replica in &replicas {
            replica.start(&plan);
        }
        let (dependency, jitter) = (Arc::default(), Jitter::start());
        let redis = (true, true);
        let slowest = Duration::ZERO;
        Some(Self { plan, ledger, replicas, dependency, jitter, server, redis, slowest })
    }

    /// Lets the schedule happen. Returns how long the fleet took at most to agree again.
    pub(crate) fn run(mut self) -> Result<Duration, String> {
        let (replicas, seed) = (&self.replicas, self.plan.seed);
        let callers = Callers::of(replicas, &self.dependency, &self.jitter, seed);
        let mut result = self.settle();
        for round in std::mem::take(&mut self.plan.rounds) {
            result = result.and_then(|()| {
                self.disturb(&round);
                self.settle()
            });
        }
        callers.end();
        // Its connections end by themselves.
        self.ledger.catch_up(&self.server);
        result?;
        let mut violations = self.dependency.violations();
        violations.extend(self.ledger.book().violations.iter().cloned());
        violations.extend(self.unleased_probes());
        if violations.is_empty() { Ok(self.slowest) } else { Err(violations.join("\n")) }
    }

    fn disturb(&mut self, round: &[Step]) {
        let began = Instant::now();
        for Step { at, action } in round {
            thread::sleep(at.saturating_sub(began.elapsed()));
            self.act(*action);
        }
    }

    fn act(&mut self, action: Action) {
        let replicas = &self.replicas;
        match action {
            Action::Down | Action::Up => self.dependency.set_down(action == Action::Down),
            Action::Blind(number) | Action::Sees(number) => {
                replicas[number].set_blind(action == Action::Blind(number));
            }
            Action::Cut(number) => {
                replicas[number].disturb(true);
                replicas[number].proxy.cut();
            }
            Action::Heal(number) => self.heal(number),
            Action::Late(number, delay) => {
                replicas[number].disturb(true);
                replicas[number].proxy.delay(delay);
            }
            Action::InTime(number) => {
                replicas[number].proxy.delay(Duration::ZERO);
                replicas[number].disturb(false);
            }
            Action::Again(number) if self.redis == (true, true) => self.say_again(number),
            Action::Flush if self.redis == (true, true) => {
                self.server.command(&["FLUSHALL"]);
            }
            Action::RedisGone => self.lose_redis(),
            Action::RedisBack => self.bring_redis_back(),
            Action::RedisStops if self.redis == (true, true) => {
                self.disturb_all(true);
                self.server.signal("STOP");
                self.redis.1 = false;
            }
            Action::RedisGoesOn => self.let_redis_go_on(),
            Action::Kill(number) => {
                replicas[number].disturb(true);
                replicas[number].proxy.cut();
                replicas[number].kill();
            }
            Action::Start(number) => self.start(number),
            Action::Idle(number) | Action::Busy(number) => {
                replicas[number].set_idle(action == Action::Idle(number));
            }
            Action::ForceOpen(number) => {
                let _ = replicas[number].breaker().map(|breaker| breaker.force_open());
            }
            Action::Reset(number) => {
                let _ = replicas[number].breaker().map(|breaker| breaker.reset());
            }
            Action::Again(_) | Action::Flush | Action::RedisStops => {}
        }
    }

    fn disturb_all(&self, is_disturbed: bool) {
        for replica in &self.replicas {
            replica.disturb(is_disturbed);
        }
    }

    fn heal(&self, number: usize) {
        // While Redis is away, all are cut.
        if self.redis.0 {
            self.replicas[number].proxy.heal();
            self.replicas[number].disturb(false);
        }
    }

    fn start(&self, number: usize) {
        if self.replicas[number].breaker().is_none() {
            self.heal(number);
            self.replicas[number].start(&self.plan);
        }
    }

    /// Puts the newest news on the stream once more, or some from before.
    fn say_again(&self, number: u64) {
        let stream = "circuit_breaker:{0}:fleet:news";
        let count = (number + 1).to_string();
        let news = self.server.command(&["XREVRANGE", stream, "+", "-", "COUNT", &count]);
        // An id, and the fields of the oldest of them.
        let lines: Vec<&str> = news.lines().collect();
        let Some(begins) = lines.iter().rposition(|line| *line == "i") else { return };
        let shard = "circuit_breaker:{0}:fleet:shard";
        let serial = self.server.command(&["HINCRBY", shard, "news", "1"]);
        let mut again = vec!["XADD", stream, "*", "i", &serial];
        again.extend(&lines[begins + 2..]);
        self.server.command(&again);
    }

    /// The replicas lose their connections with it, and get new ones once it is back and the
    /// ledger is written again.
    fn lose_redis(&mut self) {
        if self.redis == (true, true) {
            for replica in &self.replicas {
                replica.disturb(true);
                replica.proxy.cut();
            }
            self.server.stop();
            self.redis.0 = false;
        }
    }

    fn bring_redis_back(&mut self) {
        if !self.redis.0 {
            self.server.restart();
            self.ledger.attached();
            self.redis.0 = true;
            (0..REPLICAS).for_each(|number| self.heal(number));
        }
    }

    fn let_redis_go_on(&mut self) {
        if !self.redis.1 {
            self.server.signal("CONT");
            self.redis.1 = true;
            self.disturb_all(false);
        }
    }

    /// Ends all disturbances, and waits until the fleet agrees and is well.
    fn settle(&mut self) -> Result<(), String> {
        self.bring_redis_back();
        self.let_redis_go_on();
        self.dependency.set_down(false);
        for (number, replica) in self.replicas.iter().enumerate() {
            replica.set_blind(false);
            replica.set_idle(false);
            replica.proxy.delay(Duration::ZERO);
            self.heal(number);
        }
        (0..REPLICAS).for_each(|number| self.start(number));
        let began = Instant::now();
        self.wait("the fleet agrees", AGREES_WITHIN, Self::agrees)?;
        self.slowest = self.slowest.max(began.elapsed());
        let states = self.states();
        if [State::ForcedOpen, State::Disabled, State::MetricsOnly].contains(&states[0]) {
            let _ = self.replicas[REPLICAS - 1].breaker().map(|breaker| breaker.reset());
        }
        let recovers = OPEN_TIME + 2 * LEASE + AGREES_WITHIN;
        self.wait("all circuits are closed", recovers, |world| {
            world.states().iter().all(|state| *state == State::Closed)
        })
    }

    fn wait(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() > limit + self.jitter.slack() {
                let (states, book) = (self.states(), self.ledger.book());
                let health: Vec<_> =
                    self.replicas.iter().filter_map(|replica| replica.breaker()).collect();
                let health: Vec<_> =
                    health.iter().map(|breaker| breaker.fleet_health().to_string()).collect();
                let acknowledged = self.acknowledged(&book.acknowledged);
                return Err(format!(
                    "not within {limit:?}: {what}; {states:?}, {health:?}; {:?}; {acknowledged:?}",
                    book.record,
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
    fn agrees(&self) -> bool {
        let has_joined = |replica: &Arc<Replica>| {
            replica.breaker().is_some_and(|breaker| breaker.fleet_health() == FleetHealth::Joined)
        };
        if !self.replicas.iter().all(has_joined) {
            return false;
        }
        self.ledger.catch_up(&self.server);
        let book = self.ledger.book();
        let fence = book.record.as_ref().map(|record| record.fence.clone());
        let state = book.state_at(now());
        // With a quorum, a replica that has tripped may be open alone.
        let is_by_hand = |state: &str| state == State::ForcedOpen.as_str();
        let may_differ = self.plan.quorum > 1 && !is_by_hand(state);
        let is_same = |is: &State| is.as_str() == state || (may_differ && !is_by_hand(is.as_str()));
        self.states().iter().all(is_same) && fence >= self.acknowledged(&book.acknowledged)
    }

    /// The highest fence that any living replica has been told by the server.
    fn acknowledged(&self, known: &HashMap<u16, Fence>) -> Option<Fence> {
        let of_living = known
            .iter()
            .filter(|(port, _)| self.replicas.iter().any(|replica| replica.lives_on(**port)));
        of_living.map(|(_, fence)| fence.clone()).filter(|fence| fence.0 > 0).max()
    }

    /// Probes that were admitted although their replica had no lease of the server's for it.
    fn unleased_probes(&self) -> Vec<String> {
        let (book, mut found) = (self.ledger.book(), Vec::new());
        if self.plan.quorum > 1 {
            // A replica that is open alone needs no lease.
            return found;
        }
        let probes = self.dependency.probes();
        for probe in &probes {
            let leases = book.leases.iter().filter(|lease| {
                self.replicas[probe.replica].proxy.owns(lease.owner)
                    && lease.from <= probe.admitted.1
                    && lease.until >= probe.admitted.0
            });
            // Its own, and those of the same replica that were surely out at that moment.
            let is_out = |other: &&Probe| {
                other.replica == probe.replica
                    && other.admitted.1 < probe.admitted.0
                    && other.ended > probe.admitted.1
            };
            let (leases, out) = (leases.count(), 1 + probes.iter().filter(is_out).count());
            if leases < out {
                found.push(format!("{out} probes under {leases} leases: {probe:?}"));
            }
        }
        found
    }
}
