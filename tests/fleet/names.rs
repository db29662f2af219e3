//! Names that could be taken for something else.

use std::time::Duration;

use tower_breaker::{Breaker, State, fleet::RedisFleet};

use crate::{
    replica::{fail, fleet, joined, reaches, settings},
    support::redis::RedisServer,
};

fn nasty_names() -> Vec<String> {
    let mut names: Vec<String> = [
        " ",
        "a",
        "a:breaker",
        "a:counts",
        "a{1}",
        "}{",
        "a\nb",
        "a\r\n+OK\r\n",
        "a\0b",
        "*",
        "\u{202e}\u{e4}",
        "shard",
        "news",
    ]
    .map(str::to_owned)
    .into();
    names.push("x".repeat(512));
    names.push("x".repeat(511));
    names
}

fn build(fleet: &RedisFleet) -> Vec<Breaker> {
    let long = |name: &str| settings(name).recovery_timeout(Duration::from_secs(600));
    let build = |name: &String| long(name).shared(fleet.clone()).build().unwrap();
    nasty_names().iter().map(build).collect()
}

#[needs::programs("redis-server")]
#[test]
fn breakers_of_any_names_are_shared_and_kept_apart() {
    let Some(server) = RedisServer::start() else { return };
    let fleets = [(); 2].map(|()| fleet(&server).build().unwrap());
    let [first, second] = fleets.each_ref().map(build);
    first.iter().chain(&second).for_each(joined);
    for (index, (one, other)) in first.iter().zip(&second).enumerate() {
        fail(one);
        reaches(&[other], State::Open);
        let open = second.iter().filter(|other| other.state() == State::Open).count();
        assert_eq!(open, index + 1, "{:?} opens no other", one.name());
        let views = tokio_test::block_on(one.fleet_views(Duration::from_secs(5))).unwrap();
        let is_open = |view: &tower_breaker::fleet::FleetView| {
            view.view.as_ref().is_some_and(|view| view.state == State::Open)
        };
        assert!(views.len() == 2 && views.iter().all(is_open), "{views:?}");
    }
}
