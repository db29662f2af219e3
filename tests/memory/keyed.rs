//! The memory of breakers by key.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Config, Error, KeyedBreakers, KeyedCircuitBreakerLayer, MemoryStore, State, StateStore, Trip,
    Window,
};

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

/// A service that is down for some keys.
#[derive(Clone)]
struct Upstream;

impl Service<(&'static str, bool)> for Upstream {
    type Response = ();
    type Error = bool;
    type Future = Ready<Result<(), bool>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), bool>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (_, fails): (&'static str, bool)) -> Self::Future {
        ready(if fails { Err(true) } else { Ok(()) })
    }
}

fn call<R, S: Service<R>>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the service answers at once"),
    }
}

const HOSTS: [&str; 3] = ["a.example", "10.0.0.17:8080", "a-rather-long-name.eu-west.example.com"];

/// With a breaker for each key or none, and with the keys counted or not.
#[test]
fn a_call_with_a_known_key_allocates_nothing() {
    let _alone = alone();
    let window = Trip::failure_rate(0.5, Window::calls(100));
    let time = Trip::failure_rate(0.5, Window::time(Duration::from_secs(10)));
    for (rule, ratio) in [
        (Trip::consecutive_failures(5), None),
        (Trip::consecutive_failures(5), Some(0.5)),
        (window, None),
        (window, Some(0.5)),
        (time, Some(0.5)),
    ] {
        let mut config = Config::default();
        config.trip_on = vec![rule];
        let mut builder = KeyedBreakers::builder("keys").config(config);
        if let Some(ratio) = ratio {
            builder = builder.max_open_ratio(ratio);
        }
        let keys = builder.build().unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &(&str, bool)| {
            Some(request.0.into())
        });
        let mut service = layer.layer(Upstream);
        for _ in 0..200 {
            for host in HOSTS {
                call(&mut service, (host, false)).unwrap();
            }
        }
        let counted = measure(|| {
            for number in 0..3000 {
                call(&mut service, (HOSTS[number % 3], false)).unwrap();
            }
        });
        // A key is noted again every five seconds, in memory that is there.
        assert_eq!(counted.count_total, 0, "{rule:?} {ratio:?}");

        for host in HOSTS {
            drop(keys.get_or_create(host));
        }
        let counted = measure(|| {
            for number in 0..3000 {
                call(&mut service, (HOSTS[number % 3], false)).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{rule:?} {ratio:?}");
    }
}

/// The memory of the process; 0 where the system does not say.
fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// What an attacker at one client can do, who invents a key for each call, all of which fail.
struct Attack {
    keys: u32,
    max_breakers: usize,
}

impl Attack {
    /// Figures, for a log.
    fn run(&self) -> String {
        let store = MemoryStore::new();
        let mut config = Config::default();
        config.recovery_timeout = Duration::from_secs(24 * 3600);
        let keys = KeyedBreakers::builder("keys")
            .config(config)
            .max_breakers(self.max_breakers)
            .max_open_ratio(0.5)
            .store(store.clone())
            .build()
            .unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(keys.clone(), |request: &(String, bool)| {
            Some(request.0.as_str().into())
        });
        let mut service = layer.layer(service_fn(async |(_, fails): (String, bool)| {
            if fails { Err(std::io::Error::other("down")) } else { Ok(()) }
        }));
        let mut request = |key: &str, fails| call(&mut service, (key.to_owned(), fails)).is_ok();
        for _ in 0..3 {
            request("good", true);
        }
        for _ in 0..5 {
            request("bad", true);
        }
        assert_eq!(keys.get("bad").unwrap().state(), State::Open);
        // What a call of a good key does: with a breaker, and with none.
        let healthy = |request: &mut dyn FnMut(&str, bool) -> bool| {
            measure(|| assert!(request("healthy", false))).count_total
        };
        let before = healthy(&mut request);
        // Until every breaker has been replaced often, and all buffers have grown.
        let warm_up = (self.keys / 10).max(4 * u32::try_from(self.max_breakers).unwrap());
        let mut most_stored = 0;
        let mut attack = |range: std::ops::Range<u32>| {
            for key in range {
                request(&format!("invented {key}"), true);
                if key % 32 == 0 {
                    // In use, so that its state is kept: its calls neither succeed nor fail.
                    keys.get("good").expect("a good key's breaker").try_acquire().unwrap().cancel();
                    assert_eq!(healthy(&mut request), before, "what a healthy call allocates");
                }
                if key % 10_000 == 0 {
                    let stored = store.load_page(None, usize::MAX).unwrap().len();
                    most_stored = most_stored.max(stored);
                }
            }
        };
        attack(0..warm_up);
        let resident = resident_kilobytes();
        attack(warm_up..self.keys);
        let grown = resident_kilobytes().saturating_sub(resident);
        assert_eq!(keys.get("good").unwrap().stats().consecutive_failures(), 3);
        assert_eq!(keys.get("bad").unwrap().state(), State::Open);
        assert!(!request("bad", false), "still rejected");
        assert!(keys.len() <= self.max_breakers);
        // A kilobyte for each key would be 180 MB. What other threads free stays allocated.
        assert!(grown < 40_000, "{grown} kB");
        assert!(most_stored <= 2 * self.max_breakers + 100, "{most_stored} snapshots");
        format!("{grown} kB more, at most {most_stored} snapshots stored, {:?}", keys.stats())
    }
}

#[test]
fn two_hundred_thousand_invented_keys_fill_neither_memory_nor_store_and_push_out_no_good_key() {
    let _alone = alone();
    println!("{}", Attack { keys: 200_000, max_breakers: 1000 }.run());
}

/// A minute in release.
#[test]
#[ignore = "ten million calls"]
fn ten_million_invented_keys_fill_neither_memory_nor_store_and_push_out_no_good_key() {
    let _alone = alone();
    println!("{}", Attack { keys: 10_000_000, max_breakers: 10_000 }.run());
}
