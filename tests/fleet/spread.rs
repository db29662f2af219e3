//! How fast a change on one process reaches the others.

use std::time::Duration;

use crate::{
    processes::{Replica, Upstream, trip},
    support::{redis::RedisServer, wait::eventually},
};

/// Longer than the test takes.
const OPEN_TIME: Duration = Duration::from_secs(600);

/// What the server has carried out.
struct Done {
    /// Scripts about breakers.
    scripts: u64,
    new_states: u64,
}

impl Done {
    fn by(server: &RedisServer) -> Self {
        let stats = server.command(&["INFO", "commandstats"]);
        let of = |command: &str| -> u64 {
            let prefix = format!("cmdstat_{command}:calls=");
            let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
            line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
        };
        // Each beat adds to the set of replicas, and each new state to the stream.
        let scripts = of("evalsha") + of("eval") - of("zadd");
        Self { scripts, new_states: of("xadd") }
    }
}

/// How a change on one process has reached the others.
#[derive(Debug)]
struct Spread {
    scripts: u64,
    delay: Duration,
}

impl Spread {
    /// Changes the state on the first one.
    ///
    /// # Panics
    ///
    /// If there is not one new state on the server, or another process has it before the server.
    fn of(server: &RedisServer, replicas: &[Replica; 3], change: impl Fn(&Replica)) -> Self {
        const NEWS: &str = "circuit_breaker:{0}:fleet:news";
        let [first, others @ ..] = replicas;
        let before = Done::by(server);
        change(first);
        let state = first.state();
        for other in others {
            other.reaches(&state);
        }
        let after = Done::by(server);
        assert_eq!(after.new_states - before.new_states, 1, "one new state");
        let newest = server.command(&["XREVRANGE", NEWS, "+", "-", "COUNT", "1"]);
        let id = newest.lines().next().unwrap().split('-').next().unwrap();
        let stored = Duration::from_millis(id.parse().unwrap());
        let changed = first.changed();
        let learned = others.iter().map(Replica::changed);
        for at in learned.clone() {
            // The stream's clock has milliseconds.
            assert!(stored <= at && changed <= at, "{changed:?}, {stored:?}, {at:?}");
        }
        let delay = learned.max().unwrap().saturating_sub(changed);
        Self { scripts: after.scripts - before.scripts, delay }
    }

    /// More than one script are those of a command that was late, or of a replica that has joined
    /// again.
    fn is_quick(&self) -> bool {
        self.scripts == 1 && self.delay <= Duration::from_millis(100)
    }
}

/// The first probe of all closes the circuit: how long the others take to know.
fn recover(replicas: &[Replica; 3], upstream: &Upstream) -> Duration {
    let [first, others @ ..] = replicas;
    upstream.set_healthy(false);
    trip(first);
    for replica in replicas {
        replica.reaches("half_open");
    }
    upstream.set_healthy(true);
    eventually("a probe succeeds", || first.ask("call") == "ok");
    for replica in replicas {
        replica.reaches("closed");
    }
    let closed = first.changed();
    others.iter().map(|other| other.changed().saturating_sub(closed)).max().unwrap()
}

/// As below: one of ten is not disturbed.
#[needs::programs("redis-server")]
#[test]
fn a_probe_that_closes_the_circuit_of_one_process_closes_that_of_the_others_within_100_ms() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    // Longer than it takes until all are open.
    let open_time = Duration::from_secs(2);
    let start = |id| Replica::start_with(&server, &upstream, id, 1, open_time);
    let replicas = ["a", "b", "c"].map(start);
    let mut delays = Vec::new();
    let is_quick = |delay: &Duration| *delay <= Duration::from_millis(100);
    while delays.len() < 10 && delays.iter().filter(|delay| is_quick(delay)).count() < 3 {
        delays.push(recover(&replicas, &upstream));
    }
    println!("closed on all three: {delays:?}");
    assert!(delays.iter().any(is_quick), "{delays:?}");
}

/// The times are those of the server and of the processes. On a busy machine a process may stand
/// still for longer than the change takes. So what is asserted of each one does not depend on that:
/// there is one new state, and the others take it over after the server has it. Of ten, one at
/// least is not disturbed: it costs one script, the others learn it by their next read and by
/// nothing else, and all of that takes 100 ms at most. A pause of the fleet's own would be in each.
#[needs::programs("redis-server")]
#[test]
fn a_change_on_one_process_is_one_script_and_reaches_the_others_within_100_ms() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let start = |id| Replica::start_with(&server, &upstream, id, 1, OPEN_TIME);
    let replicas = ["a", "b", "c"].map(start);
    upstream.set_healthy(false);
    let (mut openings, mut closings) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        openings.push(Spread::of(&server, &replicas, trip));
        closings.push(Spread::of(&server, &replicas, |first| {
            first.ask("reset");
        }));
    }
    println!("open on all three: {openings:?}\nclosed: {closings:?}");
    assert!(openings.iter().any(Spread::is_quick), "{openings:?}");
    assert!(closings.iter().any(Spread::is_quick), "{closings:?}");
}
