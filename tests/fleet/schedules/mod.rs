//! Seeded schedules of outages on a real Redis: partitions, late and repeated news, a server that
//! is emptied, restarted or stands still, replicas that are killed, idle, or cut off from the
//! dependency, and states set by hand, all at random times while calls are made. In every tenth
//! schedule, sentinels promote a server that lags.
//!
//! What holds in each of them:
//!
//! * at most `half_open_max_calls` leases are valid at a time by the server's clock, each of one
//!   replica, and a replica that has joined probes under its own leases only, one probe for each;
//! * each state has a fence of its own, higher than what its maker knows, and than that of the
//!   state before it, unless the server has forgotten that one;
//! * no circuit is open for longer than the open time after the last failure;
//! * once all is well again, the fleet agrees within two seconds, on a state that is not older than
//!   one that the server has acknowledged to a replica that lives, and all circuits close.
//!
//! `FLEET_SEED=17 cargo test --all-features --test fleet schedules` runs the schedule of one seed.

mod dependency;
mod failover;
mod jitter;
mod ledger;
mod plan;
mod replica;
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use self::{failover::Failover, ledger::Moment, plan::Plan, world::World};
use crate::support::redis;

const OPEN_TIME: Duration = Duration::from_millis(600);
/// Of the rule over the calls of all replicas.
const WINDOW: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_millis(250);
/// The longest that a command takes, and an attempt to connect.
const TIMEOUT: Duration = Duration::from_millis(250);
const AGREES_WITHIN: Duration = Duration::from_secs(2);
/// The last digit of seeds whose schedule is a failover.
const FAILOVER: u64 = 7;
/// How many schedules run at a time: they wait most of the time.
const AT_ONCE: usize = 3;

/// The time by the clock that is also the server's.
fn now() -> Moment {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

#[needs::programs("redis-server")]
#[test]
fn the_fleet_keeps_its_promises_in_seeded_schedules_of_outages() {
    run(2..8);
}

#[test]
#[ignore = "takes minutes"]
fn the_fleet_keeps_its_promises_in_a_hundred_seeded_schedules() {
    run(1000..1100);
}

fn run(seeds: std::ops::Range<u64>) {
    if !redis::is_installed() {
        return;
    }
    let seeds = match env::var("FLEET_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => seeds,
    };
    let next = AtomicU64::new(seeds.start);
    let failures: Vec<String> = thread::scope(|scope| {
        let workers = [(); AT_ONCE].map(|()| {
            scope.spawn(|| {
                let mut failures = Vec::new();
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).filter(|seed| *seed < seeds.end)
                {
                    failures.extend(run_one(seed).err());
                }
                failures
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run_one(seed: u64) -> Result<(), String> {
    let (told, result) = if seed % 10 == FAILOVER {
        let plan = Plan::of_failover(seed);
        (plan.to_string(), Failover::run(&plan))
    } else {
        let plan = Plan::new(seed);
        let told = plan.to_string();
        let Some(world) = World::new(plan) else { return Ok(()) };
        (told, world.run())
    };
    match result {
        Ok(slowest) => println!("seed {seed}: the fleet agreed again within {slowest:.0?}"),
        Err(error) => {
            println!("seed {seed} fails: {error}");
            return Err(format!("{told}{error}\n"));
        }
    }
    Ok(())
}
