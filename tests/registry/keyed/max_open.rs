//! The share of keys whose circuits are open at once.

mod model;

use std::{thread, time::Duration};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, Event, KeyedBreakers, KeyedCircuitBreakerLayer, MemoryStore, State,
    clock::ManualClock,
    event::{PreventedBy, Reason, WouldTrip},
    registry::{KeyedBreakersBuilder, OpenLimitStats, WhenFull},
};

fn builder(ratio: f64) -> KeyedBreakersBuilder {
    KeyedBreakers::builder("hosts").max_open_ratio(ratio)
}

fn group(ratio: f64) -> (KeyedBreakers, ManualClock) {
    let clock = ManualClock::new();
    (builder(ratio).clock(clock.clone()).build().unwrap(), clock)
}

/// A healthy call for each of these keys.
fn see(hosts: &KeyedBreakers, keys: std::ops::Range<u32>) {
    keys.for_each(|key| {
        let _ = hosts.get_or_create(&key.to_string());
    });
}

fn fail(hosts: &KeyedBreakers, key: u32) -> State {
    let breaker = hosts.get_or_create(&key.to_string()).unwrap();
    for _ in 0..5 {
        if let Ok(permit) = breaker.try_acquire() {
            permit.failure();
        }
    }
    breaker.state()
}

fn open_limit(hosts: &KeyedBreakers) -> OpenLimitStats {
    hosts.stats().open_limit.unwrap()
}

fn open(hosts: &KeyedBreakers) -> usize {
    hosts.breakers().iter().filter(|breaker| breaker.state() == State::Open).count()
}

#[test]
fn of_ten_hosts_that_all_fail_half_may_be_open() {
    let (hosts, _clock) = group(0.5);
    see(&hosts, 0..10);
    let states: Vec<State> = (0..10).map(|key| fail(&hosts, key)).collect();
    assert_eq!(states, [[State::Open; 5], [State::Closed; 5]].concat());
    let limit = open_limit(&hosts);
    assert_eq!((limit.keys_seen, limit.open, limit.would_have_opened), (10, 5, 5));
}

#[test]
fn one_host_may_always_be_open() {
    for ratio in [0.01, 0.5] {
        let (hosts, _clock) = group(ratio);
        assert_eq!(fail(&hosts, 0), State::Open);
        assert_eq!(fail(&hosts, 1), State::Closed, "one of two is half, and open already");
    }
    let (hosts, _clock) = group(1.0);
    assert!((0..20).all(|key| fail(&hosts, key) == State::Open));
}

#[test]
fn without_a_ratio_all_hosts_may_be_open() {
    let hosts = KeyedBreakers::builder("hosts").build().unwrap();
    assert!((0..20).all(|key| fail(&hosts, key) == State::Open));
    assert_eq!(hosts.stats().open_limit, None);
}

#[test]
fn a_circuit_that_may_not_open_says_so_once_and_opens_when_it_may() {
    let (hosts, _clock) = group(0.5);
    let mut events = hosts.subscribe();
    assert_eq!(fail(&hosts, 0), State::Open);
    for _ in 0..3 {
        assert_eq!(fail(&hosts, 1), State::Closed);
    }
    let mut would_trip: Vec<WouldTrip> = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::WouldTrip(event) = event {
            would_trip.push(event);
        }
    }
    let [event] = &would_trip[..] else { panic!("{would_trip:?}") };
    assert_eq!(&*event.name, "hosts:1");
    assert_eq!((event.reason, event.failure_count), (Reason::ConsecutiveFailures, 5));
    assert_eq!(event.prevented_by, PreventedBy::MaxOpenRatio);
    assert_eq!(open_limit(&hosts).would_have_opened, 1);

    // A success ends it, and what follows is another time.
    let breaker = hosts.get("1").unwrap();
    breaker.try_acquire().unwrap().success();
    assert_eq!(fail(&hosts, 1), State::Closed);
    assert_eq!(open_limit(&hosts).would_have_opened, 2);

    hosts.get("0").unwrap().reset();
    assert_eq!(breaker.state(), State::Closed, "only a call opens it");
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(open_limit(&hosts).would_have_opened, 2);
}

#[test]
fn a_circuit_counts_until_it_closes() {
    let (hosts, clock) = group(0.5);
    assert_eq!(fail(&hosts, 0), State::Open);
    let first = hosts.get("0").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(first.state(), State::HalfOpen);
    assert_eq!(fail(&hosts, 1), State::Closed, "a half-open one counts");
    first.try_acquire().unwrap().failure();
    assert_eq!(first.state(), State::Open, "it has its place already");
    clock.advance(Duration::from_secs(60));
    first.try_acquire().unwrap().success();
    assert_eq!(first.state(), State::Closed);
    assert_eq!(open_limit(&hosts).open, 0);
    assert_eq!(fail(&hosts, 1), State::Open);
    assert_eq!(fail(&hosts, 0), State::Closed);
}

/// Its circuit is half-open from then on, since nothing calls it.
#[test]
fn a_key_that_is_gone_keeps_no_other_circuit_from_opening() {
    let (hosts, clock) = group(0.5);
    see(&hosts, 0..3);
    assert_eq!(fail(&hosts, 0), State::Open);
    clock.advance(Duration::from_secs(600));
    see(&hosts, 1..3);
    let limit = open_limit(&hosts);
    assert_eq!((limit.keys_seen, limit.open), (2, 0));
    assert_eq!(fail(&hosts, 1), State::Open);
    assert_eq!(fail(&hosts, 2), State::Closed);

    // It is back: it closes no circuit, and counts.
    see(&hosts, 0..1);
    assert_eq!(open_limit(&hosts).open, 2);
    hosts.get("1").unwrap().reset();
    assert_eq!((open_limit(&hosts).open, fail(&hosts, 2)), (1, State::Closed));
}

#[test]
fn an_open_circuit_counts_for_as_long_as_its_key_is_called() {
    let (hosts, clock) = group(0.5);
    let first = hosts.get_or_create("0").unwrap();
    first.force_open();
    for _ in 0..30 {
        clock.advance(Duration::from_secs(50));
        see(&hosts, 0..2);
        assert_eq!((open_limit(&hosts).open, fail(&hosts, 1)), (1, State::Closed));
    }
}

/// Of so many keys, the group knows only a sample.
#[test]
fn a_key_that_is_not_in_the_sample_counts_while_it_is_called() {
    const OPEN: u32 = 40;
    let clock = ManualClock::new();
    let hosts = builder(0.01).max_breakers(50_000).clock(clock.clone()).build().unwrap();
    see(&hosts, 0..20_000);
    (0..OPEN).for_each(|key| assert_eq!(fail(&hosts, key), State::Open));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(40));
        see(&hosts, 0..20_000);
        assert_eq!(open_limit(&hosts).open, u64::from(OPEN));
    }
    clock.advance(Duration::from_secs(40));
    see(&hosts, OPEN / 2..20_000);
    clock.advance(Duration::from_secs(40));
    see(&hosts, OPEN / 2..20_000);
    assert_eq!(open_limit(&hosts).open, u64::from(OPEN / 2));
}

#[test]
fn every_way_to_end_the_open_state_makes_room() {
    type End = fn(&Breaker);
    let ends: [(&str, End); 3] = [
        ("reset", Breaker::reset),
        ("disabled", Breaker::disable),
        ("metrics only", Breaker::metrics_only),
    ];
    for (what, end) in ends {
        let (hosts, _clock) = group(0.5);
        assert_eq!(fail(&hosts, 0), State::Open);
        end(&hosts.get("0").unwrap());
        assert_eq!(open_limit(&hosts).open, 0, "{what}");
        assert_eq!(fail(&hosts, 1), State::Open, "{what}");
    }
}

#[test]
fn a_circuit_that_is_opened_by_hand_opens_in_any_case_and_counts() {
    let (hosts, _clock) = group(0.5);
    see(&hosts, 0..4);
    for key in 0..3 {
        hosts.get(&key.to_string()).unwrap().force_open();
    }
    assert_eq!(open_limit(&hosts).open, 3);
    assert_eq!(fail(&hosts, 3), State::Closed);
    hosts.get("3").unwrap().trip();
    assert_eq!(open_limit(&hosts).open, 4);
    hosts.reset_all();
    assert_eq!(open_limit(&hosts).open, 0);
}

#[test]
fn a_replaced_breaker_makes_room_even_if_its_handle_is_kept() {
    let clock = ManualClock::new();
    let hosts = builder(0.1).max_breakers(1).clock(clock.clone()).build().unwrap();
    assert_eq!(fail(&hosts, 0), State::Open);
    let kept = hosts.get("0").unwrap();
    clock.advance(Duration::from_secs(60));
    see(&hosts, 1..2); // `get` was its second chance
    see(&hosts, 1..2);
    assert!(hosts.get("0").is_none(), "it was half-open, and was replaced");
    assert_eq!(open_limit(&hosts).open, 0);
    assert_eq!(fail(&hosts, 1), State::Open);
    kept.try_acquire().unwrap().failure();
    assert_eq!((kept.state(), open_limit(&hosts).open), (State::Open, 1));
    drop(kept);
    assert_eq!(open_limit(&hosts).open, 1);
}

#[test]
fn restored_circuits_count() {
    let store = MemoryStore::new();
    let group = |ratio| builder(ratio).store(store.clone()).build().unwrap();
    let hosts = group(1.0);
    (0..3).for_each(|key| assert_eq!(fail(&hosts, key), State::Open));
    drop(hosts);

    let hosts = group(0.5);
    assert_eq!((open(&hosts), open_limit(&hosts).open), (3, 3));
    see(&hosts, 0..6);
    assert_eq!(fail(&hosts, 4), State::Closed, "three of six are half");
    see(&hosts, 6..8);
    assert_eq!(fail(&hosts, 4), State::Open);
}

#[test]
fn the_shared_breaker_of_a_full_group_counts_as_one() {
    let hosts = builder(0.5).max_breakers(1).when_full(WhenFull::Share).build().unwrap();
    assert_eq!(fail(&hosts, 0), State::Open);
    let shared = hosts.get_or_create("1").unwrap();
    assert_eq!(shared.name(), "hosts");
    assert_eq!(fail(&hosts, 1), State::Closed);
    see(&hosts, 2..4);
    assert_eq!(fail(&hosts, 1), State::Open);
    assert_eq!(open_limit(&hosts).open, 2);
}

#[test]
fn a_key_counts_for_a_minute_after_its_last_call() {
    let (hosts, clock) = group(0.5);
    see(&hosts, 0..10);
    clock.advance(Duration::from_secs(60));
    assert_eq!(open_limit(&hosts).keys_seen, 10);
    clock.advance(Duration::from_secs(5));
    assert_eq!(open_limit(&hosts).keys_seen, 0);
    assert_eq!(fail(&hosts, 0), State::Open);
    assert_eq!(fail(&hosts, 1), State::Closed);
}

/// Under rules on consecutive failures, these have no breaker.
#[tokio::test]
async fn healthy_keys_of_a_layer_are_seen_without_a_breaker() {
    let hosts = builder(0.2).build().unwrap();
    let layer =
        KeyedCircuitBreakerLayer::by_key(hosts.clone(), |key: &u32| Some(key.to_string().into()));
    let mut service = layer.layer(service_fn(async |key: u32| {
        if key >= 10 { Err(std::io::Error::other("down")) } else { Ok(()) }
    }));
    for key in 0..15 {
        for _ in 0..5 {
            let _ = service.ready().await.unwrap().call(key).await;
        }
    }
    assert_eq!(hosts.len(), 5, "only those that fail");
    let stats = open_limit(&hosts);
    // 10 and 11 of 11 and 12; 14 of 15.
    assert_eq!((stats.keys_seen, stats.open, stats.would_have_opened), (15, 3, 2));
}

fn fail_all_at_once(hosts: &KeyedBreakers, keys: u32, resets: bool) {
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            scope.spawn(move || {
                for round in 0..20 {
                    (0..keys).for_each(|key| {
                        fail(hosts, (key * 7 + thread) % keys);
                    });
                    if resets && round % 4 == thread {
                        hosts.get(&round.to_string()).unwrap().reset();
                    }
                }
            });
        }
    });
}

#[test]
fn threads_that_fail_at_once_never_open_more_than_the_share() {
    const KEYS: u32 = 50;
    let hosts = builder(0.3).build().unwrap();
    see(&hosts, 0..KEYS);
    fail_all_at_once(&hosts, KEYS, false);
    assert_eq!((open(&hosts), open_limit(&hosts).open), (15, 15));
    fail_all_at_once(&hosts, KEYS, true);
    (0..KEYS).for_each(|key| {
        fail(&hosts, key);
    });
    assert_eq!((open(&hosts), open_limit(&hosts).open), (15, 15), "no place was lost");
}

#[test]
fn a_ratio_that_is_out_of_range_is_a_fault() {
    for ratio in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
        let error = builder(ratio).build().unwrap_err();
        let [fault] = error.faults() else { panic!("{error}") };
        assert_eq!(fault.path(), "max_open_ratio");
    }
}
