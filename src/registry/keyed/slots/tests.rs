//! What happens between a search for a breaker to replace and its removal.

use std::time::Duration;

use super::*;
use crate::{clock::ManualClock, handle::Breaker, registry::keyed::KeyedBreakers, state::State};

fn attempt(
    group: &KeyedBreakers,
    key: &str,
    found: Option<&Candidate<Breaker>>,
    search: &mut Search<Breaker>,
) -> Option<Insertion<Breaker, ()>> {
    let table = &group.table;
    let key = table.hasher.hash(key);
    let mut make = |config: &_| {
        let (breaker, new) = table.make(key, config);
        drop(new.complete());
        (breaker, ())
    };
    table.slots.try_insert(key, found, search, &mut make)
}

fn replace(group: &KeyedBreakers, found: &Candidate<Breaker>) -> Option<Insertion<Breaker, ()>> {
    attempt(group, "b", Some(found), &mut Search::new())
}

/// What a search by a new key finds in a full group without an idle breaker.
fn search(group: &KeyedBreakers) -> Candidate<Breaker> {
    let mut search = Search::new();
    assert!(attempt(group, "b", None, &mut search).is_none() && search.is_over());
    search.choose().expect("a breaker that may go")
}

/// A full group of one breaker, of the key `a`, and that breaker as a search finds it.
fn found() -> (KeyedBreakers, Breaker, Candidate<Breaker>) {
    let clock = ManualClock::new();
    let group =
        KeyedBreakers::builder("hosts").max_breakers(1).clock(clock.clone()).build().unwrap();
    let breaker = group.get_or_create("a").unwrap();
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    let candidate = search(&group);
    assert!(!candidate.was_used, "its open time is over");
    (group, breaker, candidate)
}

#[test]
fn a_breaker_in_place_of_the_one_that_was_found_stays() {
    let (group, _, candidate) = found();
    group.get_or_create("c").unwrap();
    group.get_or_create("a").unwrap().force_open();
    assert!(replace(&group, &candidate).is_none());
    assert_eq!(group.get("a").unwrap().state(), State::ForcedOpen);
}

#[test]
fn a_breaker_that_has_opened_since_it_was_found_stays() {
    let (group, breaker, candidate) = found();
    breaker.try_acquire().unwrap().failure();
    assert!(replace(&group, &candidate).is_none());
    assert_eq!(group.get("a").unwrap().state(), State::Open);
}

#[test]
fn a_breaker_that_has_closed_since_it_was_found_is_replaced() {
    let (group, breaker, candidate) = found();
    breaker.try_acquire().unwrap().success();
    let insertion = replace(&group, &candidate);
    assert!(matches!(insertion, Some(Insertion::New { replaced: Some(_), .. })));
    assert!(group.get("a").is_none());
}

/// A full group of one closed breaker that was used, and that breaker as a search finds it.
fn found_used() -> (KeyedBreakers, Breaker, Candidate<Breaker>) {
    let group = KeyedBreakers::builder("hosts").max_breakers(1).build().unwrap();
    group.get_or_create("a").unwrap();
    let breaker = group.get("a").unwrap();
    let candidate = search(&group);
    assert!(candidate.was_used);
    (group, breaker, candidate)
}

#[test]
fn a_used_breaker_goes_although_it_is_used_again() {
    let (group, _, candidate) = found_used();
    group.get("a").unwrap();
    let insertion = replace(&group, &candidate);
    assert!(matches!(insertion, Some(Insertion::New { replaced: Some(_), .. })));
    assert!(group.get("a").is_none());
}

#[test]
fn a_used_breaker_stays_if_it_is_not_closed_any_more() {
    let clock = ManualClock::new();
    let builder = KeyedBreakers::builder("hosts").max_breakers(1).clock(clock.clone());
    let group = builder.build().unwrap();
    group.get_or_create("a").unwrap();
    let breaker = group.get("a").unwrap();
    for is_half_open in [false, true] {
        breaker.reset();
        group.get("a").unwrap();
        let candidate = search(&group);
        breaker.trip();
        if is_half_open {
            clock.advance(Duration::from_secs(60));
            breaker.try_acquire().unwrap().cancel();
        }
        assert!(replace(&group, &candidate).is_none());
    }
}
