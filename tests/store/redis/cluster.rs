//! A store in a Redis Cluster.

use tower_breaker::{
    State,
    store::{RedisStore, SaveEntry, StateStore},
};

use super::{access, breaker, flush, key, trip};
use crate::support::{acl, redis_cluster::RedisCluster, wait::eventually};

fn store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::open(&cluster.url()).unwrap()
}

fn stored(cluster: &RedisCluster, name: &str) -> String {
    cluster.primary_of(&key(name)).command(&["GET", &key(name)])
}

#[needs::programs("redis-server")]
#[test]
fn breakers_on_all_nodes_are_restored_by_the_next_process() {
    let Some(cluster) = RedisCluster::start() else { return };
    let names: Vec<_> = (0..30).map(|number| format!("breaker {number}")).collect();
    let tripped: Vec<_> = names.iter().map(|name| breaker(name, store(&cluster))).collect();
    tripped.iter().for_each(trip);
    tripped.iter().for_each(flush);
    drop(tripped);
    for node in &cluster.primaries {
        let size: u32 = node.command(&["DBSIZE"]).parse().unwrap();
        assert!(size > 5, "spread over the nodes: {size}");
    }
    let shared = store(&cluster);
    assert_eq!(shared.load_page(None, 100).unwrap().len(), 30);
    for name in &names {
        assert_eq!(breaker(name, shared.clone()).state(), State::Open);
    }
}

#[needs::programs("redis-server")]
#[test]
fn a_node_that_was_emptied_is_filled_again_without_a_call() {
    let Some(cluster) = RedisCluster::start() else { return };
    for (place, node) in cluster.primaries.iter().enumerate() {
        let name = (0..).map(|number| format!("idle {number}"));
        let name = name.take(100).find(|name| cluster.place_of(&key(name)) == place).unwrap();
        let breaker = breaker(&name, store(&cluster));
        trip(&breaker);
        flush(&breaker);
        assert_eq!(node.command(&["FLUSHALL"]), "OK");
        eventually("it is saved again", || stored(&cluster, &name).contains(r#""state":"open""#));
        eventually("it is healthy", || breaker.store_health().is_healthy());
    }
    let breaker = breaker("restarted", store(&cluster));
    trip(&breaker);
    flush(&breaker);
    cluster.primary_of(&key("restarted")).restart();
    eventually("it is saved again", || stored(&cluster, "restarted").contains("open"));
    eventually("it is healthy", || breaker.store_health().is_healthy());
}

#[needs::programs("redis-server")]
#[test]
fn the_replica_of_a_killed_node_takes_over() {
    let Some(cluster) = RedisCluster::start_with_replicas() else { return };
    let breaker = breaker("payments", store(&cluster));
    trip(&breaker);
    flush(&breaker);
    let place = cluster.place_of(&key("payments"));
    let replica = &cluster.replicas[place];
    cluster.primaries[place].stop();
    breaker.force_open();
    eventually("the replica takes over", || replica.command(&["ROLE"]).starts_with("master"));
    eventually("it is saved there", || {
        replica.command(&["GET", &key("payments")]).contains("forced_open")
    });
    eventually("it is healthy", || breaker.store_health().is_healthy());
}

#[needs::programs("redis-server")]
#[test]
fn while_a_node_is_away_keys_on_the_others_are_saved() {
    let Some(cluster) = RedisCluster::start() else { return };
    for node in &cluster.primaries {
        assert_eq!(node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]), "OK");
    }
    let names = || (0..100).map(|number| format!("partly {number}"));
    let on = |place| names().find(|name| cluster.place_of(&key(name)) == place).unwrap();
    let (away, living) = (on(2), [on(0), on(1)]);
    let store = store(&cluster);
    assert!(store.load(&key(&away)).unwrap().is_none());
    cluster.primaries[2].stop();
    // The scripts are new to the servers.
    for name in &living {
        let saved = store.save(&SaveEntry::new(key(name), "saved"));
        assert!(saved.is_err(), "what the node holds cannot be verified");
        assert_eq!(stored(&cluster, name), "saved");
    }
    cluster.primaries[2].restart();
    eventually("it is saved", || store.save(&SaveEntry::new(key(&away), "saved")).is_ok());
    assert_eq!(stored(&cluster, &away), "saved");
}

#[needs::programs("redis-server")]
#[test]
fn a_slot_that_moves_is_followed() {
    let Some(cluster) = RedisCluster::start() else { return };
    let store = store(&cluster);
    let breaker = breaker("payments", store.clone());
    trip(&breaker);
    flush(&breaker);
    let key = key("payments");
    let from = cluster.place_of(&key);
    let to = (from + 1) % 3;
    let before = store.load(&key).unwrap();
    assert!(before.is_some());
    cluster.move_slot(&key, from, to);
    assert_eq!(store.load(&key).unwrap(), before, "the same connection is redirected");
    breaker.force_open();
    flush(&breaker);
    assert!(cluster.primaries[to].command(&["GET", &key]).contains("forced_open"));
    assert!(breaker.store_health().is_healthy());
}

#[needs::programs("redis-server")]
#[test]
fn a_key_that_is_on_the_way_is_found() {
    let Some(cluster) = RedisCluster::start() else { return };
    let url = cluster.url().replace("://", "://breakers:s3cret@");
    let rules = [access::RULES, &["+cluster|slots", "+asking"]].concat();
    cluster.primaries.iter().for_each(|node| drop(acl::user(node, &rules)));
    let store = RedisStore::open(&url).unwrap();
    let (moving, other) = ("circuit_breaker:{x}:state", "circuit_breaker:{x}2:state");
    for key in [moving, other] {
        store.save(&SaveEntry::new(key, key)).unwrap();
    }
    let from = cluster.place_of(moving);
    let to = (from + 1) % 3;
    let finish = cluster.begin_moving(moving, from, to);
    // One of the two keys of the slot is with the new node, and the other one is not.
    cluster.migrate(moving, from, to);
    for key in [moving, other] {
        assert_eq!(store.load(key).unwrap().as_deref(), Some(key.as_bytes()));
    }
    assert_eq!(store.load_page(None, 10).unwrap().len(), 2);
    cluster.migrate(other, from, to);
    finish();
    assert_eq!(store.load_page(None, 10).unwrap().len(), 2);
}
