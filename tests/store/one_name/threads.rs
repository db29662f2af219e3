//! Breakers of one name that come and go in threads.

use tower_breaker::{Breaker, MemoryStore, State};

use super::{build_on, stored};

#[test]
fn breakers_of_one_name_that_come_and_go_in_threads_lose_no_state() {
    let store = MemoryStore::new();
    let first = build_on(&store);
    first.force_open();
    drop(first);
    let check = |breaker: &Breaker| assert_eq!(breaker.state(), State::ForcedOpen);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut kept = None;
                for round in 0..150 {
                    let breaker = build_on(store);
                    check(&breaker);
                    if (round + thread) % 3 == 0 {
                        // Drops the one from before, after the younger one was built.
                        kept = Some(breaker);
                    } else if round % 7 == 0 {
                        drop(kept.take());
                    }
                    kept.iter().for_each(check);
                }
            });
        }
    });
    assert_eq!(stored(&store).state, State::ForcedOpen);
    check(&build_on(&store));
}
