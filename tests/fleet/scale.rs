//! Measurements with many shared breakers, ignored unless run with
//! `cargo test --release --all-features --test fleet scale -- --ignored --nocapture`.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Permit, State, Trip,
    fleet::{FleetHealth, RedisFleet},
};

use crate::support::{redis::RedisServer, wait::eventually};

const REPLICAS: usize = 3;
const BREAKERS: usize = 10_000;
/// So many of them open and close all the time, each once in this time.
const FLAPPING: usize = 100;
const CYCLE: Duration = Duration::from_secs(2);
const OPEN_TIME: Duration = Duration::from_secs(1);
/// How often each replica calls each of those.
const CALLS: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_secs(20);

#[test]
#[ignore = "a measurement"]
fn ten_thousand_breakers_of_which_a_hundred_flap_take_less_than_500_operations_a_second() {
    let Some(server) = RedisServer::start() else { return };
    let empty = (used_memory(&server), resident());
    let began = Instant::now();
    let replicas: Vec<Vec<Breaker>> = (0..REPLICAS).map(|_| replica(&server)).collect();
    println!("{REPLICAS} times {BREAKERS} breakers built in {:?}", began.elapsed());
    eventually("all have joined", || replicas.iter().flatten().all(has_joined));
    let built = resident();
    println!("in the process: {} bytes a breaker", (built - empty.1) / (REPLICAS * BREAKERS));

    thread::sleep(Duration::from_secs(2));
    let rest = operations(&server, || thread::sleep(Duration::from_secs(10)));
    println!("at rest, a second: {rest}");
    let mut openings = 0;
    let flapping = operations(&server, || openings = flap(&replicas));
    println!("with {FLAPPING} flapping, a second: {flapping}");
    let cycles = FLAPPING * (MEASURED.as_millis() / CYCLE.as_millis()) as usize;
    println!("{openings} openings of {cycles} planned");
    assert!(openings * 10 >= cycles * 9, "{openings} openings");

    memory_of_keys(&server, &replicas, empty.0);
    assert!(flapping.of_clients < 500.0, "{flapping}");
}

fn replica(server: &RedisServer) -> Vec<Breaker> {
    let fleet = RedisFleet::open(&server.url()).unwrap();
    let build = |number| {
        let builder = Breaker::builder(format!("breaker-{number}"))
            .trip_on(Trip::consecutive_failures(3))
            .recovery_timeout(OPEN_TIME);
        builder.shared(fleet.clone()).build().unwrap()
    };
    (0..BREAKERS).map(build).collect()
}

fn has_joined(breaker: &Breaker) -> bool {
    breaker.fleet_health() == FleetHealth::Joined
}

/// Lets breakers open and close, and returns how often one opened.
fn flap(replicas: &[Vec<Breaker>]) -> usize {
    let began = Instant::now();
    let mut openings = 0;
    let mut next = [Duration::ZERO; FLAPPING];
    for (number, at) in next.iter_mut().enumerate() {
        *at = CYCLE.mul_f64(number as f64 / FLAPPING as f64);
    }
    let mut round = 0;
    while began.elapsed() < MEASURED {
        for (number, fails_at) in next.iter_mut().enumerate() {
            // Each replica has failures in turn.
            let failing = &replicas[(number + round / 20) % REPLICAS][number];
            if began.elapsed() >= *fails_at && failing.state() == State::Closed {
                *fails_at += CYCLE;
                for _ in 0..3 {
                    failing.try_acquire().into_iter().for_each(Permit::failure);
                }
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

/// What all breakers take in Redis once they have opened, and one that has never opened.
fn memory_of_keys(server: &RedisServer, replicas: &[Vec<Breaker>], empty: usize) {
    println!("{} keys with {FLAPPING} that have opened", server.command(&["DBSIZE"]));
    for breaker in &replicas[0] {
        breaker.force_open();
    }
    let key = |number: usize| format!("circuit_breaker:{{0}}:fleet:breaker:breaker-{number}");
    let is_there = |number| server.command(&["HGET", &key(number), "s"]) == "forced_open";
    eventually("all are stored", || is_there(0) && is_there(BREAKERS - 1));
    let one = server.command(&["MEMORY", "USAGE", &key(BREAKERS - 1)]);
    let stream = server.command(&["MEMORY", "USAGE", "circuit_breaker:{0}:fleet:news"]);
    let length = server.command(&["XLEN", "circuit_breaker:{0}:fleet:news"]);
    let all = (used_memory(server) - empty) / BREAKERS;
    println!("in Redis: {one} bytes a breaker, {all} with all overhead and the news;");
    println!("the news: {stream} bytes for {length} entries");
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
}

impl std::fmt::Display for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} commands, {:.1} with those of scripts:", self.of_clients, self.in_all)?;
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
    Operations { of_clients, in_all: by_command.values().sum(), by_command }
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
