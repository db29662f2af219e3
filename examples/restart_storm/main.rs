//! A thousand replicas of a service are deployed one after the other while a dependency is down:
//! how many of their requests reach it, before and after it is back.
//!
//! Compared are breakers without memory, breakers that each keep their state over the restart, and
//! a breaker that all replicas share.
//!
//! It is a simulation with real breakers on a clock that is moved by hand: no network, and always
//! the same numbers. The shared breaker is one for all replicas here; in a real fleet, an opening
//! takes some milliseconds to reach the others.
//!
//! ```sh
//! cargo run --release --example restart_storm
//! cargo run --release --example restart_storm -- restart_storm.svg
//! ```
//!
//! The second one also draws the requests a second.

mod chart;

use std::{env, error::Error, path::Path, time::Duration};

use tower_breaker::{
    Backoff, Breaker, BreakerBuilder, ConfigError, Permit, State, clock::ManualClock,
};

const REPLICAS: usize = 1000;
const SEED: u64 = 7;
/// The simulation goes on in steps of this.
const STEP: Duration = Duration::from_millis(200);
/// How likely it is that a replica makes a request in a step: two a second.
const REQUEST: f64 = 0.4;
/// The dependency goes down after this time, and is back after that.
const DOWN: Duration = Duration::from_secs(10);
const BACK: Duration = Duration::from_secs(900);
const END: Duration = Duration::from_secs(1200);
/// The deployment begins after this time, and takes so long.
const DEPLOYMENT: Duration = Duration::from_secs(60);
const DEPLOYMENT_TAKES: Duration = Duration::from_secs(600);

/// How the replicas remember.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    None,
    Store,
    Fleet,
}

/// The ways to remember, and what they are called.
const COMPARED: [(&str, Memory); 3] = [
    ("forgotten by a restart", Memory::None),
    ("kept by each replica", Memory::Store),
    ("shared by the fleet", Memory::Fleet),
];

#[derive(Default)]
struct Counted {
    /// Requests that reached the dependency, for each second.
    per_second: Vec<u32>,
    /// Requests that reached the dependency while it was down.
    while_down: u64,
    /// The most in one second while it was down, not counting the first minute.
    worst_second: u64,
    /// How long after its return half of the replicas sent requests again, and all.
    half_recovered: Option<Duration>,
    all_recovered: Option<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{REPLICAS} replicas, 2 requests a second each; the dependency is down for 15 minutes"
    );
    println!(
        "and all replicas are deployed meanwhile; 5 failures open a circuit for 30 s or more\n"
    );
    let [state, down, worst, half, all] =
        ["state", "while it is down", "worst second", "half recovered", "all recovered"];
    println!("{state:<26}{down:>18}{worst:>14}{half:>16}{all:>16}");
    let mut lines = Vec::new();
    for (name, memory) in COMPARED {
        let Counted { per_second, while_down, worst_second, half_recovered, all_recovered } =
            simulate(memory)?;
        lines.push((name, per_second));
        let [half, all] = [half_recovered, all_recovered]
            .map(|time| time.map_or("never".into(), |time| format!("after {time:.0?}")));
        println!("{name:<26}{while_down:>18}{worst_second:>14}{half:>16}{all:>16}");
    }
    println!("\nrequests that reach the dependency; the worst second is one of the deployment");
    if let Some(path) = env::args_os().nth(1) {
        chart::draw(Path::new(&path), &lines)?;
    }
    Ok(())
}

fn settings(clock: &ManualClock) -> BreakerBuilder {
    Breaker::builder("payments")
        .recovery_timeout(Duration::from_secs(30))
        .backoff(Backoff::new(2.0, Duration::from_secs(120)).jitter(0.2))
        .clock(clock.clone())
}

fn simulate(memory: Memory) -> Result<Counted, ConfigError> {
    // Also of the jitter.
    fastrand::seed(SEED);
    let clock = ManualClock::new();
    let first = settings(&clock).build()?;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        let breaker =
            if memory == Memory::Fleet { first.clone() } else { settings(&clock).build()? };
        replicas.push(breaker);
    }
    let mut counted = Counted::default();
    let mut second = (0, 0);
    let mut deployed = 0;
    let mut now = Duration::ZERO;
    while now < END {
        deploy(&mut replicas, &mut deployed, memory, now, &clock)?;
        let is_down = (DOWN..BACK).contains(&now);
        let mut reached = 0;
        // The requests of one step overlap.
        let mut calls: Vec<Permit> = Vec::new();
        for breaker in &replicas {
            if fastrand::f64() < REQUEST
                && let Ok(permit) = breaker.try_acquire()
            {
                reached += 1;
                calls.push(permit);
            }
        }
        for permit in calls {
            if is_down { permit.failure() } else { permit.success() }
        }
        count(&mut counted.per_second, now, reached);
        if is_down {
            counted.while_down += reached;
            if second.0 != now.as_secs() {
                second = (now.as_secs(), 0);
            }
            second.1 += reached;
            if now >= DEPLOYMENT {
                counted.worst_second = counted.worst_second.max(second.1);
            }
        } else if now >= BACK {
            let since = now.saturating_sub(BACK);
            let closed = replicas.iter().filter(|breaker| breaker.state() == State::Closed).count();
            if closed * 2 >= REPLICAS && counted.half_recovered.is_none() {
                counted.half_recovered = Some(since);
            }
            if closed == REPLICAS && counted.all_recovered.is_none() {
                counted.all_recovered = Some(since);
            }
        }
        clock.advance(STEP);
        now += STEP;
    }
    Ok(counted)
}

fn count(per_second: &mut Vec<u32>, now: Duration, reached: u64) {
    #[expect(clippy::cast_possible_truncation, reason = "at most 1200")]
    let seconds = now.as_secs() as usize;
    per_second.resize(seconds + 1, 0);
    per_second[seconds] += u32::try_from(reached).unwrap_or(u32::MAX);
}

/// Restarts the replicas whose turn has come.
fn deploy(
    replicas: &mut [Breaker],
    deployed: &mut usize,
    memory: Memory,
    now: Duration,
    clock: &ManualClock,
) -> Result<(), ConfigError> {
    let share = now.saturating_sub(DEPLOYMENT).div_duration_f64(DEPLOYMENT_TAKES).min(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1000")]
    let due = (share * REPLICAS as f64) as usize;
    for replica in &mut replicas[*deployed..due] {
        match memory {
            Memory::None => *replica = settings(clock).build()?,
            // What a store does, without one thread for each of a thousand stores.
            Memory::Store => *replica = settings(clock).restore(replica.snapshot()).build()?,
            Memory::Fleet => {}
        }
    }
    *deployed = due;
    Ok(())
}
