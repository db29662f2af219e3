//! A group against a simple model.

use std::collections::{HashMap, HashSet};

use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};
use tower_breaker::{Breaker, KeyedBreakers, State};

#[derive(Debug, Clone)]
enum Step {
    Success(u8),
    Failure(u8),
    Get(u8),
    ForceOpen(u8),
    Reset(u8),
}

impl Step {
    const fn key(&self) -> u8 {
        let (Self::Success(key)
        | Self::Failure(key)
        | Self::Get(key)
        | Self::ForceOpen(key)
        | Self::Reset(key)) = self;
        *key
    }
}

fn step(keys: u8) -> impl Strategy<Value = Step> {
    let key = 0..keys;
    prop_oneof![
        3 => key.clone().prop_map(Step::Success),
        5 => key.clone().prop_map(Step::Failure),
        1 => key.clone().prop_map(Step::Get),
        1 => key.clone().prop_map(Step::ForceOpen),
        1 => key.prop_map(Step::Reset),
    ]
}

proptest! {
    #[test]
    fn a_group_forgets_only_closed_keys_and_is_never_larger_than_allowed(
        steps in vec(step(8), 1..200),
    ) {
        check(4, steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_group_of_a_hundred_loses_no_call_while_one_of_its_breakers_is_closed(
        steps in vec(step(200), 300..1000),
    ) {
        // Full, and each breaker was used.
        let filled = (0..200).map(|call| Step::Success(call % 100));
        check(100, filled.chain(steps).collect())?;
    }
}

/// The model knows the streak of each key. The group may forget a closed key, and nothing else.
fn check(max: usize, steps: Vec<Step>) -> TestCaseResult {
    let group = KeyedBreakers::builder("keys").max_breakers(max).build().unwrap();
    let mut known: HashMap<u8, (State, u32)> = HashMap::new();
    for step in steps {
        let found = match step {
            Step::Get(key) | Step::Reset(key) => group.get(&key.to_string()),
            Step::Success(key) | Step::Failure(key) | Step::ForceOpen(key) => {
                group.get_or_create(&key.to_string())
            }
        };
        let Some(breaker) = found else {
            let is_stuck = known.values().all(|(state, _)| *state != State::Closed);
            let was_asked = matches!(step, Step::Get(_) | Step::Reset(_));
            prop_assert!(!known.contains_key(&step.key()) && (was_asked || is_stuck));
            continue;
        };
        let of_key = known.entry(step.key()).or_insert((State::Closed, 0));
        prop_assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), *of_key);
        take(&step, &breaker, of_key);
        let breakers = group.breakers();
        let names: HashSet<&str> = breakers.iter().map(Breaker::name).collect();
        let (stayed, gone): (HashMap<_, _>, HashMap<_, _>) =
            known.into_iter().partition(|(key, _)| names.contains(&*format!("keys:{key}")));
        prop_assert!(gone.values().all(|(state, _)| *state == State::Closed), "{:?}", gone);
        prop_assert!(group.len() <= max && group.len() == names.len());
        known = stayed;
    }
    Ok(())
}

/// Takes a step, and notes what the breaker of its key has then.
fn take(step: &Step, breaker: &Breaker, (state, streak): &mut (State, u32)) {
    match step {
        Step::Success(_) => {
            if let Ok(permit) = breaker.try_acquire() {
                permit.success();
                *streak = 0;
            }
        }
        Step::Failure(_) => {
            if let Ok(permit) = breaker.try_acquire() {
                permit.failure();
                *streak += 1;
                if *streak == 5 {
                    (*state, *streak) = (State::Open, breaker.stats().consecutive_failures());
                }
            }
        }
        Step::ForceOpen(_) => {
            breaker.force_open();
            (*state, *streak) = (State::ForcedOpen, breaker.stats().consecutive_failures());
        }
        Step::Reset(_) => {
            breaker.reset();
            (*state, *streak) = (State::Closed, 0);
        }
        Step::Get(_) => {}
    }
}
