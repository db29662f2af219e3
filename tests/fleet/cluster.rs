//! A Redis Cluster: each shard of a fleet lives on the node that has its keys.

use std::time::Instant;

use tower_breaker::{
    Breaker, State,
    fleet::{FleetHealth, RedisFleet},
};

use crate::{
    access,
    replica::{LEASE, fail, joined, probe, reaches, settings},
    support::{acl, redis_cluster::RedisCluster, wait::eventually},
};

const SHARDS: u16 = 8;
const NAMES: [&str; 12] =
    ["payments", "mail", "search{0}", "stock", "prices", "users", "a", "b", "c", "d", "e", "f"];

fn fleet(cluster: &RedisCluster) -> RedisFleet {
    let builder = RedisFleet::builder(&cluster.url()).shards(SHARDS);
    builder.lease(LEASE).build().unwrap()
}

fn replica(cluster: &RedisCluster, name: &str) -> Breaker {
    let breaker = settings(name).shared(fleet(cluster)).build().unwrap();
    joined(&breaker);
    breaker
}

/// The key of a breaker that the fleet has written, and the place of its primary.
fn key_of(cluster: &RedisCluster, name: &str) -> (String, usize) {
    let keys = (0..SHARDS).map(|shard| format!("circuit_breaker:{{{shard}}}:fleet:{name}:breaker"));
    let mut places = keys.map(|key| (cluster.place_of(&key), key));
    let found =
        places.find(|(place, key)| cluster.primaries[*place].command(&["EXISTS", key]) == "1");
    let (place, key) = found.expect("a shard has the breaker");
    (key, place)
}

#[needs::programs("redis-server")]
#[test]
fn breakers_on_all_nodes_are_shared() {
    let Some(cluster) = RedisCluster::start() else { return };
    let fleets = [fleet(&cluster), fleet(&cluster)];
    let breakers = NAMES.map(|name| {
        fleets.each_ref().map(|fleet| settings(name).shared(fleet.clone()).build().unwrap())
    });
    for [first, second] in &breakers {
        joined(first);
        fail(first);
        reaches(&[second], State::Open);
    }
    let places: Vec<_> = NAMES.iter().map(|name| key_of(&cluster, name).1).collect();
    assert!((0..3).all(|place| places.contains(&place)), "spread over the nodes: {places:?}");
    for [first, second] in &breakers {
        reaches(&[first, second], State::HalfOpen);
        probe(second);
        reaches(&[first, second], State::Closed);
    }
    assert!(fleets.iter().all(|fleet| fleet.health() == FleetHealth::Joined));
    // A later replica learns all of them.
    for [first, _] in &breakers {
        first.force_open();
    }
    for (name, [_, second]) in NAMES.iter().zip(&breakers) {
        reaches(&[second, &replica(&cluster, name)], State::ForcedOpen);
    }
}

#[needs::programs("redis-server")]
#[test]
fn calls_are_counted_together() {
    let Some(cluster) = RedisCluster::start() else { return };
    access::count_together(&cluster.url());
}

#[needs::programs("redis-server")]
#[test]
fn the_replica_of_a_killed_node_takes_over_its_shards() {
    let Some(cluster) = RedisCluster::start_with_replicas() else { return };
    let (first, second) = (replica(&cluster, "payments"), replica(&cluster, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let (key, place) = key_of(&cluster, "payments");
    cluster.primaries[place].stop();
    eventually("alone", || first.fleet_health().is_alone() && second.fleet_health().is_alone());
    assert_eq!((first.state(), second.state()), (State::ForcedOpen, State::ForcedOpen));
    let promoted = &cluster.replicas[place];
    eventually("the replica takes over", || {
        promoted.command(&["ROLE"]).starts_with("master")
            && promoted.command(&["EXISTS", &key]) == "1"
    });
    let since = Instant::now();
    joined(&first);
    joined(&second);
    println!("joined again {:?} after the failover", since.elapsed());
    first.reset();
    reaches(&[&second], State::Closed);
    // The old primary comes back as a replica.
    cluster.primaries[place].restart();
    fail(&second);
    reaches(&[&first], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_primary_that_becomes_a_replica_while_it_lives_is_left() {
    let Some(cluster) = RedisCluster::start_with_replicas() else { return };
    let (first, second) = (replica(&cluster, "payments"), replica(&cluster, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let (key, place) = key_of(&cluster, "payments");
    let (old, new) = (&cluster.primaries[place], &cluster.replicas[place]);
    assert_eq!(new.command(&["CLUSTER", "FAILOVER"]), "OK");
    eventually("the roles are changed", || {
        new.command(&["ROLE"]).starts_with("master") && old.command(&["ROLE"]).starts_with("slave")
    });
    second.reset();
    reaches(&[&first], State::Closed);
    eventually("the new primary has it", || new.command(&["HGET", &key, "s"]) == "closed");
    fail(&first);
    reaches(&[&second], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_node_that_comes_back_empty_is_told_what_the_fleet_knows() {
    let Some(cluster) = RedisCluster::start() else { return };
    let (first, second) = (replica(&cluster, "payments"), replica(&cluster, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let (key, place) = key_of(&cluster, "payments");
    let node = &cluster.primaries[place];
    node.stop();
    eventually("alone", || first.fleet_health().is_alone());
    node.restart();
    joined(&first);
    joined(&second);
    eventually("the server has it", || node.command(&["HGET", &key, "s"]) == "forced_open");
    second.reset();
    reaches(&[&first], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_shard_that_moves_to_another_node_is_followed() {
    let Some(cluster) = RedisCluster::start() else { return };
    let (first, second) = (replica(&cluster, "payments"), replica(&cluster, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let (key, from) = key_of(&cluster, "payments");
    let to = (from + 1) % 3;
    cluster.move_slot(&key, from, to);
    assert_eq!(cluster.primaries[to].command(&["HGET", &key, "s"]), "forced_open");
    second.reset();
    reaches(&[&first], State::Closed);
    eventually("joined", || {
        [&first, &second].iter().all(|breaker| breaker.fleet_health() == FleetHealth::Joined)
    });
    eventually("the new node has it", || {
        cluster.primaries[to].command(&["HGET", &key, "s"]) == "closed"
    });
}

#[needs::programs("redis-server")]
#[test]
fn a_user_needs_one_more_permission() {
    let Some(cluster) = RedisCluster::start() else { return };
    let url = |rules: &[&str]| {
        cluster.primaries.iter().for_each(|node| drop(acl::user(node, rules)));
        cluster.url().replace("://", "://breakers:s3cret@")
    };
    let error = access::use_all(&url(access::RULES)).unwrap_err();
    assert!(error.contains("denies permission for the command \"cluster|slots\""), "{error}");
    let rules = [access::RULES, &["+cluster|slots"]].concat();
    assert_eq!(access::use_all(&url(&rules)), Ok(()));
}

#[needs::programs("redis-server")]
#[test]
fn a_cluster_with_a_url_of_a_single_server_is_named() {
    let Some(cluster) = RedisCluster::start() else { return };
    // Some of the shards are on other nodes.
    let node = &cluster.primaries[0];
    let fleet = RedisFleet::builder(&node.url()).shards(SHARDS).build().unwrap();
    let breakers = NAMES.map(|name| settings(name).shared(fleet.clone()).build().unwrap());
    eventually("it is said", || {
        let reasons = breakers.each_ref().map(|breaker| breaker.fleet_health().to_string());
        reasons.iter().any(|reason| reason.contains("`redis+cluster://`"))
    });
    eventually("by the fleet too", || fleet.health().is_alone());
}
