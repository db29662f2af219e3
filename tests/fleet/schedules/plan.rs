//! What happens in a schedule, drawn from its seed.

use std::{fmt, time::Duration};

use crate::support::random::Random;

pub(crate) const REPLICAS: usize = 3;
const ROUNDS: usize = 3;
/// How long a round of disturbances lasts.
const ROUND: u64 = 1100;
/// The longest that news are late.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_millis(80);

/// A schedule: some rounds of disturbances, and after each a time in which the fleet must agree.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) quorum: u32,
    pub(crate) probes: u32,
    /// How many probes must succeed.
    pub(crate) needed: u32,
    /// Whether a rule counts the calls of all replicas.
    pub(crate) counts_all: bool,
    pub(crate) rounds: Vec<Vec<Step>>,
}

pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) action: Action,
}

/// What is done to the fleet. A number is that of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The dependency fails.
    Down,
    Up,
    /// The replica's own network to the dependency is cut.
    Blind(usize),
    Sees(usize),
    /// The network between the replica and Redis is cut.
    Cut(usize),
    Heal(usize),
    /// What Redis sends to the replica is late.
    Late(usize, Duration),
    InTime(usize),
    /// The newest news, or one of those before, come once more.
    Again(u64),
    Flush,
    /// Redis is killed, and comes back empty.
    RedisGone,
    RedisBack,
    /// Redis stands still (SIGSTOP).
    RedisStops,
    RedisGoesOn,
    /// The replica ends without giving anything back.
    Kill(usize),
    Start(usize),
    /// The replica makes no calls.
    Idle(usize),
    Busy(usize),
    ForceOpen(usize),
    Reset(usize),
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let quorum = if random.below(3) == 0 { 2 } else { 1 };
        let probes = if random.below(3) == 0 { 2 } else { 1 };
        let rounds = (0..ROUNDS).map(|_| round(&mut random)).collect();
        let needed = needed(seed);
        Self { seed, quorum, probes, needed, counts_all: seed % 3 == 2, rounds }
    }

    /// Two rounds: what happens while the standby lags, and while sentinels promote it. Only the
    /// dependency, the callers and operators do anything.
    pub(crate) fn of_failover(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut rounds: Vec<_> = (0..2).map(|_| round(&mut random)).collect();
        for steps in &mut rounds {
            steps.retain(|step| step.action.is_apart_from_redis());
            let at = Duration::from_millis(random.below(ROUND));
            let replica = random.index(REPLICAS);
            let by_hand = [Action::ForceOpen(replica), Action::Reset(replica)];
            steps.push(Step { at, action: by_hand[random.index(2)] });
            steps.sort_by_key(|step| step.at);
        }
        let probes = if random.below(3) == 0 { 2 } else { 1 };
        Self { seed, quorum: 1, probes, needed: needed(seed), counts_all: false, rounds }
    }
}

impl Action {
    fn is_apart_from_redis(self) -> bool {
        use Action::{Blind, Busy, Down, ForceOpen, Idle, Reset, Sees, Up};
        matches!(self, Down | Up | Blind(_) | Sees(_) | Idle(_) | Busy(_) | ForceOpen(_) | Reset(_))
    }
}

/// In every other schedule, one success does not suffice.
fn needed(seed: u64) -> u32 {
    if (seed / 2).is_multiple_of(2) { 1 } else { 2 }
}

fn round(random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    let at = Duration::from_millis;
    let fails_at = random.below(ROUND / 2);
    if random.below(5) > 0 {
        let most = if random.below(2) == 0 { 200 } else { ROUND - fails_at };
        let ends = fails_at + 30 + random.below(most);
        steps.push(Step { at: at(fails_at), action: Action::Down });
        steps.push(Step { at: at(ends), action: Action::Up });
    }
    for _ in 0..2 + random.below(4) {
        // Troubles like company.
        let begins = if random.below(2) == 0 {
            (fails_at + random.below(100)).saturating_sub(60)
        } else {
            random.below(ROUND)
        };
        let (action, end) = disturbance(random);
        steps.push(Step { at: at(begins), action });
        if let Some((lasts, action)) = end {
            steps.push(Step { at: at(begins + lasts), action });
        }
    }
    // Whatever lasts longer ends with the round.
    steps.retain(|step| step.at < at(ROUND));
    steps.sort_by_key(|step| step.at);
    steps
}

/// A disturbance, and how it ends after which time, in milliseconds.
fn disturbance(random: &mut Random) -> (Action, Option<(u64, Action)>) {
    let replica = random.index(REPLICAS);
    let lasts = 20 + random.below(900);
    match random.below(12) {
        0 | 1 => (Action::Cut(replica), Some((lasts, Action::Heal(replica)))),
        2 => {
            let most = u64::try_from(LONGEST_DELAY.as_millis()).unwrap();
            let delay = Duration::from_millis(5 + random.below(most - 4));
            (Action::Late(replica, delay), Some((lasts, Action::InTime(replica))))
        }
        3 => (Action::Again(random.below(5)), None),
        4 | 5 => (Action::Flush, None),
        6 => (Action::RedisGone, Some((lasts, Action::RedisBack))),
        7 => (Action::RedisStops, Some((lasts, Action::RedisGoesOn))),
        8 => (Action::Kill(replica), Some((lasts, Action::Start(replica)))),
        9 => (Action::Idle(replica), Some((lasts, Action::Busy(replica)))),
        10 => (Action::Blind(replica), Some((lasts, Action::Sees(replica)))),
        _ if random.below(2) == 0 => (Action::ForceOpen(replica), None),
        _ => (Action::Reset(replica), None),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, quorum, probes, needed, counts_all, rounds } = self;
        let counts = if *counts_all { "all calls count together" } else { "each counts its own" };
        writeln!(f, "seed {seed}: {quorum} must agree, {probes} may probe, {needed} must succeed")?;
        writeln!(f, "  {counts}")?;
        for (number, round) in rounds.iter().enumerate() {
            for Step { at, action } in round {
                writeln!(f, "  round {number}, {at:>8.0?}: {action:?}")?;
            }
        }
        Ok(())
    }
}
