//! What happens between a search for a breaker to replace and its removal.

use std::time::Duration;

use super::*;
use crate::{clock::ManualClock, handle::Breaker, registry::keyed::KeyedBreakers, state::State};

fn attempt(
    group: &KeyedBreakers,
    key: &str,
    found: Option<&Candidate<Breaker>>,
) -> Attempt<Breaker, ()> {
    let table = &group.table;
    let key = table.hasher.hash(key);
    let mut make = |config: &_| {
        let (breaker, new) = table.make(key, config);
        drop(new.complete());
        (breaker, ())
    };
    table.slots.try_insert(key, found, &mut make)
}

/// A full group of one breaker, of the key `a`, and that breaker as a search finds it.
fn found() -> (KeyedBreakers, Breaker, Candidate<Breaker>) {
    let clock = ManualClock::new();
    let group =
        KeyedBreakers::builder("hosts").max_breakers(1).clock(clock.clone()).build().unwrap();
    let breaker = group.get_or_create("a").unwrap();
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    let Attempt::Full(candidates) = attempt(&group, "b", None) else { panic!("room") };
    let candidate = choose(candidates).expect("its open time is over");
    (group, breaker, candidate)
}

#[test]
fn a_breaker_in_place_of_the_one_that_was_found_stays() {
    let (group, _, candidate) = found();
    group.get_or_create("c").unwrap();
    group.get_or_create("a").unwrap().force_open();
    assert!(matches!(attempt(&group, "b", Some(&candidate)), Attempt::Full(_)));
    assert_eq!(group.get("a").unwrap().state(), State::ForcedOpen);
}

#[test]
fn a_breaker_that_has_opened_since_it_was_found_stays() {
    let (group, breaker, candidate) = found();
    breaker.try_acquire().unwrap().failure();
    assert!(matches!(attempt(&group, "b", Some(&candidate)), Attempt::Full(_)));
    assert_eq!(group.get("a").unwrap().state(), State::Open);
}

#[test]
fn a_breaker_that_has_closed_since_it_was_found_is_replaced() {
    let (group, breaker, candidate) = found();
    breaker.try_acquire().unwrap().success();
    let attempt = attempt(&group, "b", Some(&candidate));
    assert!(matches!(attempt, Attempt::Done(Insertion::New { replaced: Some(_), .. })));
    assert!(group.get("a").is_none());
}
