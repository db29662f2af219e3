//! The share against a model, with properties.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use tower_breaker::{Breaker, Config, State, Trip, clock::ManualClock};

use super::builder;

#[derive(Debug, Clone)]
enum Step {
    Success(u32),
    Failure(u32),
    Advance(u64),
    ByHand(u32, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12_u32;
    prop_oneof![
        3 => key.clone().prop_map(Step::Success),
        12 => key.clone().prop_map(Step::Failure),
        1 => (1..40_u64).prop_map(Step::Advance),
        1 => (key, 0..4_u8).prop_map(|(key, how)| Step::ByHand(key, how)),
    ]
}

/// When each key was seen, in steps of five seconds.
#[derive(Default)]
struct Seen(HashMap<u32, u64>);

impl Seen {
    fn limit(&self, now: u64, ratio: f64) -> usize {
        let keys = self.0.values().filter(|last| now / 5 - **last <= 12).count();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = (ratio * keys as f64 + 1e-9) as usize;
        share.max(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A circuit opens by a rule exactly if its streak is long enough and there is room, and the
    /// count of the open ones whose keys were seen lately is always the true one.
    #[test]
    fn a_circuit_opens_exactly_if_the_share_allows_it(
        steps in proptest::collection::vec(step(), 1..300),
        ratio in 0.05..1.0_f64,
        max_breakers in 3..14_usize,
    ) {
        const FAILURES: u32 = 3;
        let clock = ManualClock::new();
        let mut config = Config::default();
        config.trip_on = vec![Trip::consecutive_failures(FAILURES)];
        config.recovery_timeout = Duration::from_secs(20);
        let hosts = builder(ratio).config(config).max_breakers(max_breakers);
        let hosts = hosts.clock(clock.clone()).build().unwrap();
        let (mut seen, mut now) = (Seen::default(), 0);
        // When each open circuit has opened.
        let mut opened: HashMap<String, u64> = HashMap::new();
        let is_open = |breaker: &Breaker| {
            matches!(breaker.state(), State::Open | State::HalfOpen | State::ForcedOpen)
        };
        let count = |opened: &mut HashMap<String, u64>, seen: &Seen, now: u64| {
            let breakers = hosts.breakers();
            let open: Vec<&str> =
                breakers.iter().filter(|it| is_open(it)).map(Breaker::name).collect();
            opened.retain(|name, _| open.contains(&name.as_str()));
            for name in open {
                opened.entry(name.to_owned()).or_insert(now / 5);
            }
            let last = |name: &str, opened: u64| {
                let key = name.rsplit(':').next().unwrap().parse::<u32>().unwrap();
                seen.0.get(&key).map_or(opened, |seen| opened.max(*seen))
            };
            opened.iter().filter(|(name, at)| now / 5 - last(name, **at) <= 12).count()
        };
        for step in steps {
            match step {
                Step::Success(key) | Step::Failure(key) => {
                    let found = hosts.get_or_create(&key.to_string());
                    seen.0.insert(key, now / 5);
                    let Some(breaker) = found else { continue };
                    let (before, was_open) = (breaker.state(), count(&mut opened, &seen, now));
                    let streak = breaker.stats().consecutive_failures();
                    let Ok(permit) = breaker.try_acquire() else { continue };
                    match step {
                        Step::Success(_) => permit.success(),
                        _ => permit.failure(),
                    }
                    if before == State::Closed {
                        let trips = matches!(step, Step::Failure(_)) && streak + 1 >= FAILURES;
                        let may = was_open < seen.limit(now, ratio);
                        prop_assert_eq!(breaker.state() == State::Open, trips && may);
                    }
                }
                Step::Advance(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                }
                Step::ByHand(key, how) => {
                    let Some(breaker) = hosts.get(&key.to_string()) else { continue };
                    match how {
                        0 => breaker.reset(),
                        1 => breaker.force_open(),
                        2 => breaker.disable(),
                        _ => breaker.trip(),
                    }
                }
            }
            let counted = count(&mut opened, &seen, now);
            prop_assert_eq!(hosts.stats().open_limit.unwrap().open, counted as u64);
        }
    }
}
