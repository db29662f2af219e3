//! Measurements with many shared breakers, ignored unless run with
//! `cargo test --release --all-features --test fleet scale -- --ignored --nocapture`.
//!
//! Other bounds: `FLEET_OPERATIONS_BOUND` a second, and `REJOIN_BOUND` in seconds.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, BreakerBuilder, Config, Permit, State, Trip,
    fleet::{FleetHealth, RedisFleet},
};

use crate::support::{bound::bound, redis::RedisServer, wait::eventually};

/// How often each breaker that flaps opens.
const CYCLE: Duration = Duration::from_secs(2);
const OPEN_TIME: Duration = Duration::from_secs(1);
/// How often each replica calls each of those.
const CALLS: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_secs(20);

/// A hundred of them open and close all the time.
#[test]
#[ignore = "a measurement"]
fn three_replicas_of_ten_thousand_breakers_take_less_than_500_operations_a_second() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = measure_rest(&server, 3, 10_000);
    let flapping = measure_flapping(&server, &replicas, 100);
    measure_trips(&server, &replicas);
    assert!(flapping.of_clients < bound("FLEET_OPERATIONS_BOUND", 500.0), "{flapping}");
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_replicas_of_ten_breakers() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = measure_rest(&server, 100, 10);
    measure_flapping(&server, &replicas, 1);
    measure_trips(&server, &replicas);
}

/// All lose their connections to a server that has forgotten everything.
#[test]
#[ignore = "a measurement"]
fn thousands_of_breakers_join_again_within_seconds() {
    for (replicas, breakers) in [(3, 10_000), (40, 500), (100, 200)] {
        let Some(server) = RedisServer::start() else { return };
        let fleet: Vec<_> = (0..replicas).map(|_| replica(&server, breakers)).collect();
        eventually("all have joined", || fleet.iter().flatten().all(has_joined));
        for round in 0..3 {
            let took = measure_rejoin(&server, &fleet);
            println!("round {round}: {replicas} replicas of {breakers} breakers: {took:.1?}");
            assert!(took.as_secs_f64() < bound("REJOIN_BOUND", 10.0), "{took:?}");
        }
    }
}

fn measure_rejoin(server: &RedisServer, fleet: &[Vec<Breaker>]) -> Duration {
    let scripts = || calls(server).get("evalsha").copied().unwrap_or(0);
    let before = scripts();
    server.command(&["FLUSHALL"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    let began = Instant::now();
    let all = fleet.iter().map(Vec::len).sum::<usize>() as u64;
    // The others of a replica are in the fleet with its last one.
    let has_joined = || fleet.iter().filter_map(|one| one.last()).all(has_joined);
    eventually("all have joined again", || scripts() - before >= all && has_joined());
    began.elapsed()
}

fn measure_rest(server: &RedisServer, replicas: usize, breakers: usize) -> Vec<Vec<Breaker>> {
    let alone: Vec<_> = (0..10_000).map(|number| settings(number).build().unwrap()).collect();
    let before = resident();
    let more: Vec<_> = (0..10_000).map(|number| settings(number).build().unwrap()).collect();
    let unshared = resident().saturating_sub(before) / more.len();
    std::mem::forget((alone, more));

    let before = resident();
    let began = Instant::now();
    let fleet: Vec<_> = (0..replicas).map(|_| replica(server, breakers)).collect();
    println!("\n{replicas} replicas of {breakers} breakers built in {:?}", began.elapsed());
    eventually("all have joined", || fleet.iter().flatten().all(has_joined));
    let shared = resident().saturating_sub(before) / (replicas * breakers);
    println!("in the process: {shared} bytes a breaker; {unshared} if it is not shared");
    println!("Redis with no key but of the fleet itself: {} bytes", used_memory(server));
    thread::sleep(Duration::from_secs(2));
    let rest = operations(server, || thread::sleep(Duration::from_secs(10)));
    println!("at rest, a second: {rest}");
    fleet
}

fn measure_flapping(
    server: &RedisServer,
    replicas: &[Vec<Breaker>],
    flapping: usize,
) -> Operations {
    let mut openings = 0;
    let rate = operations(server, || openings = flap(replicas, flapping));
    println!("with {flapping} flapping, a second: {rate}");
    let cycles = MEASURED.div_duration_f64(CYCLE) * flapping as f64;
    println!("{openings} openings of {cycles} planned");
    assert!(openings as f64 >= 0.8 * cycles, "{openings} openings");
    rate
}

/// All breakers trip on all replicas at once, and all recover.
fn measure_trips(server: &RedisServer, replicas: &[Vec<Breaker>]) {
    let every = || replicas.iter().flatten();
    eventually("all are closed", || {
        call_all(replicas);
        every().all(|breaker| breaker.state() == State::Closed)
    });
    // So that no vote lapses while others are on their way.
    for breaker in every() {
        let mut config = Config::clone(&breaker.config());
        config.recovery_timeout = Duration::from_secs(20);
        breaker.update(config).unwrap();
    }
    let empty = used_memory(server);
    let (before, began) = (calls(server), Instant::now());
    let times = || (cpu_time(), cpu_time_of(server));
    let (own, of_server) = times();
    thread::scope(|scope| {
        for replica in replicas {
            scope.spawn(|| replica.iter().for_each(trip));
        }
    });
    println!("all have tripped by themselves after {:?}", began.elapsed());
    let is_stored = |breaker: &Breaker| {
        let key = format!("circuit_breaker:{{0}}:fleet:{}:breaker", breaker.name());
        server.command(&["HGET", &key, "s"]) == "open"
    };
    eventually("all are stored", || replicas[0].last().is_some_and(is_stored));
    let stored = began.elapsed();
    let (own, of_server) = (times().0 - own, times().1 - of_server);
    println!("CPU time until then: {own:.1} s of all replicas, {of_server:.1} s of the server");
    let is_open = |breaker: &Breaker| breaker.state() == State::Open;
    println!("{} of {} open then", every().filter(|one| is_open(one)).count(), every().count());
    eventually("all are closed again", || {
        call_all(replicas);
        every().all(|breaker| breaker.state() == State::Closed)
    });
    let (recovered, after) = (began.elapsed(), calls(server));
    let of = |command: &str| after.get(command).unwrap_or(&0) - before.get(command).unwrap_or(&0);
    let (scripts, reads) = (of("evalsha"), of("xread"));
    println!("all tripped: the last of them stored after {stored:?}, all closed {recovered:?}");
    println!("after the trips, with {scripts} scripts and {reads} reads");

    let breakers = &replicas[0];
    let key = format!("circuit_breaker:{{0}}:fleet:{}:breaker", breakers[0].name());
    let one = server.command(&["MEMORY", "USAGE", &key]);
    let news = "circuit_breaker:{0}:fleet:news";
    let (size, length) =
        (server.command(&["MEMORY", "USAGE", news]), server.command(&["XLEN", news]));
    let grown = used_memory(server).saturating_sub(empty) / breakers.len();
    println!(
        "in Redis: {one} bytes for a breaker, {grown} more for each of all with all overhead;"
    );
    println!("the news: {size} bytes for {length} entries");
}

/// The seconds for which this process has used a core.
fn cpu_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    // In user and system mode, in hundredths.
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

/// The same of the server.
fn cpu_time_of(server: &RedisServer) -> f64 {
    let info = server.command(&["INFO", "cpu"]);
    let of = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

fn trip(breaker: &Breaker) {
    for _ in 0..3 {
        breaker.try_acquire().into_iter().for_each(Permit::failure);
    }
}

/// Makes a good call to each.
fn call_all(replicas: &[Vec<Breaker>]) {
    for breaker in replicas.iter().flatten() {
        breaker.try_acquire().into_iter().for_each(Permit::success);
    }
}

fn settings(number: usize) -> BreakerBuilder {
    Breaker::builder(format!("breaker-{number}"))
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(OPEN_TIME)
}

fn replica(server: &RedisServer, breakers: usize) -> Vec<Breaker> {
    let fleet = RedisFleet::open(&server.url()).unwrap();
    let build = |number| settings(number).shared(fleet.clone()).build().unwrap();
    (0..breakers).map(build).collect()
}

fn has_joined(breaker: &Breaker) -> bool {
    breaker.fleet_health() == FleetHealth::Joined
}

/// Lets breakers open and close, and returns how often one opened.
fn flap(replicas: &[Vec<Breaker>], flapping: usize) -> usize {
    let began = Instant::now();
    let mut openings = 0;
    let mut next = vec![Duration::ZERO; flapping];
    for (number, at) in next.iter_mut().enumerate() {
        *at = CYCLE.mul_f64(number as f64 / flapping as f64);
    }
    let mut round = 0;
    while began.elapsed() < MEASURED {
        for (number, fails_at) in next.iter_mut().enumerate() {
            // Each replica has failures in turn.
            let failing = &replicas[(number + round / 20) % replicas.len()][number];
            if began.elapsed() >= *fails_at && failing.state() == State::Closed {
                *fails_at += CYCLE;
                trip(failing);
                openings += usize::from(failing.state() == State::Open);
                continue;
            }
            for replica in replicas {
                replica[number].try_acquire().into_iter().for_each(Permit::success);
            }
        }
        round += 1;
        let due = u32::try_from(round).unwrap() * CALLS;
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    openings
}

fn used_memory(server: &RedisServer) -> usize {
    let info = server.command(&["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Operations a second.
struct Operations {
    /// Commands that clients have sent.
    of_clients: f64,
    /// The same with those that scripts have called.
    in_all: f64,
    by_command: BTreeMap<String, f64>,
    /// How long the server has taken for a command on average, so far.
    times: Vec<(&'static str, String)>,
}

impl std::fmt::Display for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} commands, {:.1} with those of scripts:", self.of_clients, self.in_all)?;
        for (command, time) in &self.times {
            write!(f, " {time} µs for each {command},")?;
        }
        for (command, rate) in self.by_command.iter().filter(|(_, rate)| **rate >= 0.05) {
            write!(f, " {command} {rate:.1}")?;
        }
        Ok(())
    }
}

fn operations(server: &RedisServer, work: impl FnOnce()) -> Operations {
    /// What the fleet sends itself. `TIME` is counted apart: scripts call it too.
    const OF_CLIENTS: [&str; 9] =
        ["eval", "evalsha", "xread", "xrevrange", "ping", "hello", "client", "auth", "select"];
    let (before, began) = (calls(server), Instant::now());
    work();
    let (after, seconds) = (calls(server), began.elapsed().as_secs_f64());
    let rate =
        |command: &String| (after[command] - before.get(command).unwrap_or(&0)) as f64 / seconds;
    let mut by_command: BTreeMap<String, f64> =
        after.keys().map(|command| (command.clone(), rate(command))).collect();
    by_command.retain(|command, _| command != "info");
    let of = |command: &str| by_command.get(command).copied().unwrap_or(0.0);
    let in_scripts = of("eval") + of("evalsha");
    let times = (of("time") - in_scripts).max(0.0);
    let of_clients = OF_CLIENTS.iter().map(|command| of(command)).sum::<f64>() + times;
    let times = ["evalsha", "xread"].map(|command| (command, time_of(server, command)));
    let in_all = by_command.values().sum();
    Operations { of_clients, in_all, by_command, times: times.into() }
}

/// How long a command takes on the server, in microseconds.
fn time_of(server: &RedisServer, command: &str) -> String {
    let info = server.command(&["INFO", "commandstats"]);
    let found = info.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    let time = found.and_then(|line| line.split_once("usec_per_call=")?.1.split(',').next());
    time.unwrap_or("?").to_owned()
}

/// How often each command has been carried out.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let info = server.command(&["INFO", "commandstats"]);
    let parse = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(parse).collect()
}
