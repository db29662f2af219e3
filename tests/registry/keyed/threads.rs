//! A group that several threads use at once.

use std::{collections::HashSet, thread};

use tower_breaker::{KeyedBreakers, State};

use crate::support::random::Random;

const MAX: usize = 8;

/// Keys come and go while others are used, opened and reset. Afterwards the group is whole.
#[test]
fn threads_that_create_use_and_replace_breakers_leave_the_group_whole() {
    for round in 0..20 {
        let group =
            KeyedBreakers::builder("keys").max_breakers(MAX).max_open_ratio(0.9).build().unwrap();
        for key in ["forced 0", "forced 1"] {
            group.get_or_create(key).unwrap().force_open();
        }
        thread::scope(|scope| {
            for thread in 0..4 {
                let group = &group;
                scope.spawn(move || {
                    let mut random = Random::new(round * 4 + thread);
                    for _ in 0..500 {
                        let key = format!("key {}", random.below(20));
                        let Some(breaker) = group.get_or_create(&key) else { continue };
                        match random.below(10) {
                            0 => breaker.reset(),
                            1 => breaker.trip(),
                            2 => assert!(group.len() <= MAX, "{}", group.len()),
                            _ => {
                                if let Ok(permit) = breaker.try_acquire() {
                                    permit.failure();
                                }
                            }
                        }
                    }
                });
            }
        });
        let breakers = group.breakers();
        let names: HashSet<&str> = breakers.iter().map(tower_breaker::Breaker::name).collect();
        assert_eq!((names.len(), group.len()), (breakers.len(), breakers.len()));
        assert!(breakers.len() <= MAX);
        for key in ["forced 0", "forced 1"] {
            assert_eq!(group.get(key).unwrap().state(), State::ForcedOpen);
        }
        let open = breakers.iter().filter(|breaker| breaker.state() != State::Closed).count();
        assert_eq!(group.stats().open_limit.unwrap().open, open as u64, "no slot is lost");
        // Every place can be taken again.
        group.reset_all();
        assert_eq!(group.stats().open_limit.unwrap().open, 0);
        for key in 0..3 * MAX {
            group.get_or_create(&format!("new {key}")).unwrap();
        }
        assert_eq!(group.len(), MAX);
    }
}
