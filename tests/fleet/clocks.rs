//! A server whose clock goes back or ahead, as after a failover to a host with another clock.
//!
//! Scripts ask the server for the time, so it is the rest of the world that steps: the proxies of
//! the replicas change all times on their way, and what the server has stored is put where the new
//! clock has it.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, State,
    fleet::{Agreement, RedisFleet},
};

use crate::{
    proxy::Proxy,
    replica::{fail, joined, reaches, settings},
    support::{redis::RedisServer, wait::eventually},
};

const KEY: &str = "circuit_breaker:{0}:fleet:payments:breaker";
const REPLICAS: &str = "circuit_breaker:{0}:fleet:replicas";
const OPEN_TIME: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;

/// A server, and the only ways to it.
struct Clock {
    server: RedisServer,
    proxies: Vec<Proxy>,
}

impl Clock {
    fn new() -> Option<Self> {
        let server = RedisServer::start()?;
        let proxies = (0..3).map(|_| Proxy::to(&server)).collect();
        Some(Self { server, proxies })
    }

    fn replica(&self, number: usize, open_time: Duration, quorum: u32) -> Breaker {
        let fleet = RedisFleet::builder(&self.proxies[number].url())
            .lease(Duration::from_secs(600))
            .agreement(Agreement::replicas(quorum))
            .build()
            .unwrap();
        let settings = settings("payments").recovery_timeout(open_time);
        let breaker = settings.shared(fleet).build().unwrap();
        joined(&breaker);
        breaker
    }

    /// The server's clock goes ahead by this many seconds, or back if they are negative.
    fn step(&self, seconds: i64) {
        let micros = seconds * 1_000_000;
        // In one step, so that no command comes between.
        let script = format!(
            "for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do \
               local value = redis.call('HGET', KEYS[1], field) \
               local prefix = string.sub(field, 1, 2) \
               if field == 'u' and value ~= '0' then \
                 value = string.format('%.0f', value - {micros}) \
               elseif prefix == 'v:' or prefix == 'l:' then \
                 local till, lasts = string.match(value, '^(%d+) (%d+)$') \
                 value = string.format('%.0f', till - {micros}) .. ' ' .. lasts \
               end \
               redis.call('HSET', KEYS[1], field, value) \
             end \
             for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do \
               redis.call('ZINCRBY', KEYS[2], {by}, id) \
             end",
            by = -micros,
        );
        for proxy in &self.proxies {
            proxy.set_clock(seconds);
        }
        assert_eq!(self.server.command(&["EVAL", &script, "2", KEY, REPLICAS]), "(nil)");
    }

    /// How long the votes or leases with this prefix still last, in seconds.
    fn left(&self, prefix: &str) -> Vec<f64> {
        let time = self.server.command(&["TIME"]);
        let (seconds, micros) = time.split_once('\n').unwrap();
        let now = seconds.parse::<f64>().unwrap() + micros.parse::<f64>().unwrap() / 1e6;
        let fields = self.server.command(&["HGETALL", KEY]);
        let fields: Vec<&str> = fields.lines().collect();
        let spans = fields.chunks_exact(2).filter(|pair| pair[0].starts_with(prefix));
        let ends = spans.map(|pair| pair[1].split(' ').next().unwrap().parse::<f64>().unwrap());
        ends.map(|end| end / 1e6 - now).collect()
    }
}

/// How long until an open circuit admits a call.
fn open_for(breaker: &Breaker) -> Duration {
    breaker.try_acquire().unwrap_err().retry_after().unwrap()
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_starts_after_the_clock_has_gone_back_does_not_wait_for_a_whole_open_time() {
    let Some(clock) = Clock::new() else { return };
    let (first, second) = (clock.replica(0, OPEN_TIME, 1), clock.replica(1, OPEN_TIME, 1));
    fail(&first);
    reaches(&[&second], State::Open);
    let opened = Instant::now();
    eventually("some of the open time is over", || opened.elapsed() > Duration::from_secs(4));
    clock.step(-HOUR);
    let third = clock.replica(2, OPEN_TIME, 1);
    assert_eq!(third.state(), State::Open);
    eventually("its end is that of the others", || {
        open_for(&third) < open_for(&first) + Duration::from_secs(1)
    });
    assert!(open_for(&first) + Duration::from_secs(4) < OPEN_TIME);
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_counts_for_the_open_time_of_its_voter_although_the_clock_goes_ahead() {
    let Some(clock) = Clock::new() else { return };
    let [first, second, third] = [0, 1, 2].map(|number| clock.replica(number, OPEN_TIME, 2));
    fail(&first);
    eventually("the vote is counted", || clock.left("v:").iter().any(|left| *left > 0.0));
    clock.step(HOUR);
    assert!(clock.left("v:").iter().all(|left| *left < 0.0));
    eventually("it is cast again", || clock.left("v:").iter().any(|left| *left > 0.0));
    assert!(clock.left("v:").iter().all(|left| *left < OPEN_TIME.as_secs_f64()));
    fail(&second);
    reaches(&[&first, &second, &third], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn the_result_of_a_probe_counts_although_the_clock_goes_ahead_meanwhile() {
    let Some(clock) = Clock::new() else { return };
    let open_time = Duration::from_secs(2);
    let (first, second) = (clock.replica(0, open_time, 1), clock.replica(1, open_time, 1));
    fail(&first);
    reaches(&[&second], State::Open);
    reaches(&[&first, &second], State::HalfOpen);
    let mut probe = None;
    eventually("a probe is admitted", || {
        probe = first.try_acquire().ok();
        probe.is_some()
    });
    clock.step(HOUR);
    assert!(clock.left("l:").iter().all(|left| *left < 0.0));
    eventually("the lease is renewed", || clock.left("l:").iter().any(|left| *left > 0.0));
    assert!(second.try_acquire().is_err(), "one probe at a time");
    probe.unwrap().success();
    reaches(&[&first, &second], State::Closed);
}
