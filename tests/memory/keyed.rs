//! The memory of breakers by key.

use std::convert::Infallible;

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{Error, KeyedBreakers, KeyedCircuitBreakerLayer, State};

use super::alone;

type Outcome = Result<(), Infallible>;

fn by_number(groups: &KeyedBreakers) -> impl Fn(u64) -> Result<(), Error<Infallible>> {
    let layer =
        KeyedCircuitBreakerLayer::by_key(groups.clone(), |key: &String| Some(key.as_str().into()));
    let service = layer.layer(service_fn(async |_: String| Outcome::Ok(())));
    move |number| {
        let mut service = service.clone();
        tokio_test::block_on(async move {
            service.ready().await?.call(format!("{number}.example")).await
        })
    }
}

#[test]
fn healthy_keys_take_no_memory() {
    let _alone = alone();
    let keys = KeyedBreakers::builder("keys").build().unwrap();
    let call = by_number(&keys);
    call(0).unwrap();
    let info = allocation_counter::measure(|| {
        // Each call allocates its key, and frees it.
        (0..50_000).for_each(|key| call(key).unwrap());
    });
    assert!(keys.is_empty());
    assert!(info.bytes_current < 100, "{info:?}");
}

#[test]
fn a_hundred_thousand_open_breakers_take_at_most_a_thousand_bytes_each() {
    const KEYS: usize = 100_000;
    let _alone = alone();
    let keys = KeyedBreakers::builder("keys").max_breakers(KEYS).build().unwrap();
    let info = allocation_counter::measure(|| {
        for key in 0..KEYS {
            let breaker = keys.get_or_create(&format!("{key}.example.com")).unwrap();
            (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
        }
    });
    let states = keys.breakers();
    assert_eq!(states.iter().filter(|breaker| breaker.state() == State::Open).count(), KEYS);
    let each = info.bytes_current / i64::try_from(KEYS).unwrap();
    assert!(each <= 1000, "{each} bytes");
}

/// Ten thousand invented keys for each breaker of the group.
#[test]
fn invented_keys_that_fail_take_no_more_memory_than_the_group_may_have() {
    let _alone = alone();
    let keys = KeyedBreakers::builder("keys").max_breakers(10).build().unwrap();
    let fail = |key: usize| {
        if let Some(breaker) = keys.get_or_create(&format!("{key}.example.com")) {
            breaker.try_acquire().unwrap().failure();
        }
    };
    (0..10_000).for_each(fail);
    let info = allocation_counter::measure(|| (10_000..100_000).for_each(fail));
    assert!(keys.len() <= 10);
    assert!(info.bytes_current < 100_000, "{info:?}");
}
