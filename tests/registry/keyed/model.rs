//! A group against a simple model.

use std::collections::HashMap;

use proptest::prelude::*;
use tower_breaker::{KeyedBreakers, State};

const MAX: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Success(u8),
    Failure(u8),
    Get(u8),
    ForceOpen(u8),
    Reset(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..8_u8;
    prop_oneof![
        3 => key.clone().prop_map(Step::Success),
        5 => key.clone().prop_map(Step::Failure),
        1 => key.clone().prop_map(Step::Get),
        1 => key.clone().prop_map(Step::ForceOpen),
        1 => key.prop_map(Step::Reset),
    ]
}

proptest! {
    /// The model knows the streak of each key. The group may forget a closed key, and nothing else.
    #[test]
    fn a_group_forgets_only_closed_keys_and_is_never_larger_than_allowed(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let group = KeyedBreakers::builder("keys").max_breakers(MAX).build().unwrap();
        let mut known: HashMap<u8, (State, u32)> = HashMap::new();
        for step in steps {
            let (Step::Success(key) | Step::Failure(key) | Step::Get(key) | Step::ForceOpen(key)
                | Step::Reset(key)) = step;
            let before = known.clone();
            let found = match step {
                Step::Get(_) | Step::Reset(_) => group.get(&key.to_string()),
                _ => group.get_or_create(&key.to_string()),
            };
            let Some(breaker) = found else {
                let is_stuck = known.values().all(|(state, _)| *state != State::Closed);
                let was_asked = matches!(step, Step::Get(_) | Step::Reset(_));
                prop_assert!(!known.contains_key(&key) && (was_asked || is_stuck));
                continue;
            };
            let (state, streak) = known.entry(key).or_insert((State::Closed, 0));
            prop_assert_eq!(breaker.state(), *state);
            prop_assert_eq!(breaker.stats().consecutive_failures(), *streak);
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
                            *state = State::Open;
                            *streak = breaker.stats().consecutive_failures();
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
            // What has gone was closed.
            let names: Vec<String> =
                group.breakers().iter().map(|breaker| breaker.name().to_owned()).collect();
            known.retain(|key, _| names.contains(&format!("keys:{key}")));
            for (key, (state, _)) in before {
                let is_known = known.contains_key(&key);
                prop_assert!(is_known || state == State::Closed, "{} {}", key, state);
            }
            prop_assert!(group.len() <= MAX && group.len() == names.len());
        }
    }
}
